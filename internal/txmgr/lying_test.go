// SPDX-License-Identifier: Apache-2.0

package txmgr

import (
	"context"
	"errors"
	"math/big"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/node"
	"github.com/hsmsigner/hsmsigner/internal/node/nodetest"
	"github.com/hsmsigner/hsmsigner/internal/store"
	"github.com/hsmsigner/hsmsigner/internal/tx"
)

// Security scenario 27: a chain id that changes after the start is refused in
// the same request; nothing is signed or sent.
func TestChangedChainIDIsRefusedInTheSameRequest(t *testing.T) {
	r := newRig(t, nodetest.Options{}, fast())
	_, err := r.send(transfer(0, 1))
	r.must(err)
	signatures := r.hsm.count()
	r.chain.SetChainID(7)
	_, err = r.send(transfer(0, 2))
	var mismatch *node.ChainMismatchError
	if !errors.As(err, &mismatch) {
		t.Fatalf("got %v", err)
	}
	if r.hsm.count() != signatures || len(r.chain.Received()) != 1 {
		t.Error("something was signed or sent")
	}
}

// Security scenario 28: absurd proposals of the node are refused by the name
// of the limit, before a nonce is spent.
func TestAbsurdPricesAreRefusedByTheirLimit(t *testing.T) {
	set := fast()
	set.Limits = tx.Limits{MaxFeePerGas: big.NewInt(100e9), MaxFee: big.NewInt(1e16)}
	r := newRig(t, nodetest.Options{}, set)
	r.chain.SetMinTip(big.NewInt(1e15))
	args := transfer(0, 1)
	args.MaxFeePerGas, args.MaxPriorityFeePerGas = nil, nil
	wantLimit := func(args tx.Args, setting string) {
		t.Helper()
		_, err := r.send(args)
		var limit *tx.LimitError
		if !errors.As(err, &limit) || limit.Setting != setting {
			t.Errorf("got %v, want a refusal by %s", err, setting)
		}
	}
	wantLimit(args, "max_fee_per_gas")
	r.chain.SetMinTip(nil)
	dear := transfer(0, 1)
	gas := uint64(10_000_000)
	dear.Gas = &gas
	wantLimit(dear, "max_fee")
	time.Sleep(feeAge) // the answer is shared as long
	hash, err := r.send(args)
	r.must(err)
	r.chain.Mine()
	r.checkChain(0, 1, []common.Hash{hash})
}

// No. 25: in the normal flow no receipt is asked for by hash.
func TestReceiptsAreReadPerBlock(t *testing.T) {
	r := newRig(t, nodetest.Options{Interval: 30 * time.Millisecond}, fast())
	var last common.Hash
	for range 8 {
		var waits []<-chan answerOf
		for i := range 20 {
			waits = append(waits, r.begin(transfer(0, int64(i)), ""))
		}
		for _, w := range waits {
			h, err := r.result(w)
			r.must(err)
			last = h
		}
	}
	r.waitFor("all confirmed", func() bool { return r.count(store.Confirmed) == 160 })
	if s := r.state(last); s != store.Confirmed {
		t.Errorf("the last is %s", s)
	}
	if n := r.chain.Calls("eth_getTransactionReceipt"); n != 0 {
		t.Errorf("%d receipts were asked for by hash", n)
	}
}

// No. 18: geth keeps blob transactions apart, so a change of kind waits until
// the others are mined, both ways.
func TestBlobAndPlainTransactionsWaitForEachOther(t *testing.T) {
	r := newRig(t, nodetest.Options{}, fast())
	plain, err := r.send(transfer(0, 1))
	r.must(err)
	blob := r.begin(blobTransfer(0), "")
	r.waitFor("the blob waits", func() bool { return r.count(store.Queued) == 1 })
	after := r.begin(transfer(0, 3), "")
	r.waitFor("what came after it waits", func() bool { return r.count(store.Queued) == 2 })
	r.chain.Mine()
	second, err := r.result(blob)
	r.must(err)
	if n := r.count(store.Queued); n != 1 {
		t.Errorf("%d wait behind the blob", n)
	}
	r.chain.Mine()
	third, err := r.result(after)
	r.must(err)
	r.chain.Mine()
	r.checkChain(0, 3, []common.Hash{plain, second, third})
}

// No. 18 holds for nonces that callers choose, too, and what is held is in
// nobody's way (security scenario 11).
func TestHeldBlobKeepsTheBarrierAndBlocksNobody(t *testing.T) {
	r := newRig(t, nodetest.Options{}, fast())
	blob := r.begin(at(blobTransfer(0), 1), "")
	r.waitFor("held", func() bool { return r.count(store.Held) == 1 })
	_, err := r.send(transfer(0, 1))
	r.must(err)
	time.Sleep(50 * time.Millisecond)
	if n := len(r.chain.Received()); n != 1 {
		t.Fatalf("%d sent before the barrier was free", n)
	}
	r.chain.Mine()
	hash, err := r.result(blob)
	r.must(err)
	r.chain.Mine()
	r.checkChain(0, 2, []common.Hash{hash})
}

// Security scenario 11: a held transaction reserves no balance.
func TestHeldTransactionReservesNoBalance(t *testing.T) {
	r := newRig(t, nodetest.Options{DefaultBalance: nodetest.Ether(2)}, fast())
	much := transfer(0, 0)
	much.Value = nodetest.Ether(1)
	r.begin(at(much, 9), "")
	r.waitFor("held", func() bool { return r.count(store.Held) == 1 })
	_, err := r.send(much)
	r.must(err)
}

func blobTransfer(from int) tx.Args {
	args := transfer(from, 2)
	args.MaxFeePerBlobGas = big.NewInt(1e9)
	args.BlobHashes = []common.Hash{{1}}
	return args
}

// No. 6: a node that knows no pool answers the mined count for the pending
// one. Transactions are not sent again and again for that.
func TestNodeWithoutAPendingCountIsNotFlooded(t *testing.T) {
	r := newRig(t, nodetest.Options{}, fast())
	r.chain.Mine()
	for i := range 10 {
		_, err := r.send(transfer(0, int64(i)))
		r.must(err)
	}
	r.chain.LieNonce(addr(0), 0, 0)
	const heads = 20
	for range heads {
		r.must(r.chain.Reorg(1, false)) // a new head without a block of ours
		time.Sleep(25 * time.Millisecond)
	}
	if n := r.chain.Calls(sendRaw); n > 10+10+2*heads {
		t.Errorf("%d sends", n)
	}
	r.chain.TellTruth(addr(0))
	r.chain.Mine()
	r.waitFor("mined", func() bool { return len(r.chain.Mined(addr(0))) == 10 })
}

// No. 6: on a chain that makes blocks only when transactions come, what a node without
// a pending count has lost goes out again without a next head.
func TestLostOnAQuietChainWithoutAPendingCountIsSentAgain(t *testing.T) {
	set := fast()
	set.Window = 1
	r := newRig(t, nodetest.Options{}, set)
	r.chain.Mine()
	hash, err := r.send(transfer(0, 1))
	r.must(err)
	r.chain.LieNonce(addr(0), 0, 0)
	r.begin(transfer(0, 2), "waits for its turn, so that the node is asked")
	r.waitFor("it was sent again, and once more at this head, and the node had it", func() bool { return r.chain.Calls(sendRaw) >= 3 })
	s := r.mgr.at(t.Context(), r.senderID(0))
	r.waitFor("that is known", func() bool {
		blind, err := ask(t.Context(), s, func() bool { return s.presence.blind })
		return err == nil && blind
	})
	if !r.chain.DropFromPool(hash) {
		t.Fatal("the node does not have it")
	}
	r.waitFor("the node has it again", func() bool { return len(r.chain.Pool(addr(0))) == 1 })
	r.chain.TellTruth(addr(0))
	r.chain.Mine()
	r.waitFor("so is the next", func() bool { return len(r.chain.Pool(addr(0))) == 1 })
	r.chain.Mine()
	r.checkChain(0, 2, []common.Hash{hash})
}

// Security scenario 6: "already known" about another transaction at our nonce
// is no success. It is held, and never signed again.
func TestAlreadyKnownOfAnotherTransactionIsHeld(t *testing.T) {
	set := fast()
	set.SendTimeout = 4 * time.Second
	r := newRig(t, nodetest.Options{}, set)
	r.chain.Fail(sendRaw, &nodetest.RPCError{Code: -32000, Message: "already known: " + common.Hash{1: 9}.Hex()}, nodetest.Forever)
	hash, err := r.send(transfer(0, 1))
	r.must(err) // at the deadline
	if s := r.state(hash); s != store.Signed {
		t.Errorf("it is %s", s)
	}
	if n := r.hsm.count(); n != 2 { // the proof of possession, and once
		t.Errorf("%d signatures", n)
	}
	r.chain.ClearFaults()
	r.waitFor("sent", func() bool { return r.state(hash) == store.Sent })
	r.chain.Mine()
	r.checkChain(0, 1, []common.Hash{hash})
}

// No. 7: a head below those that are remembered is a lagging node.
func TestHeadBelowWhatIsRememberedIsALaggingNode(t *testing.T) {
	set := fast()
	set.Confirmations = 0
	r := newRig(t, nodetest.Options{}, set)
	hash, err := r.send(transfer(0, 1))
	r.must(err)
	for range 5 {
		r.chain.Mine()
	}
	r.waitFor("confirmed", func() bool { return r.state(hash) == store.Confirmed })
	c := r.w.chain
	c.mu.Lock()
	c.ring = map[uint64]common.Hash{c.head.Number: c.head.Hash} // as after a start
	number := c.head.Number
	c.mu.Unlock()
	behind, err := r.node.HeaderByNumber(context.Background(), number-2)
	r.must(err)
	if c.lags(behind) || c.remembers(behind.Number) {
		t.Fatal("remembered")
	}
	reset, err := c.wasReset(context.Background())
	r.must(err)
	if reset {
		t.Fatal("taken for another chain")
	}
	_, err = r.send(transfer(0, 2))
	r.must(err)
}

// No. 7: a chain with another first block under the same id gets nothing of
// the old one's, confirmed or not.
func TestAnotherChainUnderTheSameIDParks(t *testing.T) {
	r := newRig(t, nodetest.Options{}, fast())
	hash, err := r.send(transfer(0, 1))
	r.must(err)
	r.chain.Mine()
	r.waitFor("mined", func() bool { return r.state(hash) == store.Mined })
	sent := r.chain.Calls(sendRaw)
	r.chain.Reset()
	r.waitFor("parked", func() bool { return r.explain(0).NeedsHelp })
	r.chain.Mine()
	time.Sleep(100 * time.Millisecond)
	if n := r.chain.Calls(sendRaw); n != sent {
		t.Error("the old payment went out on the new chain")
	}
	_, err = r.send(transfer(0, 2))
	wantRefused(t, err, "tx repair")
}

// Reorganisations while nobody looked: what counted as mined is looked up
// again before it is final.
func TestBlockThatVanishedWhileWeWereDownIsNoticed(t *testing.T) {
	r := newRig(t, nodetest.Options{}, fast())
	hash, err := r.send(transfer(0, 1))
	r.must(err)
	r.chain.Mine()
	r.waitFor("mined", func() bool { return r.state(hash) == store.Mined })
	r.stop()
	r.must(r.chain.Reorg(1, true))
	for range 4 {
		r.chain.Mine()
	}
	r.start()
	r.waitFor("sent again", func() bool { return len(r.chain.Pool(addr(0))) == 1 })
	for range 3 {
		r.chain.Mine()
		time.Sleep(30 * time.Millisecond)
	}
	r.waitFor("confirmed", func() bool { return r.state(hash) == store.Confirmed })
	r.checkChain(0, 1, []common.Hash{hash})
}

// The same in a running process that missed too many blocks to follow them.
func TestBlockThatVanishedInALongAbsenceIsNoticed(t *testing.T) {
	r := newRig(t, nodetest.Options{}, fast())
	hash, err := r.send(transfer(0, 1))
	r.must(err)
	r.chain.Mine()
	r.waitFor("mined", func() bool { return r.state(hash) == store.Mined })
	r.chain.RefuseConn(true)
	r.must(r.chain.Reorg(1, true))
	for range maxCatchUp + 10 {
		r.chain.Mine()
	}
	r.chain.RefuseConn(false)
	r.waitFor("sent again", func() bool { return len(r.chain.Pool(addr(0))) == 1 })
	if s := r.state(hash); s.Final() {
		t.Errorf("it is %s", s)
	}
	r.chain.Mine()
	r.checkChain(0, 1, []common.Hash{hash})
}

// No. 7: the first count of an account that has no rows is all there is to go
// by. If it was a lie, what was sent hangs above a gap; when the node tells the
// truth again the gap is filled, and nothing that was shown is lost. Nor does it help
// the lie that the rows are read a second time while it lasts.
func TestFirstCountThatWasALieIsGoneOver(t *testing.T) {
	for name, meanwhile := range map[string]func(*rig){"AtOnce": func(*rig) {}, "AfterARestart": (*rig).restart} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, nodetest.Options{Interval: 30 * time.Millisecond}, fast())
			r.chain.LieNonce(addr(0), 6, 6)
			var hashes []common.Hash
			for i := range 5 {
				h, err := r.send(transfer(0, int64(100+i)))
				r.must(err)
				hashes = append(hashes, h)
			}
			meanwhile(r)
			r.chain.TellTruth(addr(0))
			r.waitFor("all mined", func() bool { return len(r.chain.Mined(addr(0))) == 11 })
			r.checkChain(0, 11, hashes)
			last, err := r.send(transfer(0, 200))
			r.must(err)
			r.waitFor("goes on", func() bool { return len(r.chain.Mined(addr(0))) == 12 })
			r.checkChain(0, 12, append(hashes, last))
		})
	}
}
