// SPDX-License-Identifier: Apache-2.0

package abi

import (
	"bytes"
	"compress/gzip"
	"encoding/json"
	"fmt"
	"math/big"
	"os"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/strictjson"
)

func readVectors(t *testing.T, name string, out any) {
	t.Helper()
	f, err := os.Open("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	z, err := gzip.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	if err := json.NewDecoder(z).Decode(out); err != nil {
		t.Fatal(err)
	}
}

func mustParse(t testing.TB, doc string) *Contract {
	t.Helper()
	c, err := Parse([]byte(doc))
	if err != nil {
		t.Fatalf("%.300s: %v", doc, err)
	}
	return c
}

func value(t testing.TB, doc string) strictjson.Value {
	t.Helper()
	v, err := strictjson.Parse([]byte(doc))
	if err != nil {
		t.Fatalf("%.300s: %v", doc, err)
	}
	return v
}

func mustArgs(t testing.TB, doc string) Args {
	t.Helper()
	a, err := ArgsOf(value(t, doc))
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// ethersValue turns a value of the vectors into JSON as it is decoded, and if loose
// into another form of it that is read too.
func ethersValue(t testing.TB, typ *Type, v strictjson.Value, loose bool) strictjson.Value {
	t.Helper()
	if v.Kind == strictjson.Object {
		v = v.Get("value")
	}
	quoted := strictjson.StringValue(v.Text)
	switch typ.Kind {
	case Bool:
		if loose {
			return quoted
		}
		return v
	case Int, Uint:
		n, ok := new(big.Int).SetString(v.Text, 0)
		if !ok {
			t.Fatalf("number %q", v.Text)
		}
		if loose {
			return strictjson.Value{Kind: strictjson.Number, Text: n.String()}
		}
		return strictjson.StringValue(n.String())
	case Address, FixedBytes, Bytes:
		if loose {
			return strictjson.StringValue(strings.TrimPrefix(v.Text, "0x") + map[bool]string{true: "0x"}[v.Text == "0x"])
		}
		return strictjson.StringValue(strings.ToLower(v.Text))
	case String:
		return quoted
	}
	if v.Kind != strictjson.Array {
		t.Fatalf("%s for %s", v.Kind, typ)
	}
	out := strictjson.Value{Kind: strictjson.Array}
	for i, e := range v.Elems {
		elem := typ.Elem
		if typ.Kind == Tuple {
			elem = typ.Members[i].Type
		}
		out.Elems = append(out.Elems, ethersValue(t, elem, e, loose))
	}
	if typ.Kind == Tuple && !loose {
		for i, e := range out.Elems {
			out.Members = append(out.Members, strictjson.Member{Name: typ.Members[i].Key, Value: e})
		}
		out.Kind, out.Elems = strictjson.Object, nil
	}
	return out
}

func TestInterfaceVectorsOfEthers(t *testing.T) {
	counts := []int{}
	for _, file := range []string{"contract-interface.json.gz", "contract-interface-abi2.json.gz"} {
		var list []struct{ Name, Interface, Result, Values, NormalizedValues string }
		readVectors(t, file, &list)
		encoded, decoded := 0, 0
		for _, v := range list {
			m, err := mustParse(t, v.Interface).Method("test")
			if err != nil {
				t.Fatalf("%s: %v", v.Name, err)
			}
			if v.NormalizedValues == "" {
				v.NormalizedValues = v.Values
			}
			all := &Type{Kind: Tuple, Members: m.Outputs}
			result := common.FromHex(v.Result)
			strict := ethersValue(t, all, value(t, v.NormalizedValues), false)
			loose := ethersValue(t, all, value(t, v.NormalizedValues), true)
			for _, form := range []strictjson.Value{strict, loose} {
				args, err := ArgsOf(form)
				if err != nil {
					t.Fatal(err)
				}
				got, err := Encode(m.Outputs, args)
				if err != nil || !bytes.Equal(got, result) {
					t.Fatalf("%s: %s is encoded as %x, want %x, error %v", v.Name, form.AppendTo(nil), got, result, err)
				}
				encoded++
			}
			got, err := m.DecodeOutputs(result)
			if want := strict.AppendTo(nil); err != nil || !bytes.Equal(got, want) {
				t.Fatalf("%s: %x is decoded as %s, want %s, error %v", v.Name, result, got, want, err)
			}
			decoded++
		}
		counts = append(counts, encoded, decoded)
	}
	t.Logf("encoded and decoded: %d", counts)
	if fmt.Sprint(counts) != "[4090 2045 3760 1880]" {
		t.Errorf("counts %d", counts)
	}
}

func TestEventVectorsOfEthers(t *testing.T) {
	var list []struct {
		Name, Interface, Data string
		Topics                []common.Hash
		Hashed                []bool
		NormalizedValues      json.RawMessage
	}
	readVectors(t, "contract-events.json.gz", &list)
	hashes, anonymous := 0, 0
	for _, v := range list {
		c := mustParse(t, v.Interface)
		e, err := c.Event("testEvent")
		if err != nil {
			t.Fatal(err)
		}
		if found, _ := c.EventFor(v.Topics); e.Anonymous {
			anonymous++
		} else if found != e {
			t.Fatalf("%s: its event is not found by its topics", v.Name)
		}
		values := value(t, string(v.NormalizedValues))
		want := strictjson.Value{Kind: strictjson.Object}
		for i, p := range e.Inputs {
			var w strictjson.Value
			if v.Hashed[i] {
				hashes++
				w = strictjson.Value{Kind: strictjson.Object, Members: []strictjson.Member{{Name: "hash", Value: values.Elems[i]}}}
			} else {
				w = ethersValue(t, p.Type, values.Elems[i], false)
			}
			want.Members = append(want.Members, strictjson.Member{Name: p.Key, Value: w})
		}
		got, err := e.Decode(v.Topics, common.FromHex(v.Data))
		if err != nil || !bytes.Equal(got, want.AppendTo(nil)) {
			t.Fatalf("%s: decoded %s, want %s, error %v", v.Name, got, want.AppendTo(nil), err)
		}
	}
	t.Logf("%d events, %d of them anonymous, %d values of which only the hash is known", len(list), anonymous, hashes)
	if len(list) != 2016 || hashes == 0 || anonymous == 0 {
		t.Errorf("counts %d, %d, %d", len(list), anonymous, hashes)
	}
}

func TestSignatureVectorsOfEthers(t *testing.T) {
	var list []struct{ Name, Signature, SigHash, ABI string }
	readVectors(t, "contract-signatures.json.gz", &list)
	for _, v := range list {
		c := mustParse(t, v.ABI)
		m, err := c.Method(v.Signature)
		if err != nil {
			t.Fatalf("%s: %v", v.Name, err)
		}
		if got := fmt.Sprintf("0x%x", m.Selector()); got != v.SigHash {
			t.Fatalf("%s: selector %s, want %s", v.Name, got, v.SigHash)
		}
		if found, ok := c.MethodOf(common.FromHex(v.SigHash)); !ok || found != m {
			t.Fatalf("%s: not found by its selector", v.Name)
		}
	}
	t.Logf("%d signatures", len(list))
	if len(list) != 1880 {
		t.Errorf("%d signatures", len(list))
	}
}

func TestVectorsOfEthereumTests(t *testing.T) {
	b, err := os.ReadFile("testdata/basic_abi_tests.json")
	if err != nil {
		t.Fatal(err)
	}
	// The file has one name in single quotes, which JSON does not know.
	b = bytes.ReplaceAll(b, []byte("'"), []byte(`"`))
	var list map[string]struct {
		Args   []json.RawMessage
		Result string
		Types  []string
	}
	if err := json.Unmarshal(b, &list); err != nil {
		t.Fatal(err)
	}
	for name, v := range list {
		var params []Param
		var args Args
		for i, typ := range v.Types {
			p, err := ParseType(typ, nil)
			if err != nil {
				t.Fatal(err)
			}
			params = append(params, Param{Type: p})
			arg := value(t, string(v.Args[i]))
			if p.Kind == FixedBytes || p.Kind == Bytes { // text in the file
				arg = strictjson.StringValue(fmt.Sprintf("0x%x", arg.Text))
			}
			args.List = append(args.List, arg)
		}
		m := NewMethod("f", params, nil, "nonpayable")
		data, err := m.Encode(args)
		if err != nil || fmt.Sprintf("%x", data[4:]) != v.Result {
			t.Errorf("%s: %x, want %s, error %v", name, data, v.Result, err)
		}
		out, err := m.DecodeInputs(data)
		if err != nil {
			t.Fatal(err)
		}
		again, err := m.Encode(mustArgs(t, string(out)))
		if err != nil || !bytes.Equal(again, data) {
			t.Errorf("%s: decoded %s, which is encoded as %x, error %v", name, out, again, err)
		}
	}
	t.Logf("%d cases", len(list))
	if len(list) != 3 {
		t.Errorf("%d cases", len(list))
	}
}
