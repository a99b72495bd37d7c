// SPDX-License-Identifier: Apache-2.0

// Package keytest runs the contract of key.Backend, which is package keycheck,
// in go test. Every adapter passes [Run], against the most real server there is
// and against a fake of the provider's wire for what no server can be made to
// do.
//
// The suite only reads and signs, except through the functions that the
// [Fixture] gives it. It never skips in silence: what a fixture does not
// declare is logged as not tested.
package keytest

import (
	"cmp"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/key/keycheck"
)

// Fixture is an open backend and what the suite may expect of it: the fields
// are those of [keycheck.Fixture].
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
	// Nil: the store cannot be changed by the test.
	Add    func(t *testing.T) common.Address
	Remove func(t *testing.T, address common.Address)

	// CreateName is the name for a key that the suite makes by key.Creator;
	// empty: creation is not tested.
	CreateName string

	Signatures  int           // sequential signatures over all keys; 0 means 200
	Concurrency int           // simultaneous signatures; 0 means 64
	Timeout     time.Duration // of one call; 0 means 2 min, since a test may have a slow machine
	Prompt      time.Duration // within which a call whose context is done returns; 0 means 10 s
	Refresh     time.Duration // within which a change of the store is noticed; 0 means 2 min
}

// Run runs the suite. open is called several times; each call gives a backend
// of its own (on the same or on another store), and registers by t.Cleanup
// what must be undone besides closing the backend.
func Run(t *testing.T, open func(t *testing.T) Fixture) {
	t.Helper()
	keycheck.Run(run{t}, func(t keycheck.T) keycheck.Fixture {
		t.Helper()
		return open(t.(run).T).forChecks()
	})
}

func (f Fixture) forChecks() keycheck.Fixture {
	c := keycheck.Fixture{
		Backend: f.Backend, MinKeys: f.MinKeys, Addresses: f.Addresses, Problems: f.Problems, Disabled: f.Disabled,
		MinPages: f.MinPages, Unknown: f.Unknown, CreateName: f.CreateName, Signatures: f.Signatures,
		Concurrency: f.Concurrency, Timeout: cmp.Or(f.Timeout, 2*time.Minute), Prompt: cmp.Or(f.Prompt, 10*time.Second), Refresh: cmp.Or(f.Refresh, 2*time.Minute),
	}
	if f.Add != nil {
		c.Add = func(t keycheck.T) common.Address { return f.Add(t.(run).T) }
	}
	if f.Remove != nil {
		c.Remove = func(t keycheck.T, address common.Address) { f.Remove(t.(run).T, address) }
	}
	return c
}

// run makes a *testing.T a keycheck.T.
type run struct{ *testing.T }

// Run runs a check as a subtest.
func (r run) Run(name string, check func(t keycheck.T)) bool {
	return r.T.Run(name, func(t *testing.T) { check(run{t}) })
}

// NotTested logs it: go test has no state for it but a skip, which would also
// drop what the check has found so far.
func (r run) NotTested(what string) { r.Logf("not tested: %s", what) }
