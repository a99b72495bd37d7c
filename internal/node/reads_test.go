// SPDX-License-Identifier: Apache-2.0

package node_test

import (
	"encoding/json"
	"errors"
	"math/big"
	"net/http"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/node"
	"github.com/hsmsigner/hsmsigner/internal/node/nodetest"
)

func TestReadsOfAChain(t *testing.T) {
	chain, c := pair(t, nodetest.Options{})
	key, rich := nodetest.Key(0)
	other := common.Address{0x42}
	chain.SetCode(other, []byte{0x60})
	first, second := transfer(t, key, 0), transfer(t, key, 1)
	if errs := c.SendRaw(ctx(t), [][]byte{raw(t, first)}); errs[0] != nil {
		t.Fatal(errs)
	}
	chain.Mine()
	if errs := c.SendRaw(ctx(t), [][]byte{raw(t, second)}); errs[0] != nil {
		t.Fatal(errs)
	}

	latest, pending, balance, err := c.Account(ctx(t), rich)
	if err != nil || latest != 1 || pending != 2 || balance.Cmp(nodetest.Ether(1000)) >= 0 || balance.Cmp(nodetest.Ether(999)) < 0 {
		t.Errorf("account: %d %d %s %v", latest, pending, balance, err)
	}
	head, err := c.HeadAt(ctx(t), "latest")
	number, hash := chain.Head()
	if err != nil || head.Number != number || head.Hash != hash || head.ParentHash != chain.Genesis() ||
		head.BaseFee.Cmp(big.NewInt(1e9)) != 0 || head.GasLimit != 30_000_000 || head.GasUsed != 21000 || head.Time == 0 {
		t.Errorf("head: %+v %v", head, err)
	}
	if h, err := c.HeadAt(ctx(t), "pending"); err != nil || h.Number != 2 || h.Hash != (common.Hash{}) {
		t.Errorf("pending head: %+v %v", h, err)
	}
	if h, err := c.HeaderByNumber(ctx(t), 0); err != nil || h.Hash != chain.Genesis() {
		t.Errorf("genesis: %+v %v", h, err)
	}
	if _, err := c.HeaderByNumber(ctx(t), 1000); !errors.Is(err, node.ErrNotFound) {
		t.Error(err)
	}
	for _, read := range []func() (node.Block, error){
		func() (node.Block, error) { return c.Block(ctx(t), 1) },
		func() (node.Block, error) { return c.BlockByHash(ctx(t), hash) },
	} {
		if b, err := read(); err != nil || len(b.Transactions) != 1 || b.Transactions[0] != first.Hash() || b.Hash != hash {
			t.Errorf("block: %+v %v", b, err)
		}
	}
	if n, err := c.NonceAt(ctx(t), rich, "0x0"); err != nil || n != 0 {
		t.Errorf("nonce in block 0: %d %v", n, err)
	}
	if b, err := c.BalanceAt(ctx(t), other, "latest"); err != nil || b.Int64() != 1 {
		t.Errorf("balance: %s %v", b, err)
	}
	if code, err := c.CodeAt(ctx(t), other, "latest"); err != nil || string(code) != "\x60" {
		t.Errorf("code: %x %v", code, err)
	}
	if code, err := c.CodeAt(ctx(t), rich, "latest"); err != nil || len(code) != 0 {
		t.Errorf("code: %x %v", code, err)
	}
	if gas, err := c.EstimateGas(ctx(t), json.RawMessage(`{"to":"0x4200000000000000000000000000000000000000"}`), "pending"); err != nil || gas != 21000 {
		t.Errorf("gas: %d %v", gas, err)
	}
	if tip, err := c.SuggestTip(ctx(t)); err != nil || tip.Int64() != 1e9 {
		t.Errorf("tip: %s %v", tip, err)
	}
	if price, err := c.GasPrice(ctx(t)); err != nil || price.Int64() != 2e9 {
		t.Errorf("price: %s %v", price, err)
	}
	if fee, err := c.BlobBaseFee(ctx(t)); err != nil || fee.Int64() != 1 {
		t.Errorf("blob fee: %s %v", fee, err)
	}
	known, err := c.Known(ctx(t), []common.Hash{first.Hash(), {1}, second.Hash()})
	if err != nil || !known[0] || known[1] || !known[2] {
		t.Errorf("known: %v %v", known, err)
	}
}

func TestChainWithoutBaseFee(t *testing.T) {
	_, c := pair(t, nodetest.Options{NoBaseFee: true})
	if h, err := c.HeadAt(ctx(t), "latest"); err != nil || h.BaseFee != nil {
		t.Errorf("%+v %v", h, err)
	}
	_, c = pair(t, nodetest.Options{BaseFee: new(big.Int)})
	if h, err := c.HeadAt(ctx(t), "latest"); err != nil || h.BaseFee == nil || h.BaseFee.Sign() != 0 {
		t.Errorf("%+v %v", h, err)
	}
}

func TestRevertOfAnEstimateKeepsItsData(t *testing.T) {
	chain, c := pair(t, nodetest.Options{})
	chain.OnEstimate(func(json.RawMessage) (uint64, error) {
		return 0, &nodetest.RPCError{Code: 3, Message: "execution reverted: no", Data: "0x08c379a0"}
	})
	_, err := c.EstimateGas(ctx(t), json.RawMessage(`{}`), "")
	var e *node.Error
	if !errors.As(err, &e) || e.Code != 3 || string(e.Data) != `"0x08c379a0"` {
		t.Error(err)
	}
}

func TestReceipts(t *testing.T) {
	for name, missing := range map[string][]string{"with eth_getBlockReceipts": nil, "without": {"eth_getBlockReceipts"}} {
		t.Run(name, func(t *testing.T) {
			chain, c := pair(t, nodetest.Options{Missing: missing})
			key, rich := nodetest.Key(0)
			txs := [][]byte{raw(t, transfer(t, key, 0)), raw(t, transfer(t, key, 1))}
			for _, err := range c.SendRaw(ctx(t), txs) {
				if err != nil {
					t.Fatal(err)
				}
			}
			one, two := transfer(t, key, 0).Hash(), transfer(t, key, 1).Hash()
			chain.Mine()
			_, hash := chain.Head()
			for range 2 {
				list, err := c.BlockReceipts(ctx(t), hash)
				if err != nil || len(list) != 2 || list[0].TxHash != one || list[1].TxHash != two || list[1].Index != 1 ||
					list[0].From != rich || list[0].Status != 1 || list[0].GasUsed != 21000 ||
					list[0].BlockNumber != 1 || list[0].EffectiveGasPrice.Int64() != 2e9 {
					t.Fatalf("%+v %v", list, err)
				}
			}
			if n := chain.Calls("eth_getBlockReceipts"); missing != nil && n != 1 {
				t.Errorf("a missing method was asked for %d times", n)
			}
			if r, err := c.Receipt(ctx(t), common.Hash{9}); r != nil || err != nil {
				t.Error(r, err)
			}
			if _, err := c.BlockReceipts(ctx(t), common.Hash{9}); !errors.Is(err, node.ErrNotFound) {
				t.Error(err)
			}
		})
	}
}

func TestFailedTransactionHasStatusZero(t *testing.T) {
	chain, c := pair(t, nodetest.Options{})
	key, _ := nodetest.Key(0)
	tx := transfer(t, key, 0)
	chain.OnMine(revertAll)
	c.SendRaw(ctx(t), [][]byte{raw(t, tx)})
	chain.Mine()
	if r, err := c.Receipt(ctx(t), tx.Hash()); err != nil || r == nil || r.Status != 0 {
		t.Error(r, err)
	}
}

// TestLyingAnswersAreBad feeds every typed read absurd and malformed answers.
func TestLyingAnswersAreBad(t *testing.T) {
	addr := common.Address{1}
	hash := common.Hash{1}
	reads := map[string]func(*node.Client) error{
		"head":     func(c *node.Client) error { _, err := c.HeadAt(ctx(t), "latest"); return err },
		"block":    func(c *node.Client) error { _, err := c.Block(ctx(t), 7); return err },
		"byhash":   func(c *node.Client) error { _, err := c.BlockByHash(ctx(t), hash); return err },
		"nonce":    func(c *node.Client) error { _, err := c.NonceAt(ctx(t), addr, "latest"); return err },
		"balance":  func(c *node.Client) error { _, err := c.BalanceAt(ctx(t), addr, "latest"); return err },
		"code":     func(c *node.Client) error { _, err := c.CodeAt(ctx(t), addr, "latest"); return err },
		"gas":      func(c *node.Client) error { _, err := c.EstimateGas(ctx(t), json.RawMessage(`{}`), ""); return err },
		"tip":      func(c *node.Client) error { _, err := c.SuggestTip(ctx(t)); return err },
		"price":    func(c *node.Client) error { _, err := c.GasPrice(ctx(t)); return err },
		"receipt":  func(c *node.Client) error { _, err := c.Receipt(ctx(t), hash); return err },
		"receipts": func(c *node.Client) error { _, err := c.BlockReceipts(ctx(t), hash); return err },
	}
	huge := `"0x` + strings.Repeat("f", 65) + `"`
	for _, c := range []struct{ read, answer string }{
		{"nonce", `"0x8000000000000000"`},
		{"nonce", `"0xffffffffffffffffff"`},
		{"nonce", `"-0x5"`},
		{"nonce", `-5`},
		{"nonce", `5`},
		{"nonce", `"5"`},
		{"nonce", `"0x"`},
		{"nonce", `"0x0g"`},
		{"nonce", `null`},
		{"nonce", `[]`},
		{"gas", `"0x8000000000000000"`},
		{"gas", `null`},
		{"balance", huge},
		{"balance", `null`},
		{"balance", `"0x-1"`},
		{"price", huge},
		{"price", `"1000"`},
		{"tip", huge},
		{"tip", `{}`},
		{"code", `"0x1"`},
		{"code", `null`},
		{"head", `{}`},
		{"head", `{"number":"0x1"}`},
		{"head", `{"number":"0x8000000000000000","hash":"0x` + strings.Repeat("11", 32) + `"}`},
		{"head", `{"number":"0x1","hash":"0x11"}`},
		{"head", `{"number":"0x1","hash":"0x` + strings.Repeat("11", 32) + `","baseFeePerGas":` + huge + `}`},
		{"head", `"0x1"`},
		{"block", `{"number":"0x8","hash":"0x` + strings.Repeat("11", 32) + `"}`},
		{"byhash", `{"number":"0x8","hash":"0x` + strings.Repeat("11", 32) + `"}`},
		{"receipt", `[{}]`},
		{"receipts", `[null]`},
		{"receipts", `[{"transactionHash":"0x` + strings.Repeat("11", 32) + `","blockHash":"0x` + strings.Repeat("22", 32) + `","blockNumber":"0x1","status":"0x1"}]`},
		{"receipts", `[{"transactionHash":"0x` + strings.Repeat("11", 32) + `","blockHash":"` + hash.Hex() + `","blockNumber":"0x1","status":"0x2"}]`},
		{"receipts", `[{"transactionHash":"0x` + strings.Repeat("11", 32) + `","blockHash":"` + hash.Hex() + `","blockNumber":"0x1"}]`},
	} {
		cl := client(t, node.Config{URL: answering(t, func(w http.ResponseWriter, body []byte) { answerTo(w, body, c.answer) })})
		if err := reads[c.read](cl); !errors.Is(err, node.ErrBadResponse) {
			t.Errorf("%s answered %s: %v", c.read, c.answer, err)
		}
	}
}

func TestLeadingZerosAreTolerated(t *testing.T) {
	c := client(t, node.Config{URL: answering(t, func(w http.ResponseWriter, body []byte) { answerTo(w, body, `"0x000000000000000000000000000f"`) })})
	if n, err := c.NonceAt(ctx(t), common.Address{}, "latest"); err != nil || n != 15 {
		t.Error(n, err)
	}
}
