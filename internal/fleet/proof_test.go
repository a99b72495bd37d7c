// SPDX-License-Identifier: Apache-2.0

package fleet_test

import (
	"testing"
)

// Somebody mistypes the address of a vault: the wallet goes on with the one that it
// has, says what is wrong, and goes over when the other one works.
func TestBackendThatDoesNotWorkDoesNotTakeOver(t *testing.T) {
	r := newRig(t)
	v := r.vault("a", 1, 0)
	other := r.vault("b", 1, 0)
	r.serve(r.spec("s1", "a"))
	newest := other.newest.Load()
	other.newest.Store(-1)
	r.must(r.fleet.Open(t.Context(), r.spec("s1", "b")))
	r.waitFor("the reason", func() bool {
		s, _ := r.fleet.Status("s1")
		return s.Backend.Err != nil && !s.Backend.OK && !s.Listed
	})
	for range 5 {
		if _, err := r.send("s1", v.address(0), 1); err != nil {
			t.Fatal(err)
		}
	}
	other.newest.Store(newest)
	r.waitFor("the other backend", func() bool {
		s, _ := r.fleet.Status("s1")
		return s.Listed && s.Backend.OK
	})
	if _, err := r.send("s1", v.address(0), 1); err != nil {
		t.Error(err)
	}
}
