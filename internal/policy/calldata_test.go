// SPDX-License-Identifier: Apache-2.0

package policy

import (
	"bytes"
	"fmt"
	"math/big"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/accounts/abi"
	"github.com/ethereum/go-ethereum/common"
)

// gethType makes go-ethereum's type of ours, for a second opinion.
func gethType(t testing.TB, typ *argType) abi.Type {
	t.Helper()
	m := gethArgument("x", typ)
	out, err := abi.NewType(m.Type, "", m.Components)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func gethArgument(name string, typ *argType) abi.ArgumentMarshaling {
	switch typ.kind {
	case kindTuple:
		m := abi.ArgumentMarshaling{Name: name, Type: "tuple"}
		for i, f := range typ.fields {
			m.Components = append(m.Components, gethArgument(fmt.Sprintf("m%d", i), f.typ))
		}
		return m
	case kindArray:
		m := gethArgument(name, typ.elem)
		if m.Type += "[]"; typ.length >= 0 {
			m.Type = fmt.Sprintf("%s[%d]", strings.TrimSuffix(m.Type, "[]"), typ.length)
		}
		return m
	case kindUint:
		return abi.ArgumentMarshaling{Name: name, Type: fmt.Sprintf("uint%d", typ.size)}
	case kindInt:
		return abi.ArgumentMarshaling{Name: name, Type: fmt.Sprintf("int%d", typ.size)}
	case kindFixed:
		return abi.ArgumentMarshaling{Name: name, Type: fmt.Sprintf("bytes%d", typ.size)}
	}
	return abi.ArgumentMarshaling{Name: name, Type: map[kind]string{kindAddress: "address", kindBool: "bool", kindBytes: "bytes", kindString: "string"}[typ.kind]}
}

// signatures cover every kind of type, inside each other.
func signatures() []string {
	return []string{
		"a()", "b(address to, uint256 amount)", "c(uint8,int16,int256,uint,bool,bytes4,bytes32,address)", "d(string,bytes)",
		"e(uint8[])", "f(uint8[3],bytes[2])", "g((address to,uint256 n)[] list, string memo)", "h((uint8,(bytes,bool)[2])[])",
		"i(string[][])", "j((uint256,uint256) x, bytes y, uint8[2][] z)",
	}
}

// compare judges one calldata: what we read, go-ethereum reads too, with the same
// values, and writes back as the same bytes; what it writes, we read.
func compare(t *testing.T, m *method, data []byte) {
	t.Helper()
	ours, ok := m.decode(data)
	if len(m.args.fields) == 0 {
		if ok != (len(data) == 0) {
			t.Fatalf("%s: %x", m.text, data)
		}
		return
	}
	var arguments abi.Arguments
	for _, f := range m.args.fields {
		arguments = append(arguments, abi.Argument{Type: gethType(t, f.typ)})
	}
	theirs, err := arguments.Unpack(data)
	if err != nil {
		if ok {
			t.Fatalf("%s: only we can read %x: %v", m.text, data, err)
		}
		return
	}
	packed, err := arguments.Pack(theirs...)
	if err != nil {
		t.Fatal(err)
	}
	if ok != bytes.Equal(packed, data) {
		t.Fatalf("%s: we read %v, and go-ethereum writes %x for %x", m.text, ok, packed, data)
	}
	if ok {
		for i, kid := range ours.kids {
			same(t, kid, reflect.ValueOf(theirs[i]))
		}
		return
	}
	if _, ok := m.decode(packed); !ok {
		t.Fatalf("%s: we cannot read what go-ethereum wrote: %x", m.text, packed)
	}
}

func same(t *testing.T, ours value, theirs reflect.Value) {
	t.Helper()
	var got any
	switch ours.typ.kind {
	case kindTuple, kindArray:
		for i, kid := range ours.kids {
			if ours.typ.kind == kindTuple {
				same(t, kid, theirs.Field(i))
			} else {
				same(t, kid, theirs.Index(i))
			}
		}
		if ours.typ.kind == kindArray && len(ours.kids) != theirs.Len() {
			t.Fatalf("%d elements, want %d", len(ours.kids), theirs.Len())
		}
		return
	case kindUint, kindInt:
		got = ours.number().String()
	case kindAddress:
		got = ours.address().String()
	case kindBool:
		got = fmt.Sprint(ours.bool())
	case kindFixed:
		got = fmt.Sprint(ours.word[:ours.typ.size])
	case kindBytes:
		got = fmt.Sprint(ours.data)
	case kindString:
		got = string(ours.data)
	}
	if want := fmt.Sprint(theirs.Interface()); got != want {
		t.Fatalf("read %s, want %s", got, want)
	}
}

// seeds are calldata by the place of their signature: encodings, and near misses.
func seeds() []seed {
	words := func(n ...int64) (b []byte) {
		for _, w := range n {
			b = append(b, common.LeftPadBytes(big.NewInt(w).Bytes(), 32)...)
		}
		return b
	}
	front := func(b ...byte) []byte { return common.RightPadBytes(b, 32) }
	minus := bytes.Repeat([]byte{0xff}, 32)
	return []seed{
		{0, nil},
		{1, words(5, 6)},
		{2, slices.Concat(words(1), minus, minus, words(4, 1), front(1, 2, 3, 4), front(9), words(9))},
		{3, slices.Concat(words(64, 128, 3), front('a', 'b', 'c'), words(0))},
		{4, words(32, 2, 7, 8)},
		{5, slices.Concat(words(1, 2, 3, 128, 64, 128, 1), front(7), words(2), front(7, 8))},
		{6, slices.Concat(words(64, 160, 1, 9, 9, 2), front('o', 'k'))},
		{7, words(32, 1, 32, 1, 64, 64, 192, 64, 1, 0, 64, 0, 0)},
		{8, slices.Concat(words(32, 1, 32, 1, 32, 1), front('x'))},
		{9, words(1, 2, 128, 160, 0, 1, 3, 4)},
		{8, words(32, 1000, 32, 1, 32, 0)},
		{4, slices.Concat(words(32), minus)},
	}
}

type seed struct {
	which uint8
	data  []byte
}

func methods(t testing.TB) []*method {
	var list []*method
	for _, s := range signatures() {
		m, err := parseMethod(s)
		if err != nil {
			t.Fatal(err)
		}
		list = append(list, m)
	}
	return list
}

func FuzzCalldataIsReadAsGoEthereumWritesIt(f *testing.F) {
	for _, s := range seeds() {
		f.Add(s.which, s.data)
	}
	all := methods(f)
	f.Fuzz(func(t *testing.T, which uint8, data []byte) {
		if len(data) > 4096 {
			return
		}
		compare(t, all[int(which)%len(all)], data)
	})
}

// TestEveryChangedByteOfCalldata does what fuzzing would, at every place.
func TestEveryChangedByteOfCalldata(t *testing.T) {
	all := methods(t)
	read := 0
	for _, s := range seeds() {
		m := all[s.which]
		compare(t, m, s.data)
		if _, ok := m.decode(s.data); ok {
			read++
		}
		for i := range s.data {
			for _, b := range []byte{0, 1, 2, 32, 0x80, 0xff} {
				data := bytes.Clone(s.data)
				data[i] = b
				compare(t, m, data)
			}
			if i%32 == 0 {
				compare(t, m, s.data[:i])
			}
		}
		compare(t, m, append(bytes.Clone(s.data), make([]byte, 32)...))
	}
	if read < 8 {
		t.Errorf("only %d of the encodings are canonical", read)
	}
}

func TestSelectorsAreThoseOfTheCanonicalForm(t *testing.T) {
	for signature, want := range map[string]string{
		"transfer(address,uint256)":                                        "a9059cbb",
		"function transfer( address to , uint amount )":                    "a9059cbb",
		"transferFrom((address from,address,uint160,address)[] list)":      "0d58b1db", // Permit2
		"approve(address,address,uint160,uint48)":                          "87517c45",
		"safeBatchTransferFrom(address,address,uint256[],uint256[],bytes)": "2eb2c2d6",
		"f(tuple(uint8[2][] a, int) t)":                                    "",
	} {
		m, err := parseMethod(signature)
		if err != nil {
			t.Errorf("%s: %v", signature, err)
			continue
		}
		if got := fmt.Sprintf("%x", m.selector); want != "" && got != want {
			t.Errorf("%s: %s, want %s", signature, got, want)
		}
	}
	for _, s := range []string{
		"", "transfer", "transfer(", "transfer(address", "transfer(addr)", "transfer(address,)", "f(uint7)", "f(uint264)", "f(bytes33)", "f(bytes0)",
		"f(uint256) x", "f(address a, uint a)", "f(())", "f(uint[0])", "f(uint[99999])", "f(uint[4096][4096][4096])", "1f()", "f(uint[)", "f(function)",
		"f(uint" + strings.Repeat("[]", 9) + ")", strings.Repeat("f(", 3000), "f(address 1a)", "ƒ()", "f(string memory s)", "0xa9059cbb",
	} {
		if m, err := parseMethod(s); err == nil {
			t.Errorf("%q is read as %s", s, m.text)
		}
	}
	if n := len(tokenMethods()); n < 30 {
		t.Errorf("%d methods of tokens are known", n)
	}
}

// TestReadingCalldataIsLinear offers arrays that share their content, with which a
// decoder that follows offsets builds more than there is memory for.
func TestReadingCalldataIsLinear(t *testing.T) {
	m, err := parseMethod("f(uint8[][][][] x)")
	if err != nil {
		t.Fatal(err)
	}
	const n = 1000
	var data []byte
	word := func(v int) { data = append(data, common.LeftPadBytes(big.NewInt(int64(v)).Bytes(), 32)...) }
	word(32)
	for range 3 {
		word(n)
		for range n {
			word(n * 32)
		}
	}
	word(n)
	data = append(data, make([]byte, n*32)...)
	if allocs := testing.AllocsPerRun(3, func() {
		if _, ok := m.decode(data); ok {
			t.Fatal("it was read")
		}
	}); allocs > 100 {
		t.Errorf("%v allocations", allocs)
	}
}
