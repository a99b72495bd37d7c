// SPDX-License-Identifier: Apache-2.0

package node_test

import (
	"context"
	"crypto/ecdsa"
	"io"
	"math/big"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	"go.uber.org/goleak"

	"github.com/hsmsigner/hsmsigner/internal/node"
	"github.com/hsmsigner/hsmsigner/internal/node/nodetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// client makes a client of a URL that is closed with the test.
func client(t *testing.T, cfg node.Config) *node.Client {
	t.Helper()
	c, err := node.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// pair is a fake chain where key 0 is rich, and a client of it.
func pair(t *testing.T, opts nodetest.Options) (*nodetest.Chain, *node.Client) {
	t.Helper()
	_, rich := nodetest.Key(0)
	if opts.Alloc == nil {
		opts.Alloc = map[common.Address]*big.Int{rich: nodetest.Ether(1000)}
	}
	chain := nodetest.New(t, opts)
	return chain, client(t, node.Config{URL: chain.URL(), Timeout: 30 * time.Second})
}

// answering is a server that answers every request with what f makes of its body.
func answering(t *testing.T, f func(w http.ResponseWriter, body []byte)) string {
	t.Helper()
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		f(w, body)
	}))
	t.Cleanup(srv.Close)
	return srv.URL
}

func transfer(t *testing.T, key *ecdsa.PrivateKey, nonce uint64, change ...func(*types.DynamicFeeTx)) *types.Transaction {
	t.Helper()
	to := common.Address{0x42}
	inner := &types.DynamicFeeTx{
		ChainID: big.NewInt(1337), Nonce: nonce, To: &to, Value: big.NewInt(1), Gas: 21000,
		GasTipCap: big.NewInt(1e9), GasFeeCap: big.NewInt(3e9),
	}
	for _, c := range change {
		c(inner)
	}
	tx, err := types.SignNewTx(key, types.LatestSignerForChainID(inner.ChainID), inner)
	if err != nil {
		t.Fatal(err)
	}
	return tx
}

func raw(t *testing.T, tx *types.Transaction) []byte {
	t.Helper()
	b, err := tx.MarshalBinary()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func ctx(t *testing.T) context.Context {
	t.Helper()
	c, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	t.Cleanup(cancel)
	return c
}
