// SPDX-License-Identifier: Apache-2.0

package vaultengine

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"regexp"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/hashicorp/vault/sdk/framework"
)

// The only spellings of a number: no sign, no leading zeros, no exponent, no
// spaces. Each of those has once made a signer sign another number.
var (
	decimal     = regexp.MustCompile(`^(0|[1-9][0-9]{0,77})$`)
	hexadecimal = regexp.MustCompile(`^0x(0|[1-9a-fA-F][0-9a-fA-F]{0,63})$`)
	anyHex      = regexp.MustCompile(`^0x[0-9a-fA-F]{40}$`)
)

// fields reads a transaction; the first fault is kept.
type fields struct {
	d   *framework.FieldData
	err error
}

func (f *fields) fail(name, format string, args ...any) {
	if f.err == nil {
		f.err = fmt.Errorf(name+": "+format, args...)
	}
}

func (f *fields) text(name string) (string, bool) {
	v, ok := f.d.GetOk(name)
	if !ok {
		return "", false
	}
	return v.(string), true
}

// number returns nil if the field was not given.
func (f *fields) number(name string, bits int) *big.Int {
	text, ok := f.text(name)
	if !ok {
		return nil
	}
	n := new(big.Int)
	switch {
	case decimal.MatchString(text):
		n.SetString(text, 10)
	case hexadecimal.MatchString(text):
		n.SetString(text[2:], 16)
	default:
		f.fail(name, "want a number, decimal or 0x and hexadecimal digits, without sign and leading zeros")
		return nil
	}
	if n.BitLen() > bits {
		f.fail(name, "is above 2^%d-1", bits)
		return nil
	}
	return n
}

func (f *fields) required(name string, bits int) *big.Int {
	n := f.number(name, bits)
	if n == nil {
		f.fail(name, "is required")
		return new(big.Int)
	}
	return n
}

func (f *fields) data() []byte {
	a, hasData := f.text("data")
	b, hasInput := f.text("input")
	if hasData && hasInput && a != b {
		f.fail("data", "differs from input")
	}
	if !hasData {
		a = b
	}
	if a == "" || a == "0x" {
		return nil
	}
	bytes, err := hexutil.Decode(a)
	if err != nil {
		f.fail("data", "want 0x and an even number of hexadecimal digits")
	}
	return bytes
}

func (f *fields) to() *common.Address {
	text, ok := f.text("to")
	if !ok || text == "" {
		return nil
	}
	if !anyHex.MatchString(text) {
		f.fail("to", "want 0x and 40 hexadecimal digits")
		return nil
	}
	to := common.HexToAddress(text)
	// Two cases in one address are a checksum (EIP-55).
	if digits := text[2:]; digits != lower(digits) && digits != upper(digits) && text != to.Hex() {
		f.fail("to", "its capital letters are not the checksum of this address (EIP-55)")
	}
	return &to
}

func lower(s string) string { return string(bytes.ToLower([]byte(s))) }
func upper(s string) string { return string(bytes.ToUpper([]byte(s))) }

// accessList returns nil if the field was not given.
func (f *fields) accessList() *types.AccessList {
	given, ok := f.d.GetOk("accessList")
	if !ok || f.d.Raw["accessList"] == nil { // null is no list; an empty one makes a typed transaction
		return nil
	}
	text, err := json.Marshal(given)
	list := types.AccessList{}
	if err == nil {
		decoder := json.NewDecoder(bytes.NewReader(text))
		decoder.DisallowUnknownFields()
		err = decoder.Decode(&list)
	}
	if err != nil {
		f.fail("accessList", "want a list of {address, storageKeys}")
	}
	return &list
}

// transaction makes the unsigned transaction that the fields describe.
func transaction(d *framework.FieldData) (*types.Transaction, *big.Int, error) {
	f := &fields{d: d}
	chainID, nonce, gas := f.required("chainId", 248), f.required("nonce", 64), f.required("gas", 64)
	to, data, list := f.to(), f.data(), f.accessList()
	value := f.number("value", 256)
	if value == nil {
		value = new(big.Int)
	}
	price, most, tip := f.number("gasPrice", 256), f.number("maxFeePerGas", 256), f.number("maxPriorityFeePerGas", 256)
	want := f.number("type", 8)
	if f.err != nil {
		return nil, nil, f.err
	}
	var inner types.TxData
	switch {
	case chainID.Sign() == 0:
		return nil, nil, errors.New("chainId: is 0, and the signature would count on every chain")
	case to == nil && len(data) == 0:
		return nil, nil, errors.New("to: is missing, and there is no data to create a contract from")
	case price != nil && (most != nil || tip != nil):
		return nil, nil, errors.New("gasPrice: does not go with maxFeePerGas and maxPriorityFeePerGas")
	case price != nil && list != nil:
		inner = &types.AccessListTx{ChainID: chainID, Nonce: nonce.Uint64(), GasPrice: price, Gas: gas.Uint64(), To: to, Value: value, Data: data, AccessList: *list}
	case price != nil:
		inner = &types.LegacyTx{Nonce: nonce.Uint64(), GasPrice: price, Gas: gas.Uint64(), To: to, Value: value, Data: data}
	case most == nil || tip == nil:
		return nil, nil, errors.New("gasPrice: is missing; give it, or both maxFeePerGas and maxPriorityFeePerGas")
	case tip.Cmp(most) > 0:
		return nil, nil, errors.New("maxPriorityFeePerGas: is above maxFeePerGas")
	default:
		if list == nil {
			list = &types.AccessList{}
		}
		inner = &types.DynamicFeeTx{ChainID: chainID, Nonce: nonce.Uint64(), GasFeeCap: most, GasTipCap: tip, Gas: gas.Uint64(), To: to, Value: value, Data: data, AccessList: *list}
	}
	tx := types.NewTx(inner)
	if want != nil && want.Uint64() != uint64(tx.Type()) {
		return nil, nil, fmt.Errorf("type: is %s, and the fields are those of type %d (0x0 legacy, 0x1 EIP-2930 and 0x2 EIP-1559 are signed)", want, tx.Type())
	}
	return tx, chainID, nil
}
