// SPDX-License-Identifier: Apache-2.0

package fleet_test

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/fleet"
	"github.com/hsmsigner/hsmsigner/internal/node/nodetest"
)

// middle is the median of how long n sends through a wallet take.
func (r *rig) middle(name string, v *vault, n int) time.Duration {
	r.t.Helper()
	took := make([]time.Duration, n)
	for i := range took {
		begun := time.Now()
		if _, err := r.send(name, v.address(0), 1); err != nil {
			r.t.Fatalf("%s: %v", name, err)
		}
		took[i] = time.Since(begun)
	}
	slices.Sort(took)
	return took[n/2]
}

func TestHungBackendAndNodeTouchOnlyTheirOwnWallets(t *testing.T) {
	r := newRig(t)
	healthy, hung := r.vault("a", 1, 0), r.vault("b", 1, 1)
	otherNode := nodetest.New(t, nodetest.Options{Automine: true, DefaultBalance: nodetest.Ether(1000)})
	elsewhere := r.vault("c", 1, 2)
	atHung, atOther := r.spec("s2", "b"), r.spec("s3", "c")
	atHung.Membership, atOther.Membership = "m2", "m3"
	atOther.Wallet.Node.URL, atOther.Node.ID = r.urlOf(otherNode), "other"
	r.serve(r.spec("s1", "a"), atHung, atOther)
	before := r.middle("s1", healthy, 30)

	hung.hang.Store(true)
	release := otherNode.Hang(nodetest.Any)
	for range 20 { // callers who wait
		go func() { _, _ = r.send("s2", hung.address(0), 1) }()
		go func() { _, _ = r.send("s3", elsewhere.address(0), 1) }()
	}
	r.waitFor("callers wait for the vault", func() bool { return hung.waiting.Load() > 0 })
	begun := time.Now()
	if after := r.middle("s1", healthy, 30); after > 2*before+500*time.Millisecond {
		t.Errorf("a send takes %s, and took %s before", after, before)
	}
	// Nor do the hung ones keep others from being opened, changed and closed.
	r.serve(r.spec("s4", "a"))
	late := r.spec("s5", "b")
	late.Membership = "m2"
	r.must(r.fleet.Open(t.Context(), late))
	changed := r.spec("s4", "a")
	changed.Wallet.Window = 7
	r.serve(changed)
	r.must(r.fleet.Close(t.Context(), "s4"))
	for _, w := range r.fleet.Wallets() {
		w.Status()
	}
	if took := time.Since(begun); took > 40*time.Second {
		t.Errorf("all that took %s", took)
	}
	r.waitFor("the status of the hung node's wallet says so", func() bool {
		s, _ := r.fleet.Status("s3")
		return !s.Node.OK && s.Node.Err != nil
	})
	if s, _ := r.fleet.Status("s1"); !s.Ready {
		t.Errorf("the healthy one is not ready: %+v", s)
	}
	hung.hang.Store(false)
	release()
}

func TestNodeOfAnotherChainIsSaid(t *testing.T) {
	r := newRig(t)
	r.vault("a", 1, 0)
	r.chain.SetChainID(5)
	r.must(r.fleet.Open(t.Context(), r.spec("s1", "a")))
	r.waitFor("the status says so", func() bool {
		s, _ := r.fleet.Status("s1")
		return s.Node.Err != nil && !s.Verified && !s.Ready
	})
	r.chain.SetChainID(1337)
	r.ready("s1")
}

func TestWalletsWhoseBackendIsAwayKnowTheirAccounts(t *testing.T) {
	r := newRig(t)
	v := r.vault("a", 2, 0)
	r.serve(r.spec("s1", "a"))
	r.stop()
	v.hang.Store(true)
	r.start()
	r.must(r.fleet.Open(t.Context(), r.spec("s1", "a")))
	w := r.fleet.Wallet("s1")
	if len(w.Accounts()) != 2 || w.HasKeys(t.Context()) != nil {
		t.Error("the accounts that were stored are not known")
	}
	r.must(r.fleet.Open(t.Context(), func() fleet.Spec { s := r.spec("s2", "a"); return s }()))
	if err := r.fleet.Wallet("s2").HasKeys(t.Context()); !errors.Is(err, fleet.ErrDiscovering) {
		t.Errorf("got %v", err)
	}
	v.hang.Store(false)
}
