// SPDX-License-Identifier: Apache-2.0

package txmgr

import (
	"context"
	"errors"
	"math/big"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/crypto"

	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/node/nodetest"
	"github.com/hsmsigner/hsmsigner/internal/policy"
	"github.com/hsmsigner/hsmsigner/internal/store"
	"github.com/hsmsigner/hsmsigner/internal/wallet"
)

// bindTo adds a wallet of another membership, over a backend of its own.
func (r *rig) bindTo(membership, name string, backend key.Backend) *Wallet {
	r.t.Helper()
	ctx := context.Background()
	keys, err := wallet.Open(ctx, wallet.Config{
		Name: name, ChainID: big.NewInt(1337), Backend: backend, Policy: policy.AllowAll{}, Freeze: r.freeze, Log: r.db,
		Snapshots: r.db, Logger: r.logger(), SignTimeout: time.Second,
	})
	r.must(err)
	r.t.Cleanup(func() { _ = keys.Close() })
	_, err = keys.Refresh(ctx)
	r.must(err)
	return r.mgr.Bind(Binding{Name: name, Keys: keys, Node: r.node, ChainID: 1337, Membership: membership, Settings: r.set})
}

// No. 23: a sender belongs to the membership that had it first; others that
// hold the very same key are refused it, in every order and over restarts.
func TestSenderOfAnotherMembershipIsRefused(t *testing.T) {
	r := newRig(t, nodetest.Options{}, fast())
	_, err := r.send(transfer(0, 1))
	r.must(err)
	for range 2 {
		other := r.bindTo("other", "theirs", newHSM(3))
		_, err = other.Send(context.Background(), caller, SendRequest{Args: transfer(0, 2)})
		wantRefused(t, err, "not available to this wallet")
		_, err = r.send(transfer(0, 3)) // the rightful one is not shut out by the attempt
		r.must(err)
		r.restart()
	}
	r.waitFor("mined", func() bool { r.chain.Mine(); return len(r.chain.Mined(addr(0))) == 3 })
}

// liar lists an address whose key it does not have.
type liar struct{ *hsm }

func (l liar) SignDigest(_ context.Context, _ key.Ref, digest [32]byte) (key.Signature, error) {
	k, _ := nodetest.Key(99)
	sig, err := crypto.Sign(digest[:], k)
	return key.Signature{R: [32]byte(sig[:32]), S: [32]byte(sig[32:64])}, err
}

// No. 23: a vault that merely lists an address does not get it, and leaves no
// claim behind that would keep its owner out.
func TestListingAnAddressDoesNotClaimIt(t *testing.T) {
	r := newRig(t, nodetest.Options{}, fast())
	theirs := r.bindTo("other", "theirs", liar{newHSM(3)})
	_, err := theirs.Send(context.Background(), caller, SendRequest{Args: transfer(0, 2)})
	var backend *BackendError
	if !errors.As(err, &backend) {
		t.Fatalf("got %v", err)
	}
	if all, err := r.db.Senders(context.Background()); err != nil || len(all) != 0 {
		t.Fatalf("senders %v, %v", all, err)
	}
	hash, err := r.send(transfer(0, 1))
	r.must(err)
	r.chain.Mine()
	r.checkChain(0, 1, []common.Hash{hash})
	row, err := r.db.Sender(context.Background(), r.senderID(0))
	r.must(err)
	if !row.Proven || row.Membership != "default" {
		t.Errorf("the sender is %+v", row)
	}
}

// No. 23: the proof is asked for once, and remembered.
func TestProofOfPossessionIsRemembered(t *testing.T) {
	r := newRig(t, nodetest.Options{}, fast())
	_, err := r.send(transfer(0, 1))
	r.must(err)
	r.restart()
	_, err = r.send(transfer(0, 2))
	r.must(err)
	if n := r.hsm.count(); n != 3 {
		t.Errorf("%d signatures, want the proof and two", n)
	}
}

// No. 2: given gas means no simulation.
func TestGivenGasIsNotSimulated(t *testing.T) {
	r := newRig(t, nodetest.Options{}, fast())
	_, err := r.send(transfer(0, 1))
	r.must(err)
	if n := r.chain.Calls("eth_estimateGas"); n != 0 {
		t.Errorf("%d estimates", n)
	}
}

// No. 3: refused for load only while nothing is stored, and a transaction
// that waited in vain for a nonce is cancelled for good.
func TestFullQueueAndVainWaitAreRefused(t *testing.T) {
	set := fast()
	set.Window, set.QueueLimit, set.SendTimeout = 1, 2, 5*time.Second
	r := newRig(t, nodetest.Options{}, set)
	_, err := r.send(transfer(0, 1))
	r.must(err)
	waits := []<-chan answerOf{r.begin(transfer(0, 2), ""), r.begin(transfer(0, 2), "")}
	r.waitFor("queue full", func() bool { return r.count(store.Queued) == 2 })
	_, err = r.send(transfer(0, 3))
	var busy *BusyError
	if !errors.As(err, &busy) || busy.HTTPStatus() != 429 {
		t.Fatalf("got %v", err)
	}
	for _, w := range waits {
		_, err := r.result(w)
		wantRefused(t, err, "given up unsent")
	}
	r.chain.Mine()
	last, err := r.send(transfer(0, 4))
	r.must(err)
	r.chain.Mine()
	r.checkChain(0, 2, []common.Hash{last})
	if n := r.values(0)[2] + r.values(0)[3]; n != 0 {
		t.Errorf("%d refused transactions were mined", n)
	}
}

// No. 4: the audit intent is on record with the acceptance.
func TestAcceptanceAndIntentAreOneCommit(t *testing.T) {
	r := newRig(t, nodetest.Options{}, fast())
	_, err := r.send(transfer(0, 1))
	r.must(err)
	gate := make(chan struct{})
	r.hsm.set(func(h *hsm) { h.gate = gate })
	wait := r.begin(transfer(0, 2), "")
	r.waitFor("assigned", func() bool { return r.count(store.Assigned) == 1 })
	rows, err := r.db.List(context.Background(), store.TxFilter{States: []store.TxState{store.Assigned}})
	r.must(err)
	intent, outcomes, err := r.db.AuditOf(context.Background(), rows[0].Intent)
	r.must(err)
	if intent.Subject != rows[0].ID || len(outcomes) != 0 {
		t.Errorf("intent %+v, outcomes %v", intent, outcomes)
	}
	close(gate)
	hash, err := r.result(wait)
	r.must(err)
	_, outcomes, err = r.db.AuditOf(context.Background(), rows[0].Intent)
	r.must(err)
	if len(outcomes) != 1 || outcomes[0].Hash != hash {
		t.Errorf("outcomes %+v", outcomes)
	}
}

// No. 9: raw transactions of our accounts can be refused altogether.
func TestRawTransactionsCanBeRefused(t *testing.T) {
	set := fast()
	set.RefuseRaw = true
	r := newRig(t, nodetest.Options{}, set)
	_, handled, err := r.w.SendRaw(context.Background(), caller, r.rawTx(0, 0, 1))
	if !handled {
		t.Fatal("passed on")
	}
	wantRefused(t, err, "takes no raw transactions")
}

// No. 9: a raw transaction whose turn did not come can be handed in again.
func TestRawTransactionThatFailedCanComeAgain(t *testing.T) {
	set := fast()
	set.SendTimeout = 4 * time.Second
	r := newRig(t, nodetest.Options{}, set)
	raw := r.rawTx(0, 1, 7)
	_, _, err := r.w.SendRaw(context.Background(), caller, raw)
	wantRefused(t, err, "ahead of its turn")
	first, err := r.send(transfer(0, 1))
	r.must(err)
	hash, _, err := r.w.SendRaw(context.Background(), caller, raw)
	r.must(err)
	again, _, err := r.w.SendRaw(context.Background(), caller, raw)
	r.must(err)
	if again != hash {
		t.Error("another hash for the same bytes")
	}
	r.chain.Mine()
	r.checkChain(0, 2, []common.Hash{first, hash})
}
