// SPDX-License-Identifier: Apache-2.0

//go:build !faultpoints

package faultpoint_test

import (
	"testing"

	"github.com/hsmsigner/hsmsigner/internal/faultpoint"
)

func TestWithoutTheTagNothingHappens(t *testing.T) {
	t.Setenv(faultpoint.EnvRules, "send:kill; sign:error")
	faultpoint.At(faultpoint.Send)
	if err := faultpoint.Error(faultpoint.Sign); err != nil || faultpoint.Enabled {
		t.Errorf("%v, enabled %v", err, faultpoint.Enabled)
	}
}
