// SPDX-License-Identifier: Apache-2.0

package node

import (
	"math/big"

	"github.com/ethereum/go-ethereum/common/hexutil"
)

// Uint64 is a JSON-RPC quantity below 2^63: a nonce, gas, a block number, a
// time in seconds. Anything larger is absurd and refused as ErrBadResponse,
// so that no later sum overflows. Leading zeros are tolerated.
type Uint64 uint64

// UnmarshalJSON reads "0x…".
func (u *Uint64) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		return nil // as package json has it
	}
	digits, err := hexDigits(b, 16)
	if err != nil {
		return err
	}
	n := hexUint64(digits)
	if n >= 1<<63 {
		return badResponse("number of 2^63 or more")
	}
	*u = Uint64(n)
	return nil
}

// hexUint64 is the number that at most 16 digits make.
func hexUint64(digits []byte) (n uint64) {
	for _, c := range digits {
		n <<= 4
		if c <= '9' {
			n |= uint64(c - '0')
		} else {
			n |= uint64(c|0x20-'a') + 10
		}
	}
	return n
}

// Big is a JSON-RPC quantity of at most 256 bits: an amount or price in wei.
type Big big.Int

// UnmarshalJSON reads "0x…".
func (i *Big) UnmarshalJSON(b []byte) error {
	if string(b) == "null" {
		return nil
	}
	digits, err := hexDigits(b, 64)
	if err != nil {
		return err
	}
	if len(digits) <= 16 {
		i.Int().SetUint64(hexUint64(digits))
		return nil
	}
	if _, ok := i.Int().SetString(string(digits), 16); !ok {
		return badResponse("not a hexadecimal number")
	}
	return nil
}

// Int is the value, nil for a nil receiver.
func (i *Big) Int() *big.Int { return (*big.Int)(i) }

// hexDigits cuts the digits out of a quantity, without leading zeros.
func hexDigits(b []byte, most int) ([]byte, error) {
	if len(b) < 5 || b[0] != '"' || b[1] != '0' || b[2]|0x20 != 'x' || b[len(b)-1] != '"' {
		return nil, badResponse("not a hexadecimal number")
	}
	b = b[3 : len(b)-1]
	for len(b) > 1 && b[0] == '0' {
		b = b[1:]
	}
	if len(b) > most {
		return nil, badResponse("number of more than %d bits", most*4)
	}
	for _, c := range b {
		if !isHex(c) {
			return nil, badResponse("not a hexadecimal number")
		}
	}
	return b, nil
}

func quantity(n uint64) string { return hexutil.EncodeUint64(n) }
