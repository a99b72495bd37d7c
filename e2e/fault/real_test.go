// SPDX-License-Identifier: Apache-2.0

package fault

import (
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/ethereum/go-ethereum/accounts/keystore"
	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/params"
)

// A real second payment, made with the stolen key behind the daemon's back, and a
// hash that was promised and never sent: the checker finds both on the real chain
// and in the real database.
func TestCheckerFindsADoubleSendAndALossOnTheRealChain(t *testing.T) {
	c := begin(t, Options{Senders: 1})
	requests := send(t.Context(), Load{Requests: 10, Clients: 5}, c.seed, c.urls(), c.Senders)
	c.judge(t, requests)

	files, err := os.ReadDir(filepath.Join(c.dir, "keys"))
	if err != nil || len(files) != 1 {
		t.Fatal(files, err)
	}
	text, err := os.ReadFile(filepath.Join(c.dir, "keys", files[0].Name()))
	if err != nil {
		t.Fatal(err)
	}
	key, err := keystore.DecryptKey(text, "only for tests")
	if err != nil {
		t.Fatal(err)
	}
	double, err := types.SignNewTx(key.PrivateKey, types.LatestSignerForChainID(big.NewInt(chainID)), &types.DynamicFeeTx{
		ChainID: big.NewInt(chainID), Nonce: uint64(len(requests)), To: &common.Address{0xfa}, Gas: 30_000, Data: requests[3].Tag,
		GasTipCap: big.NewInt(params.GWei), GasFeeCap: big.NewInt(100 * params.GWei),
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.rig.Eth.SendTransaction(t.Context(), double); err != nil {
		t.Fatal(err)
	}
	waitFor(t, "the double to be mined", readyTimeout, func() bool {
		n, err := c.rig.Eth.NonceAt(t.Context(), c.Senders[0], nil)
		return err == nil && n == uint64(len(requests))+1
	})
	requests[5].Hashes = []common.Hash{{0xde, 0xad}}

	e := Evidence{Senders: c.Senders, Requests: requests}
	if err := c.gather(t.Context(), &e); err != nil {
		t.Fatal(err)
	}
	found := Judge(e)
	for _, want := range []string{RuleOnce, RuleStored, RuleHash} {
		if !slices.ContainsFunc(found, func(v Violation) bool { return v.Rule == want }) {
			t.Errorf("%q was not found: %v", want, found)
		}
	}
}
