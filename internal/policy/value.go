// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"math/big"

	"github.com/ethereum/go-ethereum/common"
)

// kind says how a value is compared.
type kind uint8

const (
	kindUnreadable kind = iota // it is there, but nobody can say what it is
	kindUint
	kindInt
	kindAddress
	kindBool
	kindFixed // bytes1 to bytes32
	kindBytes
	kindString
	kindTuple
	kindArray
)

func (k kind) String() string {
	return [...]string{
		"something unreadable", "an unsigned integer", "an integer", "an address", "true or false",
		"bytes of a fixed length", "bytes", "text", "a tuple", "an array",
	}[k]
}

// argType is a type of the contract ABI, or of EIP-712: both have the same ones.
type argType struct {
	kind   kind
	size   int // bits of an integer, bytes of kindFixed
	elem   *argType
	length int // of an array; -1: any
	fields []field
	head   int  // bytes in the head of an encoding
	static bool // the whole value stands in the head
}

// field is a member of a tuple, or an argument of a method.
type field struct {
	name string // may be empty in a method's signature
	typ  *argType
}

// value is an argument of a call, or a member of a message.
type value struct {
	typ  *argType
	word [32]byte // numbers in two's complement, addresses and booleans at the end, kindFixed at the front
	data []byte   // of kindBytes and kindString
	kids []value  // of tuples and arrays
}

var unreadable = &argType{kind: kindUnreadable}

func (v value) address() common.Address { return common.Address(v.word[12:]) }
func (v value) bool() bool              { return v.word[31] == 1 }
func (v value) uint() *big.Int          { return new(big.Int).SetBytes(v.word[:]) }

// member is the member of a tuple that is called name.
func (v value) member(name string) (value, bool) {
	if v.typ == nil || v.typ.kind != kindTuple {
		return value{}, false
	}
	for i, f := range v.typ.fields {
		if f.name == name {
			return v.kids[i], true
		}
	}
	return value{}, false
}

// step is one part of a path: a name, an index, or each element.
type step struct {
	name  string
	index int // -1: each element of an array; only if name is empty
}

// walk hands every value that the rest of a path leads to to found, and reports
// whether the path led somewhere everywhere. An array without elements leads
// nowhere.
func (v value) walk(path []step, found func(value)) bool {
	if len(path) == 0 {
		found(v)
		return true
	}
	if v.typ == nil {
		return false
	}
	s, rest := path[0], path[1:]
	switch {
	case s.name != "":
		kid, ok := v.member(s.name)
		return ok && kid.walk(rest, found)
	case v.typ.kind != kindTuple && v.typ.kind != kindArray:
		return false
	case s.index >= 0:
		return s.index < len(v.kids) && v.kids[s.index].walk(rest, found)
	case v.typ.kind == kindTuple:
		return false
	}
	all := len(v.kids) > 0
	for _, kid := range v.kids {
		all = kid.walk(rest, found) && all
	}
	return all
}

// layout fills in how a type is encoded, from what it is made of.
func (t *argType) layout() *argType {
	t.static, t.head = true, 32
	switch t.kind {
	case kindBytes, kindString:
		t.static = false
	case kindTuple:
		size := 0
		for _, f := range t.fields {
			t.static = t.static && f.typ.static
			size += f.typ.head
		}
		if t.static {
			t.head = size
		}
	case kindArray:
		t.static = t.length >= 0 && t.elem.static
		if t.static {
			t.head = t.length * t.elem.head
		}
	}
	return t
}
