// SPDX-License-Identifier: Apache-2.0

package stub

import (
	"encoding/json"
	"fmt"
	"math/big"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/crypto"
)

const chainID = 1337

// signer signs transfers of one fresh key.
func signer(t *testing.T) (from common.Address, sign func(nonce uint64, to common.Address) []byte) {
	t.Helper()
	key, err := crypto.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	return crypto.PubkeyToAddress(key.PublicKey), func(nonce uint64, to common.Address) []byte {
		signed, err := types.SignNewTx(key, types.LatestSignerForChainID(big.NewInt(chainID)), &types.DynamicFeeTx{
			ChainID: big.NewInt(chainID), Nonce: nonce, To: &to, Value: common.Big1, Gas: 21000, GasFeeCap: big.NewInt(2e9), GasTipCap: common.Big1,
		})
		if err != nil {
			t.Fatal(err)
		}
		raw, err := signed.MarshalBinary()
		if err != nil {
			t.Fatal(err)
		}
		return raw
	}
}

func ask(c *Chain, method, params string) string {
	return string(c.answer(nil, fmt.Appendf(nil, `{"jsonrpc":"2.0","id":7,"method":%q,"params":[%s]}`, method, params)))
}

func TestTransactionsAreMinedInTheirTurn(t *testing.T) {
	c := New(chainID)
	from, sign := signer(t)
	to := Receiver(from)
	for _, nonce := range []uint64{1, 0, 300, 3} { // 300 has more than one byte
		if _, err := c.send(sign(nonce, to)); err != nil {
			t.Fatal(err)
		}
	}
	c.Mine()
	v := c.Check()
	if v.Mined != 2 || v.Pending != 2 || v.Senders != 1 || len(v.Wrong) > 0 {
		t.Fatalf("%+v; want 0 and 1 mined, 3 and 300 waiting", v)
	}
	if got := ask(c, "eth_getTransactionCount", fmt.Sprintf(`"%s","latest"`, from.Hex())); !strings.Contains(got, `"result":"0x2"`) {
		t.Errorf("count: %s", got)
	}
}

func TestAWrongSenderIsFoundAfterwards(t *testing.T) {
	c := New(chainID)
	_, sign := signer(t)
	if _, err := c.send(sign(0, common.Address{1})); err != nil { // not the inverted sender
		t.Fatal(err)
	}
	c.Mine()
	if v := c.Check(); len(v.Wrong) != 1 {
		t.Errorf("%+v; want one finding", v)
	}
}

func TestASecondTransactionWithANonceIsFound(t *testing.T) {
	c := New(chainID)
	from, sign := signer(t)
	first := sign(0, Receiver(from))
	if _, err := c.send(first); err != nil {
		t.Fatal(err)
	}
	if _, err := c.send(first); err != errKnown {
		t.Errorf("the same bytes again: %v", err)
	}
	if v := c.Check(); len(v.Wrong) > 0 {
		t.Errorf("the same bytes again: %v", v.Wrong)
	}
	c.Mine()
	other := sign(0, Receiver(from))
	other[len(other)-1] ^= 1 // another signature, whatever it is worth
	if _, err := c.send(other); err != errNonceLow {
		t.Errorf("other bytes: %v", err)
	}
	if v := c.Check(); len(v.Wrong) != 1 {
		t.Errorf("%+v; want one finding", v)
	}
}

func TestSetNonceIsNoGap(t *testing.T) {
	c := New(chainID)
	from, sign := signer(t)
	for _, nonce := range []uint64{0, 500} {
		if nonce > 0 {
			c.SetNonce(from, nonce)
		}
		if _, err := c.send(sign(nonce, Receiver(from))); err != nil {
			t.Fatal(err)
		}
		c.Mine()
	}
	if v := c.Check(); v.Mined != 2 || len(v.Wrong) > 0 {
		t.Errorf("%+v", v)
	}
}

// Every answer has to be JSON that go-ethereum reads.
func TestAnswersAreWhatANodeSays(t *testing.T) {
	c := New(chainID)
	from, sign := signer(t)
	raw := sign(0, Receiver(from))
	body := fmt.Sprintf(`[ {"id":"a","params":[%q],"method":"eth_sendRawTransaction","jsonrpc":"2.0"}, {"jsonrpc":"2.0","id":2,"method":"eth_chainId"},{"jsonrpc":"2.0","id":3,"method":"eth_nothing","params":[{"x":["]",1]},true]}]`, hexutil.Encode(raw))
	var batch []struct {
		ID     any
		Result string
		Error  *struct{ Code int }
	}
	if err := json.Unmarshal(c.answer(nil, []byte(body)), &batch); err != nil || len(batch) != 3 {
		t.Fatalf("%v: %s", err, c.answer(nil, []byte(body)))
	}
	if batch[0].ID != "a" || batch[0].Result != crypto.Keccak256Hash(raw).Hex() || batch[1].Result != "0x539" || batch[2].Error == nil || batch[2].Error.Code != -32601 {
		t.Errorf("%+v", batch)
	}
	c.Mine()
	var receipts struct{ Result []*types.Receipt }
	if err := json.Unmarshal([]byte(ask(c, "eth_getBlockReceipts", `"latest"`)), &receipts); err != nil || len(receipts.Result) != 1 {
		t.Fatalf("%v: %s", err, ask(c, "eth_getBlockReceipts", `"latest"`))
	}
	if r := receipts.Result[0]; r.TxHash != crypto.Keccak256Hash(raw) || r.Status != 1 || r.BlockNumber.Uint64() != 1 {
		t.Errorf("%+v", r)
	}
	var block struct {
		Result struct {
			Hash         common.Hash
			Transactions []common.Hash
		}
	}
	by := fmt.Sprintf(`"%s",false`, receipts.Result[0].BlockHash.Hex())
	if err := json.Unmarshal([]byte(ask(c, "eth_getBlockByHash", by)), &block); err != nil || len(block.Result.Transactions) != 1 || block.Result.Hash != receipts.Result[0].BlockHash {
		t.Errorf("%v: %s", err, ask(c, "eth_getBlockByHash", by))
	}
	if got := ask(c, "eth_getRawTransactionByHash", fmt.Sprintf("%q", crypto.Keccak256Hash(raw).Hex())); !strings.Contains(got, hexutil.Encode(raw)) {
		t.Errorf("raw: %s", got)
	}
}

func TestWhatIsNoTransferIsRefused(t *testing.T) {
	for _, raw := range [][]byte{nil, {2}, {2, 0xc1}, {2, 0xf8, 1}, {1, 0xc0}, {2, 0xc7, 1, 2, 3, 4, 5, 0x80, 0}} {
		if _, err := New(chainID).send(raw); err == nil {
			t.Errorf("%x was taken", raw)
		}
	}
}
