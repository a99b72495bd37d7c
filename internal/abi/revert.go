// SPDX-License-Identifier: Apache-2.0

package abi

import (
	"encoding/json"
	"math/big"

	"github.com/hsmsigner/hsmsigner/internal/strictjson"
)

// Revert is why a call reverted, as its data says. All of it comes from the contract
// that was called.
type Revert struct {
	Name      string          // Error, Panic, or the name of a custom error
	Signature string          // Error(string), Panic(uint256), or that of the custom error
	Reason    string          // the text of an Error, or what the code of a Panic means
	Code      *big.Int        // of a Panic, otherwise nil
	Args      json.RawMessage // of a custom error: an object of its arguments by their keys
}

// The errors that Solidity has of its own.
var (
	errorString = [4]byte{0x08, 0xc3, 0x79, 0xa0} // Error(string)
	panicCode   = [4]byte{0x4e, 0x48, 0x7b, 0x71} // Panic(uint256)
)

// panics are the codes of Panic(uint256), of
// https://docs.soliditylang.org/en/v0.8.30/control-structures.html.
var panics = map[uint64]string{
	0x00: "generic panic of the compiler",
	0x01: "assertion failed",
	0x11: "arithmetic overflow or underflow",
	0x12: "division or modulo by zero",
	0x21: "conversion of a number that the enum does not have",
	0x22: "a byte array in storage is wrongly encoded",
	0x31: "pop of an empty array",
	0x32: "index out of the bounds of an array",
	0x41: "too much memory, or too large an array",
	0x51: "call of an internal function that was never set",
}

// DecodeRevert says why a call reverted. It reports false if the data is of no error
// that is known. It works on a nil Contract, which knows Error and Panic only.
func (c *Contract) DecodeRevert(data []byte) (Revert, bool) {
	if len(data) < 4 {
		return Revert{}, false
	}
	selector, rest := [4]byte(data[:4]), data[4:]
	switch selector {
	case errorString:
		return errorOf(rest)
	case panicCode:
		return panicOf(rest)
	}
	if c == nil {
		return Revert{}, false
	}
	for _, e := range c.Errors {
		if e.Selector() != selector {
			continue
		}
		if args, err := Decode(e.Inputs, rest); err == nil {
			return Revert{Name: e.Name, Signature: e.Signature(), Args: args}, true
		}
	}
	return Revert{}, false
}

func errorOf(data []byte) (Revert, bool) {
	d, err := newDecoder(data)
	if err != nil || d.value(data, 0, &Type{Kind: String, dynamic: true, head: word, text: "string"}) != nil {
		return Revert{}, false
	}
	r := Revert{Name: "Error", Signature: "Error(string)"}
	v, err := strictjson.Parse(d.out)
	if err != nil {
		return Revert{}, false
	}
	if r.Reason = v.Text; v.Kind == strictjson.Object { // no valid UTF-8
		r.Reason = v.Get("hex").Text
	}
	return r, true
}

func panicOf(data []byte) (Revert, bool) {
	if len(data) < word {
		return Revert{}, false
	}
	r := Revert{Name: "Panic", Signature: "Panic(uint256)", Code: new(big.Int).SetBytes(data[:word])}
	r.Reason = "unknown panic"
	if r.Code.IsUint64() {
		if meaning, known := panics[r.Code.Uint64()]; known {
			r.Reason = meaning
		}
	}
	return r, true
}
