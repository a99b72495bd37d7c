// SPDX-License-Identifier: Apache-2.0

package txmgr

import (
	"context"
	"errors"
	"math/big"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/freeze"
	"github.com/hsmsigner/hsmsigner/internal/node/nodetest"
	"github.com/hsmsigner/hsmsigner/internal/policy"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

var (
	everything = freeze.Scope{Kind: freeze.Everything}
	mainWallet = freeze.Scope{Kind: freeze.Wallet, Owner: policy.Owner{Wallet: "main"}}
	somebody   = freeze.By{Principal: "operator"}
)

func (r *rig) stopAll(scope freeze.Scope) {
	r.t.Helper()
	r.must(r.freeze.Freeze(context.Background(), somebody, scope, "key may be stolen"))
}

func (r *rig) goOn(scope freeze.Scope) {
	r.t.Helper()
	r.must(r.freeze.Release(context.Background(), somebody, scope, ""))
}

// nothingLeaves asserts that for a while no backend is asked and no bytes reach
// the node. Signatures that were begun before may end.
func (r *rig) nothingLeaves(while func()) {
	r.t.Helper()
	calls, sent := -1, -1
	for range 12 { // what was begun before, and what the node has already read
		calls, sent = r.hsm.count(), len(r.chain.Received())
		time.Sleep(250 * time.Millisecond)
		if r.hsm.count() == calls && len(r.chain.Received()) == sent {
			break
		}
	}
	if while != nil {
		while()
	}
	time.Sleep(300 * time.Millisecond)
	if now := r.hsm.count(); now != calls {
		r.t.Errorf("the backend was asked %d times while frozen", now-calls)
	}
	if now := len(r.chain.Received()); now != sent {
		r.t.Errorf("%d transactions reached the node while frozen", now-sent)
	}
}

func wantFrozen(t *testing.T, err error) {
	t.Helper()
	var frozen *freeze.FrozenError
	if !errors.As(err, &frozen) {
		t.Fatalf("got %v, want that it is frozen", err)
	}
}

// While frozen nothing new is taken in, in whichever way it comes.
func TestFrozenWalletTakesNothingIn(t *testing.T) {
	r := newRig(t, nodetest.Options{}, fast())
	_, err := r.send(transfer(0, 1))
	r.must(err)
	sent := len(r.chain.Received())
	for _, scope := range []freeze.Scope{everything, mainWallet, {Kind: freeze.Account, Owner: policy.Owner{Wallet: "main"}, Account: addr(0)}} {
		r.stopAll(scope)
		_, err = r.send(transfer(0, 2))
		wantFrozen(t, err)
		_, _, err = r.w.SendRaw(context.Background(), caller, r.rawTx(0, 1, 3))
		wantFrozen(t, err)
		gas, nonce := uint64(21_000), uint64(1)
		args := transfer(0, 4)
		args.Gas, args.Nonce = &gas, &nonce
		_, err = r.w.SignTransaction(context.Background(), caller, args)
		wantFrozen(t, err)
		_, err = r.wallet.SignMessage(context.Background(), caller, addr(0), []byte("hello"))
		wantFrozen(t, err)
		if scope.Kind == freeze.Account {
			_, err = r.send(transfer(1, 1))
			r.must(err)
		}
		r.goOn(scope)
	}
	if rows := r.count(store.Sent) + r.count(store.Signed); rows != 2 {
		t.Errorf("%d rows", rows)
	}
	if n := len(r.chain.Received()) - sent; n != 1 {
		t.Errorf("%d transactions left", n)
	}
}

// What was accepted waits where the freeze found it, over a restart too, and goes
// on from there without a gap.
func TestFreezeAtEachStage(t *testing.T) {
	for _, restart := range []bool{false, true} {
		for _, stage := range []struct {
			name  string
			set   func(*Settings)
			begin func(r *rig) []<-chan answerOf // with it under way
		}{
			{"queued", func(s *Settings) { s.Window = 1 }, func(r *rig) []<-chan answerOf {
				waits := []<-chan answerOf{r.begin(transfer(0, 1), "")}
				r.waitFor("sent", func() bool { return len(r.chain.Pool(addr(0))) == 1 })
				waits = append(waits, r.begin(transfer(0, 2), ""), r.begin(transfer(0, 3), ""))
				r.waitFor("queued", func() bool { return r.count(store.Queued) == 2 })
				return waits
			}},
			{"held", func(*Settings) {}, func(r *rig) []<-chan answerOf {
				waits := []<-chan answerOf{r.begin(at(transfer(0, 3), 2), "")}
				r.waitFor("held", func() bool { return r.count(store.Held) == 1 })
				return waits
			}},
			{"signed, not sent", func(*Settings) {}, func(r *rig) []<-chan answerOf {
				_, err := r.send(transfer(0, 1))
				r.must(err)
				gate := make(chan struct{})
				r.hsm.set(func(h *hsm) { h.gate = gate })
				waits := []<-chan answerOf{r.begin(transfer(0, 2), ""), r.begin(transfer(0, 3), "")}
				r.waitFor("being signed", func() bool { return r.hsm.count() >= 4 })
				r.stopAll(mainWallet)
				r.hsm.set(func(h *hsm) { h.gate = nil })
				close(gate)
				r.waitFor("signed", func() bool { return r.count(store.Assigned) == 0 })
				return waits
			}},
			{"sent, and gone from the pool", func(*Settings) {}, func(r *rig) []<-chan answerOf {
				for i := range int64(3) {
					_, err := r.send(transfer(0, 1+i))
					r.must(err)
				}
				r.stopAll(mainWallet)
				for _, in := range r.chain.Pool(addr(0)) {
					r.chain.DropFromPool(in.Hash())
				}
				return nil
			}},
		} {
			name := stage.name
			if restart {
				name += ", and a restart"
			}
			t.Run(name, func(t *testing.T) {
				set := fast()
				stage.set(&set)
				r := newRig(t, nodetest.Options{Interval: 0}, set)
				waits := stage.begin(r)
				r.stopAll(mainWallet)
				r.nothingLeaves(func() {
					if restart {
						r.restart()
					}
					r.mineSlowly(3)
				})
				r.goOn(mainWallet)
				if stage.name == "held" {
					for i := range int64(2) {
						waits = append(waits, r.begin(transfer(0, 1+i), ""))
						r.waitFor("sent", func() bool { return len(r.chain.Pool(addr(0)))+len(r.chain.Mined(addr(0))) > int(i) })
					}
				}
				r.waitFor("all are mined", func() bool {
					r.mineSlowly(1)
					return len(r.chain.Mined(addr(0))) >= 3
				})
				r.checkChain(0, 3, nil)
				if got := r.values(0); got[1] != 1 || got[2] != 1 || got[3] != 1 {
					t.Errorf("values mined: %v", got)
				}
				if restart {
					return
				}
				for _, wait := range waits {
					_, err := r.result(wait)
					r.must(err)
				}
			})
		}
	}
}

// A transaction that has its nonce when the freeze comes, and was not signed yet,
// is signed after the release.
func TestAssignedTransactionIsSignedAfterTheRelease(t *testing.T) {
	r := newRig(t, nodetest.Options{Interval: 20 * time.Millisecond}, fast())
	_, err := r.send(transfer(0, 1))
	r.must(err)
	gate := make(chan struct{})
	r.hsm.set(func(h *hsm) { h.gate = gate })
	r.begin(transfer(0, 2), "")
	r.waitFor("being signed", func() bool { return r.hsm.count() == 3 })
	r.stopAll(everything)
	r.stop() // it ends unsigned
	r.hsm.set(func(h *hsm) { h.gate = nil })
	r.start()
	r.waitFor("taken up", func() bool { return r.mgr.loaded(r.senderID(0), "default") != nil })
	r.nothingLeaves(nil)
	if r.count(store.Assigned) != 1 {
		t.Fatal("it is not assigned any more")
	}
	r.goOn(everything)
	r.waitFor("mined", func() bool { return len(r.chain.Mined(addr(0))) == 2 })
	r.checkChain(0, 2, nil)
}

// In a burst: nothing leaves while frozen, and afterwards everything is mined in
// its order, with no gap and nothing twice.
func TestFreezeInABurst(t *testing.T) {
	r := newRig(t, nodetest.Options{Interval: 10 * time.Millisecond}, fast())
	r.hsm.set(func(h *hsm) {
		h.delay = func(call int) time.Duration { return time.Duration(call%7) * time.Millisecond }
	})
	const each, turns = 40, 5
	var waits []<-chan answerOf
	for turn := range turns {
		order := &Order{}
		for i := range each {
			answer := make(chan answerOf, 1)
			wait := r.w.Begin(context.Background(), caller, SendRequest{Args: transfer(0, int64(1000*turn+i+1)), Order: order})
			go func() {
				h, err := wait(context.Background())
				answer <- answerOf{h, err}
			}()
			waits = append(waits, answer)
		}
		time.Sleep(time.Duration(5+10*turn) * time.Millisecond)
		r.stopAll(everything)
		r.nothingLeaves(nil)
		r.goOn(everything)
	}
	var hashes []common.Hash
	accepted := 0
	for _, wait := range waits {
		h, err := r.result(wait)
		if err == nil {
			accepted++
			hashes = append(hashes, h)
			continue
		}
		wantFrozen(t, err)
	}
	if accepted == 0 {
		t.Fatal("nothing was accepted")
	}
	r.waitFor("all are mined", func() bool { return len(r.chain.Mined(addr(0))) == accepted })
	r.checkChain(0, accepted, hashes)
	last := map[int64]int64{}
	for _, m := range r.chain.Mined(addr(0)) {
		v := m.Value().Int64()
		if turn := v / 1000; v <= last[turn] {
			t.Fatalf("value %d was mined after %d", v, last[turn])
		} else {
			last[turn] = v
		}
	}
}

// Of two wallets that share an account one is frozen: the other goes on, past what
// the first has not sent, which follows after the release.
func TestFrozenWalletHoldsNoOtherWalletUp(t *testing.T) {
	set := fast()
	set.SendTimeout = 30 * time.Second
	r := newRig(t, nodetest.Options{Interval: 20 * time.Millisecond}, set)
	other := r.bindTo("", "other", r.hsm)
	_, err := r.send(transfer(0, 1))
	r.must(err)
	gate := make(chan struct{})
	r.hsm.set(func(h *hsm) { h.gate = gate })
	waits := []<-chan answerOf{r.begin(transfer(0, 2), ""), r.begin(transfer(0, 3), "")}
	r.waitFor("being signed", func() bool { return r.count(store.Assigned) == 2 })
	r.stopAll(mainWallet)
	r.hsm.set(func(h *hsm) { h.gate = nil })
	close(gate)
	time.Sleep(250 * time.Millisecond)
	for i := range int64(3) {
		_, err := other.Send(context.Background(), caller, SendRequest{Args: transfer(0, 10+i)})
		r.must(err)
	}
	r.waitFor("those of the other are mined", func() bool { return len(r.chain.Mined(addr(0))) == 4 })
	if got := r.values(0); got[2]+got[3] != 0 {
		t.Errorf("something of the frozen wallet was mined: %v", got)
	}
	r.goOn(mainWallet)
	for _, wait := range waits {
		_, err := r.result(wait)
		r.must(err)
	}
	r.waitFor("all are mined", func() bool { return len(r.chain.Mined(addr(0))) == 6 })
	r.checkChain(0, 6, nil)
}

// At its deadline a caller is told the hash of what is signed, and that what is
// not has been given up since it is frozen.
func TestDeadlineWhileFrozen(t *testing.T) {
	set := fast()
	set.SendTimeout, set.Window = 4*time.Second, 1
	r := newRig(t, nodetest.Options{}, set)
	gate := make(chan struct{})
	_, err := r.send(transfer(0, 1))
	r.must(err)
	_, err = r.send(transfer(2, 1))
	r.must(err)
	r.chain.Mine()
	_, err = r.send(transfer(0, 1))
	r.must(err)
	r.hsm.set(func(h *hsm) { h.gate = gate })
	signed := r.begin(transfer(2, 1), "")
	queued := r.begin(transfer(0, 2), "")
	r.waitFor("queued", func() bool { return r.count(store.Queued) == 1 })
	r.waitFor("being signed", func() bool { return r.count(store.Assigned) == 1 })
	r.stopAll(everything)
	close(gate)
	r.nothingLeaves(nil)
	_, err = r.result(queued)
	var refused *RefusedError
	if !errors.As(err, &refused) || refused.Code != codeDenied {
		t.Errorf("what was queued: %v", err)
	}
	hash, err := r.result(signed)
	r.must(err)
	if len(r.chain.Pool(addr(2))) != 0 {
		t.Error("it was sent")
	}
	r.goOn(everything)
	r.waitFor("sent", func() bool { return len(r.chain.Pool(addr(2))) == 1 })
	if r.chain.Pool(addr(2))[0].Hash() != hash {
		t.Error("something else was sent")
	}
}

// What is signed is not lost by a freeze that outlasts its time; what is not
// signed expires.
func TestFreezeOutlastsTheTimeOfATransaction(t *testing.T) {
	set := fast()
	set.Expires, set.SendTimeout, set.Window = 5*time.Second, 30*time.Second, 2
	r := newRig(t, nodetest.Options{}, set)
	_, err := r.send(transfer(0, 1))
	r.must(err)
	gate := make(chan struct{})
	r.hsm.set(func(h *hsm) { h.gate = gate })
	signed := r.begin(transfer(0, 2), "")
	r.waitFor("being signed", func() bool { return r.count(store.Assigned) == 1 })
	queued := r.begin(transfer(0, 3), "")
	r.waitFor("queued", func() bool { return r.count(store.Queued) == 1 })
	r.stopAll(mainWallet)
	close(gate)
	if _, err = r.result(queued); err == nil || err.Error() != errExpired().Error() {
		t.Errorf("what was queued: %v", err)
	}
	time.Sleep(time.Second)
	r.goOn(mainWallet)
	_, err = r.result(signed)
	r.must(err)
	r.chain.Mine()
	r.checkChain(0, 2, nil)
}

// An operator can give up what was not sent, and nothing that would have to be
// signed or sent.
func TestOperatorWhileFrozen(t *testing.T) {
	r := newRig(t, nodetest.Options{}, fast())
	hash, err := r.send(feesOpen(0, 1))
	r.must(err)
	id := r.txID(hash)
	held := r.begin(at(transfer(0, 2), 5), "")
	r.waitFor("held", func() bool { return r.count(store.Held) == 1 })
	rows, err := r.db.List(context.Background(), store.TxFilter{States: []store.TxState{store.Held}})
	r.must(err)
	r.stopAll(everything)
	r.nothingLeaves(func() {
		wantFrozen(t, r.cancel(id))
		_, err = r.mgr.Operate(context.Background(), "", Operation{Action: SpeedUp, Tx: id, Fee: big.NewInt(9e9)})
		wantFrozen(t, err)
		r.must(r.cancel(rows[0].ID))
	})
	_, err = r.result(held)
	wantRefused(t, err, "cancelled by an operator")
	r.goOn(everything)
	r.must(r.cancel(id))
	r.waitFor("it is being cancelled", func() bool {
		pool := r.chain.Pool(addr(0))
		return len(pool) == 1 && pool[0].Value().Sign() == 0
	})
	r.waitFor("cancelled", func() bool { r.mineSlowly(1); return r.row(id).State == store.Failed })
}

// What is stuck gets no higher fees while it is frozen, and gets them afterwards.
func TestNoHigherFeesWhileFrozen(t *testing.T) {
	r := newRig(t, nodetest.Options{}, caring())
	hash, err := r.send(feesOpen(0, 7))
	r.must(err)
	id := r.txID(hash)
	r.stopAll(everything)
	r.chain.SetBaseFee(new(big.Int).Mul(r.fees(id), big.NewInt(2)))
	r.nothingLeaves(func() { r.mineSlowly(10) })
	r.goOn(everything)
	r.waitFor("mined", func() bool { r.mineSlowly(1); return r.values(0)[7] == 1 })
}

// Requests that another replica has accepted, since it does not know of the freeze
// yet, wait at the holder, whichever way they come to it.
func TestHandedOverAndOfferedRequestsWaitWhileFrozen(t *testing.T) {
	for _, peers := range []bool{true, false} {
		f := newFleet(t, 2, peers, nodetest.Options{Interval: 20 * time.Millisecond}, fast())
		holder, guest := f.guestOf()
		f.waitFor("mined", func() bool { return len(f.chain.Mined(addr(0))) == 2 })
		f.must(holder.freeze.Freeze(context.Background(), somebody, everything, "test"))
		answer := make(chan answerOf, 1)
		f.nothingLeaves(func() {
			go func() {
				h, err := f.sendBy(guest, transfer(0, 3), "")
				answer <- answerOf{h, err}
			}()
			f.waitFor("the holder has it", func() bool { return f.count(store.Queued) == 1 })
		})
		f.must(guest.freeze.Load(context.Background()))
		_, err := f.sendBy(guest, transfer(0, 4), "")
		wantFrozen(t, err)
		f.must(holder.freeze.Release(context.Background(), somebody, everything, ""))
		_, err = f.result(answer)
		f.must(err)
		f.waitFor("mined", func() bool { return len(f.chain.Mined(addr(0))) == 3 })
		f.checkChain(0, 3, nil)
	}
}

// A replica that takes over holds what is frozen as the one before did.
func TestTakeOverWhileFrozen(t *testing.T) {
	f := newFleet(t, 2, true, nodetest.Options{Interval: 20 * time.Millisecond}, fast())
	holder, guest := f.guestOf()
	f.waitFor("mined", func() bool { return len(f.chain.Mined(addr(0))) == 2 })
	gate := make(chan struct{})
	f.hsm.set(func(h *hsm) { h.gate = gate })
	for i := range int64(3) {
		go func() { _, _ = f.sendBy(holder, transfer(0, 3+i), "") }()
	}
	f.waitFor("being signed", func() bool { return f.count(store.Assigned) == 3 })
	f.must(holder.freeze.Freeze(context.Background(), somebody, everything, "test"))
	f.must(guest.freeze.Load(context.Background()))
	f.kill(holder)
	f.hsm.set(func(h *hsm) { h.gate = nil })
	close(gate)
	f.waitFor("taken over", func() bool {
		s := guest.mgr.loaded(f.senderID(0), "default")
		return s != nil && s.held.Load() != nil
	})
	f.nothingLeaves(nil)
	f.must(guest.freeze.Release(context.Background(), somebody, everything, ""))
	f.waitFor("mined", func() bool { return len(f.chain.Mined(addr(0))) == 5 })
	f.checkChain(0, 5, nil)
}
