// SPDX-License-Identifier: Apache-2.0

package txmgr

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"

	"github.com/hsmsigner/hsmsigner/internal/node/nodetest"
	"github.com/hsmsigner/hsmsigner/internal/store"
	"github.com/hsmsigner/hsmsigner/internal/tx"
)

// senderID is the id of an account's sender, once it has stored something.
func (r *rig) senderID(from int) string {
	r.t.Helper()
	id, err := r.node.Identity(context.Background())
	r.must(err)
	return SenderID(id, "", addr(from))
}

// stealLease makes every fenced write of an account's sender fail, until it
// has taken the lease again.
func (r *rig) stealLease(from int) {
	r.t.Helper()
	_, err := r.db.AcquireLease(context.Background(), r.senderID(from), "a thief", time.Hour)
	r.must(err)
}

// values counts how often each value was mined from an account.
func (r *rig) values(from int) map[int64]int {
	found := map[int64]int{}
	for _, m := range r.chain.Mined(addr(from)) {
		found[m.Value().Int64()]++
	}
	return found
}

func (r *rig) explain(from int) Report {
	r.t.Helper()
	report, err := r.mgr.Operate(context.Background(), r.senderID(from), Operation{Action: Explain})
	r.must(err)
	return report
}

// No. 20: after a failed commit the rows are read again. What was not stored
// is handed in once more, what was is not doubled: every caller gets one
// mined transaction.
func TestFailedCommitsLoseAndDoubleNothing(t *testing.T) {
	r := newRig(t, nodetest.Options{Interval: 20 * time.Millisecond}, fast())
	_, err := r.send(transfer(0, 1_000_000))
	r.must(err)
	const n = 120
	var waits []<-chan answerOf
	for i := range n {
		waits = append(waits, r.begin(transfer(0, int64(i)), fmt.Sprint("key ", i)))
		if i%25 == 10 {
			r.stealLease(0)
		}
		time.Sleep(time.Millisecond)
	}
	var hashes []common.Hash
	for i, w := range waits {
		h, err := r.result(w)
		if err != nil {
			t.Fatalf("caller %d: %v", i, err)
		}
		hashes = append(hashes, h)
	}
	r.waitFor("all mined", func() bool { return len(r.chain.Mined(addr(0))) == n+1 })
	r.checkChain(0, n+1, hashes)
	for v, times := range r.values(0) {
		if times != 1 {
			t.Errorf("value %d mined %d times", v, times)
		}
	}
}

// No. 20: whoever asks something of a sender whose commit fails is told so.
func TestOperatorHearsOfAFailedCommit(t *testing.T) {
	r := newRig(t, nodetest.Options{}, fast())
	hash, err := r.send(transfer(0, 1))
	r.must(err)
	row, err := r.db.TxByHash(context.Background(), hash)
	r.must(err)
	r.stealLease(0)
	if err := r.cancel(row.ID); !errors.Is(err, errNotStored) {
		t.Fatalf("got %v", err)
	}
	r.waitFor("cancelled after another try", func() bool {
		err := r.cancel(row.ID)
		return err == nil
	})
}

// No. 20: one data directory, one daemon.
func TestSecondDaemonOnTheSameDirectoryIsRefused(t *testing.T) {
	r := newRig(t, nodetest.Options{}, fast())
	if _, err := store.OpenSQLite(context.Background(), store.Config{Dir: r.dir}); !errors.Is(err, store.ErrInUse) {
		t.Fatalf("got %v", err)
	}
}

// Security scenario 25: a stop answers everybody, and what was answered with
// a hash or as pending is mined after the next start; what was refused is not.
func TestStopAnswersEverybodyAndLosesNothing(t *testing.T) {
	set := fast()
	set.Window = 8
	r := newRig(t, nodetest.Options{}, set)
	_, err := r.send(transfer(0, 1_000_000))
	r.must(err)
	r.chain.Hang(sendRaw)
	gate := make(chan struct{})
	r.hsm.set(func(h *hsm) { h.gate = gate })
	var waits []<-chan answerOf
	for i := range 20 {
		waits = append(waits, r.begin(transfer(0, int64(i)), fmt.Sprint("k", i)))
	}
	r.waitFor("stored", func() bool { return r.count(store.Assigned) == 7 && r.count(store.Queued) == 13 })
	for range 3 {
		gate <- struct{}{}
	}
	r.waitFor("three signed", func() bool { return r.inFlight() == 4 })
	begun := time.Now()
	r.stop()
	if took := time.Since(begun); took > 5*time.Second {
		t.Errorf("the stop took %s", took)
	}
	hashes, pending := 0, 0
	for i, w := range waits {
		_, err := r.result(w)
		var p *PendingError
		switch {
		case err == nil:
			hashes++
		case errors.As(err, &p):
			pending++
		default:
			t.Errorf("caller %d: %v", i, err)
		}
	}
	if hashes != 3 || pending != 17 {
		t.Errorf("%d hashes and %d pending", hashes, pending)
	}
	r.chain.ClearFaults()
	r.hsm.set(func(h *hsm) { h.gate = nil })
	r.start()
	r.waitFor("all mined", func() bool { r.chain.Mine(); return len(r.chain.Mined(addr(0))) == 21 })
	r.checkChain(0, 21, nil)
	for v, times := range r.values(0) {
		if times != 1 {
			t.Errorf("value %d mined %d times", v, times)
		}
	}
}

// A stop does not wait for a node that hangs while a request is prepared, and
// nothing comes in any more.
func TestStopEndsRequestsThatAreBeingPrepared(t *testing.T) {
	r := newRig(t, nodetest.Options{}, fast())
	_, err := r.send(transfer(0, 1))
	r.must(err)
	r.chain.Hang("eth_chainId")
	wait := r.begin(transfer(0, 2), "")
	raw := r.begin(transfer(1, 2), "")
	time.Sleep(50 * time.Millisecond)
	w, begun := r.w, time.Now()
	r.stop()
	for _, c := range []<-chan answerOf{wait, raw} {
		var busy *BusyError
		if _, err := r.result(c); !errors.As(err, &busy) {
			t.Errorf("got %v", err)
		}
	}
	if took := time.Since(begun); took > 8*time.Second { // its calls would end after 10
		t.Errorf("the stop took %s", took)
	}
	var busy *BusyError
	if _, err := w.Send(context.Background(), caller, SendRequest{Args: transfer(0, 3)}); !errors.As(err, &busy) {
		t.Errorf("after the stop: %v", err)
	}
}

// No. 3: a second caller with the same key whose time is up does not cancel
// what the first still waits for.
func TestDeadlineOfAJoinedCallerCancelsNothing(t *testing.T) {
	r := newRig(t, nodetest.Options{}, fast())
	_, err := r.send(transfer(0, 1))
	r.must(err)
	gate := make(chan struct{})
	r.hsm.set(func(h *hsm) { h.gate = gate })
	first := r.begin(transfer(0, 2), "k")
	r.waitFor("assigned", func() bool { return r.count(store.Assigned) == 1 })
	rows, err := r.db.List(context.Background(), store.TxFilter{States: []store.TxState{store.Assigned}})
	r.must(err)
	_, err = r.mgr.loaded(r.senderID(0), "default").join(r.w, rows[0].ID, time.Now().Add(50*time.Millisecond))
	var pending *PendingError
	if !errors.As(err, &pending) {
		t.Fatalf("the joined caller got %v", err)
	}
	close(gate)
	hash, err := r.result(first)
	r.must(err)
	r.chain.Mine()
	r.checkChain(0, 2, []common.Hash{r.chain.Mined(addr(0))[0].Hash(), hash})
}

// Crash table and no. 22: held, queued and raw rows outlive a restart.
func TestHeldQueuedAndRawRowsOutliveARestart(t *testing.T) {
	set := fast()
	set.Window = 2
	r := newRig(t, nodetest.Options{}, set)
	_, err := r.send(transfer(0, 100))
	r.must(err)
	r.hsm.set(func(h *hsm) { h.gate = make(chan struct{}) })
	r.begin(transfer(0, 101), "")
	r.waitFor("assigned", func() bool { return r.count(store.Assigned) == 1 })
	r.begin(transfer(0, 102), "")
	r.waitFor("queued", func() bool { return r.count(store.Queued) == 1 })
	r.begin(at(transfer(0, 103), 3), "")
	w, raw := r.w, r.rawTx(0, 4, 104)
	go func() { _, _, _ = w.SendRaw(context.Background(), caller, raw) }()
	r.waitFor("two held", func() bool { return r.count(store.Held) == 2 })
	r.hsm.set(func(h *hsm) { h.gate = nil })
	r.restart()
	r.waitFor("all mined", func() bool { r.chain.Mine(); return len(r.chain.Mined(addr(0))) == 5 })
	r.checkChain(0, 5, nil)
	for i, m := range r.chain.Mined(addr(0)) {
		if m.Value().Int64() != int64(100+i) {
			t.Errorf("nonce %d has value %s", i, m.Value())
		}
	}
}

// rawTx signs a transfer as somebody would who holds the key himself.
func (r *rig) rawTx(from int, nonce uint64, wei int64) []byte {
	r.t.Helper()
	k, _ := nodetest.Key(from)
	to := common.HexToAddress("0xcc")
	signed, err := types.SignNewTx(k, types.LatestSignerForChainID(big.NewInt(1337)), &types.DynamicFeeTx{
		ChainID: big.NewInt(1337), Nonce: nonce, To: &to, Gas: 21_000,
		GasFeeCap: big.NewInt(3e9), GasTipCap: big.NewInt(1e9), Value: big.NewInt(wei),
	})
	r.must(err)
	raw, err := signed.MarshalBinary()
	r.must(err)
	return raw
}

// No. 19: what was signed under an earlier epoch counts as sent, although no
// node may have seen it: it keeps its nonce, and the hole below is filled.
func TestRowSignedUnderAnEarlierEpochIsNeverMoved(t *testing.T) {
	r := newRig(t, nodetest.Options{}, fast())
	_, err := r.send(transfer(0, 100))
	r.must(err)
	r.chain.Hang(sendRaw)
	var order Order
	for _, v := range []int64{101, 13, 102} {
		r.w.Begin(context.Background(), caller, SendRequest{Args: transfer(0, v), Order: &order})
	}
	r.waitFor("signed", func() bool { return r.inFlight() == 4 })
	rows, err := r.db.List(context.Background(), store.TxFilter{States: []store.TxState{store.Signed}})
	r.must(err)
	last := rows[0]
	for _, row := range rows {
		if *row.Nonce > *last.Nonce {
			last = row
		}
	}
	r.stop()
	r.chain.OnSend(func(tx *types.Transaction) *nodetest.RPCError {
		if tx.Value().Int64() == 13 {
			return &nodetest.RPCError{Code: -32000, Message: "intrinsic gas too low"}
		}
		return nil
	})
	r.chain.ClearFaults()
	r.start()
	r.waitFor("all mined", func() bool { r.chain.Mine(); return len(r.chain.Mined(addr(0))) == 4 })
	r.checkChain(0, 4, []common.Hash{last.Hash})
	if fill := r.chain.Mined(addr(0))[2]; *fill.To() != addr(0) {
		t.Errorf("nonce 2 goes to %s", fill.To())
	}
}

// Crash table: a self-transfer that was being made when the process ended is
// made after the next start, since something above it has left.
func TestHoleIsFilledAfterARestart(t *testing.T) {
	r := newRig(t, nodetest.Options{}, fast())
	release := r.chain.Hang(sendRaw)
	r.begin(transfer(0, 100), "")
	r.waitFor("one send under way", func() bool { return r.chain.Calls(sendRaw) == 1 })
	var order Order // these two go in one batch
	for _, v := range []int64{13, 102} {
		r.w.Begin(context.Background(), caller, SendRequest{Args: transfer(0, v), Order: &order})
	}
	r.waitFor("signed", func() bool { return r.inFlight() == 3 })
	r.chain.OnSend(func(tx *types.Transaction) *nodetest.RPCError {
		if tx.Value().Int64() == 13 {
			return &nodetest.RPCError{Code: -32000, Message: "intrinsic gas too low"}
		}
		return nil
	})
	r.chain.Fail("eth_maxPriorityFeePerGas", &nodetest.RPCError{Code: -32000, Message: "not now"}, nodetest.Forever)
	release()
	r.waitFor("failed", func() bool { return r.count(store.Failed) == 1 })
	r.restart()
	r.chain.ClearFaults()
	r.waitFor("all mined", func() bool { r.chain.Mine(); return len(r.chain.Mined(addr(0))) == 3 })
	r.checkChain(0, 3, nil)
}

// No. 15 and guarantee 3: bytes that a node may have are not failed by what a
// node says of them later.
func TestImpossibleProvesNothingOfBytesThatWereShown(t *testing.T) {
	r := newRig(t, nodetest.Options{}, fast())
	r.chain.Drop(sendRaw, 1) // takes the bytes, the answer is lost …
	sent := r.begin(transfer(0, 1), "")
	r.waitFor("taken", func() bool { return len(r.chain.Received()) == 1 })
	// … and then says that they are impossible.
	r.chain.Fail(sendRaw, &nodetest.RPCError{Code: -32000, Message: "transaction type not supported"}, 2)
	hash, err := r.result(sent)
	r.must(err)
	r.waitFor("pooled", func() bool { return len(r.chain.Pool(addr(0))) == 1 })
	r.chain.Mine()
	r.checkChain(0, 1, []common.Hash{hash})
}

// A node that serves another chain for a moment fails nobody's transaction.
func TestImpossibleOnAnotherChainProvesNothing(t *testing.T) {
	r := newRig(t, nodetest.Options{}, fast())
	_, err := r.send(transfer(0, 0))
	r.must(err)
	gate := make(chan struct{})
	r.hsm.set(func(h *hsm) { h.gate = gate })
	sent := r.begin(transfer(0, 1), "")
	r.waitFor("assigned", func() bool { return r.count(store.Assigned) == 1 })
	r.chain.SetChainID(5)
	close(gate)
	time.Sleep(200 * time.Millisecond)
	r.chain.SetChainID(1337)
	hash, err := r.result(sent)
	r.must(err)
	r.waitFor("pooled", func() bool { return len(r.chain.Pool(addr(0))) == 2 })
	r.chain.Mine()
	r.checkChain(0, 2, []common.Hash{hash})
}

// No. 10: an item that ends early does not let those behind it overtake those
// in front.
func TestItemThatEndsEarlyKeepsTheOrder(t *testing.T) {
	r := newRig(t, nodetest.Options{}, fast())
	r.chain.Delay("eth_estimateGas", 150*time.Millisecond)
	slow := transfer(0, 1)
	slow.Gas, slow.Data = nil, []byte{1}
	bad := transfer(0, 2)
	bad.ChainID = big.NewInt(5)
	var order Order
	var waits []func(context.Context) (common.Hash, error)
	for _, args := range []tx.Args{slow, bad, transfer(0, 3)} {
		waits = append(waits, r.w.Begin(context.Background(), caller, SendRequest{Args: args, Order: &order}))
	}
	_, err := waits[0](context.Background())
	r.must(err)
	if _, err := waits[1](context.Background()); err == nil {
		t.Error("the wrong chain id was taken")
	}
	_, err = waits[2](context.Background())
	r.must(err)
	r.chain.Mine()
	r.checkChain(0, 2, nil)
	if v := r.chain.Mined(addr(0))[0].Value().Int64(); v != 1 {
		t.Errorf("nonce 0 has item %d", v)
	}
}
