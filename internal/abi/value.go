// SPDX-License-Identifier: Apache-2.0

package abi

import (
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"strings"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/strictjson"
)

// maxNumber bounds the text of a number: 2^256 has 78 digits.
const maxNumber = 100

// wanted describes the JSON of a type.
func wanted(t *Type) string {
	switch t.Kind {
	case Int, Uint:
		return "an integer of type " + t.text + ", as a number or a decimal or 0x-string"
	case Bool:
		return "true or false"
	case Address:
		return "an address, 0x and 40 hexadecimal digits"
	case FixedBytes:
		return fmt.Sprintf("%s, 0x and %d hexadecimal digits", t.text, 2*t.Size)
	case Bytes:
		return `bytes, such as "0x60fe", or "0x" for none`
	case String:
		return "a string"
	case Tuple:
		return "an object with " + outlineOf(t.Members)
	case FixedArray:
		return fmt.Sprintf("an array of %d values of %s", t.Size, excerpt(t.Elem.text))
	default:
		return "an array of " + excerpt(t.Elem.text)
	}
}

// show describes a value that a caller sent, shortly.
func show(v strictjson.Value) string {
	switch v.Kind {
	case strictjson.Number, strictjson.Bool:
		return excerpt(v.Text)
	case strictjson.String:
		return fmt.Sprintf("the string %q", shorten(v.Text))
	default:
		return v.Kind.String()
	}
}

func shorten(s string) string {
	const most = 64
	if len(s) <= most {
		return s
	}
	return strings.ToValidUTF8(s[:most], "") + "…"
}

// wrong is the error for a value that its type does not take.
func wrong(path string, t *Type, v strictjson.Value, err error) error {
	got := show(v)
	if !errors.Is(err, errShape) {
		got += ", " + err.Error()
	}
	return &ArgError{Path: path, Want: wanted(t), Got: got}
}

// errShape is of a value that is shown as it is, with nothing to be said of it.
var errShape = errors.New("another kind of value")

// primitive writes a value of one word.
func primitive(dst []byte, t *Type, v strictjson.Value) error {
	switch t.Kind {
	case Bool:
		if v.Kind != strictjson.Bool && v.Kind != strictjson.String || v.Text != "true" && v.Text != "false" {
			return errShape
		}
		if v.Text == "true" {
			dst[word-1] = 1
		}
		return nil
	case Address:
		b, err := hexBytes(v)
		if err != nil {
			return err
		}
		if len(b) != common.AddressLength {
			return fmt.Errorf("whose length is %d", len(b))
		}
		copy(dst[word-len(b):], b)
		return nil
	case FixedBytes:
		b, err := octets(v)
		if err != nil {
			return err
		}
		if len(b) != t.Size {
			return fmt.Errorf("whose length is %d", len(b))
		}
		copy(dst, b)
		return nil
	default:
		n, err := integer(v)
		if err != nil {
			return err
		}
		if !fits(t, n) {
			return errors.New("which is out of range")
		}
		if n.Sign() < 0 {
			n = new(big.Int).Add(n, two256)
		}
		n.FillBytes(dst)
		return nil
	}
}

var two256 = new(big.Int).Lsh(big.NewInt(1), 256)

// fits reports whether n is in the range of an integer type.
func fits(t *Type, n *big.Int) bool {
	if t.Kind == Uint {
		return n.Sign() >= 0 && n.BitLen() <= t.Size
	}
	if n.Sign() < 0 { // two's complement: one more below zero than above
		n = new(big.Int).Not(n)
	}
	return n.BitLen() < t.Size
}

// integer reads an integral JSON number, or a string with a decimal number or 0x and
// hexadecimal digits.
func integer(v strictjson.Value) (*big.Int, error) {
	if v.Kind != strictjson.Number && v.Kind != strictjson.String {
		return nil, errShape
	}
	if len(v.Text) > maxNumber {
		return nil, errors.New("which is too long")
	}
	digits, negative := strings.CutPrefix(v.Text, "-")
	base := 10
	if rest, ok := strings.CutPrefix(digits, "0x"); ok { // no JSON number begins so
		digits, base = rest, 16
	}
	for _, c := range []byte(digits) {
		switch {
		case c >= '0' && c <= '9', base == 16 && (c >= 'a' && c <= 'f' || c >= 'A' && c <= 'F'):
		case v.Kind == strictjson.Number:
			return nil, errors.New("which has an exponent or a fraction")
		default:
			return nil, errors.New("which is no integer")
		}
	}
	n, ok := new(big.Int).SetString(digits, base)
	if !ok {
		return nil, errors.New("which is no integer")
	}
	if negative {
		n.Neg(n)
	}
	return n, nil
}

// hexBytes reads a string of hexadecimal digits, with or without 0x.
func hexBytes(v strictjson.Value) ([]byte, error) {
	if v.Kind != strictjson.String {
		return nil, errShape
	}
	digits, prefixed := strings.CutPrefix(v.Text, "0x")
	if digits == "" && !prefixed {
		return nil, errShape
	}
	b, err := hex.DecodeString(digits)
	if errors.Is(err, hex.ErrLength) {
		return nil, errors.New("which has an odd number of digits")
	}
	if err != nil {
		return nil, errors.New("which is not hexadecimal")
	}
	return b, nil
}

// octets reads bytes, as hexadecimal digits or an array of numbers.
func octets(v strictjson.Value) ([]byte, error) {
	if v.Kind != strictjson.Array {
		return hexBytes(v)
	}
	b := make([]byte, 0, len(v.Elems))
	for i, e := range v.Elems {
		n, err := integer(e)
		if err != nil || e.Kind != strictjson.Number || n.Sign() < 0 || n.BitLen() > 8 {
			return nil, fmt.Errorf("whose number %d is not one from 0 to 255", i)
		}
		b = append(b, byte(n.Uint64()))
	}
	return b, nil
}

// blob reads what bytes and string are made of.
func blob(t *Type, v strictjson.Value) ([]byte, error) {
	if t.Kind == Bytes {
		return octets(v)
	}
	switch {
	case v.Kind == strictjson.String:
		return []byte(v.Text), nil
	case v.Kind == strictjson.Object && len(v.Members) == 1 && v.Members[0].Name == "hex":
		return hexBytes(v.Members[0].Value)
	}
	return nil, errShape
}
