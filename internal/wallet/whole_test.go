// SPDX-License-Identifier: Apache-2.0

package wallet

import (
	"context"
	"errors"
	"fmt"
	"math"
	"math/big"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/rlp"

	"github.com/hsmsigner/hsmsigner/internal/audit"
	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/policy"
)

// ethsign is a vault with Kaleido's plugin: it signs whole legacy transactions
// and no digests.
type ethsign struct {
	*vault
	// answer, if set, changes what is signed and by whom, and what is returned.
	answer func(unsigned *types.LegacyTx, chainID *big.Int, signer key.Ref) (raw []byte)
	asked  []*types.Transaction
}

func (e *ethsign) Signable(unsigned *types.Transaction) error {
	if unsigned.To() == nil {
		return &key.CallError{Op: "sign", Kind: key.ErrUnsupported, Why: "no contract can be created with it"}
	}
	return nil
}

func (e *ethsign) SignDigest(context.Context, key.Ref, [32]byte) (key.Signature, error) {
	panic("a digest was asked for")
}

func (e *ethsign) SignTransaction(_ context.Context, ref key.Ref, chainID *big.Int, unsigned *types.Transaction) (key.RawTransaction, error) {
	e.calls.Add(1)
	e.asked = append(e.asked, unsigned)
	inner := &types.LegacyTx{
		Nonce: unsigned.Nonce(), GasPrice: unsigned.GasPrice(), Gas: unsigned.Gas(), To: unsigned.To(), Value: unsigned.Value(), Data: unsigned.Data(),
	}
	answer := key.RawTransaction{RequestID: "vault-7"}
	if e.answer != nil {
		answer.Raw = e.answer(inner, chainID, ref)
	} else {
		answer.Raw = e.signed(inner, chainID, ref)
	}
	return answer, nil
}

// signed is the honest answer; chain id 0 gives a Homestead signature.
func (e *ethsign) signed(inner *types.LegacyTx, chainID *big.Int, ref key.Ref) []byte {
	var signer types.Signer = types.HomesteadSigner{}
	if chainID.Sign() > 0 {
		signer = types.NewEIP155Signer(chainID)
	}
	t, err := types.SignNewTx(e.keys[ref], signer, inner)
	if err != nil {
		panic(err)
	}
	raw, err := t.MarshalBinary()
	if err != nil {
		panic(err)
	}
	return raw
}

func legacy() *types.Transaction {
	to := common.HexToAddress("0x00000000000000000000000000000000000000Bb")
	return types.NewTx(&types.LegacyTx{Nonce: 5, To: &to, Gas: 50_000, GasPrice: big.NewInt(1e9), Value: big.NewInt(7), Data: []byte{1, 2, 3}})
}

func TestLegacyTransactionIsSignedByABackendThatSignsNoDigests(t *testing.T) {
	e := &ethsign{vault: newVault(t, 1)}
	d := newDisk(t)
	w := openWallet(t, key.Limit(e, key.NewQuota(100)), d, nil)
	addr := e.address("key-0")
	if !w.LegacyOnly() {
		t.Error("it is not known as one")
	}
	signed, err := w.SignTransaction(t.Context(), alice, addr, legacy())
	if err != nil {
		t.Fatal(err)
	}
	if from, err := types.Sender(types.LatestSignerForChainID(testChain), signed); err != nil || from != addr {
		t.Errorf("sender %s, %v", from, err)
	}
	if _, o := d.onlyOutcome(t); o.RequestID != "vault-7" || o.Hash != signed.Hash() {
		t.Errorf("outcome %+v", o)
	}
	if _, _, err := w.SignAccepted(t.Context(), acceptedTx(alice, "intent", audit.SendTransaction, addr, legacy())); err != nil {
		t.Error(err)
	}
	self := types.NewTx(&types.LegacyTx{Nonce: 5, To: &addr, Gas: 21_000, GasPrice: big.NewInt(1)})
	if _, _, err := w.SignAccepted(t.Context(), acceptedTx(auth.System, "intent", audit.Repair, addr, self)); err != nil {
		t.Error(err)
	}
}

func TestWhatABackendThatSignsWholeTransactionsReturnsIsNotTrusted(t *testing.T) {
	other, err := crypto.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	address := common.HexToAddress("0x00000000000000000000000000000000000000cC")
	n := crypto.S256().Params().N
	for name, c := range map[string]struct {
		kind   string
		text   string
		answer func(e *ethsign, x *types.LegacyTx, chainID *big.Int, ref key.Ref) []byte
	}{
		"nothing":     {KindBadResponse, "no transaction", func(*ethsign, *types.LegacyTx, *big.Int, key.Ref) []byte { return nil }},
		"noise":       {KindBadResponse, "no transaction", func(*ethsign, *types.LegacyTx, *big.Int, key.Ref) []byte { return []byte("<html>") }},
		"more behind": {KindBadResponse, "no transaction", func(e *ethsign, x *types.LegacyTx, c *big.Int, r key.Ref) []byte { return append(e.signed(x, c, r), 0) }},
		"cut off":     {KindBadResponse, "no transaction", func(e *ethsign, x *types.LegacyTx, c *big.Int, r key.Ref) []byte { return e.signed(x, c, r)[:60] }},
		"nonce":       {KindBadResponse, "nonce", func(e *ethsign, x *types.LegacyTx, c *big.Int, r key.Ref) []byte { x.Nonce++; return e.signed(x, c, r) }},
		"gas": {KindBadResponse, "gas", func(e *ethsign, x *types.LegacyTx, c *big.Int, r key.Ref) []byte {
			x.Gas = 90_000
			return e.signed(x, c, r)
		}},
		"gas price": {KindBadResponse, "gas price", func(e *ethsign, x *types.LegacyTx, c *big.Int, r key.Ref) []byte {
			x.GasPrice = new(big.Int)
			return e.signed(x, c, r)
		}},
		"value": {KindBadResponse, "value", func(e *ethsign, x *types.LegacyTx, c *big.Int, r key.Ref) []byte {
			x.Value = big.NewInt(8)
			return e.signed(x, c, r)
		}},
		"recipient": {KindBadResponse, "recipient", func(e *ethsign, x *types.LegacyTx, c *big.Int, r key.Ref) []byte {
			x.To = &address
			return e.signed(x, c, r)
		}},
		"no recipient": {KindBadResponse, "recipient", func(e *ethsign, x *types.LegacyTx, c *big.Int, r key.Ref) []byte {
			x.To = nil
			return e.signed(x, c, r)
		}},
		"data": {KindBadResponse, "data", func(e *ethsign, x *types.LegacyTx, c *big.Int, r key.Ref) []byte {
			x.Data = []byte("0x010203")
			return e.signed(x, c, r)
		}},
		"other chain": {KindBadResponse, "chain id", func(e *ethsign, x *types.LegacyTx, _ *big.Int, r key.Ref) []byte {
			return e.signed(x, big.NewInt(1), r)
		}},
		"no chain": {KindBadResponse, "chain id", func(e *ethsign, x *types.LegacyTx, _ *big.Int, r key.Ref) []byte { return e.signed(x, new(big.Int), r) }},
		"other key": {KindWrongKey, "", func(e *ethsign, x *types.LegacyTx, c *big.Int, _ key.Ref) []byte {
			e.keys["other"] = other
			return e.signed(x, c, "other")
		}},
		"no signature": {KindBadResponse, "", func(_ *ethsign, x *types.LegacyTx, c *big.Int, _ key.Ref) []byte {
			return bare(x, new(big.Int).Add(new(big.Int).Lsh(c, 1), big.NewInt(35)), new(big.Int), new(big.Int))
		}},
		"long r": {KindBadResponse, "64 bytes", func(_ *ethsign, x *types.LegacyTx, c *big.Int, _ key.Ref) []byte {
			return bare(x, new(big.Int).Add(new(big.Int).Lsh(c, 1), big.NewInt(35)), new(big.Int).Lsh(n, 8), big.NewInt(1))
		}},
		"another type": {KindBadResponse, "type", func(e *ethsign, x *types.LegacyTx, c *big.Int, r key.Ref) []byte {
			t, err := types.SignNewTx(e.keys[r], types.LatestSignerForChainID(c), &types.AccessListTx{
				ChainID: c, Nonce: x.Nonce, GasPrice: x.GasPrice, Gas: x.Gas, To: x.To, Value: x.Value, Data: x.Data,
			})
			if err != nil {
				panic(err)
			}
			raw, _ := t.MarshalBinary()
			return raw
		}},
	} {
		t.Run(name, func(t *testing.T) {
			e := &ethsign{vault: newVault(t, 1)}
			e.answer = func(x *types.LegacyTx, chainID *big.Int, ref key.Ref) []byte { return c.answer(e, x, chainID, ref) }
			d := newDisk(t)
			w := openWallet(t, e, d, nil)
			signed, err := w.SignTransaction(t.Context(), alice, e.address("key-0"), legacy())
			wantKind(t, err, c.kind)
			if signed != nil || !strings.Contains(fmt.Sprint(errors.Unwrap(err)), c.text) {
				t.Errorf("got %v, %v", signed, errors.Unwrap(err))
			}
			if _, o := d.onlyOutcome(t); o.Error == "" || o.RequestID != "vault-7" || o.Hash != (common.Hash{}) {
				t.Errorf("outcome %+v", o)
			}
			if n := e.calls.Load(); n != 1 {
				t.Errorf("asked %d times", n)
			}
		})
	}
}

// bare encodes a legacy transaction with any signature whatever.
func bare(x *types.LegacyTx, v, r, s *big.Int) []byte {
	raw, err := rlp.EncodeToBytes([]any{x.Nonce, x.GasPrice, x.Gas, x.To, x.Value, x.Data, v, r, s})
	if err != nil {
		panic(err)
	}
	return raw
}

func TestHighSOfAWholeTransactionComesOutLow(t *testing.T) {
	e := &ethsign{vault: newVault(t, 1)}
	n := crypto.S256().Params().N
	e.answer = func(x *types.LegacyTx, chainID *big.Int, ref key.Ref) []byte {
		var honest types.Transaction
		if err := honest.UnmarshalBinary(e.signed(x, chainID, ref)); err != nil {
			t.Fatal(err)
		}
		v, r, s := honest.RawSignatureValues()
		flipped := new(big.Int).Lsh(chainID, 1)
		flipped.Add(flipped, big.NewInt(71)).Sub(flipped, v) // 35 + 2c ↔ 36 + 2c
		flipped.Add(flipped, new(big.Int).Lsh(chainID, 1))
		return bare(x, flipped, r, new(big.Int).Sub(n, s))
	}
	w := openWallet(t, e, newDisk(t), nil)
	for range 10 {
		signed, err := w.SignTransaction(t.Context(), alice, e.address("key-0"), legacy())
		if err != nil {
			t.Fatal(err)
		}
		_, r, s := signed.RawSignatureValues()
		if !crypto.ValidateSignatureValues(0, r, s, true) {
			t.Fatalf("s = %x is high", s)
		}
	}
}

func TestWhatSuchABackendCannotSignIsRefusedBeforeAnythingHappens(t *testing.T) {
	e := &ethsign{vault: newVault(t, 1)}
	d := newDisk(t)
	w := openWallet(t, e, d, nil)
	addr := e.address("key-0")
	refused := func(what, text string, err error) {
		t.Helper()
		var request *RequestError
		if !errors.As(err, &request) || !strings.Contains(request.Reason, text) {
			t.Errorf("%s: got %v", what, err)
		}
	}
	_, err := w.SignMessage(t.Context(), alice, addr, []byte("hello"))
	refused("message", "no messages", err)
	_, err = w.SignTypedData(t.Context(), alice, addr, mail(t, 1337))
	refused("typed data", "no typed data", err)
	for name, unsigned := range everyType(t, testChain) {
		text := "give gasPrice"
		switch name {
		case "legacy":
			continue
		case "creation":
			text = "no contract can be created"
		}
		_, err := w.SignTransaction(t.Context(), alice, addr, unsigned)
		refused(name, text, err)
		_, _, err = w.SignAccepted(t.Context(), acceptedTx(alice, "intent", audit.SendTransaction, addr, unsigned))
		refused(name+", accepted", text, err)
		// The transaction manager asks this before it takes the transaction in.
		_, err = w.Judge(t.Context(), policy.Request{Principal: alice, Account: addr, Action: audit.SendTransaction, Transaction: unsigned})
		refused(name+", judged", text, err)
	}
	if intents, _ := d.rows(t); len(intents) != 0 || e.calls.Load() != 0 {
		t.Errorf("intents %v, %d calls", intents, e.calls.Load())
	}
}

func TestProofByATransactionThatNoChainTakes(t *testing.T) {
	e := &ethsign{vault: newVault(t, 2)}
	w := openWallet(t, e, newDisk(t), nil)
	addr := e.address("key-0")
	var chains []*big.Int
	e.answer = func(x *types.LegacyTx, chainID *big.Int, ref key.Ref) []byte {
		chains = append(chains, chainID)
		return e.signed(x, chainID, ref)
	}
	for range 20 {
		if err := w.Prove(t.Context(), addr); err != nil {
			t.Fatal(err)
		}
	}
	for i, unsigned := range e.asked {
		if unsigned.Nonce() != math.MaxUint64 || unsigned.Gas() != 0 || unsigned.Value().Sign() != 0 ||
			*unsigned.To() != addr || len(unsigned.Data()) != 32 {
			t.Errorf("the proof is the transaction %+v", unsigned)
		}
		if chains[i].BitLen() != 248 {
			t.Errorf("for chain %x", chains[i])
		}
		if i > 0 && chains[i].Cmp(chains[i-1]) == 0 {
			t.Error("a challenge came twice")
		}
	}
	other := e.keys["ref:key-1"]
	e.keys["ref:key-0"] = other
	wantKind(t, w.Prove(t.Context(), addr), KindWrongKey)
}

func FuzzAnswerOfATransactionSigner(f *testing.F) {
	private, err := crypto.GenerateKey()
	if err != nil {
		f.Fatal(err)
	}
	asked := &wholeTx{unsigned: legacy(), chainID: testChain}
	honest, err := types.SignTx(legacy(), types.NewEIP155Signer(testChain), private)
	if err != nil {
		f.Fatal(err)
	}
	raw, _ := honest.MarshalBinary()
	f.Add(raw)
	f.Add(raw[:len(raw)-1])
	f.Add([]byte{0xc0})
	f.Fuzz(func(t *testing.T, raw []byte) {
		_, err := asked.signatureIn(raw)
		if err != nil {
			if !errors.Is(err, key.ErrBadResponse) {
				t.Errorf("got %v", err)
			}
			return
		}
		var got types.Transaction
		if err := got.UnmarshalBinary(raw); err != nil {
			t.Fatal(err)
		}
		if types.NewEIP155Signer(testChain).Hash(&got) != types.NewEIP155Signer(testChain).Hash(legacy()) {
			t.Error("another transaction was taken for the one that was asked for")
		}
	})
}
