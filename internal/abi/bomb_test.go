// SPDX-License-Identifier: Apache-2.0

package abi

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"
)

func mustType(t testing.TB, name string, members ...Param) *Type {
	t.Helper()
	setKeys(members, "field")
	typ, err := ParseType(name, members)
	if err != nil {
		t.Fatal(err)
	}
	return typ
}

func words(list ...uint64) []byte {
	b := make([]byte, len(list)*word)
	for i, n := range list {
		binary.BigEndian.PutUint64(b[i*word+24:], n)
	}
	return b
}

func repeat(n uint64, times int) []uint64 {
	list := make([]uint64, times)
	for i := range list {
		list[i] = n
	}
	return list
}

func TestDataThatStandsForFarMoreIsRefused(t *testing.T) {
	long := strings.Repeat("n", maxName)
	named := mustType(t, "uint8")
	for range 12 {
		named = mustType(t, "tuple", Param{Name: long, Type: named})
	}
	one := mustType(t, "tuple", Param{Type: named})
	for _, tt := range []struct {
		name   string
		params []Param
		data   []byte
	}{
		{"every word is a length and an offset", []Param{{Type: mustType(t, "uint256[][][][][][][][][][]")}}, words(repeat(32, 64)...)},
		{"ten dimensions", []Param{{Type: mustType(t, "uint256[][][][][][][][][][]")}}, tower(10, 20)},
		{"two dimensions", []Param{{Type: mustType(t, "bytes32[][]")}}, tower(2, 2000)},
		{"many short values", []Param{{Type: mustType(t, "uint8[][]")}}, tower(2, 300)},
		{"long text many times", []Param{{Type: mustType(t, "string[]")}}, append(words(append([]uint64{32, 4000}, repeat(4000*32, 4000)...)...), append(words(100_000), []byte(strings.Repeat("x", 100_000))...)...)},
		{"values without bytes", []Param{{Type: mustType(t, "tuple[]")}}, words(32, 1<<40)},
		{"as many as may be", []Param{{Type: mustType(t, "tuple[]")}}, words(32, someWords-10)},
		{"arrays without bytes", []Param{{Type: mustType(t, "uint256[0][]")}}, words(32, 1<<63)},
		{"fixed arrays without bytes", []Param{{Type: mustType(t, "uint256[0][1000000][100]")}}, nil},
		{"a million empty tuples", []Param{{Type: mustType(t, "tuple[1000000]")}}, nil},
		{"largest length", []Param{{Type: mustType(t, "uint256[]")}}, words(32, 1<<64-1)},
		{"length whose bytes overflow", []Param{{Type: mustType(t, "uint256[]")}}, words(32, 1<<59)},
		{"largest offset", []Param{{Type: mustType(t, "uint256[]")}}, words(1<<64-1, 0)},
		{"offset at the end", []Param{{Type: mustType(t, "bytes")}}, words(32)},
		{"text that is longer than all", []Param{{Type: mustType(t, "string")}}, words(32, 1<<62)},
		{"names that are longer than the values", []Param{{Type: mustType(t, "tuple[]", Param{Type: one})}}, words(append([]uint64{32, 40_000}, repeat(0, 40_000)...)...)},
	} {
		setKeys(tt.params, "input")
		out, err := Decode(tt.params, tt.data)
		if tt.name == "as many as may be" {
			if err != nil {
				t.Errorf("%s: %v", tt.name, err)
			}
			continue
		}
		if err == nil || len(err.Error()) > 1000 {
			t.Errorf("%s: %d bytes became %d, error %v", tt.name, len(tt.data), len(out), err)
		}
	}
	// Anything that is longer than a node's answer may be.
	if _, err := Decode(nil, make([]byte, maxData+1)); err == nil {
		t.Error("data of any length is decoded")
	}
}

// tower makes an array of so many dimensions in which every element of one dimension
// is the same array of the next.
func tower(dims, width int) []byte {
	list := []uint64{32}
	for range dims - 1 {
		list = append(list, uint64(width))
		list = append(list, repeat(uint64(width)*32, width)...)
	}
	list = append(list, uint64(width))
	return words(append(list, repeat(7, width)...)...)
}

// TestDataIsDecodedHoweverLong says that the bounds hold back nothing that has no
// shared parts.
func TestDataIsDecodedHoweverLong(t *testing.T) {
	for _, tt := range []struct {
		typ   *Type
		value string
		n     int
	}{
		{mustType(t, "uint256"), `"115792089237316195423570985008687907853269984665640564039457584007913129639935"`, 20_000},
		{mustType(t, "bool"), `false`, 20_000},
		{mustType(t, "string"), `"a"`, 9_000},
		{mustType(t, "bytes[]"), `["0x","0x01"]`, 5_000},
		{mustType(t, "uint8[][]"), `[[],["1"]]`, 5_000},
		{
			mustType(t, "tuple", Param{Name: "accountOfTheOwner", Type: mustType(t, "address")}, Param{Name: "isApproved", Type: mustType(t, "bool")}, Param{Name: "uri", Type: mustType(t, "string")}),
			`{"accountOfTheOwner":"0x00000000000000000000000000000000000000aa","isApproved":true,"uri":"ipfs://x"}`, 6_000,
		},
	} {
		list, err := arrayOf(tt.typ, "")
		if err != nil {
			t.Fatal(err)
		}
		params := []Param{{Key: "list", Type: list}}
		want := fmt.Sprintf(`{"list":[%s]}`, strings.TrimSuffix(strings.Repeat(tt.value+",", tt.n), ","))
		data, err := Encode(params, mustArgs(t, want))
		if err != nil {
			t.Fatalf("%s: %v", list, err)
		}
		got, err := Decode(params, data)
		if err != nil || string(got) != want {
			t.Errorf("%d of %s, %d bytes: error %v", tt.n, tt.typ, len(data), err)
		}
	}
}

func TestArgumentsThatEncodeToFarMoreAreRefused(t *testing.T) {
	// An empty element would have a head of a megabyte.
	params := []Param{{Key: "a", Type: mustType(t, "uint256[32768][]")}}
	_, err := Encode(params, mustArgs(t, `{"a":[`+strings.TrimSuffix(strings.Repeat("0,", 100_000), ",")+`]}`))
	if err == nil || err.Error() != "a: want values of at most 2097152 bytes once encoded, got more" {
		t.Errorf("error %v", err)
	}
	params = []Param{{Key: "a", Type: mustType(t, "bytes")}}
	if _, err := Encode(params, mustArgs(t, `{"a":"0x`+strings.Repeat("00", MaxEncoded)+`"}`)); err == nil || err.Error() != "a: want values of at most 2097152 bytes once encoded, got more" {
		t.Errorf("error %v", err)
	}
}
