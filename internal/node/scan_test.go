// SPDX-License-Identifier: Apache-2.0

package node

import (
	"encoding/json"
	"strings"
	"testing"
)

var scanSeeds = []string{
	``, ` `, `{}`, `[]`, `null`, `true`, `fals`, `0`, `-`, `-0`, `01`, `1.`, `1.5e+3`, `1e`, `"`, `"a"`, `"\u12g4"`,
	`"\u00e9\n\\"`, `"\x"`, "\"\x1f\"", "\"\x7f\xff\"", `[1,2`, `[1,]`, `[,1]`, `{"a":1,}`, `{"a"}`, `{"a":}`, `{1:2}`,
	`{"a":[{"b":[[]]},{}],"c":"` + strings.Repeat("ab", 40) + `"}`, `[1] x`, `{"a":1}}`, `[}`, `{]`, " \t\r\n[ 1 , { \"a\" : null } ] ",
	`"12345678\"12345678"`, `"a b! c"`, `"1234567890123456 !\u0041x"`, `[tru]`, `[nul`, `{"a" : [ 1 , { } , [ ] ] }`, `"1234567"`, `"1234567\`, `{"jsonrpc":"2.0","id":1,"result":"0x1"}`,
}

// FuzzScanner compares the scanner with encoding/json on what is JSON at all.
func FuzzScanner(f *testing.F) {
	for _, s := range scanSeeds {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if strings.Count(string(text), "[")+strings.Count(string(text), "{") >= maxNesting {
			return // the one deliberate difference
		}
		s := scanner{b: text}
		ok := s.value()
		s.space()
		if got, want := ok && s.i == len(text), json.Valid(text); got != want {
			t.Fatalf("%q: scanner says %v, encoding/json %v", text, got, want)
		}
	})
}

// The scanner looks at sixteen bytes at once. Whatever byte stands wherever in
// them, it must come to the result of encoding/json.
func TestScannerSeesEveryByteAtEveryPlace(t *testing.T) {
	for c := range 256 {
		for at := range 40 {
			for _, after := range []string{"", "n", `"`, "u00e9"} {
				text := []byte(`"` + strings.Repeat("a", at) + string([]byte{byte(c)}) + after + strings.Repeat("b", 39-at) + `"`)
				s := scanner{b: text}
				ok := s.value() && s.i == len(text)
				if want := json.Valid(text); ok != want {
					t.Fatalf("%q: scanner says %v, encoding/json %v", text, ok, want)
				}
			}
		}
	}
}

func TestScannerRefusesNestingBeyondItsLimit(t *testing.T) {
	deep := func(n int) []byte { return []byte(strings.Repeat("[", n) + strings.Repeat("]", n)) }
	for n, want := range map[int]bool{maxNesting: true, maxNesting + 1: true, maxNesting + 2: false, 10_000_000: false} {
		s := scanner{b: deep(n)}
		if got := s.value(); got != want {
			t.Errorf("nesting %d: %v, want %v", n, got, want)
		}
	}
}

// FuzzEnvelope makes sure that any answer of a node is understood or refused, and
// that what is understood is what encoding/json sees.
func FuzzEnvelope(f *testing.F) {
	f.Add([]byte(`{"jsonrpc":"2.0","id":1,"result":{"a":[1,2]}}`))
	f.Add([]byte(`{"jsonrpc":"2.0","id":1,"error":{"code":-1,"message":"x","data":"0x"}}`))
	f.Add([]byte(`[{"id":1,"result":null},{"id":2,"error":{}}]`))
	f.Add([]byte(`{"result":1,"result":2,"id":1}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		_, _, _ = parseBatch(text, 10)
		e, err := parseSingle(text)
		if err != nil {
			return
		}
		if (e.Result == nil) == (e.Error == nil) {
			t.Fatalf("%q: result %q, error %q", text, e.Result, e.Error)
		}
		var want map[string]json.RawMessage
		if err := json.Unmarshal(text, &want); err != nil {
			t.Fatalf("%q is understood, but not JSON: %v", text, err)
		}
		// Names with escapes are the one thing that we do not read as encoding/json does.
		if !strings.Contains(string(text), `\`) && e.Result != nil && string(want["result"]) != string(e.Result) {
			t.Fatalf("%q: result %q, encoding/json has %q", text, e.Result, want["result"])
		}
	})
}

func TestEnvelopeIsTakenOrRefused(t *testing.T) {
	for _, c := range []struct{ text, result, error, fault string }{
		{`{"jsonrpc":"2.0","id":1,"result":"0x1"}`, `"0x1"`, ``, ``},
		{` { "id" : 1 , "result" : null } `, `null`, ``, ``},
		{`{"id":1,"result":{ "b": 1,  "a": 1.0e5 }}`, `{ "b": 1,  "a": 1.0e5 }`, ``, ``},
		{`{"id":1,"error":null,"result":7}`, `7`, ``, ``},
		{`{"id":1,"result":null,"error":{"code":3}}`, ``, `{"code":3}`, ``},
		{`{"id":1,"error":{"code":-32000,"message":"m","extra":1}}`, ``, `{"code":-32000,"message":"m","extra":1}`, ``},
		{`{"id":1,"result":1,"error":{"code":3}}`, ``, ``, "both result and error"},
		{`{"id":1}`, ``, ``, "neither result nor error"},
		{`{"id":1,"error":null}`, ``, ``, "neither result nor error"},
		{`{}`, ``, ``, "neither result nor error"},
		{`{"id":1,"result":1,"result":2}`, ``, ``, `member "result" occurs twice`},
		{`{"id":1,"result":1} x`, ``, ``, "data after the answer"},
		{`{"id":1,"result":1}{"id":1,"result":2}`, ``, ``, "data after the answer"},
		{`{"id":1,"Result":1}`, ``, ``, "neither result nor error"},
		{`{"id":1,"result":01}`, ``, ``, "not JSON"},
		{`{"id":1,"result":"` + "\x00" + `"}`, ``, ``, "not JSON"},
		{`{"id":1,"result":[1,2}`, ``, ``, "not JSON"},
		{`<html>`, ``, ``, "not a JSON-RPC response object"},
		{``, ``, ``, "not a JSON-RPC response object"},
		{"\xef\xbb\xbf{}", ``, ``, "not a JSON-RPC response object"},
	} {
		e, err := parseSingle([]byte(c.text))
		switch {
		case c.fault != "" && (err == nil || !strings.HasSuffix(err.Error(), c.fault)):
			t.Errorf("%q: error %v, want %q", c.text, err, c.fault)
		case c.fault == "" && (err != nil || string(e.Result) != c.result || string(e.Error) != c.error):
			t.Errorf("%q: result %q, error %q, %v", c.text, e.Result, e.Error, err)
		}
	}
}

func BenchmarkScanEnvelope(b *testing.B) {
	text := []byte(`{"jsonrpc":"2.0","id":1,"result":[` + strings.Repeat(`{"hash":"0x`+strings.Repeat("ab", 32)+`","n":"0x1"},`, 2000) + `1]}`)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if _, err := parseSingle(text); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkScanLogs(b *testing.B) {
	hash := `"0x` + strings.Repeat("cd", 32) + `"`
	log := `{"address":"0x` + strings.Repeat("ab", 20) + `","topics":[` + hash + `,` + hash + `],"data":"0x` + strings.Repeat("00", 64) +
		`","blockNumber":"0x1b4","transactionHash":` + hash + `,"transactionIndex":"0x0","blockHash":` + hash + `,"logIndex":"0x1","removed":false},`
	text := []byte(`{"jsonrpc":"2.0","id":1,"result":[` + strings.Repeat(log, 1<<20/len(log)) + `1]}`)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if _, err := parseSingle(text); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkScanLongString(b *testing.B) {
	text := []byte(`{"jsonrpc":"2.0","id":1,"result":"0x` + strings.Repeat("ab", 1<<19) + `"}`)
	b.SetBytes(int64(len(text)))
	for b.Loop() {
		if _, err := parseSingle(text); err != nil {
			b.Fatal(err)
		}
	}
}
