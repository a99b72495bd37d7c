// SPDX-License-Identifier: Apache-2.0

package wallet

import (
	"context"
	"errors"
	"math/big"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/holiman/uint256"

	"github.com/hsmsigner/hsmsigner/internal/audit"
	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/policy"
	"github.com/hsmsigner/hsmsigner/internal/secp"
	"github.com/hsmsigner/hsmsigner/internal/tx"
)

// everyType returns one unsigned transaction of each type for a chain.
func everyType(t *testing.T, chain *big.Int) map[string]*types.Transaction {
	t.Helper()
	to := common.HexToAddress("0x00000000000000000000000000000000000000Bb")
	id := uint256.MustFromBig(chain)
	stranger, err := crypto.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	return map[string]*types.Transaction{
		"legacy":      types.NewTx(&types.LegacyTx{Nonce: 1, To: &to, Gas: 21000, GasPrice: big.NewInt(1e9), Value: big.NewInt(1)}),
		"creation":    types.NewTx(&types.LegacyTx{Nonce: 1, Gas: 90000, GasPrice: big.NewInt(1e9), Data: []byte{0x60, 0}}),
		"access list": types.NewTx(&types.AccessListTx{ChainID: chain, Nonce: 1, To: &to, Gas: 30000, GasPrice: big.NewInt(1e9), AccessList: types.AccessList{{Address: to}}}),
		"dynamic fee": types.NewTx(&types.DynamicFeeTx{ChainID: chain, Nonce: 1, To: &to, Gas: 21000, GasFeeCap: big.NewInt(2e9), GasTipCap: big.NewInt(1e9)}),
		"blob": types.NewTx(&types.BlobTx{
			ChainID: id, Nonce: 1, To: to, Gas: 21000, GasFeeCap: uint256.NewInt(2e9), GasTipCap: uint256.NewInt(1e9),
			BlobFeeCap: uint256.NewInt(1), BlobHashes: []common.Hash{{1}},
		}),
		"set code": types.NewTx(&types.SetCodeTx{
			ChainID: id, Nonce: 1, To: to, Gas: 60000, GasFeeCap: uint256.NewInt(2e9), GasTipCap: uint256.NewInt(1e9),
			AuthList: []types.SetCodeAuthorization{authorize(t, func(d [32]byte) (key.Signature, error) { return signWith(stranger, d) })},
		}),
	}
}

// authorize makes an EIP-7702 authorisation by whoever signs.
func authorize(t *testing.T, sign func(digest [32]byte) (key.Signature, error)) types.SetCodeAuthorization {
	t.Helper()
	a := types.SetCodeAuthorization{ChainID: *uint256.MustFromBig(testChain), Address: common.Address{9}}
	sig, err := sign(a.SigHash())
	if err != nil {
		t.Fatal(err)
	}
	a.R.SetBytes(sig.R[:])
	a.S.SetBytes(sig.S[:])
	return a
}

func TestEveryTransactionTypeIsSignedByItsAccount(t *testing.T) {
	v, d := newVault(t, 1), newDisk(t)
	addr := v.address("key-0")
	w := openWallet(t, v, d, nil)
	for name, unsigned := range everyType(t, testChain) {
		signed, err := w.SignTransaction(t.Context(), alice, addr, unsigned)
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		sender, err := types.Sender(types.LatestSignerForChainID(testChain), signed)
		if err != nil || sender != addr {
			t.Errorf("%s: sender %s, %v", name, sender, err)
		}
		if !signed.Protected() || signed.ChainId().Cmp(testChain) != 0 {
			t.Errorf("%s could be replayed on another chain", name)
		}
		_, outcomes := d.rows(t)
		if last := outcomes[len(outcomes)-1]; last.Hash != signed.Hash() {
			t.Errorf("%s: the outcome has hash %s, the transaction %s", name, last.Hash, signed.Hash())
		}
	}
}

func TestTransactionThatNoWalletSignsAsksNoBackend(t *testing.T) {
	v, d := newVault(t, 1), newDisk(t)
	addr := v.address("key-0")
	w := openWallet(t, v, d, nil)
	signed, err := w.SignTransaction(t.Context(), alice, addr, transfer(1))
	if err != nil {
		t.Fatal(err)
	}
	v.calls.Store(0)
	own := types.NewTx(&types.SetCodeTx{
		ChainID: uint256.MustFromBig(testChain), To: addr, Gas: 60000,
		AuthList: []types.SetCodeAuthorization{authorize(t, func(d [32]byte) (key.Signature, error) {
			sig, err := v.honest("ref:key-0", d)
			return sig, err
		})},
	})
	// Which of the two recovery ids is the account's is chance: try both.
	if a, err := own.SetCodeAuthorizations()[0].Authority(); err != nil || a != addr {
		list := own.SetCodeAuthorizations()
		list[0].V = 1
		own = types.NewTx(&types.SetCodeTx{ChainID: uint256.MustFromBig(testChain), To: addr, Gas: 60000, AuthList: list})
	}
	cases := map[string]struct {
		tx   *types.Transaction
		want string
	}{
		"nothing":           {nil, "no transaction"},
		"signed already":    {signed, "signed already"},
		"own authorisation": {own, "authorizationList: " + addr.Hex()},
	}
	for name, tx := range everyType(t, big.NewInt(5)) {
		if tx.Type() != types.LegacyTxType {
			cases["other chain, "+name] = struct {
				tx   *types.Transaction
				want string
			}{tx, "chain id 5 does not match 1337"}
		}
	}
	for name, c := range cases {
		_, err := w.SignTransaction(t.Context(), alice, addr, c.tx)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
		}
		_, outcome, err := w.SignAccepted(t.Context(), acceptedTx(alice, "intent", audit.SendTransaction, addr, c.tx))
		if err == nil || !strings.Contains(err.Error(), c.want) || outcome.Error != err.Error() || outcome.Intent != "intent" {
			t.Errorf("%s, accepted: got %v, outcome %+v", name, err, outcome)
		}
	}
	if v.calls.Load() != 0 {
		t.Error("the backend was asked")
	}
}

func TestSignAcceptedLeavesTheOutcomeToItsCaller(t *testing.T) {
	v, d := newVault(t, 1), newDisk(t)
	addr := v.address("key-0")
	w := openWallet(t, v, d, nil)
	signed, outcome, err := w.SignAccepted(t.Context(), acceptedTx(alice, "intent-1", audit.SendTransaction, addr, transfer(3)))
	if err != nil {
		t.Fatal(err)
	}
	if outcome.Intent != "intent-1" || outcome.ID == "" || outcome.Hash != signed.Hash() ||
		outcome.RequestID != "request-1" || outcome.Error != "" || outcome.At.IsZero() {
		t.Errorf("outcome %+v", outcome)
	}
	if digest := types.LatestSignerForChainID(testChain).Hash(signed); outcome.Digest != digest {
		t.Errorf("outcome has digest %s, want %s", outcome.Digest, digest)
	}
	if intents, outcomes := d.rows(t); len(intents)+len(outcomes) != 0 {
		t.Errorf("wrote %v and %v by itself", intents, outcomes)
	}
}

func TestSignAcceptedWithoutSignatureSaysWhyInTheOutcome(t *testing.T) {
	v := newVault(t, 1)
	addr := v.address("key-0")
	v.sign = func(context.Context, key.Ref, [32]byte) (key.Signature, error) {
		return key.Signature{RequestID: "request-9"}, key.ErrDenied
	}
	w := openWallet(t, v, newDisk(t), nil)
	signed, outcome, err := w.SignAccepted(t.Context(), acceptedTx(alice, "intent-1", audit.SendTransaction, addr, transfer(3)))
	wantKind(t, err, KindDenied)
	if signed != nil || outcome.Error != err.Error() || outcome.RequestID != "request-9" || outcome.Hash != (common.Hash{}) {
		t.Errorf("signed %v, outcome %+v", signed, outcome)
	}
	for _, action := range []audit.Action{audit.SignMessage, audit.SignTransaction, audit.ProvePossession, ""} {
		if _, _, err := w.SignAccepted(t.Context(), acceptedTx(alice, "intent-1", action, addr, transfer(3))); err == nil {
			t.Errorf("signed for the action %q", action)
		}
	}
	if _, _, err := w.SignAccepted(t.Context(), acceptedTx(alice, "", audit.SendTransaction, addr, transfer(3))); err == nil {
		t.Error("signed without an intent")
	}
}

func TestPolicyIsJudgedAgainAtSigning(t *testing.T) {
	v, d := newVault(t, 1), newDisk(t)
	addr := v.address("key-0")
	w := openWallet(t, v, d, func(c *Config) {
		c.Policy = verdictFunc(func(r policy.Request) (policy.Verdict, error) {
			if r.Transaction.Nonce() == 13 {
				return policy.Verdict{Rule: "unlucky"}, nil
			}
			return policy.Verdict{Allow: true, Rule: "lucky"}, nil
		})
	})
	if _, err := w.Judge(t.Context(), policy.Request{Account: addr, Action: audit.SendTransaction, Transaction: transfer(0)}); err != nil {
		t.Fatal(err)
	}
	_, outcome, err := w.SignAccepted(t.Context(), acceptedTx(alice, "intent-1", audit.SendTransaction, addr, transfer(13)))
	wantDenied(t, err, "unlucky")
	if outcome.Error == "" || outcome.Digest != (common.Hash{}) {
		t.Errorf("outcome %+v", outcome)
	}
	if intents, _ := d.rows(t); len(intents) != 0 || v.calls.Load() != 0 {
		t.Error("a second intent was written, or the backend was asked")
	}
}

func TestRepairNeedsNoPolicyAndMovesNothing(t *testing.T) {
	v := newVault(t, 1)
	addr := v.address("key-0")
	w := openWallet(t, v, newDisk(t), func(c *Config) { c.Policy = verdictFunc(denyAll) })
	fill := func(change func(*types.DynamicFeeTx)) *types.Transaction {
		inner := &types.DynamicFeeTx{ChainID: testChain, To: &addr, Gas: 21000, GasFeeCap: big.NewInt(1), GasTipCap: big.NewInt(1)}
		change(inner)
		return types.NewTx(inner)
	}
	if _, _, err := w.SignAccepted(t.Context(), acceptedTx(auth.System, "i", audit.Repair, addr, fill(func(*types.DynamicFeeTx) {}))); err != nil {
		t.Error(err)
	}
	other := common.Address{1}
	for name, change := range map[string]func(*types.DynamicFeeTx){
		"value":          func(x *types.DynamicFeeTx) { x.Value = big.NewInt(1) },
		"other":          func(x *types.DynamicFeeTx) { x.To = &other },
		"creation":       func(x *types.DynamicFeeTx) { x.To = nil },
		"data":           func(x *types.DynamicFeeTx) { x.Data = []byte{1} },
		"an access list": func(x *types.DynamicFeeTx) { x.AccessList = types.AccessList{{}} },
	} {
		var refused *RequestError
		if _, _, err := w.SignAccepted(t.Context(), acceptedTx(auth.System, "i", audit.Repair, addr, fill(change))); !errors.As(err, &refused) {
			t.Errorf("a repair with %s gives %v", name, err)
		}
	}
}

func TestOnlyTheBytesThatWereSignedMayLeave(t *testing.T) {
	v := newVault(t, 1)
	addr := v.address("key-0")
	w := openWallet(t, v, newDisk(t), nil)
	elsewhere := everyType(t, big.NewInt(5))
	for name, unsigned := range everyType(t, testChain) {
		signed, err := w.SignTransaction(t.Context(), alice, addr, unsigned)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		digest := tx.Digest(unsigned, testChain)
		_, r, s := signed.RawSignatureValues()
		sig := secp.Signature{R: common.BigToHash(r), S: common.BigToHash(s)}
		if got, err := secp.Recover(digest, sig); err != nil || got != addr {
			sig.V = 1
		}
		if err := w.checkSigned(signed, digest, sig); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		otherV, otherR, otherS := sig, sig, sig
		otherV.V ^= 1
		otherR.R[31] ^= 1
		otherS.S[31] ^= 1
		for what, other := range map[string]secp.Signature{"recovery id": otherV, "r": otherR, "s": otherS} {
			if err := w.checkSigned(signed, digest, other); err == nil {
				t.Errorf("%s: another %s goes unnoticed", name, what)
			}
		}
		moved, err := tx.Signed(tx.WithNonce(unsigned, 2), testChain, sig)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := w.checkSigned(moved, digest, sig); err == nil {
			t.Errorf("%s: another nonce goes unnoticed", name)
		}
		abroad, err := tx.Signed(elsewhere[name], big.NewInt(5), sig)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if err := w.checkSigned(abroad, digest, sig); err == nil {
			t.Errorf("%s: another chain goes unnoticed", name)
		}
	}
}
