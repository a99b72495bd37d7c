// SPDX-License-Identifier: Apache-2.0

package strictjson

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestMalformedDocumentsAreRefused(t *testing.T) {
	tests := []struct{ doc, want string }{
		{"", "unexpected end at byte 0"},
		{" \n", "unexpected end at byte 2"},
		{"\ufeff{}", `unexpected character 'ï' at byte 0`},
		{"{} {}", "data after the end of the value at byte 3"},
		{"{}\x00", "data after the end of the value at byte 2"},
		{"\v1", `unexpected character '\v' at byte 0`},
		{"\u00a01", `unexpected character 'Â' at byte 0`},
		{"nul", `unexpected character 'n' at byte 0`},
		{"True", `unexpected character 'T' at byte 0`},
		{"NaN", `unexpected character 'N' at byte 0`},
		{"-Infinity", "malformed number at byte 1"},
		{"truefalse", "data after the end of the value at byte 4"},
		{"// c\n1", `unexpected character '/' at byte 0`},
		{"'a'", `unexpected character '\'' at byte 0`},
		// numbers
		{"-", "malformed number at byte 1"},
		{"+1", `unexpected character '+' at byte 0`},
		{"01", "data after the end of the value at byte 1"},
		{"-01", "data after the end of the value at byte 2"},
		{".5", `unexpected character '.' at byte 0`},
		{"1.", "malformed number at byte 2"},
		{"1.e5", "malformed number at byte 2"},
		{"1e", "malformed number at byte 2"},
		{"1e+", "malformed number at byte 3"},
		{"0x10", "data after the end of the value at byte 1"},
		{"1_000", "data after the end of the value at byte 1"},
		// strings
		{`"`, "unterminated string at byte 1"},
		{`"a`, "unterminated string at byte 2"},
		{`"\`, "unknown escape at byte 3"},
		{`"\"`, "unterminated string at byte 3"},
		{`"\x41"`, "unknown escape at byte 3"},
		{`"\U0041"`, "unknown escape at byte 3"},
		{`"\u12"`, "malformed \\u escape at byte 3"},
		{`"\u12g4"`, "malformed \\u escape at byte 3"},
		{`"\u+123"`, "malformed \\u escape at byte 3"},
		{"\"a\nb\"", "control character in string at byte 2"},
		{"\"\x00\"", "control character in string at byte 1"},
		{"\"a\\n\tb\"", "control character in string at byte 4"},
		{"\"\xff\"", "invalid UTF-8 in string at byte 2"},
		{"\"\xc0\x80\"", "invalid UTF-8 in string at byte 3"},
		{"\"\\n\xed\xa0\x80\"", "invalid UTF-8 in string at byte 6"},
		{`"\ud800"`, "lone surrogate in string at byte 7"},
		{`"\udc00"`, "lone surrogate in string at byte 7"},
		{`"\ud800\ud800"`, "lone surrogate in string at byte 13"},
		{`"\ud800\u0041"`, "lone surrogate in string at byte 13"},
		{`"\ud800x"`, "lone surrogate in string at byte 7"},
		{`"\ud800\`, "lone surrogate in string at byte 7"},
		// arrays and objects
		{"[", "unexpected end at byte 1"},
		{"[1", "expected , or ] in array at byte 2"},
		{"[1,", "unexpected end at byte 3"},
		{"[1,]", `unexpected character ']' at byte 3`},
		{"[,1]", `unexpected character ',' at byte 1`},
		{"[1 2]", "expected , or ] in array at byte 3"},
		{"[1}", "expected , or ] in array at byte 2"},
		{"]", `unexpected character ']' at byte 0`},
		{"{", "expected a member name in quotes at byte 1"},
		{"{1:2}", "expected a member name in quotes at byte 1"},
		{"{a:2}", "expected a member name in quotes at byte 1"},
		{`{"a"}`, `expected : after member name "a" at byte 4`},
		{`{"a":}`, `unexpected character '}' at byte 5`},
		{`{"a":1,}`, "expected a member name in quotes at byte 7"},
		{`{"a":1 "b":2}`, "expected , or } in object at byte 7"},
		{`{"a":1]`, "expected , or } in object at byte 6"},
		{`{"a":1,"a":1}`, `duplicate member "a" at byte 10`},
		{`{"a":1,"\u0061":2}`, `duplicate member "a" at byte 15`},
		{`[{"b":{"c":1,"c":2}}]`, `duplicate member "c" at byte 16`},
		{strings.Repeat("[", 33) + strings.Repeat("]", 33), "nesting deeper than 32 at byte 32"},
		{strings.Repeat(`{"a":`, 32) + "{}" + strings.Repeat("}", 32), "nesting deeper than 32 at byte 160"},
		{strings.Repeat("[", 1<<20), "nesting deeper than 32 at byte 32"},
	}
	for _, tt := range tests {
		_, err := Parse([]byte(tt.doc))
		if !errors.Is(err, ErrSyntax) || err.Error() != "not valid JSON: "+tt.want {
			t.Errorf("%.60q:\ngot  %v\nwant not valid JSON: %s", tt.doc, err, tt.want)
		}
	}
	t.Logf("%d malformed documents", len(tests))
}

func TestDocumentsAreWrittenAsTheyWereRead(t *testing.T) {
	for doc, want := range map[string]string{
		" null ":                               "null",
		"[ ]":                                  "[]",
		"{ }":                                  "{}",
		`[true,false,null]`:                    `[true,false,null]`,
		"-0":                                   "-0",
		"-0.0e-00":                             "-0.0e-00",
		"123456789012345678901234567890.5E+7":  "123456789012345678901234567890.5E+7",
		`"\u0041\/\b\f\n\r\t\"\\"`:             "\"A/\\u0008\\u000c\\u000a\\u000d\\u0009\\\"\\\\\"",
		`"\ud83d\ude00 \u2028<>&"`:             "\"😀 \u2028<>&\"",
		`{"b":1 , "a" : {"B":[ 1, {} ]},"":0}`: `{"b":1,"a":{"B":[1,{}]},"":0}`,
		`{"a":1,"A":2}`:                        `{"a":1,"A":2}`,
		strings.Repeat("[", 32) + "1" + strings.Repeat("]", 32): strings.Repeat("[", 32) + "1" + strings.Repeat("]", 32),
	} {
		v, err := Parse([]byte(doc))
		if err != nil {
			t.Errorf("%s: %v", doc, err)
			continue
		}
		if got := string(v.AppendTo(nil)); got != want {
			t.Errorf("%s:\ngot  %s\nwant %s", doc, got, want)
		}
	}
}

func TestNamesMatchByteForByte(t *testing.T) {
	v, err := Parse([]byte(`{"Nonce":1,"nonce":null}`))
	if err != nil {
		t.Fatal(err)
	}
	if v.Get("Nonce").Text != "1" || v.Get("nonce").Kind != Null || v.Get("nonce").Present() || v.Get("NONCE").Kind != Absent {
		t.Errorf("read %+v", v)
	}
	if (Value{}).Present() || !v.Get("Nonce").Present() {
		t.Error("presence is wrong")
	}
}

func TestDuplicatesAreFoundInLargeObjects(t *testing.T) {
	var b strings.Builder
	for i := range 1000 {
		fmt.Fprintf(&b, `"k%d":0,`, i)
	}
	doc := "{" + b.String()
	if _, err := Parse([]byte(doc + `"k":0}`)); err != nil {
		t.Error(err)
	}
	for _, dup := range []string{"k0", "k15", "k16", "k17", "k999"} {
		if _, err := Parse([]byte(doc + `"` + dup + `":0}`)); err == nil || !strings.Contains(err.Error(), "duplicate member") {
			t.Errorf("%s twice: error %v", dup, err)
		}
	}
}

func TestEscapesAreFewest(t *testing.T) {
	for r := rune(0); r < 0x300; r++ {
		out := AppendString(nil, string(r))
		var back string
		if err := json.Unmarshal(out, &back); err != nil || back != string(r) {
			t.Errorf("%U: %s, error %v", r, out, err)
		}
	}
}

func TestMarshalJSONIsAppendTo(t *testing.T) {
	v, err := Parse([]byte(`{"a":["x",1e5]}`))
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(map[string]any{"v": v, "absent": Value{}, "s": StringValue("é")})
	if err != nil || string(b) != `{"absent":null,"s":"é","v":{"a":["x",1e5]}}` {
		t.Errorf("%s, error %v", b, err)
	}
}

// plain turns a Value into what encoding/json makes of the same document.
func plain(v Value) any {
	switch v.Kind {
	case Bool:
		return v.Text == "true"
	case Number:
		return json.Number(v.Text)
	case String:
		return v.Text
	case Array:
		list := []any{}
		for _, e := range v.Elems {
			list = append(list, plain(e))
		}
		return list
	case Object:
		m := map[string]any{}
		for _, e := range v.Members {
			m[e.Name] = plain(e.Value)
		}
		return m
	default:
		return nil
	}
}

// FuzzParse compares with encoding/json: what is accepted here means the same
// there, and the written form parses to an equal tree.
func FuzzParse(f *testing.F) {
	for _, s := range []string{
		`null`, `{"a":1,"b":[true,{"c":"\ud83d\ude00"}]}`, `-0.5e+10`, `"\u0000\\\""`, `[[[]],{"":{}}]`, `{"a":1,"a":2}`, `"\ud800"`,
		`{"jsonrpc":"2.0","id":1,"method":"eth_sendTransaction","params":[{"from":"0x0"}]}`, "\ufeff1", "\"\xff\"", ` [1 , 2] `,
	} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, doc []byte) {
		v, err := Parse(doc)
		if err != nil {
			if !errors.Is(err, ErrSyntax) {
				t.Fatalf("error %T: %v", err, err)
			}
			return
		}
		if !utf8.Valid(doc) {
			t.Fatalf("%q has invalid UTF-8", doc)
		}
		d := json.NewDecoder(bytes.NewReader(doc))
		d.UseNumber()
		var theirs any
		if err := d.Decode(&theirs); err != nil {
			t.Fatalf("%q: encoding/json refuses it: %v", doc, err)
		}
		if ours := plain(v); !reflect.DeepEqual(ours, theirs) {
			t.Fatalf("%q is %#v here, %#v there", doc, ours, theirs)
		}
		out := v.AppendTo(nil)
		again, err := Parse(out)
		if err != nil || !reflect.DeepEqual(v, again) {
			t.Fatalf("%q was written as %q, which is another tree, error %v", doc, out, err)
		}
	})
}
