// SPDX-License-Identifier: Apache-2.0

package nodetest_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"encoding/json"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum"
	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/ethclient"
	"go.uber.org/goleak"

	"github.com/hsmsigner/hsmsigner/internal/node/nodetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func chain(t *testing.T, opts nodetest.Options) (*nodetest.Chain, *ethclient.Client) {
	t.Helper()
	_, rich := nodetest.Key(0)
	if opts.Alloc == nil {
		opts.Alloc = map[common.Address]*big.Int{rich: nodetest.Ether(1000)}
	}
	c := nodetest.New(t, opts)
	t.Cleanup(http.DefaultClient.CloseIdleConnections)
	cl, err := ethclient.Dial(c.URL())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(cl.Close)
	return c, cl
}

func tx(t *testing.T, key *ecdsa.PrivateKey, nonce uint64, price int64) *types.Transaction {
	t.Helper()
	to := common.Address{0x42}
	signed, err := types.SignNewTx(key, types.LatestSignerForChainID(big.NewInt(1337)), &types.DynamicFeeTx{
		ChainID: big.NewInt(1337), Nonce: nonce, To: &to, Value: big.NewInt(1), Gas: 21000,
		GasTipCap: big.NewInt(price), GasFeeCap: big.NewInt(price + 1e9),
	})
	if err != nil {
		t.Fatal(err)
	}
	return signed
}

func send(t *testing.T, cl *ethclient.Client, txs ...*types.Transaction) {
	t.Helper()
	for _, x := range txs {
		if err := cl.SendTransaction(t.Context(), x); err != nil {
			t.Fatalf("nonce %d: %v", x.Nonce(), err)
		}
	}
}

func refused(t *testing.T, cl *ethclient.Client, x *types.Transaction, want string) {
	t.Helper()
	if err := cl.SendTransaction(t.Context(), x); err == nil || err.Error() != want {
		t.Errorf("nonce %d: %v, want %s", x.Nonce(), err, want)
	}
}

// TestGethsClientUnderstandsTheFake reads everything with ethclient, which
// checks what it gets.
func TestGethsClientUnderstandsTheFake(t *testing.T) {
	c, cl := chain(t, nodetest.Options{})
	key, rich := nodetest.Key(0)
	one := tx(t, key, 0, 1e9)
	send(t, cl, one)
	if _, pending, err := cl.TransactionByHash(t.Context(), one.Hash()); err != nil || !pending {
		t.Error(pending, err)
	}
	c.Mine()
	block, err := cl.BlockByNumber(t.Context(), nil)
	if err != nil || len(block.Transactions()) != 1 || block.Transactions()[0].Hash() != one.Hash() {
		t.Fatal(block, err)
	}
	if _, hash := c.Head(); block.Hash() != hash || block.ParentHash() != c.Genesis() {
		t.Error("hashes of blocks are not those of their headers")
	}
	receipt, err := cl.TransactionReceipt(t.Context(), one.Hash())
	if err != nil || receipt.Status != 1 || receipt.BlockHash != block.Hash() || receipt.EffectiveGasPrice.Int64() != 2e9 {
		t.Error(receipt, err)
	}
	if n, err := cl.NonceAt(t.Context(), rich, nil); err != nil || n != 1 {
		t.Error(n, err)
	}
	if h, err := cl.FeeHistory(t.Context(), 2, nil, []float64{50}); err != nil || len(h.BaseFee) != 3 || h.Reward[1][0].Int64() != 1e9 {
		t.Error(h, err)
	}
	if g, err := cl.EstimateGas(t.Context(), ethereum.CallMsg{From: rich, To: &common.Address{}, Data: []byte{0, 1}}); err != nil || g != 21020 {
		t.Error(g, err)
	}
	if id, err := cl.ChainID(t.Context()); err != nil || id.Int64() != 1337 {
		t.Error(id, err)
	}
}

func TestPoolKeepsGethsRules(t *testing.T) {
	c, cl := chain(t, nodetest.Options{MinTip: big.NewInt(1000)})
	key, rich := nodetest.Key(0)
	poor, _ := nodetest.Key(1)
	send(t, cl, tx(t, key, 0, 1e9), tx(t, key, 2, 1e9))
	if n, _ := cl.PendingNonceAt(t.Context(), rich); n != 1 {
		t.Errorf("pending nonce %d with a gap at 1", n)
	}
	refused(t, cl, tx(t, key, 0, 1e9), "already known")
	refused(t, cl, tx(t, key, 0, 1e9+1e8-1), "replacement transaction underpriced")
	refused(t, cl, tx(t, key, 1, 999), "transaction gas price below minimum: gas tip cap 999, minimum needed 1000")
	refused(t, cl, tx(t, poor, 0, 1e9), "insufficient funds for gas * price + value: balance 0, tx cost 42000000000001, overshot 42000000000001")
	replacement := tx(t, key, 0, 2e9)
	send(t, cl, replacement, tx(t, key, 1, 1e9))
	if n, _ := cl.PendingNonceAt(t.Context(), rich); n != 3 {
		t.Errorf("pending nonce %d without a gap", n)
	}
	c.Mine()
	mined := c.Mined(rich)
	if len(mined) != 3 || mined[0].Hash() != replacement.Hash() || mined[2].Nonce() != 2 || len(c.Pool(rich)) != 0 {
		t.Errorf("mined %d, pooled %d", len(mined), len(c.Pool(rich)))
	}
	refused(t, cl, tx(t, key, 1, 1e9), "nonce too low: next nonce 3, tx nonce 1")
	if n := len(c.Received()); n != 9 {
		t.Errorf("received %d", n)
	}
}

func TestGappedTransactionsBeyondTheQueueAreDroppedInSilence(t *testing.T) {
	c, cl := chain(t, nodetest.Options{})
	key, rich := nodetest.Key(0)
	for n := uint64(1); n <= 70; n++ {
		send(t, cl, tx(t, key, n, 1e9))
	}
	pool := c.Pool(rich)
	if len(pool) != 64 || pool[63].Nonce() != 64 {
		t.Errorf("%d pooled", len(pool))
	}
}

func TestBalanceCoversTheWholePool(t *testing.T) {
	key, rich := nodetest.Key(0)
	_, cl := chain(t, nodetest.Options{Alloc: map[common.Address]*big.Int{rich: big.NewInt(2 * 42000000000001)}})
	send(t, cl, tx(t, key, 0, 1e9), tx(t, key, 1, 1e9))
	if err := cl.SendTransaction(t.Context(), tx(t, key, 2, 1e9)); err == nil {
		t.Error("a third one was taken")
	}
}

func TestReorgPutsTransactionsBackOrNot(t *testing.T) {
	for _, vanish := range []bool{false, true} {
		c, cl := chain(t, nodetest.Options{})
		key, rich := nodetest.Key(0)
		send(t, cl, tx(t, key, 0, 1e9))
		c.Mine()
		send(t, cl, tx(t, key, 1, 1e9))
		c.Mine()
		height, was := c.Head()
		if err := c.Reorg(1, vanish); err != nil {
			t.Fatal(err)
		}
		block, err := cl.BlockByNumber(t.Context(), new(big.Int).SetUint64(height))
		if err != nil || block.Hash() == was || c.Nonce(rich) != 1 {
			t.Errorf("block %v, nonce %d, %v", block, c.Nonce(rich), err)
		}
		c.Mine()
		if want := map[bool]int{false: 2, true: 1}[vanish]; len(c.Mined(rich)) != want {
			t.Errorf("vanish %v: %d mined, want %d", vanish, len(c.Mined(rich)), want)
		}
		if c.Reorg(1000, false) == nil {
			t.Error("a reorg deeper than the chain")
		}
	}
}

func TestExternalTakesTheNonce(t *testing.T) {
	c, cl := chain(t, nodetest.Options{})
	key, rich := nodetest.Key(0)
	ours, theirs := tx(t, key, 0, 1e9), tx(t, key, 0, 5e9)
	send(t, cl, ours)
	if err := c.External(theirs); err != nil {
		t.Fatal(err)
	}
	if m := c.Mined(rich); len(m) != 1 || m[0].Hash() != theirs.Hash() || len(c.Pool(rich)) != 0 {
		t.Error("mined", m)
	}
	if c.External(theirs) == nil {
		t.Error("the same nonce twice")
	}
}

func TestResetStartsAnotherChain(t *testing.T) {
	c, cl := chain(t, nodetest.Options{})
	key, rich := nodetest.Key(0)
	was := c.Genesis()
	send(t, cl, tx(t, key, 0, 1e9))
	c.Mine()
	c.Reset()
	if c.Genesis() == was || c.Nonce(rich) != 0 || len(c.Mined(rich)) != 0 || c.Balance(rich).Cmp(nodetest.Ether(1000)) != 0 {
		t.Error("something is left of the old chain")
	}
}

func TestAutomineAndIntervals(t *testing.T) {
	c, cl := chain(t, nodetest.Options{Automine: true, BlockTxs: 1})
	key, rich := nodetest.Key(0)
	send(t, cl, tx(t, key, 1, 1e9), tx(t, key, 0, 1e9))
	if n := c.Nonce(rich); n != 2 {
		t.Errorf("nonce %d", n)
	}
	c, _ = chain(t, nodetest.Options{Interval: 5 * time.Millisecond})
	for range 3000 {
		if n, _ := c.Head(); n >= 3 {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Error("no blocks")
}

func TestHistoryIsKept(t *testing.T) {
	c, cl := chain(t, nodetest.Options{})
	key, rich := nodetest.Key(0)
	for n := range uint64(5) {
		send(t, cl, tx(t, key, n, 1e9))
		c.Mine()
	}
	for n := range int64(6) {
		if got, err := cl.NonceAt(t.Context(), rich, big.NewInt(n)); err != nil || got != uint64(n) {
			t.Errorf("nonce in block %d: %d %v", n, got, err)
		}
	}
	if h, err := cl.HeaderByNumber(t.Context(), big.NewInt(-3)); err != nil || h.Number.Int64() != 3 { // finalized
		t.Error(h, err)
	}
}

func TestLiesAndForgetfulness(t *testing.T) {
	c, cl := chain(t, nodetest.Options{})
	key, rich := nodetest.Key(0)
	c.LieNonce(rich, 1000, 1001)
	if l, _ := cl.NonceAt(t.Context(), rich, nil); l != 1000 {
		t.Error(l)
	}
	if p, _ := cl.PendingNonceAt(t.Context(), rich); p != 1001 {
		t.Error(p)
	}
	c.TellTruth(rich)
	if l, _ := cl.NonceAt(t.Context(), rich, nil); l != 0 {
		t.Error(l)
	}
	c.Forget(1)
	send(t, cl, tx(t, key, 0, 1e9))
	if len(c.Pool(rich)) != 0 {
		t.Error("pooled, though it was to be forgotten")
	}
	send(t, cl, tx(t, key, 0, 1e9), tx(t, key, 1, 1e9))
	if !c.DropFromPool(tx(t, key, 0, 1e9).Hash()) || c.DropFromPool(common.Hash{}) {
		t.Error("DropFromPool")
	}
	if p, _ := cl.PendingNonceAt(t.Context(), rich); p != 0 || len(c.Pool(rich)) != 1 {
		t.Error(p, len(c.Pool(rich)))
	}
	c.SetChainID(7)
	refused(t, cl, tx(t, key, 0, 1e9), "invalid sender: invalid chain id for signer: have 1337 want 7")
}

func TestFaultsAtTheWire(t *testing.T) {
	c, cl := chain(t, nodetest.Options{})
	key, rich := nodetest.Key(0)
	c.Drop("eth_sendRawTransaction", 1)
	if err := cl.SendTransaction(t.Context(), tx(t, key, 0, 1e9)); err == nil || len(c.Pool(rich)) != 1 {
		t.Error("dropped:", err, len(c.Pool(rich)))
	}
	c.Fail("eth_sendRawTransaction", &nodetest.RPCError{Code: -32000, Message: "txpool is full"}, 1)
	refused(t, cl, tx(t, key, 1, 1e9), "txpool is full")
	send(t, cl, tx(t, key, 1, 1e9))
	release := c.Hang("eth_chainId")
	short, cancel := context.WithCancel(t.Context())
	defer cancel()
	go func() {
		defer cancel()
		for c.Calls("eth_chainId") == 0 && t.Context().Err() == nil {
			time.Sleep(10 * time.Millisecond)
		}
	}()
	if _, err := cl.ChainID(short); err == nil {
		t.Error("no hang")
	}
	release()
	release()
	if _, err := cl.ChainID(t.Context()); err != nil {
		t.Error(err)
	}
	c.Garbage("eth_chainId", []byte("<html>"), 1)
	if _, err := cl.ChainID(t.Context()); err == nil {
		t.Error("no garbage")
	}
	c.HTTP(nodetest.Any, 503, []byte("busy"), nodetest.Forever)
	if _, err := cl.ChainID(t.Context()); err == nil {
		t.Error("no 503")
	}
	c.ClearFaults()
	c.Delay("eth_chainId", 50*time.Millisecond)
	start := time.Now()
	if _, err := cl.ChainID(t.Context()); err != nil || time.Since(start) < 50*time.Millisecond {
		t.Error(err, time.Since(start))
	}
	if n := c.Calls("eth_chainId"); n != 5 {
		t.Errorf("%d calls", n)
	}
}

func TestListensOnLoopbackOnly(t *testing.T) {
	if c, err := nodetest.Start(nodetest.Options{Listen: "0.0.0.0:0"}); err == nil {
		c.Close()
		t.Error("listens for the world")
	}
}

func TestConcurrentSendersAndMiner(t *testing.T) {
	alloc := make(map[common.Address]*big.Int)
	for i := range 8 {
		_, addr := nodetest.Key(i)
		alloc[addr] = nodetest.Ether(10)
	}
	c, cl := chain(t, nodetest.Options{Alloc: alloc, Interval: 5 * time.Millisecond})
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			key, _ := nodetest.Key(i)
			for n := range uint64(50) {
				if err := cl.SendTransaction(t.Context(), tx(t, key, n, 1e9)); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	c.Mine()
	for i := range 8 {
		_, addr := nodetest.Key(i)
		if n := c.Nonce(addr); n != 50 {
			t.Errorf("sender %d: nonce %d", i, n)
		}
	}
}

// BenchmarkSendBatch says how many transactions a second the fake takes in
// batches of 100, from one sender whose pool grows.
func BenchmarkSendBatch(b *testing.B) {
	key, rich := nodetest.Key(0)
	c, err := nodetest.Start(nodetest.Options{Alloc: map[common.Address]*big.Int{rich: nodetest.Ether(1e9)}})
	if err != nil {
		b.Fatal(err)
	}
	defer c.Close()
	signer := types.LatestSignerForChainID(big.NewInt(1337))
	var bodies [][]byte
	for n := 0; n < b.N; n += 100 {
		var reqs []map[string]any
		for i := range 100 {
			signed, _ := types.SignNewTx(key, signer, &types.LegacyTx{Nonce: uint64(n + i), To: &rich, Gas: 21000, GasPrice: big.NewInt(2e9)})
			raw, _ := signed.MarshalBinary()
			reqs = append(reqs, map[string]any{"jsonrpc": "2.0", "id": i, "method": "eth_sendRawTransaction", "params": []string{fmt.Sprintf("0x%x", raw)}})
		}
		body, _ := json.Marshal(reqs)
		bodies = append(bodies, body)
	}
	b.ResetTimer()
	for _, body := range bodies {
		resp, err := http.Post(c.URL(), "application/json", bytes.NewReader(body))
		if err != nil {
			b.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, resp.Body)
		resp.Body.Close()
	}
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "tx/s")
	http.DefaultClient.CloseIdleConnections()
}
