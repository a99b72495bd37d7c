// SPDX-License-Identifier: Apache-2.0

package txmgr

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"

	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/node/nodetest"
	"github.com/hsmsigner/hsmsigner/internal/store"
	"github.com/hsmsigner/hsmsigner/internal/tx"
)

const sendRaw = "eth_sendRawTransaction"

// No. 1: the key is looked up before everything that can fail.
func TestRepeatedKeyGetsTheStoredOutcomeEvenIfItWouldRevertNow(t *testing.T) {
	r := newRig(t, nodetest.Options{Automine: true}, fast())
	args := transfer(0, 1)
	args.Gas, args.Data = nil, []byte{1}
	hash, err := r.result(r.begin(args, "k1"))
	r.must(err)
	r.chain.OnEstimate(func(json.RawMessage) (uint64, error) {
		return 0, &nodetest.RPCError{Code: 3, Message: "execution reverted"}
	})
	again, err := r.result(r.begin(args, "k1"))
	r.must(err)
	if again != hash {
		t.Errorf("repeated request got %s, want %s", again, hash)
	}
	r.restart()
	again, err = r.result(r.begin(args, "k1"))
	r.must(err)
	if again != hash {
		t.Error("another hash after a restart")
	}
	_, err = r.result(r.begin(transfer(0, 2), "k1"))
	wantRefused(t, err, "another request")
	r.checkChain(0, 1, []common.Hash{hash})
}

// No. 1: one hundred at once are one transaction.
func TestConcurrentRequestsWithOneKeyAreOneTransaction(t *testing.T) {
	r := newRig(t, nodetest.Options{Interval: 20 * time.Millisecond}, fast())
	var waits []<-chan answerOf
	for range 100 {
		waits = append(waits, r.begin(transfer(0, 1), "same"))
	}
	first, err := r.result(waits[0])
	r.must(err)
	for _, w := range waits[1:] {
		h, err := r.result(w)
		r.must(err)
		if h != first {
			t.Fatal("different answers")
		}
	}
	if r.hsm.calls != 2 { // the proof of possession, and the transaction
		t.Errorf("%d signatures", r.hsm.calls)
	}
	r.waitFor("mined", func() bool { return len(r.chain.Mined(addr(0))) == 1 })
}

// No. 1: a stored failure is repeated with the same error.
func TestRepeatedKeyOfAFailureGetsTheSameError(t *testing.T) {
	r := newRig(t, nodetest.Options{}, fast())
	_, err := r.send(transfer(0, 1))
	r.must(err)
	r.hsm.set(func(h *hsm) { h.fail = func(int, [32]byte) error { return key.ErrDenied } })
	_, err = r.result(r.begin(transfer(0, 2), "k"))
	var backend *BackendError
	if !errors.As(err, &backend) {
		t.Fatalf("got %v", err)
	}
	r.hsm.set(func(h *hsm) { h.fail = nil })
	_, again := r.result(r.begin(transfer(0, 2), "k"))
	if again == nil || again.Error() != err.Error() {
		t.Errorf("got %v, want %v", again, err)
	}
}

// No. 2: a revert is the answer only after the transactions that it may
// depend on have left.
func TestRevertIsTriedAgainAfterEarlierTransactionsHaveLeft(t *testing.T) {
	r := newRig(t, nodetest.Options{}, fast())
	_, err := r.send(transfer(0, 0))
	r.must(err)
	r.hsm.set(func(h *hsm) { h.gate = make(chan struct{}) })
	r.chain.OnEstimate(func(json.RawMessage) (uint64, error) {
		if r.chain.Calls(sendRaw) < 2 {
			return 0, &nodetest.RPCError{Code: 3, Message: "execution reverted"}
		}
		return 30_000, nil
	})
	first := r.begin(transfer(0, 1), "")
	r.waitFor("first assigned", func() bool { return r.count(store.Assigned) == 1 })
	args := transfer(0, 2)
	args.Gas, args.Data = nil, []byte{1}
	second := r.begin(args, "")
	time.Sleep(50 * time.Millisecond)
	close(r.hsm.gate)
	_, err = r.result(first)
	r.must(err)
	_, err = r.result(second)
	r.must(err)
}

// No. 2: a revert costs no nonce and comes with its reason.
func TestRevertCostsNoNonce(t *testing.T) {
	r := newRig(t, nodetest.Options{}, fast())
	r.chain.OnEstimate(func(json.RawMessage) (uint64, error) {
		return 0, &nodetest.RPCError{
			Code: 3, Message: "execution reverted: too poor",
			Data: "0x08c379a0" + strings.Repeat("0", 62) + "20" + strings.Repeat("0", 62) + "08" + "746f6f20706f6f72" + strings.Repeat("0", 48),
		}
	})
	args := transfer(0, 1)
	args.Gas, args.Data = nil, []byte{1}
	_, err := r.send(args)
	var revert *RevertError
	if !errors.As(err, &revert) || revert.Reason != "too poor" || len(revert.Data) == 0 {
		t.Fatalf("got %v", err)
	}
	hash, err := r.send(transfer(0, 1))
	r.must(err)
	r.chain.Mine()
	r.checkChain(0, 1, []common.Hash{hash})
}

// No. 3: signed and stored at the deadline → the hash.
func TestDeadlineAfterStoringAnswersTheHash(t *testing.T) {
	set := fast()
	set.SendTimeout = 3 * time.Second
	r := newRig(t, nodetest.Options{}, set)
	r.chain.Fail(sendRaw, &nodetest.RPCError{Code: -32000, Message: "txpool is full"}, nodetest.Forever)
	hash, err := r.send(transfer(0, 1))
	r.must(err)
	r.chain.ClearFaults()
	r.waitFor("sent later", func() bool { return len(r.chain.Pool(addr(0))) == 1 })
	r.chain.Mine()
	r.checkChain(0, 1, []common.Hash{hash})
}

// No. 3: not yet signed at the deadline → cancelled, and its nonce is used by
// the next.
func TestDeadlineBeforeSigningCancels(t *testing.T) {
	set := fast()
	set.SendTimeout = 3 * time.Second
	r := newRig(t, nodetest.Options{}, set)
	_, err := r.send(transfer(0, 0))
	r.must(err)
	gate := make(chan struct{})
	r.hsm.set(func(h *hsm) { h.gate = gate })
	_, err = r.send(transfer(0, 1))
	var backend *BackendError
	if !errors.As(err, &backend) {
		t.Fatalf("got %v", err)
	}
	r.hsm.set(func(h *hsm) { h.gate = nil })
	close(gate)
	hash, err := r.send(transfer(0, 2))
	r.must(err)
	r.chain.Mine()
	r.checkChain(0, 2, []common.Hash{hash})
}

// Crash table: what was signed or sent goes out again, the same bytes.
func TestCrashAfterSignResendsSameBytes(t *testing.T) {
	set := fast()
	set.SendTimeout = 3 * time.Second
	r := newRig(t, nodetest.Options{}, set)
	r.chain.Drop(sendRaw, 1000) // takes the bytes and never answers
	hash, err := r.send(transfer(0, 1))
	r.must(err)
	calls := r.hsm.calls
	r.chain.ClearFaults()
	r.chain.DropFromPool(hash)
	r.restart()
	r.waitFor("sent again", func() bool { return len(r.chain.Pool(addr(0))) == 1 })
	if r.hsm.calls != calls {
		t.Error("signed again")
	}
	all := r.chain.Received()
	for _, raw := range all[1:] {
		if !bytes.Equal(raw, all[0]) {
			t.Fatal("other bytes for the same transaction")
		}
	}
	r.chain.Mine()
	r.checkChain(0, 1, []common.Hash{hash})
}

// Crash table: accepted and assigned rows are signed and sent after a start.
func TestCrashAfterAcceptSignsAndSendsFromTheRow(t *testing.T) {
	set := fast()
	set.Window = 2
	r := newRig(t, nodetest.Options{}, set)
	_, err := r.send(transfer(0, 0))
	r.must(err)
	r.chain.Mine()
	r.hsm.set(func(h *hsm) { h.gate = make(chan struct{}) })
	for i := range 5 {
		r.begin(transfer(0, int64(i+1)), "")
	}
	r.waitFor("two assigned, three queued", func() bool { return r.count(store.Assigned) == 2 && r.count(store.Queued) == 3 })
	r.hsm.set(func(h *hsm) { h.gate = nil })
	r.restart()
	r.waitFor("all mined", func() bool { r.chain.Mine(); return len(r.chain.Mined(addr(0))) == 6 })
	r.checkChain(0, 6, nil)
}

// No. 13: a lost reply means unknown: the same bytes again, and the caller
// gets their hash.
func TestLostReplySendsTheSameBytesAgain(t *testing.T) {
	r := newRig(t, nodetest.Options{}, fast())
	r.chain.Drop(sendRaw, 1)
	hash, err := r.send(transfer(0, 1))
	r.must(err)
	all := r.chain.Received()
	if len(all) != 2 || !bytes.Equal(all[0], all[1]) {
		t.Fatalf("%d sends", len(all))
	}
	r.chain.Mine()
	r.checkChain(0, 1, []common.Hash{hash})
}

// No. 6: what the node dropped from its pool goes out again.
func TestDroppedTransactionIsSentAgain(t *testing.T) {
	r := newRig(t, nodetest.Options{Interval: 50 * time.Millisecond, BlockTxs: -1}, fast())
	r.chain.Forget(1) // the node answers and keeps nothing
	hash, err := r.send(transfer(0, 1))
	r.must(err)
	r.waitFor("mined", func() bool { return len(r.chain.Mined(addr(0))) == 1 })
	r.checkChain(0, 1, []common.Hash{hash})
}

// No. 15 and 16: bytes that can never become valid fail; what was not sent
// yet moves down, in order.
func TestImpossibleTransactionFailsAndSuccessorsKeepTheirOrder(t *testing.T) {
	r := newRig(t, nodetest.Options{}, fast())
	_, err := r.send(transfer(0, 0))
	r.must(err)
	r.chain.OnSend(func(tx *types.Transaction) *nodetest.RPCError {
		if tx.Value().Int64() == 13 {
			return &nodetest.RPCError{Code: -32000, Message: "intrinsic gas too low"}
		}
		return nil
	})
	gate := make(chan struct{})
	r.hsm.set(func(h *hsm) { h.gate = gate })
	bad := r.begin(transfer(0, 13), "")
	r.waitFor("assigned", func() bool { return r.count(store.Assigned) == 1 })
	var order Order
	var waits []func(context.Context) (common.Hash, error)
	for i := range 3 {
		waits = append(waits, r.w.Begin(context.Background(), caller, SendRequest{Args: transfer(0, int64(20+i)), Order: &order}))
	}
	r.waitFor("all assigned", func() bool { return r.count(store.Assigned) == 4 })
	gate <- struct{}{} // signs one of them; let them all go
	close(gate)
	_, err = r.result(bad)
	if err == nil {
		t.Fatal("no error")
	}
	for _, wait := range waits {
		_, err := wait(context.Background())
		r.must(err)
	}
	r.waitFor("all mined", func() bool {
		r.chain.Mine()
		return len(r.chain.Pool(addr(0))) == 0 && len(r.chain.Mined(addr(0))) >= 4
	})
	var values []int64
	for i, m := range r.chain.Mined(addr(0)) {
		if m.Nonce() != uint64(i) {
			t.Fatalf("gap at %d", i)
		}
		if v := m.Value().Int64(); v >= 20 {
			values = append(values, v)
		}
	}
	if len(values) != 3 || values[0] != 20 || values[1] != 21 || values[2] != 22 {
		t.Errorf("values in order: %v", values)
	}
}

// No. 16: if a successor has left, the hole is filled by a self-transfer.
func TestHoleBelowSentTransactionsIsFilled(t *testing.T) {
	r := newRig(t, nodetest.Options{}, fast())
	_, err := r.send(transfer(0, 0))
	r.must(err)
	r.chain.OnSend(func(tx *types.Transaction) *nodetest.RPCError {
		if tx.Value().Int64() == 13 {
			return &nodetest.RPCError{Code: -32000, Message: "intrinsic gas too low"}
		}
		return nil
	})
	// While one send is under way the next four are signed, so they go in one
	// batch, and the three behind the bad one have left.
	release := r.chain.Hang(sendRaw)
	r.begin(transfer(0, 1), "")
	r.waitFor("one send under way", func() bool { return r.chain.Calls(sendRaw) == 2 })
	var order Order
	var waits []func(context.Context) (common.Hash, error)
	for _, v := range []int64{13, 20, 21, 22} {
		waits = append(waits, r.w.Begin(context.Background(), caller, SendRequest{Args: transfer(0, v), Order: &order}))
	}
	r.waitFor("all signed", func() bool { return r.inFlight() == 6 })
	release()
	if _, err := waits[0](context.Background()); err == nil {
		t.Fatal("no error")
	}
	var hashes []common.Hash
	for _, wait := range waits[1:] {
		h, err := wait(context.Background())
		r.must(err)
		hashes = append(hashes, h)
	}
	r.waitFor("all mined", func() bool { r.chain.Mine(); return len(r.chain.Mined(addr(0))) == 6 })
	fill := r.chain.Mined(addr(0))[2]
	if fill.Value().Sign() != 0 || *fill.To() != addr(0) {
		t.Errorf("nonce 2 has a transfer of %s to %s", fill.Value(), fill.To())
	}
	r.checkChain(0, 6, hashes)
}

// No. 15: a refusal that may pass holds, and everything behind it.
func TestRefusalThatMayPassIsHeldAndRetried(t *testing.T) {
	r := newRig(t, nodetest.Options{}, fast())
	r.chain.Fail(sendRaw, &nodetest.RPCError{Code: -32000, Message: "insufficient funds for gas * price + value"}, 2)
	hash, err := r.send(transfer(0, 1))
	r.must(err)
	r.chain.Mine()
	r.checkChain(0, 1, []common.Hash{hash})
}

// No. 5: the balance is reserved for what is not mined yet; what it does not
// cover is refused before a nonce is spent.
func TestBalanceIsReservedForWhatIsInFlight(t *testing.T) {
	cost := tx.MaxCost(mustUnsigned(t, transfer(0, 1)))
	r := newRig(t, nodetest.Options{Alloc: map[common.Address]*big.Int{addr(0): new(big.Int).Mul(cost, big.NewInt(2))}}, fast())
	for range 2 {
		_, err := r.send(transfer(0, 1))
		r.must(err)
	}
	_, err := r.send(transfer(0, 1))
	wantRefused(t, err, "insufficient funds")
	r.chain.Mine()
	r.checkChain(0, 2, nil)
}

func mustUnsigned(t *testing.T, a tx.Args) *types.Transaction {
	t.Helper()
	u, err := a.Unsigned(big.NewInt(1337), 0)
	if err != nil {
		t.Fatal(err)
	}
	return u
}

// No. 15: a cancel fails the transaction only when it is mined and confirmed.
func TestCancelFailsOnlyWhenMinedAndConfirmed(t *testing.T) {
	r := newRig(t, nodetest.Options{}, fast())
	hash, err := r.send(transfer(0, 1))
	r.must(err)
	row, err := r.db.TxByHash(context.Background(), hash)
	r.must(err)
	r.must(r.cancel(row.ID))
	r.waitFor("replacement pooled", func() bool {
		p := r.chain.Pool(addr(0))
		return len(p) == 1 && p[0].Value().Sign() == 0
	})
	if s := r.state(hash); s.Final() {
		t.Fatalf("final too early: %s", s)
	}
	r.chain.Mine()
	time.Sleep(50 * time.Millisecond)
	if s := r.state(hash); s.Final() {
		t.Fatalf("final before it is confirmed: %s", s)
	}
	r.chain.Mine()
	r.chain.Mine()
	r.waitFor("failed", func() bool { return r.state(hash) == store.Failed })
	next, err := r.send(transfer(0, 2))
	r.must(err)
	r.chain.Mine()
	r.checkChain(0, 2, []common.Hash{next})
}

// Reorganisation: mined transactions whose block is gone go out again.
func TestReorganisedTransactionIsMinedAgain(t *testing.T) {
	set := fast()
	set.Confirmations = 5
	r := newRig(t, nodetest.Options{}, set)
	var hashes []common.Hash
	for i := range 3 {
		h, err := r.send(transfer(0, int64(i)))
		r.must(err)
		hashes = append(hashes, h)
		r.chain.Mine()
		r.waitFor("mined", func() bool { return r.state(h) == store.Mined })
	}
	r.must(r.chain.Reorg(2, true))
	r.waitFor("sent again", func() bool { return len(r.chain.Pool(addr(0))) == 2 })
	for range 7 {
		r.chain.Mine()
		time.Sleep(20 * time.Millisecond)
	}
	for _, h := range hashes {
		r.waitFor("confirmed", func() bool { return r.state(h) == store.Confirmed })
	}
	r.checkChain(0, 3, hashes)
}

// No. 14: displaced only with proof; a disclosed hash never gets another nonce.
func TestDisplacedTransactionIsNeverGivenAnotherNonce(t *testing.T) {
	set := fast()
	set.SendTimeout = 5 * time.Second
	r := newRig(t, nodetest.Options{}, set)
	_, err := r.send(transfer(0, 0))
	r.must(err)
	r.chain.Mine()
	r.chain.Fail(sendRaw, &nodetest.RPCError{Code: -32000, Message: "txpool is full"}, 1_000_000)
	hash, err := r.send(transfer(0, 1)) // signed, hash shown
	r.must(err)
	r.external(0, 1)
	r.waitFor("waits for proof", func() bool {
		senders, err := r.db.Senders(context.Background())
		r.must(err)
		rep, err := r.mgr.Operate(context.Background(), senders[0].ID, Operation{Action: Explain})
		return err == nil && rep.Parked != ""
	})
	if s := r.state(hash); s == store.Displaced {
		t.Fatal("displaced without proof")
	}
	r.chain.ClearFaults()
	for range 4 {
		r.chain.Mine()
		time.Sleep(20 * time.Millisecond)
	}
	r.waitFor("displaced", func() bool { return r.state(hash) == store.Displaced })
	next, err := r.send(transfer(0, 2))
	r.must(err)
	r.chain.Mine()
	mined := r.chain.Mined(addr(0))
	if len(mined) != 3 || mined[2].Hash() != next {
		t.Fatalf("%d mined", len(mined))
	}
}

// No. 18: an authorisation signed by an account of ours is refused.
func TestAuthorisationOfOurAccountIsRefused(t *testing.T) {
	r := newRig(t, nodetest.Options{}, fast())
	k, _ := nodetest.Key(1)
	authorisation, err := types.SignSetCode(k, types.SetCodeAuthorization{Address: common.HexToAddress("0xdd"), Nonce: 0})
	r.must(err)
	args := transfer(0, 0)
	gas := uint64(100_000)
	args.Gas, args.AuthorizationList = &gas, []types.SetCodeAuthorization{authorisation}
	_, err = r.send(args)
	wantRefused(t, err, "an account of this signer")
}

// No. 11: a signature that comes after its attempt was voided is not stored.
func TestLateSignatureOfAVoidAttemptIsDropped(t *testing.T) {
	set := fast()
	set.SendTimeout = 2500 * time.Millisecond
	r := newRig(t, nodetest.Options{}, set)
	_, err := r.send(transfer(0, 0))
	r.must(err)
	r.hsm.set(func(h *hsm) { h.delay = func(int) time.Duration { return 4 * time.Second } })
	_, err = r.send(transfer(0, 1)) // cancelled at its deadline
	if err == nil {
		t.Fatal("no error")
	}
	r.hsm.set(func(h *hsm) { h.delay = nil })
	hash, err := r.send(transfer(0, 2))
	r.must(err)
	time.Sleep(2500 * time.Millisecond)
	r.chain.Mine()
	r.checkChain(0, 2, []common.Hash{hash})
	if got := len(r.chain.Received()); got != 2 {
		t.Errorf("%d transactions were sent", got)
	}
}
