// SPDX-License-Identifier: Apache-2.0

// Package keycheck is the contract of key.Backend as a suite of checks. It runs
// in go test, by package keytest, and outside of it, by `hsmsigner key
// conformance` against a live HSM, vault or KMS.
//
// The suite only reads and signs, except through the functions that the
// [Fixture] gives it. What it signs are random digests and fixed odd ones, never
// anybody's choice. It leaves nothing out in silence: what a fixture does not
// allow is reported by NotTested.
package keycheck

import (
	"context"
	"slices"
	"sync/atomic"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/key"
)

// T is what a check says its result to. Its methods are those of *testing.T,
// and one for what was left out.
type T interface {
	Helper()
	Context() context.Context // done when the check ends
	Cleanup(f func())
	Logf(format string, args ...any)
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any) // does not return
	Run(name string, check func(t T)) bool
	NotTested(what string)
}

// Fixture is an open backend and what the suite may expect of it.
type Fixture struct {
	Backend key.Backend // the suite closes it

	MinKeys   int              // the listing shows at least so many enabled keys; at least 1
	Addresses []common.Address // enabled keys that the listing must show, besides others
	Problems  []string         // names that the listing must report as key.Problem
	Disabled  []key.Ref        // keys that the listing must show as disabled and that must refuse to sign
	MinPages  int              // the listing takes at least so many pages; 0 means 1

	// Unknown is a well-formed reference to a key that does not exist; the
	// zero value stands for a reference that is not even well-formed.
	Unknown key.Ref

	// Add makes one more key appear in the store behind the backend's back, and
	// Remove takes that key away again. The listing must follow within Refresh.
	// Nil: the store cannot be changed by the suite.
	Add    func(t T) common.Address
	Remove func(t T, address common.Address)

	// CreateName is the name for a key that the suite makes by key.Creator;
	// empty: creation is not tested.
	CreateName string

	Signatures  int           // sequential signatures over all keys; 0 means 200
	Concurrency int           // simultaneous signatures; 0 means 64
	Timeout     time.Duration // of one call; 0 means 30 s
	Prompt      time.Duration // within which a call whose context is done returns; 0 means 2 s
	Refresh     time.Duration // within which a change of the store is noticed; 0 means 30 s
}

func (f Fixture) withDefaults() Fixture {
	for _, d := range []struct {
		field *int
		value int
	}{{&f.MinKeys, 1}, {&f.MinPages, 1}, {&f.Signatures, 200}, {&f.Concurrency, 64}} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	for _, d := range []struct {
		field *time.Duration
		value time.Duration
	}{{&f.Timeout, 30 * time.Second}, {&f.Prompt, 2 * time.Second}, {&f.Refresh, 30 * time.Second}} {
		if *d.field == 0 {
			*d.field = d.value
		}
	}
	if f.Unknown == "" {
		f.Unknown = "no-such-key"
	}
	return f
}

// Run runs the suite. open is called several times; each call gives a backend
// of its own (on the same or on another store), and registers by t.Cleanup
// what must be undone besides closing the backend.
func Run(t T, open func(t T) Fixture) {
	t.Helper()
	start := func(t T) *suite {
		t.Helper()
		s := &suite{Fixture: open(t).withDefaults()}
		t.Cleanup(func() {
			if err := s.Backend.Close(); err != nil && !s.closed {
				t.Errorf("close: %v", err)
			}
		})
		return s
	}
	t.Run("Reading", func(t T) {
		s := start(t)
		t.Run("ListingShowsEveryKeyExactlyOnce", s.listing)
		t.Run("KeysAreWellFormed", s.wellFormed)
		t.Run("RefsAreStable", s.stable)
		t.Run("AddressesMatchPublicKeys", s.publicKeys)
		t.Run("UnknownRefIsErrNotFound", s.unknown)
		t.Run("CancelledContextReturnsPromptly", s.cancelled)
		t.Run("Healthy", s.healthy)
	})
	t.Run("Signing", func(t T) {
		s := start(t)
		t.Run("ConcurrentSignaturesRecover", s.concurrent) // first: the keys are cold
		t.Run("SignaturesRecover", s.signatures)
		t.Run("EdgeDigestsRecover", s.edgeDigests)
		t.Run("DisabledKeyRefuses", s.disabled)
	})
	t.Run("Changes", func(t T) {
		s := start(t)
		t.Run("AddedAndRemovedKeysAreNoticed", s.changes)
		t.Run("CreatedKeySigns", s.create)
	})
	t.Run("ClosedBackendRefuses", func(t T) { start(t).closing(t) })
}

type suite struct {
	signs, again atomic.Int64 // signatures asked for; calls made a second time
	Fixture
	closed bool
}

// ctx returns a context with the time of one call.
func (s *suite) ctx(t T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), s.Timeout)
	t.Cleanup(cancel)
	return ctx
}

// list pages through the whole listing.
func (s *suite) list(t T) (keys []key.Key, problems []key.Problem, pages int) {
	t.Helper()
	const maxPages = 100_000 // a cursor that goes in circles must not hang the test
	seen := map[string]bool{"": true}
	for cursor := ""; ; {
		page, err := s.Backend.Keys(s.ctx(t), cursor)
		if err != nil {
			t.Fatalf("keys from cursor %q: %v", cursor, err)
		}
		pages++
		keys = append(keys, page.Keys...)
		problems = append(problems, page.Problems...)
		if page.Next == "" {
			return keys, problems, pages
		}
		if cursor = page.Next; seen[cursor] || pages == maxPages {
			t.Fatalf("cursor %q came a second time after %d pages", cursor, pages)
		}
		seen[cursor] = true
	}
}

// enabled returns the keys that may be asked for signatures.
func (s *suite) enabled(t T) []key.Key {
	t.Helper()
	keys, _, _ := s.list(t)
	keys = slices.DeleteFunc(keys, func(k key.Key) bool { return k.State != key.Enabled })
	if len(keys) < s.MinKeys {
		t.Fatalf("%d enabled keys, want at least %d", len(keys), s.MinKeys)
	}
	return keys
}
