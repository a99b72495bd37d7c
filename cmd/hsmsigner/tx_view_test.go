// SPDX-License-Identifier: Apache-2.0

package main

import (
	"testing"

	"github.com/hsmsigner/hsmsigner/internal/platform"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

// A row keeps the caller's whole error; a person wants its words.
func TestFailedTransactionShowsTheWordsOfItsError(t *testing.T) {
	for stored, want := range map[string]string{
		`{"code":-32000,"message":"expired before it could be sent"}`: "expired before it could be sent",
		`{"code":-32010,"message":"denied","kind":"backend"}`:         "key backend failed: denied",
		`{"code":3,"message":"too poor","kind":"revert"}`:             "execution reverted: too poor",
		"": "",
	} {
		if got := platform.ViewTransaction(store.Tx{Error: stored}).Error; got != want {
			t.Errorf("%s: got %q", stored, got)
		}
	}
}
