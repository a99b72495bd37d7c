// SPDX-License-Identifier: Apache-2.0

package devnet_test

import (
	"context"
	"crypto/ecdsa"
	"encoding/json"
	"math/big"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/crypto"
	"go.uber.org/goleak"

	"github.com/hsmsigner/hsmsigner/internal/devnet"
	"github.com/hsmsigner/hsmsigner/internal/node"
)

// TestMain finds goroutines that outlive Close, except two of go-ethereum's own:
// one set for the whole process, and goleveldb's, which ends 30 s after its
// database.
func TestMain(m *testing.M) {
	goleak.VerifyTestMain(
		m,
		goleak.IgnoreAnyFunction("github.com/ethereum/go-ethereum/core.(*txSenderCacher).cache"),
		goleak.IgnoreAnyFunction("github.com/syndtr/goleveldb/leveldb.(*DB).mpoolDrain"),
	)
}

func rich(t *testing.T) (*ecdsa.PrivateKey, common.Address) {
	t.Helper()
	key, err := crypto.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	return key, crypto.PubkeyToAddress(key.PublicKey)
}

func start(t *testing.T, opts devnet.Options) (*devnet.Devnet, *node.Client) {
	t.Helper()
	d, err := devnet.Start(opts)
	if err != nil {
		t.Fatal(err)
	}
	c, err := node.New(node.Config{URL: d.URL(), WSURL: d.WSURL(), Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		c.Close()
		if err := d.Close(); err != nil {
			t.Error(err)
		}
	})
	return d, c
}

func transfers(t *testing.T, key *ecdsa.PrivateKey, chain uint64, from, n uint64) (raws [][]byte, hashes []common.Hash) {
	t.Helper()
	to := common.Address{0x42}
	id := new(big.Int).SetUint64(chain)
	for nonce := from; nonce < from+n; nonce++ {
		tx, err := types.SignNewTx(key, types.LatestSignerForChainID(id), &types.DynamicFeeTx{
			ChainID: id, Nonce: nonce, To: &to, Value: big.NewInt(1), Gas: 21000,
			GasTipCap: big.NewInt(1e9), GasFeeCap: big.NewInt(3e9),
		})
		if err != nil {
			t.Fatal(err)
		}
		raw, err := tx.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		raws, hashes = append(raws, raw), append(hashes, tx.Hash())
	}
	return raws, hashes
}

func send(t *testing.T, c *node.Client, raws [][]byte) {
	t.Helper()
	for i, err := range c.SendRaw(context.Background(), raws) {
		if err != nil {
			t.Fatalf("transaction %d: %v", i, err)
		}
	}
}

func untilMined(t *testing.T, c *node.Client, addr common.Address, want uint64) {
	t.Helper()
	var n uint64
	for end := time.Now().Add(2 * time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		var err error
		if n, err = c.NonceAt(context.Background(), addr, "latest"); err != nil {
			t.Fatal(err)
		}
		if n == want {
			return
		}
	}
	t.Fatalf("%d mined, want %d", n, want)
}

// TestTwoThousandFromOneAccountNeedNoLargerPool: geth's default pool keeps them
// all, since they come in order and nobody else fills it.
func TestTwoThousandFromOneAccountNeedNoLargerPool(t *testing.T) {
	key, addr := rich(t)
	_, c := start(t, devnet.Options{Period: time.Hour, Alloc: map[common.Address]*big.Int{addr: big.NewInt(1e18)}})
	raws, hashes := transfers(t, key, 1337, 0, 2000)
	send(t, c, raws)
	latest, pending, _, err := c.Account(context.Background(), addr)
	if err != nil || latest != 0 || pending != 2000 {
		t.Fatal(latest, pending, err)
	}
	known, err := c.Known(context.Background(), hashes)
	if err != nil {
		t.Fatal(err)
	}
	for i, k := range known {
		if !k {
			t.Fatalf("transaction %d is not in the pool", i)
		}
	}
	if v := node.Classify(c.SendRaw(context.Background(), raws[:1])[0], hashes[0]); v != node.Known {
		t.Error(v)
	}
}

func TestMethodsThatTheSignerNeeds(t *testing.T) {
	key, addr := rich(t)
	d, c := start(t, devnet.Options{Period: 50 * time.Millisecond, Alloc: map[common.Address]*big.Int{addr: big.NewInt(1e18)}})
	ctx := context.Background()
	if id, err := c.Identity(ctx); err != nil || id != (node.Chain{ID: 1337, Genesis: d.Genesis()}) {
		t.Fatal(id, err)
	}
	heads := make(chan node.Head, 1000)
	sub, err := c.Subscribe(ctx, []byte(`["newHeads"]`), func(raw json.RawMessage) {
		var h node.Head
		if err := json.Unmarshal(raw, &h); err != nil {
			t.Error(err)
		}
		heads <- h
	})
	if err != nil {
		t.Fatal(err)
	}
	defer sub.Unsubscribe()
	raws, hashes := transfers(t, key, 1337, 0, 50)
	send(t, c, raws)
	untilMined(t, c, addr, 50)
	select {
	case h := <-heads:
		if h.Hash == (common.Hash{}) || h.Number == 0 || h.BaseFee == nil {
			t.Errorf("%+v", h)
		}
	case <-time.After(time.Minute):
		t.Error("no head")
	}
	r, err := c.Receipt(ctx, hashes[49])
	if err != nil || r == nil || r.Status != 1 {
		t.Fatal(r, err)
	}
	list, err := c.BlockReceipts(ctx, r.BlockHash)
	if err != nil || len(list) == 0 || list[r.Index].TxHash != hashes[49] {
		t.Error(list, err)
	}
	for _, tag := range []string{"pending", "latest", ""} {
		call := json.RawMessage(`{"from":"` + addr.Hex() + `","to":"` + addr.Hex() + `","value":"0x1"}`)
		if gas, err := c.EstimateGas(ctx, call, tag); err != nil || gas != 21000 {
			t.Errorf("estimate at %q: %d %v", tag, gas, err)
		}
	}
	if tip, err := c.SuggestTip(ctx); err != nil || tip.Sign() <= 0 {
		t.Error(tip, err)
	}
	if fee, err := c.BlobBaseFee(ctx); err != nil || fee.Sign() <= 0 {
		t.Error(fee, err)
	}
	if n, err := c.NonceAt(ctx, addr, "0x0"); err != nil || n != 0 {
		t.Error(n, err)
	}
}

func TestBlocksOnDemand(t *testing.T) {
	key, addr := rich(t)
	d, c := start(t, devnet.Options{ChainID: 4242, Alloc: map[common.Address]*big.Int{addr: big.NewInt(1e18)}})
	if d.ChainID() != 4242 {
		t.Error(d.ChainID())
	}
	for round := range uint64(5) {
		raws, _ := transfers(t, key, 4242, round*20, 20)
		send(t, c, raws)
	}
	untilMined(t, c, addr, 100)
	before, err := c.HeadAt(context.Background(), "latest")
	if err != nil {
		t.Fatal(err)
	}
	time.Sleep(1500 * time.Millisecond)
	if after, err := c.HeadAt(context.Background(), "latest"); err != nil || after.Number != before.Number {
		t.Error("blocks without transactions:", before.Number, after.Number, err)
	}
}

func TestGapIsMinedWhenItIsFilled(t *testing.T) {
	key, addr := rich(t)
	_, c := start(t, devnet.Options{Alloc: map[common.Address]*big.Int{addr: big.NewInt(1e18)}})
	raws, _ := transfers(t, key, 1337, 0, 3)
	send(t, c, raws[1:])
	send(t, c, raws[:1])
	untilMined(t, c, addr, 3)
}

func TestEveryStartIsAnotherChain(t *testing.T) {
	a, _ := start(t, devnet.Options{})
	b, _ := start(t, devnet.Options{})
	if a.Genesis() == b.Genesis() {
		t.Error("the same genesis block twice")
	}
}

func TestForeignHostHeaderIsRefused(t *testing.T) {
	d, _ := start(t, devnet.Options{})
	req, _ := http.NewRequest(http.MethodPost, d.URL(), strings.NewReader(`{}`))
	req.Host = "evil.example"
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.StatusCode != http.StatusForbidden {
		t.Error(resp.Status)
	}
}

func TestBadOptions(t *testing.T) {
	for want, opts := range map[string]devnet.Options{
		`devnet: address "0.0.0.0:0" is not loopback: anybody who reaches it could use this chain (--allow-remote permits it)`: {HTTP: "0.0.0.0:0"},
		`devnet: address "8546": want host:port, such as 127.0.0.1:8546`:                                                       {HTTP: "8546"},
		`devnet: address "127.0.0.1:x": the port must be a number from 0 to 65535`:                                             {HTTP: "127.0.0.1:x"},
		`devnet: address "example.org:1": the host must be an IP address or localhost`:                                         {HTTP: "example.org:1"},
		`devnet: the period must not be negative`:                                                                              {Period: -1},
	} {
		d, err := devnet.Start(opts)
		if err == nil {
			d.Close()
		}
		if err == nil || err.Error() != want {
			t.Errorf("%v, want %s", err, want)
		}
	}
	d, _ := start(t, devnet.Options{})
	taken := strings.TrimPrefix(d.URL(), "http://")
	if second, err := devnet.Start(devnet.Options{HTTP: taken}); err == nil {
		second.Close()
		t.Error("two on one port")
	} else if !strings.Contains(err.Error(), "address already in use") {
		t.Error(err)
	}
}
