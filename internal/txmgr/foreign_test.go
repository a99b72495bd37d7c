// SPDX-License-Identifier: Apache-2.0

package txmgr

import (
	"context"
	"math/big"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/node"
	"github.com/hsmsigner/hsmsigner/internal/node/nodetest"
	"github.com/hsmsigner/hsmsigner/internal/policy"
	"github.com/hsmsigner/hsmsigner/internal/store"
	"github.com/hsmsigner/hsmsigner/internal/wallet"
)

// Anybody sees the bytes of a transaction in the public pool. Sent through a wallet
// of another membership, whose vault only lists the address and whose node is its
// own, they must not bring the sender there.
func TestBytesFromThePoolDoNotBringASenderToAnotherMembership(t *testing.T) { // No. 23
	r := newRig(t, nodetest.Options{}, fast())
	hash, err := r.send(transfer(0, 1))
	r.must(err)
	row, err := r.db.TxByHash(t.Context(), hash)
	r.must(err)
	attempts, err := r.db.Attempts(t.Context(), row.ID)
	r.must(err)

	theirs := nodetest.New(t, nodetest.Options{Automine: true, DefaultBalance: nodetest.Ether(1000)})
	client, err := node.New(node.Config{URL: theirs.URL(), ChainID: 1337, Timeout: 5 * time.Second, Logger: r.logger()})
	r.must(err)
	t.Cleanup(client.Close)
	keys, err := wallet.Open(t.Context(), wallet.Config{
		Name: "theirs", ChainID: big.NewInt(1337), Backend: liar{newHSM(3)}, Policy: policy.AllowAll{},
		Log: r.db, Snapshots: r.db, Logger: r.logger(), SignTimeout: time.Second,
	})
	r.must(err)
	t.Cleanup(func() { _ = keys.Close() })
	_, err = keys.Refresh(t.Context())
	r.must(err)
	w := r.mgr.Bind(Binding{Name: "theirs", Keys: keys, Node: client, ChainID: 1337, Membership: "other", Settings: r.set})

	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
	defer cancel()
	if _, _, err := w.SendRaw(ctx, caller, attempts[len(attempts)-1].Raw); err == nil {
		t.Error("the bytes were taken")
	}
	if s := r.mgr.loaded(r.senderID(0), "other"); s != nil && s.row.Membership != "other" {
		t.Error("the sender works through a wallet of another membership")
	}
	if n := theirs.Calls("eth_sendRawTransaction"); n != 0 {
		t.Errorf("the other membership's node was sent %d transactions", n)
	}
	r.chain.Mine()
	r.waitFor("mined on its own chain", func() bool {
		row, err := r.db.TxByHash(t.Context(), hash)
		return err == nil && (row.State == store.Mined || row.State == store.Confirmed) && len(r.chain.Mined(addr(0))) == 1
	})
}

// Unbind promises to wait for callers under way. Another wallet through which their
// sender works may end before.
func TestCallerOfAWalletThatIsBeingUnboundIsWaitedForWhoeverEndsFirst(t *testing.T) {
	for _, third := range []string{"none", "whose node is not known yet"} {
		t.Run(third, func(t *testing.T) {
			r := newRig(t, nodetest.Options{Automine: true}, fast())
			_, err := r.send(transfer(0, 1)) // the sender works through the first
			r.must(err)
			gate := make(chan struct{})
			r.hsm.set(func(h *hsm) { h.gate = gate })
			first := r.w
			r.w = r.bindAgain()
			outcome := r.begun(store.Assigned)
			if third != "none" {
				e := r.chain.AddEndpoint(t)
				defer e.Hang("eth_chainId")()
				c, err := node.New(node.Config{URL: e.URL(), ChainID: 1337, Timeout: 10 * time.Second})
				r.must(err)
				defer c.Close()
				r.mgr.Bind(Binding{Name: "main", Keys: r.wallet, Node: c, ChainID: 1337, Settings: r.set})
			}
			second := make(chan error, 1)
			go func() {
				ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 15*time.Second)
				defer cancel()
				second <- r.w.Unbind(ctx)
			}()
			r.waitFor("unbinding", func() bool { _, err := r.w.PendingNonce(t.Context(), addr(0)); return err != nil })
			r.unbind(first, 5*time.Second)
			r.hsm.set(func(h *hsm) { h.gate = nil })
			close(gate)
			got := <-outcome
			if got.err != nil {
				t.Errorf("told %v although its wallet still waits for it", got.err)
			}
			r.must(<-second)
		})
	}
}

// What the old node's chain has told and the sender has not yet heard when it turns
// to another node must not count there.
func TestBlocksOfTheFormerNodeDoNotCountAfterTheTurn(t *testing.T) {
	r := newRig(t, nodetest.Options{}, fast())
	hash, err := r.send(transfer(0, 1))
	r.must(err)
	s := r.mgr.sendersIn("default")[0]
	second, err := node.New(node.Config{URL: r.chain.AddEndpoint(t).URL(), ChainID: 1337, Timeout: 10 * time.Second})
	r.must(err)
	defer second.Close()
	first := r.w
	r.w = r.mgr.Bind(Binding{Name: "main", Keys: r.wallet, Node: second, ChainID: 1337, Settings: r.set})
	_, err = r.w.PendingNonce(t.Context(), addr(0))
	r.must(err)
	r.waitFor("the second node's chain", func() bool { return r.w.chain.id.Load() != nil && r.w.chain.current().Hash != (common.Hash{}) })
	r.unbind(first, 5*time.Second)
	r.waitFor("the turn", func() bool { return s.via() == r.w })
	// It was reading receipts of a block as the sender turned.
	told := make(chan struct{})
	first.chain.post(s, func(s *sender) {
		s.minedAll([]*node.Receipt{{TxHash: hash, BlockNumber: 1, BlockHash: common.Hash{7}, Status: 1}})
	})
	s.postBlock(func() { close(told) })
	<-told
	row, err := r.db.TxByHash(t.Context(), hash)
	r.must(err)
	if row.State == store.Mined || row.BlockHash != (common.Hash{}) {
		t.Errorf("it is %s, in a block that its node does not have", row.State)
	}
}
