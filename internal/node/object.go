// SPDX-License-Identifier: Apache-2.0

package node

import (
	"encoding/hex"
	"math/big"

	"github.com/ethereum/go-ethereum/common"
)

// form is what is wanted of a JSON object: slot is where the text of a member
// goes, nil if it is of no use.
type form interface {
	slot(name []byte) *[]byte
}

// pick reads the object at b[i:] and returns where it ends. Everything in it
// is checked to be JSON. Names are compared exactly, and a member that is
// wanted must not occur twice: two readers could take it for two answers.
func pick(b []byte, i int, into form) (end int, err error) {
	if i = skipSpace(b, i); i >= len(b) || b[i] != '{' {
		return 0, errForm()
	}
	if i = skipSpace(b, i+1); i < len(b) && b[i] == '}' {
		return i + 1, nil
	}
	for {
		start := skipSpace(b, i)
		if i = skipName(b, start); i < 0 {
			return 0, errNotJSON()
		}
		at := into.slot(nameAt(b[start:i]))
		start = skipSpace(b, i)
		if i = skipValue(b, start); i < 0 {
			return 0, errNotJSON()
		}
		if at != nil {
			if *at != nil {
				return 0, badResponse("a member occurs twice")
			}
			*at = b[start:i:i]
		}
		if i = skipSpace(b, i); i >= len(b) {
			return 0, errNotJSON()
		}
		switch b[i] {
		case ',':
			i++
		case '}':
			return i + 1, nil
		default:
			return 0, errNotJSON()
		}
	}
}

// pickAll is pick for a text that is one object and nothing else.
func pickAll(text []byte, into form) error {
	end, err := pick(text, 0, into)
	if err == nil && skipSpace(text, end) != len(text) {
		return errNotJSON()
	}
	return err
}

// nameAt is a member's name out of its text with quotes and colon.
func nameAt(b []byte) []byte {
	end := len(b) - 1 // the colon
	for b[end] != '"' {
		end--
	}
	return b[1:end]
}

// items calls f with the place of each item of the array b; f returns where
// the item ends.
func items(b []byte, f func(i int) (int, error)) error {
	i := skipSpace(b, 0)
	if i >= len(b) || b[i] != '[' {
		return errForm()
	}
	if i = skipSpace(b, i+1); i < len(b) && b[i] == ']' {
		return rest(b, i+1)
	}
	for {
		var err error
		if i, err = f(skipSpace(b, i)); err != nil {
			return err
		}
		if i = skipSpace(b, i); i >= len(b) {
			return errNotJSON()
		}
		switch b[i] {
		case ',':
			i++
		case ']':
			return rest(b, i+1)
		default:
			return errNotJSON()
		}
	}
}

func rest(b []byte, i int) error {
	if skipSpace(b, i) != len(b) {
		return errNotJSON()
	}
	return nil
}

func errForm() error { return badResponse("result of an unexpected form") }

// reading takes values out of members. The first that is not of its form sets
// err; absent and null leave the zero value.
type reading struct{ err error }

func absent(b []byte) bool { return b == nil || string(b) == "null" }

func (r *reading) fail(err error) {
	if r.err == nil {
		r.err = err
	}
}

func (r *reading) uint64(b []byte) uint64 {
	var u Uint64
	if b != nil {
		if err := u.UnmarshalJSON(b); err != nil {
			r.fail(err)
		}
	}
	return uint64(u)
}

func (r *reading) big(b []byte) *big.Int {
	if absent(b) {
		return nil
	}
	i := new(Big)
	if err := i.UnmarshalJSON(b); err != nil {
		r.fail(err)
	}
	return i.Int()
}

func (r *reading) hash(b []byte) (h common.Hash) {
	if !absent(b) && !fixed(h[:], b) {
		r.fail(errForm())
	}
	return h
}

func (r *reading) address(b []byte) *common.Address {
	if absent(b) {
		return nil
	}
	a := new(common.Address)
	if !fixed(a[:], b) {
		r.fail(errForm())
	}
	return a
}

// fixed reads "0x…" of exactly the length of into.
func fixed(into, b []byte) bool {
	if len(b) != 2*len(into)+4 || b[0] != '"' || b[1] != '0' || b[2]|0x20 != 'x' || b[len(b)-1] != '"' {
		return false
	}
	_, err := hex.Decode(into, b[3:len(b)-1])
	return err == nil
}
