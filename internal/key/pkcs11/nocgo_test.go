// SPDX-License-Identifier: Apache-2.0

//go:build !cgo

package pkcs11_test

import (
	"strings"
	"testing"

	"github.com/hsmsigner/hsmsigner/internal/key/pkcs11"
)

func TestWithoutCgoOpenSaysSo(t *testing.T) {
	_, err := pkcs11.Open(t.Context(), pkcs11.Config{Module: "/m.so", TokenLabel: "t", PIN: func() (string, error) { return "1234", nil }})
	if err == nil || !strings.Contains(err.Error(), "PKCS#11 needs a build with cgo: ") {
		t.Errorf("got %v", err)
	}
}
