// SPDX-License-Identifier: Apache-2.0

package txmgr

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"

	"github.com/hsmsigner/hsmsigner/internal/node/nodetest"
	"github.com/hsmsigner/hsmsigner/internal/store"
	"github.com/hsmsigner/hsmsigner/internal/tx"
)

// guestOf starts the first account's sender at both replicas of a fleet and
// says which is the holder.
func (f *fleet) guestOf() (holder, guest *replica) {
	f.t.Helper()
	_, err := f.sendBy(f.all[0], transfer(0, 1), "")
	f.must(err)
	holder = f.holder()
	guest = f.all[0]
	if guest == holder {
		guest = f.all[1]
	}
	_, err = f.sendBy(guest, transfer(0, 2), "")
	f.must(err)
	return holder, guest
}

// itemFor is a request as another replica would hand it over.
func (f *fleet) itemFor(r *replica, args tx.Args) (*sender, Handover) {
	f.t.Helper()
	s, sub, err := r.w.prepare(context.Background(), caller, store.NewID(), [32]byte{}, SendRequest{Args: args})
	f.must(err)
	return s, Handover{Row: sub.row, Intent: sub.intent, Wait: 10 * time.Second}
}

// No. 11 among replicas: a request that was handed over keeps its id even if
// the replica that took it has to hand it on, since the first one may store it
// under that id meanwhile.
func TestHandedOnRequestKeepsItsID(t *testing.T) {
	f := newFleet(t, 2, true, nodetest.Options{Interval: 20 * time.Millisecond}, fast())
	_, guest := f.guestOf()
	s, item := f.itemFor(guest, transfer(0, 7))
	item.Row.RequestHash = [32]byte{1}
	// As if it had been taken in just before the lease was lost.
	sub, err := s.handed(item)
	f.must(err)
	f.must(s.offer(func() {
		sub.seq = s.nextSeq()
		s.subs = append(s.subs, sub)
	}))
	hash, err := sub.await()
	f.must(err)
	row, err := f.db.TxByHash(context.Background(), hash)
	f.must(err)
	if row.ID != item.Row.ID {
		t.Fatalf("stored as %s, handed over as %s: who handed it over could store it once more", row.ID, item.Row.ID)
	}
}

// No. 3: what the holder may have stored is never refused for good by a replica
// that can reach neither the holder nor the store.
func TestLostHandOverIsNeverRefusedForGood(t *testing.T) {
	f := newFleet(t, 2, true, nodetest.Options{Interval: 20 * time.Millisecond}, fast())
	_, guest := f.guestOf()
	for _, elsewhere := range []bool{true, false} {
		s, sub, err := guest.w.prepare(context.Background(), caller, store.NewID(), [32]byte{}, SendRequest{Args: transfer(0, 3)})
		f.must(err)
		sub.s, sub.tries, sub.elsewhere = s, maxTries, elsewhere
		f.must(s.offer(func() {
			s.offers[sub] = struct{}{}
			s.offered(sub, errors.New("the connection is refused"))
		}))
		var answer result
		select {
		case answer = <-sub.result:
		case <-time.After(5 * time.Second):
			t.Fatal("no answer")
		}
		var pending *PendingError
		if errors.As(answer.err, &pending) != elsewhere {
			t.Errorf("elsewhere %t: %v", elsewhere, answer.err)
		}
	}
}

// silent is a wire behind which one replica answers nothing any more, as one
// that was stopped.
type silent struct {
	wire
	owner string
}

func (p silent) Submit(ctx context.Context, owner, sender string, items []Handover, taken func(), outcome func(int, common.Hash, error)) error {
	if owner == p.owner {
		<-ctx.Done()
		return ErrPeer
	}
	return p.wire.Submit(ctx, owner, sender, items, taken, outcome)
}

// No. 21: what was handed to a holder that sleeps is asked for again when
// another has its lease, whoever that is.
func TestRequestsOfASleepingHolderAreTakenBackWhenAnotherHasTheLease(t *testing.T) {
	f := newFleet(t, 2, true, nodetest.Options{Interval: 20 * time.Millisecond}, fast())
	holder, _ := f.guestOf()
	guest := f.replica(true)
	guest.mgr.peers = silent{wire{f}, holder.mgr.owner}
	f.mu.Lock()
	f.all = append(f.all, guest)
	f.mu.Unlock()
	guest.mgr.Start()
	answer := make(chan answerOf, 1)
	go func() {
		h, err := f.sendBy(guest, transfer(0, 3), "")
		answer <- answerOf{h, err}
	}()
	time.Sleep(100 * time.Millisecond)
	holder.dead.Store(true)
	lease := f.steal(t)
	f.waitFor("stored", func() bool { return f.count(store.Offered) == 1 })
	holder.dead.Store(false)
	f.must(f.db.ReleaseLease(context.Background(), lease))
	a := <-answer
	f.must(a.err)
}

// No. 10: a batch keeps its order at a replica that hands nothing over.
func TestBatchKeepsItsOrderThroughTheRows(t *testing.T) {
	f := newFleet(t, 2, false, nodetest.Options{Interval: 20 * time.Millisecond}, fast())
	_, guest := f.guestOf()
	f.inOrder(guest, 60)
}

// leaving is a wire behind which the holder ends, and says so of the last
// request first.
type leaving struct {
	wire
	open, gone atomic.Int32 // lots that it has, and that it has given back
}

func (p *leaving) Submit(ctx context.Context, owner, sender string, items []Handover, taken func(), outcome func(int, common.Hash, error)) error {
	if p.open.Load() == 0 && p.gone.Load() > 0 {
		return p.wire.Submit(ctx, owner, sender, items, taken, outcome)
	}
	p.open.Add(1)
	taken()
	for i := len(items) - 1; i >= 0; i-- {
		time.Sleep(time.Millisecond)
		outcome(i, common.Hash{}, ErrNoSender)
	}
	p.gone.Add(1)
	p.open.Add(-1)
	return nil
}

// No. 10: and where the holder ends in the middle of it.
func TestBatchKeepsItsOrderWhenTheHolderEnds(t *testing.T) {
	f := newFleet(t, 2, true, nodetest.Options{Interval: 20 * time.Millisecond}, fast())
	f.guestOf()
	guest := f.replica(true)
	guest.mgr.peers = &leaving{wire: wire{f}}
	f.mu.Lock()
	f.all = append(f.all, guest)
	f.mu.Unlock()
	guest.mgr.Start()
	f.inOrder(guest, 40)
}

// inOrder sends a batch and checks the order of its nonces.
func (f *fleet) inOrder(r *replica, n int) {
	f.t.Helper()
	order := &Order{}
	var waits []func(context.Context) (common.Hash, error)
	for i := range n {
		waits = append(waits, r.w.Begin(context.Background(), caller, SendRequest{Args: transfer(0, int64(100+i)), Order: order}))
	}
	var last uint64
	for i, wait := range waits {
		hash, err := wait(context.Background())
		f.must(err)
		nonce := *f.row(f.txID(hash)).Nonce
		if nonce < last {
			f.t.Fatalf("item %d has nonce %d, one before it %d", i, nonce, last)
		}
		last = nonce
	}
}

// The hash of a cancel is nobody's payment, at a replica that reads the rows
// neither.
func TestGuestNeverTellsTheHashOfACancel(t *testing.T) {
	f := newFleet(t, 2, false, nodetest.Options{}, fast())
	holder, guest := f.guestOf()
	f.mineSlowly(1)
	f.chain.OnSend(func(signed *types.Transaction) *nodetest.RPCError {
		if signed.Value().Sign() == 0 {
			return nil
		}
		return &nodetest.RPCError{Code: -32000, Message: "insufficient funds for gas * price + value"}
	})
	answer := make(chan answerOf, 1)
	go func() {
		h, err := f.sendBy(guest, transfer(0, 3), "k")
		answer <- answerOf{h, err}
	}()
	f.waitFor("signed", func() bool { return f.count(store.Signed) == 1 })
	time.Sleep(50 * time.Millisecond)
	rows, err := f.db.List(context.Background(), store.TxFilter{States: []store.TxState{store.Signed}})
	f.must(err)
	_, err = holder.mgr.Operate(context.Background(), "", Operation{Action: Cancel, Tx: rows[0].ID})
	f.must(err)
	f.waitFor("the cancel is in the pool", func() bool { return len(f.chain.Pool(addr(0))) == 1 })
	cancelling := f.chain.Pool(addr(0))[0].Hash()
	f.chain.Mine()
	f.waitFor("the cancel is mined", func() bool { return f.row(rows[0].ID).State == store.Mined })
	time.Sleep(2 * outcomePoll)
	f.mineSlowly(3)
	a := <-answer
	if a.hash == cancelling {
		t.Error("the caller of a payment was told the hash of its cancel")
	}
	if a.err == nil {
		t.Error("the caller was not told that it was cancelled")
	}
}

// No audit record, no signature: also one that comes when the lease is lost is
// on record.
func TestOutcomeOfASignatureThatIsDroppedIsOnRecord(t *testing.T) {
	f := newFleet(t, 2, true, nodetest.Options{Interval: 20 * time.Millisecond}, fast())
	holder, _ := f.guestOf()
	gate := make(chan struct{})
	f.hsm.set(func(h *hsm) { h.gate = gate })
	answer := make(chan answerOf, 1)
	go func() {
		h, err := f.sendBy(holder, transfer(0, 3), "k")
		answer <- answerOf{h, err}
	}()
	f.waitFor("assigned", func() bool { return f.count(store.Assigned) == 1 })
	lease := f.steal(t)
	f.hsm.set(func(h *hsm) { h.gate = nil })
	close(gate)
	time.Sleep(100 * time.Millisecond)
	f.must(f.db.ReleaseLease(context.Background(), lease))
	a := <-answer
	f.must(a.err)
	row := f.row(f.txID(a.hash))
	f.waitFor("both outcomes", func() bool {
		_, outcomes, err := f.db.AuditOf(context.Background(), row.Intent)
		f.must(err)
		return len(outcomes) == 2
	})
}

// An operator can release a sender whose chain was reset and is shorter now, so
// that no replica can take it up.
func TestSenderThatNoReplicaCanTakeUpIsReleased(t *testing.T) {
	f := newFleet(t, 2, true, nodetest.Options{}, fast())
	_, err := f.sendBy(f.all[0], transfer(0, 1), "")
	f.must(err)
	id := f.senderID(0)
	number, hash := uint64(1_000_000), common.Hash{1}
	f.must(f.db.Write(context.Background(), func(w *store.Writer) error {
		return w.UpdateSender(id, store.SenderUpdate{ConfirmedNumber: &number, ConfirmedHash: &hash})
	}))
	lease := f.steal(t)
	f.waitFor("nobody has it", func() bool { return f.holder() == nil })
	f.must(f.db.ReleaseLease(context.Background(), lease))
	_, err = f.all[0].mgr.Operate(context.Background(), id, Operation{Action: Release})
	f.must(err)
	f.waitFor("taken up", func() bool { return f.holder() != nil })
}
