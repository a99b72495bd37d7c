// SPDX-License-Identifier: Apache-2.0

package txmgr

import (
	"context"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"

	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/key/hashicorp"
	"github.com/hsmsigner/hsmsigner/internal/key/hashicorp/vaultfake"
	"github.com/hsmsigner/hsmsigner/internal/node/nodetest"
	"github.com/hsmsigner/hsmsigner/internal/tx"
)

// newEthsignRig is a rig whose keys are behind Kaleido's ethsign plugin, which signs
// whole legacy transactions and nothing else.
func newEthsignRig(t *testing.T, opts nodetest.Options) (*rig, common.Address) {
	t.Helper()
	vault := vaultfake.New(1)
	t.Cleanup(vault.Close)
	opts.DefaultBalance = nodetest.Ether(1000)
	r := &rig{t: t, dir: t.TempDir(), chain: nodetest.New(t, opts), hsm: newHSM(0), set: fast()}
	r.backend = func() key.Backend {
		b, err := hashicorp.Open(t.Context(), hashicorp.Config{
			Address: vault.URL(), Mount: "ethereum", Engine: hashicorp.Ethsign, Token: func() (string, error) { return vaultfake.Token, nil },
		})
		r.must(err)
		return b
	}
	r.start()
	t.Cleanup(r.stop)
	return r, common.HexToAddress(vault.Addresses()[0])
}

// Whatever is filled in for such a wallet is a legacy transaction, the self-transfers
// that close a gap too: with another kind its sender would be stuck for good.
func TestBackendOfLegacyTransactionsIsGivenNoOther(t *testing.T) {
	r, from := newEthsignRig(t, nodetest.Options{Interval: 30 * time.Millisecond})
	plain := func(wei int64) tx.Args {
		args := transfer(0, wei)
		args.From, args.MaxFeePerGas, args.MaxPriorityFeePerGas = from, nil, nil
		return args
	}
	r.chain.LieNonce(from, 3, 3) // what is sent hangs above a gap, which is filled later
	for i := range int64(4) {
		_, err := r.send(plain(100 + i))
		r.must(err)
	}
	r.chain.TellTruth(from)
	r.waitFor("all mined", func() bool { return len(r.chain.Mined(from)) == 7 })
	for _, mined := range r.chain.Mined(from) {
		if mined.Type() != types.LegacyTxType {
			t.Errorf("nonce %d has type %d", mined.Nonce(), mined.Type())
		}
	}

	args := plain(1)
	args.MaxFeePerGas, args.MaxPriorityFeePerGas = big.NewInt(3e9), big.NewInt(1e9)
	_, err := r.send(args)
	if err == nil || !strings.Contains(err.Error(), "legacy transactions only") {
		t.Errorf("a transaction with maxFeePerGas: %v", err)
	}
	args = plain(2)
	access := types.AccessList{}
	args.AccessList = &access
	if _, err := r.w.Send(context.Background(), caller, SendRequest{Args: args}); err == nil || !strings.Contains(err.Error(), "legacy transactions only") {
		t.Errorf("a transaction with an access list: %v", err)
	}
	if r.free(from) != 7 {
		t.Error("a refused transaction has taken a nonce")
	}
}

// free is the next nonce of an account.
func (r *rig) free(from common.Address) uint64 {
	r.t.Helper()
	id, err := r.node.Identity(context.Background())
	r.must(err)
	s := r.mgr.at(context.Background(), SenderID(id, "", from))
	n, known := s.nextFree()
	if !known {
		r.t.Fatal("the next nonce is not known")
	}
	return n
}
