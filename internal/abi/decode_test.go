// SPDX-License-Identifier: Apache-2.0

package abi

import (
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/common"
)

func TestDataThatIsNoEncodingIsRefusedWithItsPath(t *testing.T) {
	ff := strings.Repeat("f", 64)
	one := strings.Repeat("0", 63) + "1"
	pair := []Param{{Name: "x", Type: mustType(t, "bool")}, {Name: "y", Type: mustType(t, "string")}}
	for _, tt := range []struct {
		typ  *Type
		data string
		want string
	}{
		{mustType(t, "uint8"), "", "data of v: want 32 bytes, there are 0"},
		{mustType(t, "uint8"), one[:62], "data of v: want 32 bytes, there are 31"},
		{mustType(t, "bool"), "", "data of v: want 32 bytes, there are 0"},
		{mustType(t, "bool"), strings.Repeat("0", 63) + "2", "data of v: 0x" + strings.Repeat("0", 63) + "2 is no value of type bool"},
		{mustType(t, "bool"), "1" + one[1:], "data of v: 0x1" + one[1:] + " is no value of type bool"},
		{mustType(t, "uint8"), strings.Repeat("0", 61) + "100", "data of v: 0x" + strings.Repeat("0", 61) + "100 is no value of type uint8"},
		{mustType(t, "int8"), strings.Repeat("0", 62) + "80", "data of v: 0x" + strings.Repeat("0", 62) + "80 is no value of type int8"},
		{mustType(t, "int8"), ff[:62] + "7f", "data of v: 0x" + ff[:62] + "7f is no value of type int8"},
		{mustType(t, "address"), ff, "data of v: 0x" + ff + " is no value of type address"},
		{mustType(t, "bytes31"), ff, "data of v: 0x" + ff + " is no value of type bytes31"},
		{mustType(t, "function"), ff, "data of v: 0x" + ff + " is no value of type function"},
		{mustType(t, "bytes"), ff, "data of v: its offset, 18446744073709551615, is past the end of the data"},
		{mustType(t, "bytes"), fmt.Sprintf("%064x", 33), "data of v: its offset, 33, is past the end of the data"},
		{mustType(t, "bytes"), fmt.Sprintf("%064x", 32), "data of v: want 32 bytes, there are 0"},
		{mustType(t, "bytes"), fmt.Sprintf("%064x%064x%s", 32, 3, "0102"), "data of v: its length, 3, is more than the data holds"},
		{mustType(t, "uint8[]"), fmt.Sprintf("%064x%064x%s", 32, 2, one), "data of v: its length, 2, is more than the data holds"},
		{mustType(t, "uint8[]"), fmt.Sprintf("%064x%064x%s%s", 32, 2, one, ff), "data of v[1]: 0x" + ff + " is no value of type uint8"},
		{mustType(t, "uint8[2]"), one, "data of v: want 64 bytes, there are 32"},
		{mustType(t, "tuple[]", pair...), fmt.Sprintf("%064x%064x%064x%s%064x", 32, 1, 32, one, 65), "data of v[0].y: its offset, 65, is past the end of the data"},
		{mustType(t, "tuple", pair...), fmt.Sprintf("%064x%064x", 32, 2), "data of v.x: 0x" + fmt.Sprintf("%064x", 2) + " is no value of type bool"},
	} {
		_, err := Decode([]Param{{Key: "v", Type: tt.typ}}, common.FromHex(tt.data))
		var e *DataError
		if !errors.As(err, &e) || err.Error() != tt.want {
			t.Errorf("%s %s:\ngot  %v\nwant %s", tt.typ, tt.data, err, tt.want)
		}
	}
}

func TestOddButLawfulDataIsDecoded(t *testing.T) {
	text := fmt.Sprintf("%064x", 2) + "6869" // "hi", without padding
	for _, tt := range []struct {
		typ  *Type
		data string
		want string
	}{
		{mustType(t, "string"), fmt.Sprintf("%064x", 32) + text, `"hi"`},
		{mustType(t, "string"), fmt.Sprintf("%064x%s", 39, "11223344556677") + text, `"hi"`},                                                                 // a gap, and no alignment
		{mustType(t, "string"), fmt.Sprintf("%064x%s%s", 32, text, "ffffff"), `"hi"`},                                                                        // dirt behind
		{mustType(t, "bytes"), fmt.Sprintf("%064x", 0), `"0x"`},                                                                                              // its own offset is its length
		{mustType(t, "string[2]"), fmt.Sprintf("%064x%064x%064x", 32, 64, 64) + text, `["hi","hi"]`},                                                         // shared
		{mustType(t, "uint8"), fmt.Sprintf("%064x%064x", 5, 6), `"5"`},                                                                                       // more than wanted
		{mustType(t, "string"), fmt.Sprintf("%064x%064x", 32, 3) + "22ff5c", `{"hex":"0x22ff5c"}`},                                                           // no UTF-8
		{mustType(t, "string"), fmt.Sprintf("%064x%064x", 32, 3) + "eda080", `{"hex":"0xeda080"}`},                                                           // half a pair
		{mustType(t, "string"), fmt.Sprintf("%064x%064x", 32, 7) + "3c00225ce280a8", "\"<\\u0000\\\"\\\\\u2028\""},                                           // escapes
		{mustType(t, "int256"), strings.Repeat("f", 64), `"-1"`},                                                                                             // all bits
		{mustType(t, "int256"), "8" + strings.Repeat("0", 63), `"-` + "57896044618658097711785492504343953926634992332820282019728792003956564819968" + `"`}, // the least
		{mustType(t, "uint64"), fmt.Sprintf("%064x", uint64(1<<64-1)), `"18446744073709551615"`},
		{mustType(t, "uint256"), strings.Repeat("f", 64), `"115792089237316195423570985008687907853269984665640564039457584007913129639935"`},
		{mustType(t, "int64"), strings.Repeat("f", 48) + "8000000000000000", `"-9223372036854775808"`},
		{mustType(t, "tuple"), "", `{}`},
		{mustType(t, "bool[0]"), "", `[]`},
	} {
		got, err := Decode([]Param{{Key: "v", Type: tt.typ}}, common.FromHex(tt.data))
		if err != nil || string(got) != `{"v":`+tt.want+`}` {
			t.Errorf("%s %s: %s, want %s, error %v", tt.typ, tt.data, got, tt.want, err)
		}
	}
}

func TestCallsAndLogsOfOthersAreRefused(t *testing.T) {
	c := mustParse(t, everything)
	m, e := c.Methods[0], c.Events[0]
	for _, data := range [][]byte{nil, {1}, {1, 2, 3, 4}} {
		if _, err := m.DecodeInputs(data); err == nil || !strings.HasPrefix(err.Error(), "data: it does not begin with 0x") {
			t.Errorf("%x: error %v", data, err)
		}
	}
	dirty := common.Hash{0: 1}
	for want, topics := range map[string][]common.Hash{
		"data: want 3 topics of E(address,string,uint256[]), there are 1":                                           {e.Topic()},
		"data: its topic is not that of E(address,string,uint256[])":                                                {{}, {}, {}},
		"data of a: 0x0100000000000000000000000000000000000000000000000000000000000000 is no value of type address": {e.Topic(), dirty, {}},
		"data of v: want 32 bytes, there are 0":                                                                     {e.Topic(), {}, {}},
	} {
		if _, err := e.Decode(topics, nil); err == nil || err.Error() != want {
			t.Errorf("error %v, want %s", err, want)
		}
	}
	got, err := e.Decode([]common.Hash{e.Topic(), {31: 0xaa}, {1}}, words(32, 1, 7))
	if want := `{"a":"0x00000000000000000000000000000000000000aa","s":{"hash":"0x01` + strings.Repeat("0", 62) + `"},"v":["7"]}`; err != nil || string(got) != want {
		t.Errorf("%s, error %v", got, err)
	}
}

func TestRevertsSayWhy(t *testing.T) {
	c := mustParse(t, everything)
	text := func(s string) []byte {
		data, err := Encode([]Param{{Key: "s", Type: mustType(t, "string")}}, mustArgs(t, `[`+s+`]`))
		if err != nil {
			t.Fatal(err)
		}
		return append(common.FromHex("08c379a0"), data...)
	}
	code := func(n string) []byte { return common.FromHex("4e487b71" + strings.Repeat("0", 64-len(n)) + n) }
	bad := c.Errors[0].Selector()
	for _, tt := range []struct {
		data []byte
		want string
	}{
		{text(`"not enough"`), "Error Error(string) not enough <nil> "},
		{text(`""`), "Error Error(string)  <nil> "},
		{text(`{"hex":"0xff"}`), "Error Error(string) 0xff <nil> "},
		{text(`"x"`)[:40], "unknown"},
		{code("0"), "Panic Panic(uint256) generic panic of the compiler 0 "},
		{code("1"), "Panic Panic(uint256) assertion failed 1 "},
		{code("11"), "Panic Panic(uint256) arithmetic overflow or underflow 17 "},
		{code("12"), "Panic Panic(uint256) division or modulo by zero 18 "},
		{code("21"), "Panic Panic(uint256) conversion of a number that the enum does not have 33 "},
		{code("22"), "Panic Panic(uint256) a byte array in storage is wrongly encoded 34 "},
		{code("31"), "Panic Panic(uint256) pop of an empty array 49 "},
		{code("32"), "Panic Panic(uint256) index out of the bounds of an array 50 "},
		{code("41"), "Panic Panic(uint256) too much memory, or too large an array 65 "},
		{code("51"), "Panic Panic(uint256) call of an internal function that was never set 81 "},
		{code("99"), "Panic Panic(uint256) unknown panic 153 "},
		{code("1" + strings.Repeat("0", 62) + "1"), "Panic Panic(uint256) unknown panic 7237005577332262213973186563042994240829374041602535252466099000494570602497 "},
		{code("1")[:35], "unknown"},
		{append(bad[:], words(404)...), `Bad Bad(uint16)  <nil> {"code":"404"}`},
		{append(bad[:], words(65536)...), "unknown"},
		{bad[:], "unknown"},
		{nil, "unknown"},
		{[]byte{8, 0xc3, 0x79}, "unknown"},
		{words(1), "unknown"},
	} {
		got := "unknown"
		if r, ok := c.DecodeRevert(tt.data); ok {
			got = fmt.Sprintf("%s %s %s %v %s", r.Name, r.Signature, r.Reason, r.Code, r.Args)
		}
		if got != tt.want {
			t.Errorf("%x:\ngot  %s\nwant %s", tt.data, got, tt.want)
		}
	}
	if r, ok := (*Contract)(nil).DecodeRevert(text(`"why"`)); !ok || r.Reason != "why" {
		t.Errorf("%+v", r)
	}
	if _, ok := (*Contract)(nil).DecodeRevert(append(bad[:], words(404)...)); ok {
		t.Error("a custom error is known without its ABI")
	}
}

func BenchmarkDecodeEvent(b *testing.B) {
	e, err := ParseEvent([]byte(`{"type":"event","name":"Transfer","inputs":[{"name":"from","type":"address","indexed":true},{"name":"to","type":"address","indexed":true},{"name":"value","type":"uint256"}]}`))
	if err != nil {
		b.Fatal(err)
	}
	topics := []common.Hash{e.Topic(), {31: 1}, {31: 2}}
	data := words(1e18)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := e.Decode(topics, data); err != nil {
			b.Fatal(err)
		}
	}
}
