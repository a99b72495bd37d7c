// SPDX-License-Identifier: Apache-2.0

package abi

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/common"
)

func TestUnusableABIsAreRefusedWithTheirPlace(t *testing.T) {
	f := func(inputs string) string { return `[{"type":"function","name":"f","inputs":[` + inputs + `]}]` }
	nested := `{"type":"uint8"}`
	for range 13 {
		nested = `{"type":"tuple","components":[` + nested + `]}`
	}
	deep := strings.Replace(nested, "uint8", "uint8[][][][]", 1)
	for _, tt := range []struct{ doc, want string }{
		{``, `abi: not valid JSON: unexpected end at byte 0`},
		{`[{"type":"function","type":"event"}]`, `abi: not valid JSON: duplicate member "type" at byte 26`},
		{`{"inputs":[]}`, `abi: want the array of a contract's functions, events and errors, got an object`},
		{`{"abi":[],"bytecode":"0x"}`, `abi: want the array of a contract's functions, events and errors, got an object; its member abi seems to be what is wanted`},
		{`"[]"`, `abi: want the array of a contract's functions, events and errors, got a string`},
		{`[1]`, `abi[0]: want an object, got a number`},
		{`[{"type":"function","name":"a"},{"type":"method"}]`, `abi[1].type: method is not one of function, constructor, receive, fallback, event and error`},
		{`[{"type":null,"name":"a"}]`, `abi[0].type: want a string, got null`},
		{`[{"type":"function"}]`, `abi[0].name: "" is not a name: want letters, digits, _ and $, not beginning with a digit`},
		{`[{"type":"function","name":7}]`, `abi[0].name: want a string, got a number`},
		{`[{"type":"function","name":"1a"}]`, `abi[0].name: "1a" is not a name: want letters, digits, _ and $, not beginning with a digit`},
		{`[{"type":"function","name":"a/../b"}]`, `abi[0].name: "a/../b" is not a name: want letters, digits, _ and $, not beginning with a digit`},
		{`[{"type":"event","name":"<script>"}]`, `abi[0].name: "<script>" is not a name: want letters, digits, _ and $, not beginning with a digit`},
		{`[{"type":"error","name":"a\u0000"}]`, `abi[0].name: "a\x00" is not a name: want letters, digits, _ and $, not beginning with a digit`},
		{`[{"type":"function","name":"` + strings.Repeat("a", 129) + `"}]`, `abi[0].name: longer than 128 bytes`},
		{f(`{"name":"ä","type":"bool"}`), `abi[0].inputs[0].name: "ä" is not a name: want letters, digits, _ and $, not beginning with a digit`},
		{f(`{"name":"a","type":"bool","internalType":"struct\n"}`), `abi[0].inputs[0].internalType: "struct\n" has characters that no type has`},
		{f(`{"name":"a","type":"bool","internalType":"` + strings.Repeat("a", 513) + `"}`), `abi[0].inputs[0].internalType: longer than 512 bytes`},
		{f(`{"name":"a"}`), `abi[0].inputs[0].type: no type is given`},
		{f(`{"type":"bool"},"bool"`), `abi[0].inputs[1]: want an object, got a string`},
		{f(`{"type":"bool"},{"type":"uint7"}`), `abi[0].inputs[1].type: uint7 is not a type of the ABI`},
		{f(`{"type":"uint264"}`), `abi[0].inputs[0].type: uint264 is not a type of the ABI`},
		{f(`{"type":"uint08"}`), `abi[0].inputs[0].type: uint08 is not a type of the ABI`},
		{f(`{"type":"int0"}`), `abi[0].inputs[0].type: int0 is not a type of the ABI`},
		{f(`{"type":"bytes33"}`), `abi[0].inputs[0].type: bytes33 is not a type of the ABI`},
		{f(`{"type":"bytes0"}`), `abi[0].inputs[0].type: bytes0 is not a type of the ABI`},
		{f(`{"type":"Lib.Data storage"}`), `abi[0].inputs[0].type: "Lib.Data storage" is not a type of the ABI`},
		{f(`{"type":"fixed128x18"}`), `abi[0].inputs[0].type: numbers with a fixed point are not supported: fixed128x18`},
		{f(`{"type":"uint8["}`), `abi[0].inputs[0].type: uint8[ is not a type: its brackets are wrong`},
		{f(`{"type":"uint8[]x"}`), `abi[0].inputs[0].type: uint8[]x is not a type: its brackets are wrong`},
		{f(`{"type":"uint8[-1]"}`), `abi[0].inputs[0].type: uint8[-1]: -1 is no length of an array that can be used`},
		{f(`{"type":"uint8[02]"}`), `abi[0].inputs[0].type: uint8[02]: 02 is no length of an array that can be used`},
		{f(`{"type":"uint8[32769]"}`), `abi[0].inputs[0].type: uint8[32769]: 32769 is no length of an array that can be used`},
		{f(`{"type":"uint8[1000][1000]"}`), `abi[0].inputs[0].type: uint8[1000][1000]: 1000 is no length of an array that can be used`},
		{f(`{"type":"uint8[99999999999999999999]"}`), `abi[0].inputs[0].type: uint8[99999999999999999999]: 99999999999999999999 is no length of an array that can be used`},
		{f(`{"type":"uint8[32768]"},{"type":"uint8"}`), `abi[0].inputs: values of these types are longer than 1048576 bytes`},
		{f(`{"type":"uint8` + strings.Repeat("[]", 17) + `"}`), `abi[0].inputs[0].type: uint8[][][][][][][][][][][][][][][][][]: more than 16 arrays and tuples inside each other`},
		{f(`{"type":"uint8` + strings.Repeat("[1]", 60) + `"}`), `abi[0].inputs[0].type: longer than 128 bytes`},
		{f(deep), `abi[0].inputs[0].type: more than 16 arrays and tuples inside each other`},
		{f(`{"type":"tuple"}`), `abi[0].inputs[0].components: missing; a tuple wants the array of its members`},
		{f(`{"type":"tuple[]","components":{}}`), `abi[0].inputs[0].components: missing; a tuple wants the array of its members`},
		{f(`{"type":"tuple","components":[{"type":"bool","name":"a b"}]}`), `abi[0].inputs[0].components[0].name: "a b" is not a name: want letters, digits, _ and $, not beginning with a digit`},
		{f(strings.Repeat(`{"type":"bool"},`, 256) + `{"type":"bool"}`), `abi[0].inputs: 257 parameters, at most 256 are accepted`},
		{`[{"type":"function","name":"f","inputs":{}}]`, `abi[0].inputs: want an array, got an object`},
		{`[{"type":"function","name":"f","stateMutability":"const"}]`, `abi[0].stateMutability: "const" is not one of pure, view, nonpayable and payable`},
		{`[{"type":"function","name":"f","constant":"true"}]`, `abi[0].constant: want true or false, got a string`},
		{`[{"type":"function","name":"f","payable":1}]`, `abi[0].payable: want true or false, got a number`},
		{`[{"type":"event","name":"e","anonymous":0}]`, `abi[0].anonymous: want true or false, got a number`},
		{`[{"type":"event","name":"e","inputs":[` + strings.Repeat(`{"type":"bool","indexed":true},`, 3) + `{"type":"bool","indexed":true}]}]`, `abi[0].inputs: 5 topics, a log has at most 4`},
		{`[{"type":"error","name":"e","inputs":[{"type":"x"}]}]`, `abi[0].inputs[0].type: x is not a type of the ABI`},
		{`[{"type":"event","name":"e","inputs":[{"type":"bool","indexed":1}]}]`, `abi[0].inputs[0].indexed: want true or false, got a number`},
		{`[{"type":"constructor","inputs":[{"type":["bool"]}]}]`, `abi[0].inputs[0].type: want a string, got an array`},
		{`[{"type":"fallback","stateMutability":7}]`, `abi[0].stateMutability: want a string, got a number`},
		{`[{"type":"function","name":"f","outputs":[{"name":7,"type":"bool"}]}]`, `abi[0].outputs[0].name: want a string, got a number`},
		{`[{"type":"constructor"},{"type":"constructor"}]`, `abi[1]: a second constructor`},
		{`[{"type":"receive"},{"type":"receive"}]`, `abi[1]: a second receive`},
		{`[{"type":"function","name":"f"},{"type":"function","name":"f","outputs":[{"type":"bool"}]}]`, `abi[1]: function f() is there twice, with other outputs or another mutability`},
		// Two of the known pairs of functions with one selector.
		{`[{"type":"function","name":"collate_propagate_storage","inputs":[{"type":"bytes16"}]},{"type":"function","name":"burn","inputs":[{"type":"uint256"}]}]`, `abi[1]: function burn(uint256) has the selector of collate_propagate_storage(bytes16)`},
	} {
		_, err := Parse([]byte(tt.doc))
		var e *ParseError
		if !errors.As(err, &e) || err.Error() != tt.want {
			t.Errorf("%.200s:\ngot  %v\nwant %s", tt.doc, err, tt.want)
		}
	}
}

func TestLargeABIsAreRefusedEarly(t *testing.T) {
	member := `{"type":"bool"},`
	list := strings.TrimSuffix(strings.Repeat(member, 256), ",")
	var same strings.Builder
	for i := range 65 {
		fmt.Fprintf(&same, `{"name":"f","inputs":[{"type":"bool[%d]"}]},`, i)
	}
	tests := map[string]string{
		"[" + strings.TrimSuffix(same.String(), ",") + "]":                                            "abi[64].name: more than 64 functions called f",
		strings.Repeat(" ", maxDocument) + "[]":                                                       "abi: longer than 2097152 bytes",
		"[" + strings.TrimSuffix(strings.Repeat(`{"type":"fallback"},`, maxEntries+1), ",") + "]":     "abi: 4097 entries, at most 4096 are accepted",
		"[" + strings.TrimSuffix(strings.Repeat(`{"name":"f","inputs":[`+list+`]},`, 300), ",") + "]": "abi[256].inputs: the ABI has more than 65536 parameters",
	}
	for doc, want := range tests {
		if _, err := Parse([]byte(doc)); err == nil || err.Error() != want {
			t.Errorf("%d bytes: error %v, want %s", len(doc), err, want)
		}
	}
}

func TestOldAndOddABIsAreRead(t *testing.T) {
	c := mustParse(t, `[
	 {"name":"old","constant":true,"inputs":[{"name":"a","type":"uint"}],"outputs":[{"name":"","type":"int[2]"}],"payable":false,"gas":2100},
	 {"type":"function","name":"paid","payable":true,"inputs":[]},
	 {"type":"function","name":"plain"},
	 {"type":"function","name":"plain","inputs":[],"outputs":[]},
	 {"type":"event","name":"E","inputs":[{"name":"a","type":"address","indexed":true},{"name":"b","type":"address","indexed":false}]},
	 {"type":"event","name":"E","inputs":[{"name":"c","type":"address","indexed":true},{"name":"d","type":"address","indexed":false}]},
	 {"type":"event","name":"E","inputs":[{"name":"a","type":"address","indexed":true},{"name":"b","type":"address","indexed":true}]},
	 {"type":"error","name":"Bad","inputs":[{"name":"x","type":"bool"}]},{"type":"error","name":"Bad","inputs":[{"name":"y","type":"bool"}]},
	 {"type":"fallback","stateMutability":"payable"}]`)
	if len(c.Methods) != 3 || len(c.Events) != 2 || len(c.Errors) != 1 || c.Constructor != nil || c.Receive != nil || !c.Fallback.Payable() {
		t.Fatalf("read %+v", c)
	}
	for i, want := range []string{"old(uint256) view", "paid() payable", "plain() nonpayable"} {
		m := c.Methods[i]
		if got := m.Signature() + " " + m.Mutability; got != want || m.Constant() != (i == 0) || m.Payable() != (i == 1) {
			t.Errorf("read %s, want %s", got, want)
		}
	}
	if got := c.Methods[0].Outputs[0].Type.String(); got != "int256[2]" {
		t.Errorf("output %s", got)
	}
}

func TestEventsOfOneSignatureAreToldApartByTheirTopics(t *testing.T) {
	c := mustParse(t, `[{"type":"event","name":"E","inputs":[{"name":"a","type":"address","indexed":true},{"name":"b","type":"address"}]},
	 {"type":"event","name":"E","inputs":[{"name":"a","type":"address","indexed":true},{"name":"b","type":"address","indexed":true}]},
	 {"type":"event","name":"A","anonymous":true,"inputs":[{"name":"a","type":"bytes32","indexed":true}]}]`)
	topic := c.Events[0].Topic()
	for n, want := range map[int]*Event{2: c.Events[0], 3: c.Events[1], 1: nil, 4: nil} {
		topics := make([]common.Hash, n)
		topics[0] = topic
		if e, ok := c.EventFor(topics); e != want || ok != (want != nil) {
			t.Errorf("%d topics: %v %v", n, e, ok)
		}
	}
	if _, ok := c.EventFor([]common.Hash{c.Events[2].Topic()}); ok {
		t.Error("an anonymous event is found by its signature")
	}
}

func TestTypesOfManyBytesAreRefused(t *testing.T) {
	half, err := ParseType("uint8[20000]", nil)
	if err != nil {
		t.Fatal(err)
	}
	if half.Dynamic() || !mustType(t, "uint8[]").Dynamic() || half.Word() || !mustType(t, "function").Word() {
		t.Error("what is dynamic, or a word, is wrong")
	}
	if _, err := ParseType("tuple", []Param{{Type: half}, {Type: half}}); err == nil || err.Error() != "values of the type are longer than 1048576 bytes" {
		t.Errorf("error %v", err)
	}
}

func TestEachParameterHasAKeyOfItsOwn(t *testing.T) {
	c := mustParse(t, `[{"name":"f","inputs":[{"type":"bool"},{"type":"bool"},{"name":"input1","type":"bool"},{"name":"a","type":"bool"},{"name":"a","type":"bool"},
	  {"type":"tuple","components":[{"type":"bool"},{"name":"x","type":"bool"},{"type":"bool"}]}],"outputs":[{"type":"bool"},{"type":"bool"}]}]`)
	keys := func(list []Param) string {
		out := ""
		for _, p := range list {
			out += p.Key + " "
		}
		return out
	}
	m := c.Methods[0]
	if got := keys(m.Inputs); got != "input input1_ input1 a a_ input5 " {
		t.Errorf("inputs %s", got)
	}
	if got := keys(m.Outputs); got != "output output1 " {
		t.Errorf("outputs %s", got)
	}
	if got := keys(m.Inputs[5].Type.Members); got != "field x field2 " {
		t.Errorf("members %s", got)
	}
}

func TestTuplesHaveTheNameOfTheirStruct(t *testing.T) {
	c := mustParse(t, `[{"name":"f","inputs":[
	 {"type":"tuple[2][]","internalType":"struct Market.Order[2][]","components":[]},
	 {"type":"tuple","internalType":"struct Order","components":[]},
	 {"type":"tuple","components":[]},
	 {"type":"tuple","internalType":"struct A/../B","components":[]},
	 {"type":"address","internalType":"contract IERC20"}]}]`)
	in := c.Methods[0].Inputs
	got := []string{in[0].Type.Elem.Elem.Struct, in[1].Type.Struct, in[2].Type.Struct, in[3].Type.Struct, in[4].Type.Struct}
	if fmt.Sprintf("%q", got) != `["Market.Order" "Order" "" "" ""]` {
		t.Errorf("%q", got)
	}
	if in[0].Type.String() != "()[2][]" || in[4].InternalType != "contract IERC20" {
		t.Errorf("%s %s", in[0].Type, in[4].InternalType)
	}
}

func TestMethodsAreFoundByNameOrSignature(t *testing.T) {
	c := mustParse(t, `[{"name":"one","inputs":[{"name":"a","type":"uint256"}]},
	 {"name":"two","inputs":[{"name":"a","type":"uint256"}]},
	 {"name":"two","inputs":[{"name":"a","type":"uint256"},{"name":"b","type":"address"}]},
	 {"name":"two","inputs":[{"name":"a","type":"string"}]},
	 {"name":"two","inputs":[{"name":"a","type":"bool"}]},
	 {"type":"event","name":"E","inputs":[{"type":"bool"}]},{"type":"event","name":"E","inputs":[{"type":"string"}]},{"type":"event","name":"F"}]`)
	for _, tt := range []struct{ name, args, want string }{
		{"one", `{"a":"no number"}`, "one(uint256)"}, // there is but one, so it is not asked whether they fit
		{"one(uint256)", `[]`, "one(uint256)"},
		{"two(uint256, address)", `[]`, "two(uint256,address)"},
		{"two", `[1,"0x00000000000000000000000000000000000000aa"]`, "two(uint256,address)"},
		{"two", `{"a":1}`, "two(uint256)"},
		{"two", `{"a":"x"}`, "two(string)"},
		{"two", `{"a":true}`, "two(bool)"},
		{"two", `{"a":"1"}`, "the contract has 4 methods called two: give the full signature, one of two(bool), two(string), two(uint256), two(uint256,address)"},
		{"two", `{"a":"true"}`, "the contract has 4 methods called two: give the full signature, one of two(bool), two(string), two(uint256), two(uint256,address)"},
		{"two", `{}`, "the contract has 4 methods called two: give the full signature, one of two(bool), two(string), two(uint256), two(uint256,address)"},
		{"two(bytes)", `[]`, "the contract has no method two(bytes), but two(bool), two(string), two(uint256), two(uint256,address)"},
		{"three", `[]`, "the contract has no method called three"},
		{"Two", `[]`, "the contract has no method called Two"},
		{"", `[]`, "the contract has no method called "},
		{"two(", `[]`, "the contract has no method two(, but two(bool), two(string), two(uint256), two(uint256,address)"},
		{"\n\"" + strings.Repeat("x", 100), `[]`, `the contract has no method called "\n\"xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"…`},
	} {
		m, err := c.MethodFor(tt.name, mustArgs(t, tt.args))
		got := ""
		if err != nil {
			got = err.Error()
			if ambiguous := strings.Contains(got, "give the full"); errors.Is(err, ErrAmbiguous) != ambiguous || errors.Is(err, ErrUnknown) == ambiguous {
				t.Errorf("%s is %v", got, errors.Unwrap(err))
			}
		} else {
			got = m.Signature()
		}
		if got != tt.want {
			t.Errorf("%q %s:\ngot  %s\nwant %s", tt.name, tt.args, got, tt.want)
		}
	}
	for name, want := range map[string]string{"F": "", "E(bool)": "", "E": ErrAmbiguous.Error(), "E(int8)": ErrUnknown.Error(), "one": ErrUnknown.Error()} {
		if _, err := c.Event(name); fmt.Sprint(errors.Unwrap(err)) != want && (err != nil || want != "") {
			t.Errorf("event %s: error %v", name, err)
		}
	}
	for _, data := range [][]byte{nil, {1, 2, 3}, {0, 0, 0, 0}} {
		if m, ok := c.MethodOf(data); ok {
			t.Errorf("%x is of %s", data, m.Signature())
		}
	}
	if _, ok := c.EventFor(nil); ok {
		t.Error("a log without topics is of an event")
	}
}

func TestEntriesAreWrittenAsTheyAreRead(t *testing.T) {
	c := mustParse(t, everything)
	var all []any
	for _, m := range append([]*Method{c.Constructor, c.Fallback, c.Receive}, c.Methods...) {
		all = append(all, m)
	}
	all = append(all, c.Events[0], c.Errors[0])
	first, err := json.Marshal(all)
	if err != nil {
		t.Fatal(err)
	}
	again := mustParse(t, string(first))
	if c.Constructor.Signature() != again.Constructor.Signature() || again.Constructor.Mutability != "payable" || again.Fallback == nil || !again.Receive.Payable() ||
		again.Events[0].topics() != 3 || again.Errors[0].Signature() != "Bad(uint16)" {
		t.Fatalf("%s", first)
	}
	if m := again.Methods[0]; m.Signature() != c.Methods[0].Signature() || m.Inputs[0].Type.Elem.Struct != "Market.Order" || m.Inputs[0].InternalType != "struct Market.Order[]" || m.Inputs[2].Key != "input2" {
		t.Fatalf("%s", first)
	}
	for _, doc := range []string{`[]`, `{"type":"event","name":"E"}`, `{"type":"function","name":"1"}`, `{`} {
		if _, err := ParseMethod([]byte(doc)); err == nil {
			t.Errorf("%s is a method", doc)
		}
	}
	if _, err := ParseEvent([]byte(`[]`)); err == nil || err.Error() != "abi: want an object, one entry of an ABI, got an array" {
		t.Errorf("error %v", err)
	}
	if _, err := ParseEvent([]byte(`{"type":"function","name":"f"}`)); err == nil || err.Error() != "abi.type: want event, got function" {
		t.Errorf("error %v", err)
	}
}

// BenchmarkParse says what one upload costs.
func BenchmarkParse(b *testing.B) {
	r := rand.New(rand.NewSource(1))
	var list []*Method
	for i := range 200 {
		list = append(list, NewMethod(fmt.Sprintf("f%d", i), randomParams(r, 3, 2, "input"), nil, "view"))
	}
	doc, err := json.Marshal(list)
	if err != nil {
		b.Fatal(err)
	}
	b.SetBytes(int64(len(doc)))
	for b.Loop() {
		if _, err := Parse(doc); err != nil {
			b.Fatal(err)
		}
	}
}
