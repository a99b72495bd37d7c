// SPDX-License-Identifier: Apache-2.0

package abi

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/hsmsigner/hsmsigner/internal/strictjson"
)

func TestArgumentsThatDoNotFitAreRefusedWithTheirPath(t *testing.T) {
	const addr = `"0x00000000000000000000000000000000000000aa"`
	integer := func(typ string) string {
		return "want an integer of type " + typ + ", as a number or a decimal or 0x-string, got "
	}
	order := []Param{{Name: "who", Type: mustType(t, "address")}, {Name: "amounts", Type: mustType(t, "uint64[]")}, {Type: mustType(t, "bool")}}
	types := map[string]*Type{"order": mustType(t, "tuple", order...), "orders": mustType(t, "tuple[2]", order...), "none": mustType(t, "tuple")}
	for _, tt := range []struct{ typ, args, want string }{
		// which there are
		{"uint8 bool", `[1]`, "arguments: want 2 arguments (a uint8, b bool), got 1"},
		{"uint8 bool", `[1,true,2]`, "arguments: want 2 arguments (a uint8, b bool), got 3"},
		{"uint8", `[]`, "arguments: want 1 argument (a uint8), got 0"},
		{"", `[1]`, "arguments: want no arguments, got 1"},
		{"", `{"x":1}`, "x: there is no such argument; want no arguments"},
		{"uint8 bool", `{"a":1}`, "b: want true or false, got nothing"},
		{"uint8 bool", `{"a":1,"B":true}`, "b: want true or false, got nothing"},
		{"uint8", `{"a":1,"z":1,"b":2}`, "b: there is no such argument; want 1 argument (a uint8)"},
		{"uint8", `{}`, "a: " + integer("uint8") + "nothing"},
		{"uint8", `{"a":1,"` + strings.Repeat("x", 200) + `":1}`, strings.Repeat("x", 64) + "…: there is no such argument; want 1 argument (a uint8)"},
		{"uint8", `"1"`, `arguments: want an object of them by name, or an array of them in order, got the string "1"`},
		{strings.Repeat("bool ", 14), `[]`, "arguments: want 14 arguments (a bool, b bool, c bool, d bool, e bool, f bool, g bool, h bool, i bool, j bool, k bool, l bool and 2 more), got 0"},
		// integers
		{"uint8", `[256]`, "a: " + integer("uint8") + "256, which is out of range"},
		{"uint8", `[-1]`, "a: " + integer("uint8") + "-1, which is out of range"},
		{"int8", `[128]`, "a: " + integer("int8") + "128, which is out of range"},
		{"int8", `["-129"]`, "a: " + integer("int8") + `the string "-129", which is out of range`},
		{"int256", `["0xffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff"]`, "a: " + integer("int256") + `the string "0xffffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff…", which is out of range`},
		{"uint256", `["115792089237316195423570985008687907853269984665640564039457584007913129639936"]`, "a: " + integer("uint256") + `the string "1157920892373161954235709850086879078532699846656405640394575840…", which is out of range`},
		{"uint256", `[1e18]`, "a: " + integer("uint256") + "1e18, which has an exponent or a fraction"},
		{"uint256", `[1.0]`, "a: " + integer("uint256") + "1.0, which has an exponent or a fraction"},
		{"uint256", `["1e18"]`, "a: " + integer("uint256") + `the string "1e18", which is no integer`},
		{"uint256", `["1.5"]`, "a: " + integer("uint256") + `the string "1.5", which is no integer`},
		{"uint256", `[""]`, "a: " + integer("uint256") + `the string "", which is no integer`},
		{"uint256", `["-"]`, "a: " + integer("uint256") + `the string "-", which is no integer`},
		{"uint256", `["0x"]`, "a: " + integer("uint256") + `the string "0x", which is no integer`},
		{"uint256", `[" 1"]`, "a: " + integer("uint256") + `the string " 1", which is no integer`},
		{"uint256", `["+1"]`, "a: " + integer("uint256") + `the string "+1", which is no integer`},
		{"uint256", `["1_000"]`, "a: " + integer("uint256") + `the string "1_000", which is no integer`},
		{"uint256", `["ff"]`, "a: " + integer("uint256") + `the string "ff", which is no integer`},
		{"uint256", `["0X10"]`, "a: " + integer("uint256") + `the string "0X10", which is no integer`},
		{"uint256", `["١"]`, "a: " + integer("uint256") + `the string "١", which is no integer`},
		{"uint256", `["` + strings.Repeat("0", 101) + `"]`, "a: " + integer("uint256") + `the string "` + strings.Repeat("0", 64) + `…", which is too long`},
		{"uint256", `[null]`, "a: " + integer("uint256") + "null"},
		{"uint256", `[true]`, "a: " + integer("uint256") + "true"},
		{"uint256", `[[1]]`, "a: " + integer("uint256") + "an array"},
		// bool
		{"bool", `[1]`, "a: want true or false, got 1"},
		{"bool", `["True"]`, `a: want true or false, got the string "True"`},
		{"bool", `[""]`, `a: want true or false, got the string ""`},
		// addresses and bytes
		{"address", `["0x00"]`, `a: want an address, 0x and 40 hexadecimal digits, got the string "0x00", whose length is 1`},
		{"address", `[7]`, "a: want an address, 0x and 40 hexadecimal digits, got 7"},
		{"address", `["0x00000000000000000000000000000000000000g0"]`, `a: want an address, 0x and 40 hexadecimal digits, got the string "0x00000000000000000000000000000000000000g0", which is not hexadecimal`},
		{"address", `["vitalik.eth"]`, `a: want an address, 0x and 40 hexadecimal digits, got the string "vitalik.eth", which is not hexadecimal`},
		{"bytes4", `["0x010203"]`, `a: want bytes4, 0x and 8 hexadecimal digits, got the string "0x010203", whose length is 3`},
		{"bytes4", `["0x0102030405"]`, `a: want bytes4, 0x and 8 hexadecimal digits, got the string "0x0102030405", whose length is 5`},
		{"function", `["0x00"]`, `a: want function, 0x and 48 hexadecimal digits, got the string "0x00", whose length is 1`},
		{"bytes", `["0x0"]`, `a: want bytes, such as "0x60fe", or "0x" for none, got the string "0x0", which has an odd number of digits`},
		{"bytes", `[""]`, `a: want bytes, such as "0x60fe", or "0x" for none, got the string ""`},
		{"bytes", `["0x0x00"]`, `a: want bytes, such as "0x60fe", or "0x" for none, got the string "0x0x00", which is not hexadecimal`},
		{"bytes", `[[1,256]]`, `a: want bytes, such as "0x60fe", or "0x" for none, got an array, whose number 1 is not one from 0 to 255`},
		{"bytes", `[["1"]]`, `a: want bytes, such as "0x60fe", or "0x" for none, got an array, whose number 0 is not one from 0 to 255`},
		{"bytes2", `[[1,2,3]]`, `a: want bytes2, 0x and 4 hexadecimal digits, got an array, whose length is 3`},
		// strings
		{"string", `[1]`, "a: want a string, got 1"},
		{"string", `[{"hex":"0x0"}]`, "a: want a string, got an object, which has an odd number of digits"},
		{"string", `[{"Hex":"0x00"}]`, "a: want a string, got an object"},
		{"string", `[{"hex":"0x00","x":1}]`, "a: want a string, got an object"},
		// arrays
		{"uint8[]", `[1]`, "a: want an array of uint8, got 1"},
		{"uint8[2]", `[[1]]`, "a: want exactly 2 values of uint8, got 1"},
		{"uint8[][2]", `[[[1],[2,[3]]]]`, "a[1][1]: " + integer("uint8") + "an array"},
		{"uint8[]", `["[1,2"]`, "a: want an array of uint8, got a string that is not valid JSON: expected , or ] in array at byte 4"},
		{"uint8[]", `["1,2"]`, "a: want an array of uint8, got a string that is not valid JSON: data after the end of the value at byte 1"},
		{"uint8[][]", `[["[1]"]]`, `a[0]: want an array of uint8, got the string "[1]"`}, // text only where a query would have it
		// tuples
		{"order", `[` + addr + `]`, `a: want an object with who address, amounts uint64[], field2 bool, got a string that is not valid JSON: data after the end of the value at byte 1`},
		{"order", `[[` + addr + `]]`, "a: want 3 values in order (who address, amounts uint64[], field2 bool), got 1"},
		{"order", `[{"who":` + addr + `,"amounts":[]}]`, "a.field2: want true or false, got nothing"},
		{"order", `[{"who":` + addr + `,"amounts":[1,2,"x"],"field2":true}]`, "a.amounts[2]: " + integer("uint64") + `the string "x", which is no integer`},
		{"order", `[{"who":` + addr + `,"amounts":[],"field2":true,"x\"y":1}]`, `a."x\"y": there is no such member; want who address, amounts uint64[], field2 bool`},
		{"orders", `[[{"who":` + addr + `,"amounts":[],"field2":true},[` + addr + `,[18446744073709551616],true]]]`, "a[1].amounts[0]: " + integer("uint64") + "18446744073709551616, which is out of range"},
		{"none", `[{"x":1}]`, "a.x: there is no such member; want none"},
	} {
		var params []Param
		for i, name := range strings.Fields(tt.typ) {
			typ := types[name]
			if typ == nil {
				typ = mustType(t, name)
			}
			params = append(params, Param{Name: string(rune('a' + i)), Type: typ})
		}
		setKeys(params, "input")
		args, err := ArgsOf(value(t, tt.args))
		if err == nil {
			_, err = Encode(params, args)
		}
		var e *ArgError
		if !errors.As(err, &e) || err.Error() != tt.want {
			t.Errorf("%s %.100s:\ngot  %v\nwant %s", tt.typ, tt.args, err, tt.want)
		}
	}
	_, err := Encode(nil, Args{List: []strictjson.Value{}, ByName: map[string]strictjson.Value{"a": {}}})
	if err == nil || err.Error() != "arguments: want arguments by name or in order, got both" {
		t.Errorf("error %v", err)
	}
}

func TestEachFormOfAValueIsReadAlike(t *testing.T) {
	pair := []Param{{Name: "a", Type: mustType(t, "uint8")}, {Name: "b", Type: mustType(t, "string")}}
	for _, tt := range []struct {
		typ   *Type
		forms []string
	}{
		{mustType(t, "uint16"), []string{`"258"`, `258`, `"0x102"`, `"0x0102"`, `"0258"`}},
		{mustType(t, "int16"), []string{`"-2"`, `-2`, `"-0x2"`}},
		{mustType(t, "int8"), []string{`"-128"`, `-128`}},
		{mustType(t, "uint8"), []string{`"0"`, `0`, `-0`, `"0x0"`}},
		{mustType(t, "bool"), []string{`true`, `"true"`}},
		{mustType(t, "address"), []string{`"0x00000000000000000000000000000000000000aa"`, `"00000000000000000000000000000000000000AA"`, `"0x00000000000000000000000000000000000000Aa"`}},
		{mustType(t, "bytes2"), []string{`"0x01ff"`, `"01FF"`, `[1,255]`}},
		{mustType(t, "bytes"), []string{`"0x01ff"`, `"01FF"`, `[1,255]`}},
		{mustType(t, "bytes"), []string{`"0x"`, `[]`}},
		{mustType(t, "string"), []string{`"é[1]"`, `{"hex":"0xc3a95b315d"}`, `"\u00e9[1]"`}},
		{mustType(t, "string"), []string{`{"hex":"0xff"}`, `{"hex":"FF"}`}},
		{mustType(t, "uint8[]"), []string{`["1","2"]`, `[1,2]`, `"[1,\"2\"]"`}},
		{mustType(t, "tuple", pair...), []string{`{"a":"1","b":"x"}`, `{"b":"x","a":1}`, `[1,"x"]`, `"{\"a\":1,\"b\":\"x\"}"`, `"[1,\"x\"]"`}},
		{mustType(t, "tuple[1]", pair...), []string{`[{"a":"1","b":"x"}]`, `[[1,"x"]]`, `"[[1,\"x\"]]"`}},
	} {
		params := []Param{{Key: "v", Type: tt.typ}}
		var first []byte
		for i, form := range tt.forms {
			data, err := Encode(params, mustArgs(t, `{"v":`+form+`}`))
			if err != nil {
				t.Errorf("%s %s: %v", tt.typ, form, err)
				continue
			}
			if i == 0 {
				first = data
				out, err := Decode(params, data)
				if err != nil || string(out) != `{"v":`+form+`}` {
					t.Errorf("%s %s: decoded %s, error %v", tt.typ, form, out, err)
				}
			}
			if !bytes.Equal(data, first) {
				t.Errorf("%s: %s is encoded as %x, %s as %x", tt.typ, tt.forms[0], first, form, data)
			}
		}
	}
}

func TestConstructorsAreEncoded(t *testing.T) {
	c := mustParse(t, everything)
	data, err := EncodeConstructor(c, mustArgs(t, `{"n":5}`))
	if err != nil || fmt.Sprintf("%x", data) != strings.Repeat("0", 63)+"5" {
		t.Errorf("%x, error %v", data, err)
	}
	for doc, want := range map[string]string{`null`: "", `{}`: "", `[]`: "", `[1]`: "arguments: want no arguments, got 1"} {
		data, err := EncodeConstructor(&Contract{}, mustArgs(t, doc))
		if got := fmt.Sprint(err); got != want && (err != nil || want != "") || len(data) > 0 {
			t.Errorf("%s: %x, error %v", doc, data, err)
		}
	}
}

func BenchmarkEncodeTransfer(b *testing.B) {
	m := NewMethod("transfer", []Param{{Name: "to", Type: mustType(b, "address")}, {Name: "amount", Type: mustType(b, "uint256")}}, nil, "nonpayable")
	args := mustArgs(b, `{"to":"0x00000000000000000000000000000000000000aa","amount":"1000000000000000000"}`)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := m.Encode(args); err != nil {
			b.Fatal(err)
		}
	}
}
