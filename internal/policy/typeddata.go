// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"encoding/hex"
	"math/big"
	"strconv"
	"strings"

	"github.com/ethereum/go-ethereum/common/math"
	"github.com/ethereum/go-ethereum/signer/core/apitypes"
)

// Limits of what is read of typed data; package tx takes less.
const (
	maxTypedDepth  = 40
	maxTypedValues = 1 << 16
)

// message reads a typed-data document by its own types. What does not fit them
// is unreadable, never absent.
func message(td *apitypes.TypedData) value {
	r := &typedReader{td: td, types: map[string]*argType{}}
	return r.value(r.typ(td.PrimaryType, 0), td.Message)
}

type typedReader struct {
	td     *apitypes.TypedData
	types  map[string]*argType
	values int
}

// typ finds the type of that name. Package tx refuses types that contain
// themselves; here such a type ends somewhere as unreadable.
func (r *typedReader) typ(name string, depth int) *argType {
	if t, ok := r.types[name]; ok {
		return t
	}
	r.types[name] = unreadable // for the types within
	t := unreadable
	fields, defined := r.td.Types[name]
	open := strings.LastIndexByte(name, '[')
	switch {
	case depth > maxTypedDepth:
	case defined:
		t = &argType{kind: kindTuple}
		for _, f := range fields {
			t.fields = append(t.fields, field{f.Name, r.typ(f.Type, depth+1)})
		}
	case open > 0 && strings.HasSuffix(name, "]"):
		length := -1
		if digits := name[open+1 : len(name)-1]; digits != "" {
			length, _ = strconv.Atoi(digits)
		}
		t = &argType{kind: kindArray, elem: r.typ(name[:open], depth+1), length: length}
	default:
		if e := elementary(name); e != nil {
			t = e
		}
	}
	r.types[name] = t
	return t
}

func (r *typedReader) value(t *argType, x any) value {
	bad := value{typ: unreadable}
	if r.values++; r.values > maxTypedValues {
		return bad
	}
	switch t.kind {
	case kindTuple:
		m, ok := x.(map[string]any)
		if !ok || len(m) > len(t.fields) {
			return bad
		}
		v := value{typ: t, kids: make([]value, len(t.fields))}
		for i, f := range t.fields {
			v.kids[i] = r.value(f.typ, m[f.name])
		}
		return v
	case kindArray:
		list, ok := x.([]any)
		if !ok || t.length >= 0 && len(list) != t.length {
			return bad
		}
		v := value{typ: t, kids: make([]value, len(list))}
		for i, e := range list {
			v.kids[i] = r.value(t.elem, e)
		}
		return v
	case kindBool:
		b, ok := x.(bool)
		v := value{typ: t}
		if b {
			v.word[31] = 1
		}
		return either(ok, v, bad)
	case kindUint, kindInt:
		n, ok := number(x)
		v := value{typ: t}
		return either(ok && t.fits(n, &v.word), v, bad)
	case kindString:
		s, ok := x.(string)
		return either(ok, value{typ: t, data: []byte(s)}, bad)
	}
	return typedBytes(t, x)
}

func either(ok bool, good, bad value) value {
	if ok {
		return good
	}
	return bad
}

// typedBytes reads addresses and bytes, which are 0x-strings.
func typedBytes(t *argType, x any) value {
	bad := value{typ: unreadable}
	s, ok := x.(string)
	if !ok || len(s) < 2 || s[0] != '0' || s[1] != 'x' && s[1] != 'X' {
		return bad
	}
	b, err := hex.DecodeString(s[2:])
	if err != nil {
		return bad
	}
	v := value{typ: t}
	switch {
	case t.kind == kindBytes:
		v.data = b
	case t.kind == kindAddress && len(b) == 20:
		copy(v.word[12:], b)
	case t.kind == kindFixed && len(b) == t.size:
		copy(v.word[:], b)
	default:
		return bad
	}
	return v
}

// number reads an integer as package tx has it, or as text.
func number(x any) (*big.Int, bool) {
	switch n := x.(type) {
	case *big.Int:
		return n, n != nil
	case *math.HexOrDecimal256:
		return (*big.Int)(n), n != nil
	case string:
		return wholeNumber(n)
	}
	return nil, false
}

// fits writes n as a word, if a value of the type can be n.
func (t *argType) fits(n *big.Int, word *[32]byte) bool {
	if n.BitLen() > 256 {
		return false
	}
	if n.Sign() < 0 {
		if t.kind == kindUint || n.Cmp(leastInt) < 0 {
			return false
		}
		n = new(big.Int).Add(n, wordSize)
	} else if t.kind == kindInt && n.BitLen() > 255 {
		return false
	}
	n.FillBytes(word[:])
	return t.holds(word)
}

var (
	wordSize = new(big.Int).Lsh(big.NewInt(1), 256)
	leastInt = new(big.Int).Neg(new(big.Int).Lsh(big.NewInt(1), 255))
)

// wholeNumber reads a decimal or 0x-hexadecimal number of at most 100 characters.
func wholeNumber(s string) (*big.Int, bool) {
	digits, negative := strings.CutPrefix(s, "-")
	base := 10
	if rest, ok := strings.CutPrefix(strings.ToLower(digits), "0x"); ok {
		digits, base = rest, 16
	}
	if digits == "" || len(digits) > 100 || strings.ContainsAny(digits, "+-_") {
		return nil, false
	}
	n, ok := new(big.Int).SetString(digits, base)
	if ok && negative {
		n.Neg(n)
	}
	return n, ok
}
