// SPDX-License-Identifier: Apache-2.0

package abi

import (
	"bytes"
	"encoding/json"
	"fmt"
	"math/big"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"

	geth "github.com/ethereum/go-ethereum/accounts/abi"
	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/crypto"

	"github.com/hsmsigner/hsmsigner/internal/strictjson"
)

// theirs is the same method as go-ethereum reads it, which also says that what
// MarshalJSON writes is an ABI.
func theirs(t *testing.T, m *Method) geth.Method {
	t.Helper()
	doc, err := json.Marshal([]*Method{m})
	if err != nil {
		t.Fatal(err)
	}
	a, err := geth.JSON(bytes.NewReader(doc))
	if err != nil {
		t.Fatalf("%s: %v", doc, err)
	}
	return a.Methods[m.Name]
}

// ours turns what go-ethereum decoded into our JSON.
func ours(typ *Type, v reflect.Value) strictjson.Value {
	if v.Kind() == reflect.Interface {
		v = v.Elem()
	}
	switch typ.Kind {
	case Bool:
		return strictjson.Value{Kind: strictjson.Bool, Text: fmt.Sprint(v.Bool())}
	case Int, Uint:
		if n, big := v.Interface().(*big.Int); big {
			return strictjson.StringValue(n.String())
		}
		return strictjson.StringValue(fmt.Sprint(v.Interface()))
	case Address, FixedBytes:
		b := make([]byte, v.Len())
		reflect.Copy(reflect.ValueOf(b), v)
		return strictjson.StringValue(fmt.Sprintf("0x%x", b))
	case Bytes:
		return strictjson.StringValue(fmt.Sprintf("0x%x", v.Bytes()))
	case String:
		if !utf8.ValidString(v.String()) {
			return strictjson.Value{Kind: strictjson.Object, Members: []strictjson.Member{{Name: "hex", Value: strictjson.StringValue(fmt.Sprintf("0x%x", v.String()))}}}
		}
		return strictjson.StringValue(v.String())
	case Tuple:
		out := strictjson.Value{Kind: strictjson.Object}
		for i, m := range typ.Members {
			out.Members = append(out.Members, strictjson.Member{Name: m.Key, Value: ours(m.Type, v.Field(i))})
		}
		return out
	default:
		out := strictjson.Value{Kind: strictjson.Array}
		for i := range v.Len() {
			out.Elems = append(out.Elems, ours(typ.Elem, v.Index(i)))
		}
		return out
	}
}

func oursOf(params []Param, list []any) []byte {
	out := strictjson.Value{Kind: strictjson.Object}
	for i, p := range params {
		out.Members = append(out.Members, strictjson.Member{Name: p.Key, Value: ours(p.Type, reflect.ValueOf(list[i]))})
	}
	return out.AppendTo(nil)
}

func TestGoEthereumReadsAndWritesTheSame(t *testing.T) {
	r := seeded(t)
	same, bothRefuse, onlyThere, onlyHere := 0, 0, 0, 0
	for range 120 {
		params := randomParams(r, 1+r.Intn(3), 4, "input")
		m := NewMethod("f", params, nil, "nonpayable")
		all, err := ParseType("tuple", params)
		if err != nil {
			t.Fatal(err)
		}
		want := randomValue(r, all).AppendTo(nil)
		data, err := m.Encode(mustArgs(t, string(want)))
		if err != nil {
			t.Fatal(err)
		}
		their := theirs(t, m)
		if their.Sig != m.Signature() || !bytes.Equal(their.ID, data[:4]) {
			t.Fatalf("signature %s, theirs %s", m.Signature(), their.Sig)
		}
		list, err := their.Inputs.Unpack(data[4:])
		if err != nil {
			t.Fatalf("%s %s: %v", m.Signature(), want, err)
		}
		if got := oursOf(params, list); !bytes.Equal(got, want) {
			t.Fatalf("%s: %s, theirs %s", m.Signature(), want, got)
		}
		packed, err := their.Inputs.Pack(list...)
		if err != nil || !bytes.Equal(packed, data[4:]) {
			t.Fatalf("%s: %x, theirs %x, error %v", m.Signature(), data[4:], packed, err)
		}
		// Damaged, it is read alike or by one of us only.
		for range 15 {
			bad := bytes.Clone(data[4:])
			at := r.Intn(len(bad)/32) * 32
			switch r.Intn(3) {
			case 0:
				bad[at+31] ^= byte(1 << r.Intn(8))
			case 1:
				bad[at+r.Intn(32)] ^= byte(1 << r.Intn(8))
			case 2:
				bad = bad[:at+r.Intn(32)]
			}
			got, err := Decode(params, bad)
			list, theirErr := unpack(their, bad)
			switch {
			case err != nil && theirErr != nil:
				bothRefuse++
			case err != nil:
				onlyHere++
			case theirErr != nil:
				onlyThere++
			default:
				same++
				if want := oursOf(params, list); !bytes.Equal(got, want) {
					t.Fatalf("%s %x:\nours   %s\ntheirs %s", m.Signature(), bad, got, want)
				}
			}
		}
	}
	t.Logf("damaged data: %d read alike, %d refused by both, %d refused only there, %d refused only here", same, bothRefuse, onlyThere, onlyHere)
	if onlyThere > 0 {
		t.Error("go-ethereum is stricter")
	}
	if same < 100 || bothRefuse < 100 {
		t.Error("too few cases of one sort")
	}
}

func unpack(m geth.Method, data []byte) (list []any, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v", p)
		}
	}()
	return m.Inputs.Unpack(data)
}

func TestGoEthereumReadsTheSameEvents(t *testing.T) {
	r := seeded(t)
	hashes := 0
	for range 200 {
		params := randomParams(r, 1+r.Intn(4), 2, "plain")
		indexed := 0
		for i := range params {
			params[i].Name = string(rune('a' + i))
			if params[i].Indexed = indexed < 3 && r.Intn(2) == 0; params[i].Indexed {
				indexed++
			}
		}
		setKeys(params, "input")
		doc, err := json.Marshal(&Event{Name: "E", Inputs: params})
		if err != nil {
			t.Fatal(err)
		}
		e, err := ParseEvent(doc)
		if err != nil {
			t.Fatalf("%s: %v", doc, err)
		}
		a, err := geth.JSON(strings.NewReader("[" + string(doc) + "]"))
		if err != nil {
			t.Fatalf("%s: %v", doc, err)
		}
		their := a.Events["E"]
		if their.ID != e.Topic() || their.Sig != e.Signature() {
			t.Fatalf("%s %s, theirs %s", e.Signature(), e.Topic(), their.Sig)
		}
		// A log with a random value for each: what is not a word is a hash in a topic.
		var plain []Param
		want := strictjson.Value{Kind: strictjson.Object}
		rest := Args{List: []strictjson.Value{}}
		topics := []common.Hash{e.Topic()}
		for _, p := range e.Inputs {
			v := randomValue(r, p.Type)
			switch {
			case !p.Indexed:
				plain, rest.List = append(plain, p), append(rest.List, v)
			case p.Type.Word():
				b, err := Encode([]Param{p}, Args{List: []strictjson.Value{v}})
				if err != nil {
					t.Fatal(err)
				}
				topics = append(topics, common.Hash(b))
			default:
				hash := crypto.Keccak256Hash([]byte{byte(r.Intn(256))})
				hashes++
				topics = append(topics, hash)
				v = strictjson.Value{Kind: strictjson.Object, Members: []strictjson.Member{{Name: "hash", Value: strictjson.StringValue(hash.Hex())}}}
			}
			want.Members = append(want.Members, strictjson.Member{Name: p.Key, Value: v})
		}
		data, err := Encode(plain, rest)
		if err != nil {
			t.Fatal(err)
		}
		got, err := e.Decode(topics, data)
		if err != nil || !bytes.Equal(got, want.AppendTo(nil)) {
			t.Fatalf("%s: %s, want %s, error %v", e.Signature(), got, want.AppendTo(nil), err)
		}
		read := map[string]any{}
		if len(data) > 0 {
			if err := their.Inputs.UnpackIntoMap(read, data); err != nil {
				t.Fatal(err)
			}
		}
		var args geth.Arguments
		for _, arg := range their.Inputs {
			// There tuples are refused, and a function is wanted at the wrong end of its word.
			if arg.Indexed && arg.Type.T != geth.TupleTy && arg.Type.T != geth.FunctionTy {
				args = append(args, arg)
			}
		}
		if len(args) == indexed {
			if err := geth.ParseTopicsIntoMap(read, args, topics[1:]); err != nil {
				t.Fatal(err)
			}
		}
		for i, p := range e.Inputs {
			v, known := read[p.Name]
			if !known {
				continue
			}
			var theirs strictjson.Value
			if hash, is := v.(common.Hash); is && p.Indexed {
				theirs = strictjson.Value{Kind: strictjson.Object, Members: []strictjson.Member{{Name: "hash", Value: strictjson.StringValue(hash.Hex())}}}
			} else {
				theirs = ours(p.Type, reflect.ValueOf(v))
			}
			if w := want.Members[i].Value; !bytes.Equal(theirs.AppendTo(nil), w.AppendTo(nil)) {
				t.Fatalf("%s of %s: %s, theirs %s", p.Key, e.Signature(), w.AppendTo(nil), theirs.AppendTo(nil))
			}
		}
		log := append([]common.Hash{}, topics...)
		if found, ok := mustParse(t, "["+string(doc)+"]").EventFor(log); !ok || found.Signature() != e.Signature() {
			t.Fatalf("%s is not found by its topics", e.Signature())
		}
	}
	if hashes == 0 {
		t.Error("no indexed value was a hash")
	}
}
