// SPDX-License-Identifier: Apache-2.0

package abi

import (
	"fmt"
	"strconv"
	"strings"
)

// Kind is a sort of types.
type Kind uint8

// The kinds of types. The zero Kind is none.
const (
	Int        Kind = iota + 1 // intN; Size is N
	Uint                       // uintN; Size is N
	Bool                       //
	Address                    //
	FixedBytes                 // bytesN; Size is N. Also function, of 24 bytes
	Bytes                      //
	String                     //
	FixedArray                 // T[k]; Elem is T, Size is k
	Array                      // T[]; Elem is T
	Tuple                      // (T1,…,Tn); Members
)

// Type is the type of a value. It is made by [ParseType] or [Parse] and never
// changed after.
type Type struct {
	Kind    Kind
	Size    int
	Elem    *Type
	Members []Param
	Struct  string // what the source calls a tuple, such as Market.Order; empty if it is not known

	text    string // canonical
	dynamic bool
	head    int // bytes among the values beside it: all of it, or its offset
	depth   int
}

// String is the canonical form, as in signatures: (address,uint256[])[2].
func (t *Type) String() string { return t.text }

// Dynamic reports whether the length of an encoded value depends on the value.
func (t *Type) Dynamic() bool { return t.dynamic }

// Word reports whether a value is a single word, so that an event's topic holds it
// rather than its hash.
func (t *Type) Word() bool { return t.Kind < Bytes }

// What is accepted in an ABI.
const (
	maxDocument = 2 << 20 // bytes of its JSON
	maxEntries  = 4096
	maxSame     = 64      // methods that have one name
	maxNodes    = 1 << 16 // types and parameters of all entries
	maxParams   = 256     // of one method or tuple
	maxDepth    = 16      // arrays and tuples inside each other; strictjson reads values of twice that
	maxName     = 128     // bytes of a name
	maxInternal = 512     // bytes of an internal type
	maxHead     = 1 << 20 // bytes of a type of fixed length
	word        = 32
)

// ParseType reads a type as an ABI names it, such as uint256, bytes32[4][] or
// tuple[], whose members are components. The error says what was wrong.
func ParseType(name string, components []Param) (*Type, error) {
	if len(name) > maxName {
		return nil, fmt.Errorf("the type's name is longer than %d bytes", maxName)
	}
	base, dims := name, ""
	if i := strings.IndexByte(name, '['); i >= 0 {
		base, dims = name[:i], name[i:]
	}
	t, err := baseType(base, components)
	if err != nil {
		return nil, err
	}
	for dims != "" {
		end := strings.IndexByte(dims, ']')
		if dims[0] != '[' || end < 0 {
			return nil, fmt.Errorf("%s is not a type: its brackets are wrong", excerpt(name))
		}
		if t, err = arrayOf(t, dims[1:end]); err != nil {
			return nil, fmt.Errorf("%s: %w", excerpt(name), err)
		}
		dims = dims[end+1:]
	}
	return t, nil
}

func arrayOf(elem *Type, length string) (*Type, error) {
	t := &Type{Kind: Array, Elem: elem, dynamic: true, head: word, depth: elem.depth + 1, text: elem.text + "[" + length + "]"}
	if t.depth > maxDepth {
		return nil, fmt.Errorf("more than %d arrays and tuples inside each other", maxDepth)
	}
	if length == "" {
		return t, nil
	}
	n, ok := natural(length)
	if !ok || n*max(elem.head, 1) > maxHead {
		return nil, fmt.Errorf("%s is no length of an array that can be used", excerpt(length))
	}
	t.Kind, t.Size, t.dynamic = FixedArray, n, elem.dynamic
	if !t.dynamic {
		t.head = n * elem.head
	}
	return t, nil
}

// natural reads a number without leading zeros of at most seven digits.
func natural(s string) (int, bool) {
	if s == "" || len(s) > 7 || len(s) > 1 && s[0] == '0' {
		return 0, false
	}
	for _, c := range []byte(s) {
		if c < '0' || c > '9' {
			return 0, false
		}
	}
	n, err := strconv.Atoi(s)
	return n, err == nil
}

func baseType(name string, components []Param) (*Type, error) {
	t := &Type{head: word, text: name}
	switch name {
	case "bool":
		t.Kind = Bool
		return t, nil
	case "address":
		t.Kind = Address
		return t, nil
	case "string":
		t.Kind, t.dynamic = String, true
		return t, nil
	case "bytes":
		t.Kind, t.dynamic = Bytes, true
		return t, nil
	case "function": // an address and a selector
		t.Kind, t.Size = FixedBytes, 24
		return t, nil
	case "int", "uint": // never written by a compiler, but by people
		return baseType(name+"256", components)
	case "tuple":
		return tupleOf(components)
	}
	for _, f := range []struct {
		prefix     string
		kind       Kind
		step, most int
	}{{"uint", Uint, 8, 256}, {"int", Int, 8, 256}, {"bytes", FixedBytes, 1, 32}} {
		digits, is := strings.CutPrefix(name, f.prefix)
		if n, ok := natural(digits); is && ok && n > 0 && n <= f.most && n%f.step == 0 {
			t.Kind, t.Size = f.kind, n
			return t, nil
		}
	}
	if strings.HasPrefix(name, "fixed") || strings.HasPrefix(name, "ufixed") {
		return nil, fmt.Errorf("numbers with a fixed point are not supported: %s", excerpt(name))
	}
	if name == "" {
		return nil, fmt.Errorf("no type is given")
	}
	return nil, fmt.Errorf("%s is not a type of the ABI", excerpt(name))
}

func tupleOf(members []Param) (*Type, error) {
	t := &Type{Kind: Tuple, Members: members, depth: 1, text: tupleText(members)}
	for i := range members {
		m := members[i].Type
		t.dynamic = t.dynamic || m.dynamic
		t.depth = max(t.depth, m.depth+1)
		t.head += m.head
	}
	if t.depth > maxDepth {
		return nil, fmt.Errorf("more than %d arrays and tuples inside each other", maxDepth)
	}
	if t.head > maxHead {
		return nil, fmt.Errorf("values of the type are longer than %d bytes", maxHead)
	}
	if t.dynamic {
		t.head = word
	}
	return t, nil
}

func tupleText(params []Param) string {
	var b strings.Builder
	b.WriteByte('(')
	for i := range params {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteString(params[i].Type.text)
	}
	b.WriteByte(')')
	return b.String()
}

// headOf is how many bytes the heads of values of these types take.
func headOf(params []Param) int {
	n := 0
	for i := range params {
		n += params[i].Type.head
	}
	return n
}

// setKeys gives each parameter its name in JSON. Who has a name has it in JSON too,
// unless somebody before him has it.
func setKeys(params []Param, word string) {
	taken := make(map[string]bool, len(params))
	for i := range params {
		params[i].Key = ""
		if n := params[i].Name; n != "" && !taken[n] {
			params[i].Key, taken[n] = n, true
		}
	}
	for i := range params {
		if params[i].Key != "" {
			continue
		}
		key := params[i].Name
		if key == "" {
			if key = word; i > 0 {
				key += strconv.Itoa(i)
			}
		}
		for taken[key] {
			key += "_"
		}
		params[i].Key, taken[key] = key, true
	}
}
