// SPDX-License-Identifier: Apache-2.0

package txmgr

import (
	"context"
	"math/big"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/node/nodetest"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

func (r *rig) txID(hash common.Hash) string {
	r.t.Helper()
	row, err := r.db.TxByHash(context.Background(), hash)
	r.must(err)
	return row.ID
}

func (r *rig) mineSlowly(blocks int) {
	for range blocks {
		r.chain.Mine()
		time.Sleep(30 * time.Millisecond)
	}
}

// No. 17: a replacement can be replaced; the last is mined, the others are
// replaced, over a restart in between.
func TestReplacementOfAReplacement(t *testing.T) {
	r := newRig(t, nodetest.Options{}, fast())
	first, err := r.send(at(transfer(0, 1), 0))
	r.must(err)
	second, err := r.send(dearer(at(transfer(0, 2), 0), 20))
	r.must(err)
	r.restart()
	third, err := r.send(dearer(at(transfer(0, 3), 0), 60))
	r.must(err)
	if r.state(first) != store.Superseded || r.state(second) != store.Superseded {
		t.Errorf("%s and %s", r.state(first), r.state(second))
	}
	r.mineSlowly(4)
	r.waitFor("final", func() bool {
		return r.state(third) == store.Confirmed && r.state(first) == store.Replaced && r.state(second) == store.Replaced
	})
	r.checkChain(0, 1, []common.Hash{third})
	r.empty(0)
}

// empty asserts that a sender with nothing under way keeps nothing.
func (r *rig) empty(from int) {
	r.t.Helper()
	s := r.mgr.loaded(r.senderID(from), "default")
	type sizes struct {
		slots, older, byTx, byHash, mined, waiters, filling, holes, signings, held, watched, plain, blobs, reserved int
	}
	now, err := ask(context.Background(), s, func() sizes {
		s.chain.mu.Lock()
		defer s.chain.mu.Unlock()
		return sizes{
			len(s.slots), len(s.older), len(s.byTx), len(s.byHash), len(s.mined), len(s.waiters), len(s.filling), len(s.holes),
			len(s.signings), len(s.heldAt), len(s.chain.watched), s.plain, s.blobs, s.reserved.Sign(),
		}
	})
	r.must(err)
	if now != (sizes{}) {
		r.t.Errorf("still in memory: %+v", now)
	}
}

// No. 14: somebody else mines at the nonce of a replaced transaction: both of
// ours are over, and one row keeps the nonce.
func TestReplacedTransactionIsDisplaced(t *testing.T) {
	r := newRig(t, nodetest.Options{}, fast())
	first, err := r.send(at(transfer(0, 1), 0))
	r.must(err)
	second, err := r.send(dearer(at(transfer(0, 2), 0), 20))
	r.must(err)
	r.external(0, 0)
	r.mineSlowly(4)
	r.waitFor("final", func() bool { return r.state(second) == store.Displaced && r.state(first) == store.Replaced })
	next, err := r.send(transfer(0, 3))
	r.must(err)
	r.chain.Mine()
	mined := r.chain.Mined(addr(0))
	if len(mined) != 2 || mined[1].Hash() != next {
		t.Fatalf("%d mined", len(mined))
	}
}

// No. 16: a replacement that can never become valid gives the nonce back to
// what it was to replace.
func TestImpossibleReplacementReinstates(t *testing.T) {
	r := newRig(t, nodetest.Options{FeeCap: big.NewInt(1e15)}, fast())
	first, err := r.send(at(transfer(0, 1), 0))
	r.must(err)
	_, err = r.send(dearer(at(transfer(0, 2), 0), 2000)) // above the node's own fee cap
	if err == nil {
		t.Fatal("no error")
	}
	if s := r.state(first); s != store.Sent {
		t.Errorf("the first is %s", s)
	}
	next, err := r.send(transfer(0, 3))
	r.must(err)
	r.chain.Mine()
	r.checkChain(0, 2, []common.Hash{first, next})
}

// No. 17: while a replacement is being signed, what comes after it goes out.
func TestReplacementBeingSignedHoldsNobodyUp(t *testing.T) {
	r := newRig(t, nodetest.Options{}, fast())
	_, err := r.send(at(transfer(0, 1), 0))
	r.must(err)
	r.hsm.set(func(h *hsm) { h.gate = make(chan struct{}) })
	second := r.begin(dearer(at(transfer(0, 2), 0), 20), "")
	r.waitFor("being signed", func() bool { return r.count(store.Assigned) == 1 })
	gate := r.hsm.gate
	r.hsm.set(func(h *hsm) { h.gate = nil })
	_, err = r.send(transfer(0, 3))
	r.must(err)
	close(gate)
	_, err = r.result(second)
	r.must(err)
	r.chain.Mine()
	r.checkChain(0, 2, nil)
}

// No. 15: a cancel works however long ago the transaction should have been
// sent, is not what its caller is told, and leaves the nonce spent over a
// restart.
func TestCancelAfterTheTransactionsTimeAndRestart(t *testing.T) {
	set := fast()
	set.SendTimeout, set.Expires = 4*time.Second, 4*time.Second
	r := newRig(t, nodetest.Options{}, set)
	r.chain.Fail(sendRaw, &nodetest.RPCError{Code: -32000, Message: "txpool is full"}, nodetest.Forever)
	hash, err := r.result(r.begin(transfer(0, 1), "k"))
	r.must(err)
	time.Sleep(200 * time.Millisecond)
	r.must(r.cancel(r.txID(hash)))
	r.waitFor("signed", func() bool { return r.hsm.count() == 3 })
	r.chain.ClearFaults()
	r.waitFor("pooled", func() bool { return len(r.chain.Pool(addr(0))) == 1 })
	if again, err := r.result(r.begin(transfer(0, 1), "k")); err != nil || again != hash {
		t.Errorf("the caller is told %s, %v", again, err)
	}
	r.mineSlowly(4)
	r.waitFor("failed", func() bool { return r.state(hash) == store.Failed })
	_, err = r.result(r.begin(transfer(0, 1), "k"))
	wantRefused(t, err, "cancelled")
	r.empty(0)
	r.restart()
	if p := r.explain0(); p.Parked != "" || p.Base != 1 {
		t.Errorf("after the restart: %+v", p)
	}
	next, err := r.send(transfer(0, 2))
	r.must(err)
	r.chain.Mine()
	r.checkChain(0, 2, []common.Hash{next})
}

// explain0 is explain of account 0, whose sender is started if need be.
func (r *rig) explain0() Report {
	r.t.Helper()
	if r.mgr.loaded(r.senderID(0), "default") == nil {
		_, err := r.w.senderOf(context.Background(), addr(0))
		r.must(err)
	}
	r.waitFor("loaded", func() bool { return r.explain(0).BalanceWei != "" })
	return r.explain(0)
}

// A replacement and a reorganisation below the base: what won goes out again,
// what lost stays watched.
func TestReorganisedReplacementIsMinedAgain(t *testing.T) {
	set := fast()
	set.Confirmations = 5
	r := newRig(t, nodetest.Options{}, set)
	first, err := r.send(at(transfer(0, 1), 0))
	r.must(err)
	second, err := r.send(dearer(at(transfer(0, 2), 0), 20))
	r.must(err)
	r.chain.Mine()
	r.waitFor("mined", func() bool { return r.state(second) == store.Mined })
	third, err := r.send(transfer(0, 3))
	r.must(err)
	r.must(r.chain.Reorg(1, true))
	r.waitFor("sent again", func() bool { return r.state(second) != store.Mined && len(r.chain.Pool(addr(0))) == 2 })
	r.mineSlowly(7)
	r.waitFor("final", func() bool {
		return r.state(second) == store.Confirmed && r.state(first) == store.Replaced && r.state(third) == store.Confirmed
	})
	r.checkChain(0, 2, []common.Hash{second, third})
	r.empty(0)
}

// A backend that refuses every signature fails every transaction once, and
// what comes later starts at the same nonce.
func TestBackendThatRefusesAllFailsAllAndLeavesNoGap(t *testing.T) {
	r := newRig(t, nodetest.Options{}, fast())
	_, err := r.send(transfer(0, 1))
	r.must(err)
	gate := make(chan struct{})
	r.hsm.set(func(h *hsm) {
		h.gate = gate
		h.fail = func(int, [32]byte) error { return key.ErrDenied }
	})
	var waits []<-chan answerOf
	for range 40 {
		waits = append(waits, r.begin(transfer(0, 2), ""))
	}
	r.waitFor("assigned", func() bool { return r.count(store.Assigned) == 40 })
	close(gate)
	for _, w := range waits {
		if _, err := r.result(w); err == nil {
			t.Error("no error")
		}
	}
	r.hsm.set(func(h *hsm) { h.fail = nil })
	hash, err := r.send(transfer(0, 3))
	r.must(err)
	r.chain.Mine()
	r.checkChain(0, 2, []common.Hash{hash})
}
