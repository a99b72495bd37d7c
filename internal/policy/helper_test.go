// SPDX-License-Identifier: Apache-2.0

package policy_test

import (
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/accounts/abi"
	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/holiman/uint256"

	"github.com/hsmsigner/hsmsigner/internal/audit"
	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/policy"
	"github.com/hsmsigner/hsmsigner/internal/strictjson"
	"github.com/hsmsigner/hsmsigner/internal/tx"
)

var (
	own      = common.HexToAddress("0x00000000000000000000000000000000000000A1")
	friend   = common.HexToAddress("0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed")
	stranger = common.HexToAddress("0x00000000000000000000000000000000000000bB")
	token    = common.HexToAddress("0x6B175474E89094C44Da98b954EedeAC495271d0F")
	noon     = time.Date(2026, 3, 4, 12, 0, 0, 0, time.UTC) // a Wednesday
)

// rules compiles the text of a policy without its first line.
func rules(t testing.TB, text string) *policy.Rules {
	t.Helper()
	book, err := policy.Parse("policy.yaml", []byte("version: hsmsigner-policy-v1\n"+text))
	if err != nil {
		t.Fatal(err)
	}
	r, err := policy.Compile(book)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func ether(s string) *big.Int {
	whole, fraction, _ := strings.Cut(s, ".")
	n, ok := new(big.Int).SetString(whole+fraction+strings.Repeat("0", 18-len(fraction)), 10)
	if !ok {
		panic(s)
	}
	return n
}

// send is a request to send a transaction; to nil creates a contract.
func send(to *common.Address, value *big.Int, data []byte) policy.Request {
	return policy.Request{
		Principal: auth.Principal{Name: "app:1"},
		Owner:     policy.Owner{Wallet: "treasury"},
		Account:   own,
		Action:    audit.SendTransaction,
		Transaction: types.NewTx(&types.DynamicFeeTx{
			ChainID: big.NewInt(1), To: to, Value: value, Data: data, Gas: 100_000,
			GasFeeCap: big.NewInt(30e9), GasTipCap: big.NewInt(1e9),
		}),
	}
}

// ofType is the same transaction as another type.
func ofType(r policy.Request, kind uint8) policy.Request {
	t := r.Transaction
	var to common.Address
	if t.To() != nil {
		to = *t.To()
	}
	fee, tip, value := uint256.NewInt(30e9), uint256.NewInt(1e9), uint256.MustFromBig(t.Value())
	switch kind {
	case types.LegacyTxType:
		r.Transaction = types.NewTx(&types.LegacyTx{To: t.To(), Value: t.Value(), Data: t.Data(), Gas: t.Gas(), GasPrice: big.NewInt(30e9)})
	case types.AccessListTxType:
		r.Transaction = types.NewTx(&types.AccessListTx{To: t.To(), Value: t.Value(), Data: t.Data(), Gas: t.Gas(), GasPrice: big.NewInt(30e9)})
	case types.BlobTxType:
		r.Transaction = types.NewTx(&types.BlobTx{
			To: to, Value: value, Data: t.Data(), Gas: t.Gas(), GasFeeCap: fee, GasTipCap: tip,
			BlobFeeCap: uint256.NewInt(2e9), BlobHashes: []common.Hash{{1}, {1}},
		})
	case types.SetCodeTxType:
		r.Transaction = types.NewTx(&types.SetCodeTx{
			To: to, Value: value, Data: t.Data(), Gas: t.Gas(), GasFeeCap: fee, GasTipCap: tip,
			AuthList: []types.SetCodeAuthorization{{Address: stranger}},
		})
	}
	return r
}

// call packs a call by go-ethereum's encoder.
func call(t testing.TB, signature string, args ...any) []byte {
	t.Helper()
	name, rest, _ := strings.Cut(signature, "(")
	var arguments abi.Arguments
	for _, typ := range strings.Split(strings.TrimSuffix(rest, ")"), ",") {
		if typ == "" {
			continue
		}
		parsed, err := abi.NewType(typ, "", nil)
		if err != nil {
			t.Fatal(err)
		}
		arguments = append(arguments, abi.Argument{Type: parsed})
	}
	packed, err := arguments.Pack(args...)
	if err != nil {
		t.Fatal(err)
	}
	return append(crypto.Keccak256([]byte(name + "(" + rest))[:4:4], packed...)
}

// typed parses a document as package tx does for the RPC door.
func typed(t testing.TB, text string) policy.Request {
	t.Helper()
	v, err := strictjson.Parse([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	td, err := tx.ParseTypedData(v)
	if err != nil {
		t.Fatal(err)
	}
	return policy.Request{
		Principal: auth.Principal{Name: "app:1"}, Owner: policy.Owner{Wallet: "treasury"},
		Account: own, Action: audit.SignTypedData, TypedData: &td.Data,
	}
}

func text(s string) policy.Request {
	return policy.Request{
		Principal: auth.Principal{Name: "app:1"}, Owner: policy.Owner{Wallet: "treasury"},
		Account: own, Action: audit.SignMessage, Message: []byte(s),
	}
}

func document(media string, size int64) policy.Request {
	return policy.Request{
		Principal: auth.Principal{Name: "app:1"}, Owner: policy.Owner{Wallet: "treasury"},
		Account: own, Action: audit.SignDocument, Document: &policy.Document{MediaType: media, Size: size, Name: "a.pdf"},
	}
}

// want judges and compares effect and rule.
func want(t *testing.T, d policy.Decision, effect policy.Effect, rule string) {
	t.Helper()
	if d.Effect != effect || d.Rule != rule {
		t.Errorf("got %s by %q (%s), want %s by %q", d.Effect, d.Rule, d.Reason, effect, rule)
	}
	if d.Effect == policy.EffectDeny && d.Reason == "" {
		t.Error("a refusal without a reason")
	}
}
