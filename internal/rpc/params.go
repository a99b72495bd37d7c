// SPDX-License-Identifier: Apache-2.0

package rpc

import (
	"encoding/hex"
	"strings"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/strictjson"
)

// count refuses too few and too many parameters. A null at the end counts.
func (r *request) count(least, most int) error {
	switch n := len(r.params.Elems); {
	case n >= least && n <= most:
		return nil
	case least == most:
		return invalidParams("%s takes %d parameters, got %d", r.method, least, n)
	default:
		return invalidParams("%s takes %d to %d parameters, got %d", r.method, least, most, n)
	}
}

// address reads parameter i, which the error calls name.
func (r *request) address(i int, name string) (common.Address, error) {
	b, err := r.bytes(i, name)
	if err != nil || len(b) != common.AddressLength {
		return common.Address{}, r.wrong(i, name, "an address: 0x and 40 hexadecimal digits")
	}
	return common.Address(b), nil
}

// bytes reads parameter i as 0x-prefixed hexadecimal data of any length.
func (r *request) bytes(i int, name string) ([]byte, error) {
	v := r.arg(i)
	if v.Kind == strictjson.String {
		if digits, ok := strings.CutPrefix(v.Text, "0x"); ok {
			if b, err := hex.DecodeString(digits); err == nil {
				return b, nil
			}
		}
	}
	return nil, r.wrong(i, name, "0x-prefixed hexadecimal data of whole bytes")
}

func (r *request) wrong(i int, name, want string) error {
	got := r.arg(i)
	text := got.Kind.String()
	if got.Kind == strictjson.String {
		text = quote(got.Text)
	}
	return invalidParams("parameter %d (%s) must be %s; got %s", i+1, name, want, text)
}
