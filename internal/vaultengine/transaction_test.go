// SPDX-License-Identifier: Apache-2.0

package vaultengine_test

import (
	"encoding/json"
	"maps"
	"math/big"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/hashicorp/vault/sdk/logical"
)

const receiver = "0x5aAeb6053F3E94C9b9A09f33669435E7Ef1BeAed" // a checksum of EIP-55

// plain is a legacy transaction with changes; a nil value leaves a field out.
func plain(changes map[string]any) map[string]any {
	fields := map[string]any{"chainId": "1337", "nonce": "7", "gas": "21000", "gasPrice": "5", "to": receiver, "value": "0x10"}
	for name, value := range changes {
		if value == nil {
			delete(fields, name)
		} else {
			fields[name] = value
		}
	}
	return fields
}

func TestTransactionIsSignedAsItWasGiven(t *testing.T) {
	m := newMount(t, nil)
	address := m.create("one")
	to := common.HexToAddress(receiver)
	chain := big.NewInt(1337)
	var list []any
	if err := json.Unmarshal([]byte(`[{"address":"`+receiver+`","storageKeys":["`+digest+`"]}]`), &list); err != nil {
		t.Fatal(err)
	}
	tuples := types.AccessList{{Address: to, StorageKeys: []common.Hash{common.HexToHash(digest)}}}
	fees := map[string]any{"gasPrice": nil, "maxFeePerGas": "9", "maxPriorityFeePerGas": "0x2"}
	with := func(a, b map[string]any) map[string]any { c := maps.Clone(a); maps.Copy(c, b); return c }
	for name, tt := range map[string]struct {
		changes map[string]any
		want    types.TxData
	}{
		"legacy":      {nil, &types.LegacyTx{Nonce: 7, GasPrice: big.NewInt(5), Gas: 21000, To: &to, Value: big.NewInt(16)}},
		"type 0":      {map[string]any{"type": "0x0"}, &types.LegacyTx{Nonce: 7, GasPrice: big.NewInt(5), Gas: 21000, To: &to, Value: big.NewInt(16)}},
		"free":        {map[string]any{"gasPrice": "0", "value": nil}, &types.LegacyTx{Nonce: 7, GasPrice: big.NewInt(0), Gas: 21000, To: &to, Value: big.NewInt(0)}},
		"JSON number": {map[string]any{"nonce": json.Number("7")}, &types.LegacyTx{Nonce: 7, GasPrice: big.NewInt(5), Gas: 21000, To: &to, Value: big.NewInt(16)}},
		"null list":   {map[string]any{"accessList": json.RawMessage("null"), "type": "0"}, &types.LegacyTx{Nonce: 7, GasPrice: big.NewInt(5), Gas: 21000, To: &to, Value: big.NewInt(16)}},
		"data":        {map[string]any{"data": "0x0102"}, &types.LegacyTx{Nonce: 7, GasPrice: big.NewInt(5), Gas: 21000, To: &to, Value: big.NewInt(16), Data: []byte{1, 2}}},
		"input":       {map[string]any{"input": "0x0102"}, &types.LegacyTx{Nonce: 7, GasPrice: big.NewInt(5), Gas: 21000, To: &to, Value: big.NewInt(16), Data: []byte{1, 2}}},
		"contract":    {map[string]any{"to": nil, "data": "0x60"}, &types.LegacyTx{Nonce: 7, GasPrice: big.NewInt(5), Gas: 21000, Value: big.NewInt(16), Data: []byte{0x60}}},
		"2930":        {map[string]any{"accessList": list, "type": "1"}, &types.AccessListTx{ChainID: chain, Nonce: 7, GasPrice: big.NewInt(5), Gas: 21000, To: &to, Value: big.NewInt(16), AccessList: tuples}},
		"1559":        {fees, &types.DynamicFeeTx{ChainID: chain, Nonce: 7, GasFeeCap: big.NewInt(9), GasTipCap: big.NewInt(2), Gas: 21000, To: &to, Value: big.NewInt(16)}},
		"1559 list":   {with(fees, map[string]any{"accessList": list, "type": "2"}), &types.DynamicFeeTx{ChainID: chain, Nonce: 7, GasFeeCap: big.NewInt(9), GasTipCap: big.NewInt(2), Gas: 21000, To: &to, Value: big.NewInt(16), AccessList: tuples}},
	} {
		answer, err := m.ask(logical.UpdateOperation, "sign-transaction/"+address, plain(tt.changes))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		var got types.Transaction
		if err := got.UnmarshalBinary(common.FromHex(answer["signed_transaction"].(string))); err != nil {
			t.Fatal(err)
		}
		signer := types.LatestSignerForChainID(chain)
		from, err := types.Sender(signer, &got)
		if err != nil || strings.ToLower(from.Hex()) != address || signer.Hash(&got) != signer.Hash(types.NewTx(tt.want)) {
			t.Errorf("%s: signed by %s, %v: %+v", name, from, err, answer)
		}
		if answer["transaction_hash"] != got.Hash().Hex() {
			t.Errorf("%s: hash %s, want %s", name, answer["transaction_hash"], got.Hash())
		}
	}
}

func TestDoubtfulTransactionsAreRefused(t *testing.T) {
	m := newMount(t, nil)
	path := "sign-transaction/" + m.create("one")
	for text, changes := range map[string]map[string]any{
		"chainId: is required":                {"chainId": nil},
		"chainId: is 0":                       {"chainId": "0"},
		"chainId: want a number":              {"chainId": "-1"},
		"chainId: is above":                   {"chainId": "0x1" + strings.Repeat("0", 62)},
		"nonce: is required":                  {"nonce": nil},
		"nonce: is above 2^64-1":              {"nonce": "18446744073709551616"},
		"nonce: want a number":                {"nonce": "07"},
		"gas: is required":                    {"gas": nil},
		"gasPrice: is missing":                {"gasPrice": nil},
		"gasPrice: does not go with":          {"maxFeePerGas": "1", "maxPriorityFeePerGas": "1"},
		"both maxFeePerGas":                   {"gasPrice": nil, "maxFeePerGas": "1"},
		"is above maxFeePerGas":               {"gasPrice": nil, "maxFeePerGas": "1", "maxPriorityFeePerGas": "2"},
		"value: want a number":                {"value": "1e18"},
		"value: is above 2^256-1":             {"value": "115792089237316195423570985008687907853269984665640564039457584007913129639936"},
		"gasPrice: want a number":             {"gasPrice": "0x"},
		"to: want 0x":                         {"to": receiver[:41]},
		"checksum":                            {"to": strings.Replace(receiver, "5aA", "5Aa", 1)},
		"to: is missing":                      {"to": nil},
		"data: want 0x":                       {"data": "0x123"},
		"data: differs from input":            {"data": "0x12", "input": "0x13"},
		"type: is 2":                          {"type": "0x2"},
		"type: is 3":                          {"type": "0x3"},
		"accessList: want":                    {"accessList": []any{map[string]any{"address": "x"}}},
		`unknown field "maxFeePerBlobGas"`:    {"maxFeePerBlobGas": "1"},
		`unknown field "authorizationList"`:   {"authorizationList": []any{}},
		`unknown field "gas_price"`:           {"gas_price": "1"},
		`unknown field "blobVersionedHashes"`: {"blobVersionedHashes": []any{digest}},
	} {
		m.refuses(400, text, logical.UpdateOperation, path, plain(changes))
	}
}

// Whatever is accepted as a number is signed as that number.
func FuzzNumber(f *testing.F) {
	for _, seed := range []string{"0", "1", "0x0", "0xff", "-1", "01", "0x01", "1e3", " 1", "0X1", "1_000", "+1"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		m := newMount(t, nil)
		address := m.create("one")
		answer, err := m.ask(logical.UpdateOperation, "sign-transaction/"+address, plain(map[string]any{"value": text}))
		want, ok := new(big.Int).SetString(text, 0) // also takes signs, underscores, octal and binary
		if err != nil {
			return
		}
		var got types.Transaction
		if err := got.UnmarshalBinary(common.FromHex(answer["signed_transaction"].(string))); err != nil {
			t.Fatal(err)
		}
		if !ok || got.Value().Cmp(want) != 0 {
			t.Errorf("%q was signed as %s", text, got.Value())
		}
	})
}
