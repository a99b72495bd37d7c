// SPDX-License-Identifier: Apache-2.0

package abi

import (
	"bytes"
	"encoding/json"
	"errors"
	"testing"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/strictjson"
)

const everything = `[
 {"type":"constructor","inputs":[{"name":"n","type":"uint256"}],"stateMutability":"payable"},
 {"type":"function","name":"f","stateMutability":"view","inputs":[
  {"name":"orders","type":"tuple[]","internalType":"struct Market.Order[]","components":[
   {"name":"who","type":"address"},{"name":"what","type":"tuple","components":[{"name":"amounts","type":"int64[2][]"},{"name":"note","type":"string"}]}]},
  {"name":"raw","type":"bytes"},{"name":"","type":"bytes5"},{"name":"on","type":"bool[2]"},{"name":"back","type":"function"}],
  "outputs":[{"name":"","type":"uint8"},{"name":"","type":"string[]"}]},
 {"type":"event","name":"E","anonymous":false,"inputs":[{"name":"a","type":"address","indexed":true},{"name":"s","type":"string","indexed":true},{"name":"v","type":"uint256[]","indexed":false}]},
 {"type":"error","name":"Bad","inputs":[{"name":"code","type":"uint16"}]},
 {"type":"fallback","stateMutability":"nonpayable"},{"type":"receive","stateMutability":"payable"}]`

const everythingArgs = `{"orders":[{"who":"0x00000000000000000000000000000000000000aa","what":{"amounts":[["1","-2"]],"note":"hi"}}],"raw":"0x0102","input2":"0x0102030405","on":[true,false],"back":"0x000000000000000000000000000000000000000000000000"}`

func FuzzParse(f *testing.F) {
	f.Add([]byte(everything))
	f.Add([]byte(`[{"name":"f","constant":true,"inputs":[{"type":"uint[0][3][]"},{"type":"tuple","components":[]}]}]`))
	f.Add([]byte(`{"abi":[]}`))
	f.Fuzz(func(t *testing.T, doc []byte) {
		c, err := Parse(doc)
		if err != nil {
			var e *ParseError
			if !errors.As(err, &e) || len(err.Error()) > 2000 {
				t.Fatalf("error %T: %v", err, err)
			}
			return
		}
		// What it is written as is read alike.
		for _, m := range c.Methods {
			out, err := json.Marshal(m)
			if err != nil {
				t.Fatal(err)
			}
			again, err := ParseMethod(out)
			if err != nil || again.Signature() != m.Signature() || tupleText(again.Outputs) != tupleText(m.Outputs) || again.Mutability != m.Mutability {
				t.Fatalf("%s is another method, error %v", out, err)
			}
			if found, err := c.Method(m.Signature()); err != nil || found != m {
				t.Fatalf("%s is not found, error %v", m.Signature(), err)
			}
			if _, err := m.Encode(Args{}); err != nil && len(err.Error()) > 2000 {
				t.Fatal(err)
			}
			if _, err := m.DecodeOutputs(make([]byte, 64)); err != nil && len(err.Error()) > 2000 {
				t.Fatal(err)
			}
		}
		for _, e := range c.Events {
			out, err := json.Marshal(e)
			if err != nil {
				t.Fatal(err)
			}
			if again, err := ParseEvent(out); err != nil || again.Topic() != e.Topic() || again.topics() != e.topics() {
				t.Fatalf("%s is another event, error %v", out, err)
			}
		}
	})
}

// fuzzTypes are what data is decoded as.
func fuzzTypes(f *testing.F) []Param {
	c, err := Parse([]byte(everything))
	if err != nil {
		f.Fatal(err)
	}
	params := append([]Param{}, c.Methods[0].Inputs...)
	params = append(params, c.Methods[0].Outputs...)
	for _, typ := range []string{"bytes[][]", "uint8[3][]", "tuple[][]", "bool[0][]", "int256"} {
		p, err := ParseType(typ, nil)
		if err != nil {
			f.Fatal(err)
		}
		params = append(params, Param{Type: p})
	}
	setKeys(params, "input")
	return params
}

func FuzzDecode(f *testing.F) {
	params := fuzzTypes(f)
	c, err := Parse([]byte(everything))
	if err != nil {
		f.Fatal(err)
	}
	data, err := c.Methods[0].Encode(mustArgs(f, everythingArgs))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(uint8(4*len(params)), data[4:]) // the method's own inputs
	f.Add(uint8(6), words(32, 2, 64, 96, 1, 0, 1, 0))
	f.Add(uint8(7), tower(2, 3))
	f.Add(uint8(8), words(32, 1, 1, 2, 3))
	f.Add(uint8(9), words(32, 2, 64, 96, 3, 0))
	f.Add(uint8(11), words(1<<63))
	f.Add(uint8(7), make([]byte, 320))
	f.Fuzz(func(t *testing.T, n uint8, data []byte) {
		from := int(n) % len(params)
		some := params[from:min(from+int(n)/len(params)+1, len(params))]
		got, err := Decode(some, data)
		if err != nil {
			var e *DataError
			if !errors.As(err, &e) || len(err.Error()) > 4000 {
				t.Fatalf("error %T: %v", err, err)
			}
			return
		}
		if most := someText + growth*len(data) + 4096 + 2*len(data); len(got) > most {
			t.Fatalf("%d bytes became %d", len(data), len(got))
		}
		v, err := strictjson.Parse(got)
		if err != nil {
			t.Fatalf("%x is decoded as %s: %v", data, got, err)
		}
		args, err := ArgsOf(v)
		if err != nil {
			t.Fatal(err)
		}
		clean, err := Encode(some, args)
		if err != nil {
			t.Fatalf("%s cannot be encoded: %v", got, err)
		}
		again, err := Decode(some, clean)
		if err != nil || !bytes.Equal(got, again) {
			t.Fatalf("%s became %s, error %v", got, again, err)
		}
	})
}

func FuzzEncode(f *testing.F) {
	params := fuzzTypes(f)
	f.Add(uint8(0), []byte(everythingArgs))
	f.Add(uint8(1), []byte(`["0x"]`))
	f.Add(uint8(6), []byte(`["[[1,2]]"]`))
	f.Fuzz(func(t *testing.T, n uint8, doc []byte) {
		v, err := strictjson.Parse(doc)
		if err != nil {
			return
		}
		args, err := ArgsOf(v)
		if err != nil {
			return
		}
		some := params[:min(len(params), int(n))]
		data, err := Encode(some, args)
		if err != nil {
			var e *ArgError
			if !errors.As(err, &e) || len(err.Error()) > 4000 {
				t.Fatalf("error %T: %v", err, err)
			}
			return
		}
		if _, err := Decode(some, data); err != nil {
			t.Fatalf("%s was encoded as %x, which is refused: %v", doc, data, err)
		}
	})
}

func FuzzLogsAndReverts(f *testing.F) {
	c, err := Parse([]byte(everything))
	if err != nil {
		f.Fatal(err)
	}
	e := c.Events[0]
	f.Add(make([]byte, 64), []byte{})
	f.Add([]byte{}, common.FromHex("08c379a0"))
	f.Fuzz(func(t *testing.T, data, revert []byte) {
		out, err := e.Decode([]common.Hash{e.Topic(), {}, {1}}, data)
		if err == nil && !json.Valid(out) {
			t.Fatalf("%x is decoded as %s", data, out)
		}
		r, ok := c.DecodeRevert(revert)
		if ok && (r.Name == "" || r.Signature == "" || len(r.Args) > 0 && !json.Valid(r.Args)) {
			t.Fatalf("%x is %+v", revert, r)
		}
	})
}
