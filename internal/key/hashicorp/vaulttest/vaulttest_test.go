// SPDX-License-Identifier: Apache-2.0

//go:build unix

package vaulttest_test

import (
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/key/hashicorp/vaulttest"
)

func TestServerSignsSealsAndEnds(t *testing.T) {
	ctx := t.Context()
	begin := time.Now()
	s, err := vaulttest.Start(ctx)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("ready after %v", time.Since(begin))
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	if _, err := s.CreateKey(ctx, vaulttest.Mount, "one"); err != nil {
		t.Fatal(err)
	}
	if err := s.Seal(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := s.CreateKey(ctx, vaulttest.Mount, "two"); err == nil {
		t.Error("a sealed server made a key")
	}
	if err := s.Unseal(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := s.CreateKey(ctx, vaulttest.Mount, "one"); err == nil {
		t.Error("the key was gone after the server was unsealed")
	}
}
