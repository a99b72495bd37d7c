// SPDX-License-Identifier: Apache-2.0

package abi

import (
	"bytes"
	"fmt"
	"math/big"
	"math/rand"
	"strconv"
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/strictjson"
)

// seeded is a source of random numbers whose seed is in the test's log.
func seeded(t testing.TB) *rand.Rand {
	seed := time.Now().UnixNano()
	t.Logf("seed %d", seed)
	return rand.New(rand.NewSource(seed))
}

// randomType makes types in which at most depth tuples are inside each other.
func randomType(r *rand.Rand, depth int) *Type {
	var t *Type
	var err error
	switch n := r.Intn(10); {
	case n < 5 && depth > 0:
		t, err = ParseType("tuple", randomParams(r, 1+r.Intn(4), depth-1, "field"))
	case n == 5:
		t, err = ParseType("int"+strconv.Itoa(8*(1+r.Intn(32))), nil)
	case n == 6:
		t, err = ParseType("uint"+strconv.Itoa(8*(1+r.Intn(32))), nil)
	case n == 7:
		t, err = ParseType("bytes"+strconv.Itoa(1+r.Intn(32)), nil)
	default:
		t, err = ParseType([]string{"bool", "address", "bytes", "string", "function"}[r.Intn(5)], nil)
	}
	for range 2 {
		if err != nil {
			panic(err)
		}
		switch r.Intn(5) {
		case 0:
			t, err = arrayOf(t, "")
		case 1:
			t, err = arrayOf(t, strconv.Itoa(1+r.Intn(3)))
		}
	}
	return t
}

func randomParams(r *rand.Rand, n, depth int, word string) []Param {
	list := make([]Param, n)
	for i := range list {
		list[i].Type = randomType(r, depth)
		if word != "field" && r.Intn(3) == 0 {
			continue
		}
		list[i].Name = string(rune('a' + i))
	}
	setKeys(list, word)
	return list
}

// randomValue makes the JSON that a value is decoded to.
func randomValue(r *rand.Rand, t *Type) strictjson.Value {
	hex := func(n int) strictjson.Value {
		b := make([]byte, n)
		r.Read(b)
		return strictjson.StringValue(fmt.Sprintf("0x%x", b))
	}
	switch t.Kind {
	case Bool:
		return strictjson.Value{Kind: strictjson.Bool, Text: strconv.FormatBool(r.Intn(2) == 0)}
	case Address:
		return hex(20)
	case FixedBytes:
		return hex(t.Size)
	case Bytes:
		return hex(r.Intn(70))
	case String:
		b := make([]rune, r.Intn(50))
		for i := range b {
			b[i] = []rune("abc \"\\\n\x00é→😀")[r.Intn(11)]
		}
		if r.Intn(8) == 0 {
			return strictjson.Value{Kind: strictjson.Object, Members: []strictjson.Member{{Name: "hex", Value: strictjson.StringValue("0xff00")}}}
		}
		return strictjson.StringValue(string(b))
	case Int, Uint:
		n := new(big.Int).Rand(r, new(big.Int).Lsh(big.NewInt(1), uint(1+r.Intn(t.Size))))
		if t.Kind == Int {
			if n.BitLen() >= t.Size {
				n.Sub(n, new(big.Int).Lsh(big.NewInt(1), uint(t.Size)))
			} else if r.Intn(2) == 0 {
				n.Neg(n)
			}
		}
		return strictjson.StringValue(n.String())
	case Tuple:
		v := strictjson.Value{Kind: strictjson.Object}
		for _, m := range t.Members {
			v.Members = append(v.Members, strictjson.Member{Name: m.Key, Value: randomValue(r, m.Type)})
		}
		return v
	}
	n := t.Size
	if t.Kind == Array {
		n = r.Intn(4)
	}
	v := strictjson.Value{Kind: strictjson.Array}
	for range n {
		v.Elems = append(v.Elems, randomValue(r, t.Elem))
	}
	return v
}

// tuples is how many tuples are inside each other at most.
func tuples(t *Type) int {
	switch {
	case t.Elem != nil:
		return tuples(t.Elem)
	case t.Kind != Tuple:
		return 0
	}
	most := 0
	for _, m := range t.Members {
		most = max(most, tuples(m.Type))
	}
	return most + 1
}

func TestDecodingUndoesEncoding(t *testing.T) {
	r := seeded(t)
	depths := map[int]int{}
	for range 500 {
		params := randomParams(r, 1+r.Intn(3), 4, "input")
		all, err := ParseType("tuple", params)
		if err != nil {
			t.Fatal(err)
		}
		depths[tuples(all)-1]++
		want := randomValue(r, all).AppendTo(nil)
		data, err := Encode(params, mustArgs(t, string(want)))
		if err != nil {
			t.Fatalf("%s %s: %v", all, want, err)
		}
		got, err := Decode(params, data)
		if err != nil || !bytes.Equal(got, want) {
			t.Fatalf("%s: encoded\n%s\ndecoded\n%s\nerror %v", all, want, got, err)
		}
		again, err := Encode(params, mustArgs(t, string(got)))
		if err != nil || !bytes.Equal(again, data) {
			t.Fatalf("%s %s: encoded again as %x, error %v", all, want, again, err)
		}
		for _, cut := range []int{len(data) - 33, r.Intn(len(data))} {
			if cut < 0 || cut > len(data)-32 {
				continue
			}
			if _, err := Decode(params, data[:cut]); err == nil {
				t.Fatalf("%s: decoded from the first %d of %d bytes", all, cut, len(data))
			}
		}
	}
	t.Logf("values by how many tuples are inside each other: %v", depths)
	if depths[4] < 30 {
		t.Errorf("few values are four tuples deep: %v", depths)
	}
}
