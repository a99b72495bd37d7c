// SPDX-License-Identifier: Apache-2.0

package txmgr

import (
	"context"
	"errors"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"

	"github.com/hsmsigner/hsmsigner/internal/node/nodetest"
	"github.com/hsmsigner/hsmsigner/internal/store"
	"github.com/hsmsigner/hsmsigner/internal/tx"
)

// at gives a transfer an explicit nonce.
func at(args tx.Args, n uint64) tx.Args {
	args.Nonce = &n
	return args
}

// dearer raises the fees of a transfer by a percentage.
func dearer(args tx.Args, percent int64) tx.Args {
	raise := func(n *big.Int) *big.Int {
		n = new(big.Int).Mul(n, big.NewInt(100+percent))
		return n.Div(n, big.NewInt(100))
	}
	args.MaxFeePerGas, args.MaxPriorityFeePerGas = raise(args.MaxFeePerGas), raise(args.MaxPriorityFeePerGas)
	return args
}

func wantRefused(t *testing.T, err error, part string) {
	t.Helper()
	var refused *RefusedError
	if !errors.As(err, &refused) || !strings.Contains(refused.Msg, part) {
		t.Fatalf("got %v, want a refusal with %q", err, part)
	}
}

type answerOf struct {
	hash common.Hash
	err  error
}

// begin sends in the background.
func (r *rig) begin(args tx.Args, key string) <-chan answerOf {
	c, w := make(chan answerOf, 1), r.w
	go func() {
		h, err := w.Send(context.Background(), caller, SendRequest{Args: args, IdempotencyKey: key})
		c <- answerOf{h, err}
	}()
	return c
}

func (r *rig) result(c <-chan answerOf) (common.Hash, error) {
	r.t.Helper()
	select {
	case a := <-c:
		return a.hash, a.err
	case <-time.After(90 * time.Second):
		r.t.Fatal("no answer")
		return common.Hash{}, nil
	}
}

// No. 5: the next nonce is the lowest one at or above the node's count that
// no live row has.
func TestNextNonceIsLowestWithoutLiveRow(t *testing.T) {
	r := newRig(t, nodetest.Options{}, fast())
	_, err := r.send(at(transfer(0, 1), 0))
	r.must(err)
	held := r.begin(at(transfer(0, 2), 2), "")
	r.waitFor("nonce 2 held", func() bool { return r.count(store.Held) == 1 })
	// 1 is free, 2 is held: filled-in nonces take 1 and then 3 (no. 8).
	_, err = r.send(transfer(0, 3))
	r.must(err)
	_, err = r.result(held)
	r.must(err)
	_, err = r.send(transfer(0, 4))
	r.must(err)
	r.chain.Mine()
	r.checkChain(0, 4, nil)
	if got := r.chain.Mined(addr(0))[2].Value().Int64(); got != 2 {
		t.Errorf("nonce 2 carries value %d", got)
	}
}

// inFlight counts the rows whose bytes are stored and not mined. A row learns
// only after a while that a node took them.
func (r *rig) inFlight() int { return r.count(store.Signed) + r.count(store.Sent) }

func (r *rig) count(state store.TxState) int {
	r.t.Helper()
	rows, err := r.db.List(context.Background(), store.TxFilter{States: []store.TxState{state}, Limit: 1000})
	r.must(err)
	return len(rows)
}

// No. 6: never more nonces in flight than the window allows.
func TestWindowBoundsWhatIsInFlight(t *testing.T) {
	set := fast()
	set.Window = 4
	r := newRig(t, nodetest.Options{}, set)
	var waits []<-chan answerOf
	for i := range 10 {
		waits = append(waits, r.begin(transfer(0, int64(i)), ""))
	}
	r.waitFor("window full", func() bool { return len(r.chain.Pool(addr(0))) == 4 && r.count(store.Queued) == 6 })
	for range 3 {
		r.chain.Mine()
		time.Sleep(50 * time.Millisecond)
		if n := len(r.chain.Pool(addr(0))); n > 4 {
			t.Fatalf("%d in flight", n)
		}
	}
	for _, w := range waits {
		_, err := r.result(w)
		r.must(err)
	}
	r.waitFor("all in", func() bool { r.chain.Mine(); return len(r.chain.Mined(addr(0))) == 10 })
	r.checkChain(0, 10, nil)
}

// No. 7: a count above our rows parks until two heads agree, is then adopted.
func TestForeignUseIsAdoptedAfterTwoHeads(t *testing.T) {
	r := newRig(t, nodetest.Options{}, fast())
	_, err := r.send(transfer(0, 1))
	r.must(err)
	r.chain.Mine()
	for n := uint64(1); n < 4; n++ {
		r.external(0, n)
	}
	r.chain.Mine()
	time.Sleep(50 * time.Millisecond)
	next := r.begin(transfer(0, 2), "")
	time.Sleep(200 * time.Millisecond)
	if got := len(r.chain.Received()); got != 1 {
		t.Fatalf("%d sent before a second head agreed", got)
	}
	r.chain.Mine()
	_, err = r.result(next)
	r.must(err)
	r.chain.Mine()
	r.checkChain(0, 5, nil)
}

// external mines a transaction that somebody else made with our key.
func (r *rig) external(from int, n uint64) *types.Transaction {
	r.t.Helper()
	k, _ := nodetest.Key(from)
	to := common.HexToAddress("0xbb")
	signed, err := types.SignNewTx(k, types.LatestSignerForChainID(big.NewInt(1337)), &types.LegacyTx{
		Nonce: n, To: &to, Gas: 21_000, GasPrice: big.NewInt(5_000_000_000), Value: big.NewInt(7),
	})
	r.must(err)
	r.must(r.chain.External(signed))
	return signed
}

// No. 7 on a chain that makes blocks only when transactions come: there is no
// second head, so the same head has to stand for a while.
func TestForeignUseOnAQuietChainIsAdoptedAfterAWhile(t *testing.T) {
	r := newRig(t, nodetest.Options{Automine: true}, fast())
	_, err := r.send(transfer(0, 1))
	r.must(err)
	begun := time.Now()
	r.external(0, 1)
	time.Sleep(50 * time.Millisecond)
	_, err = r.send(transfer(0, 2))
	r.must(err)
	if took := time.Since(begun); took < quietTime/2 {
		t.Errorf("adopted after %s", took)
	}
	r.checkChain(0, 3, nil)
}

// No. 7: a jump beyond 16 waits for an operator, over a restart too.
func TestLargeJumpParksUntilRepair(t *testing.T) {
	r := newRig(t, nodetest.Options{}, fast())
	_, err := r.send(transfer(0, 1))
	r.must(err)
	r.chain.Mine()
	r.chain.LieNonce(addr(0), 1000, 1000)
	sent := 1
	r.waitFor("parked", func() bool {
		_, err := r.send(transfer(0, 2))
		if err == nil {
			sent++ // before the node's count was looked at again
		}
		return err != nil && strings.Contains(err.Error(), "tx repair")
	})
	r.restart()
	_, err = r.send(transfer(0, 2))
	wantRefused(t, err, "tx repair")
	r.chain.TellTruth(addr(0))
	senders, err := r.db.Senders(context.Background())
	r.must(err)
	report, err := r.mgr.Operate(context.Background(), senders[0].ID, Operation{Action: Release})
	r.must(err)
	if report.NeedsHelp {
		t.Error("still parked after the release")
	}
	_, err = r.send(transfer(0, 3))
	r.must(err)
	r.chain.Mine()
	r.checkChain(0, sent+1, nil)
}

// No. 7: a lower count is a lagging node and changes nothing.
func TestLowerCountIsALaggingNode(t *testing.T) {
	r := newRig(t, nodetest.Options{}, fast())
	for i := range 3 {
		_, err := r.send(transfer(0, int64(i)))
		r.must(err)
	}
	r.chain.Mine()
	time.Sleep(100 * time.Millisecond)
	r.chain.LieNonce(addr(0), 1, 1)
	hash, err := r.send(transfer(0, 9))
	r.must(err)
	r.chain.TellTruth(addr(0))
	r.chain.Mine()
	r.checkChain(0, 4, []common.Hash{hash})
}

// No. 7: a chain that was reset does not get yesterday's payments.
func TestResetChainParksUntilRepair(t *testing.T) {
	set := fast()
	set.Confirmations = 0
	r := newRig(t, nodetest.Options{}, set)
	hash, err := r.send(transfer(0, 1))
	r.must(err)
	r.chain.Mine()
	r.waitFor("confirmed", func() bool { return r.state(hash) == store.Confirmed })
	r.chain.Reorg(1, true)
	r.chain.Mine()
	r.waitFor("parked", func() bool {
		_, err := r.send(transfer(0, 2))
		return err != nil && strings.Contains(err.Error(), "tx repair")
	})
}

// No. 8: occupied is taken, unless the caller replaces its own transaction.
func TestOccupiedNonceIsTakenUnlessReplaced(t *testing.T) {
	r := newRig(t, nodetest.Options{}, fast())
	first, err := r.send(at(transfer(0, 1), 0))
	r.must(err)
	_, err = r.send(at(transfer(0, 2), 0))
	wantRefused(t, err, "nonce 0 is taken")
	_, err = r.send(dearer(at(transfer(0, 2), 0), 5))
	wantRefused(t, err, "nonce 0 is taken")
	other := caller
	other.Name = "app:other"
	_, err = r.w.Send(context.Background(), other, SendRequest{Args: dearer(at(transfer(0, 2), 0), 20)})
	wantRefused(t, err, "nonce 0 is taken")
	second, err := r.send(dearer(at(transfer(0, 2), 0), 20))
	r.must(err)
	if r.state(first) != store.Superseded {
		t.Errorf("replaced transaction is %s", r.state(first))
	}
	for range 4 {
		r.chain.Mine()
		time.Sleep(30 * time.Millisecond)
	}
	r.waitFor("final", func() bool { return r.state(second) == store.Confirmed && r.state(first) == store.Replaced })
	r.checkChain(0, 1, []common.Hash{second})
}

// No. 17: all hashes of a nonce are watched; the first may still win.
func TestReplacedTransactionMayStillWin(t *testing.T) {
	r := newRig(t, nodetest.Options{}, fast())
	first, err := r.send(at(transfer(0, 1), 0))
	r.must(err)
	r.chain.Fail("eth_sendRawTransaction", &nodetest.RPCError{Code: -32000, Message: "txpool is full"}, 1000)
	second := r.begin(dearer(at(transfer(0, 2), 0), 20), "")
	r.waitFor("superseded", func() bool { return r.state(first) == store.Superseded })
	r.waitFor("its replacement is signed", func() bool { return r.inFlight() == 1 })
	for range 4 {
		r.chain.Mine()
		time.Sleep(30 * time.Millisecond)
	}
	_, _ = r.result(second)
	r.waitFor("final", func() bool { return r.state(first) == store.Confirmed })
	r.checkChain(0, 1, []common.Hash{first})
	if n := r.count(store.Replaced); n != 1 {
		t.Errorf("%d transactions ended as replaced", n)
	}
}

// No. 8: too low is refused with geth's words.
func TestExplicitNonceBelowTheCountIsTooLow(t *testing.T) {
	r := newRig(t, nodetest.Options{Automine: true}, fast())
	_, err := r.send(transfer(0, 1))
	r.must(err)
	r.waitFor("too low", func() bool {
		_, err := r.send(at(transfer(0, 1), 0))
		return err != nil && strings.Contains(err.Error(), "nonce too low: next nonce 1, tx nonce 0")
	})
}

// No. 8: a held nonce whose turn does not come is given up, and unblocks
// nothing and nobody.
func TestHeldNonceExpiresAtItsDeadline(t *testing.T) {
	set := fast()
	set.SendTimeout = 4 * time.Second
	r := newRig(t, nodetest.Options{}, set)
	_, err := r.send(at(transfer(0, 1), 5))
	wantRefused(t, err, "nonce 5 is ahead of its turn: the next is 0")
	_, err = r.send(transfer(0, 2))
	r.must(err)
	r.chain.Mine()
	r.checkChain(0, 1, nil)
}

// No. 9: pending is the higher of the node's count and our next free nonce.
func TestPendingNonceCountsOurs(t *testing.T) {
	r := newRig(t, nodetest.Options{}, fast())
	for i := range 3 {
		_, err := r.send(transfer(0, int64(i)))
		r.must(err)
	}
	r.chain.LieNonce(addr(0), 0, 0)
	n, err := r.w.PendingNonce(context.Background(), addr(0))
	r.must(err)
	if n != 3 {
		t.Errorf("pending nonce %d, want 3", n)
	}
}

// No. 9: a raw transaction of our account is taken in.
func TestRawTransactionOfOurAccountTakesItsNonce(t *testing.T) {
	r := newRig(t, nodetest.Options{}, fast())
	k, _ := nodetest.Key(0)
	to := common.HexToAddress("0xcc")
	raw := func(n uint64) []byte {
		signed, err := types.SignNewTx(k, types.LatestSignerForChainID(big.NewInt(1337)), &types.DynamicFeeTx{
			ChainID: big.NewInt(1337), Nonce: n, To: &to, Gas: 21_000, GasFeeCap: big.NewInt(3e9), GasTipCap: big.NewInt(1e9), Value: big.NewInt(5),
		})
		r.must(err)
		b, err := signed.MarshalBinary()
		r.must(err)
		return b
	}
	hash, handled, err := r.w.SendRaw(context.Background(), caller, raw(0))
	r.must(err)
	if !handled {
		t.Fatal("passed on instead of taken in")
	}
	again, _, err := r.w.SendRaw(context.Background(), caller, raw(0))
	r.must(err)
	if again != hash {
		t.Error("the same bytes gave another hash")
	}
	second, err := r.send(transfer(0, 1))
	r.must(err)
	r.chain.Mine()
	r.checkChain(0, 2, []common.Hash{hash, second})
}

// No. 10: the items of a batch take their nonces in order although they are
// prepared and signed side by side.
func TestBatchOrderIsNonceOrder(t *testing.T) {
	r := newRig(t, nodetest.Options{Automine: false}, fast())
	r.hsm.set(func(h *hsm) {
		h.delay = func(call int) time.Duration { return time.Duration(1500-call*50) * time.Millisecond }
	})
	var order Order
	var waits []func(context.Context) (common.Hash, error)
	begun := time.Now()
	for i := range 20 {
		args := transfer(0, int64(i))
		args.Gas = nil // asks the node
		waits = append(waits, r.w.Begin(context.Background(), caller, SendRequest{Args: args, Order: &order}))
	}
	for _, wait := range waits {
		_, err := wait(context.Background())
		r.must(err)
	}
	if took := time.Since(begun); took > 10*time.Second { // one after the other they take 20
		t.Errorf("signatures did not overlap: %s", took)
	}
	r.chain.Mine()
	for i, m := range r.chain.Mined(addr(0)) {
		if m.Value().Int64() != int64(i) {
			t.Errorf("nonce %d has item %s", i, m.Value())
		}
	}
	r.checkChain(0, 20, nil)
}
