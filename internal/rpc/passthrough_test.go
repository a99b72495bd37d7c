// SPDX-License-Identifier: Apache-2.0

package rpc

import (
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/hsmsigner/hsmsigner/internal/node/nodetest"
)

func TestNodesResultsComeBackByteTrue(t *testing.T) {
	r := newRig(t)
	for _, want := range []string{
		`null`, `true`, `"0x0"`, `1e400`, `-0.0`, `123456789012345678901234567890.10`, `"\u00e9\/\ud83d\ude00"`,
		`{ "b" : 1, "a" : [ ],  "b2":{"x":"é"}}`, "[\n 1,\t2 ]", `"<>&"`,
	} {
		r.wire.answers(func(string, json.RawMessage) string { return `"result":` + want })
		_, body := r.do(`{"jsonrpc":"2.0","id":1,"method":"eth_call","params":[]}`)
		if full := `{"jsonrpc":"2.0","id":1,"result":` + want + `}`; body != full {
			t.Errorf("\n got %s\nwant %s", body, full)
		}
		_, body = r.do(`[{"jsonrpc":"2.0","id":1,"method":"eth_call","params":[]},{"jsonrpc":"2.0","id":2,"method":"eth_call"}]`)
		if full := `[{"jsonrpc":"2.0","id":1,"result":` + want + `},{"jsonrpc":"2.0","id":2,"result":` + want + `}]`; body != full {
			t.Errorf("batch:\n got %s\nwant %s", body, full)
		}
	}
}

func TestNodesErrorsComeBackByteTrue(t *testing.T) {
	r := newRig(t)
	for _, want := range []string{
		`{"code":-32000,"message":"insufficient funds"}`,
		`{ "message":"execution reverted: nope", "code":3, "data":"0x08c379a0", "more":[1] }`,
		`{"code":-32601,"message":"the method eth_blobBaseFee does not exist/is not available"}`,
	} {
		r.wire.answers(func(string, json.RawMessage) string { return `"error":` + want })
		resp, body := r.do(`{"jsonrpc":"2.0","id":1,"method":"eth_call","params":[]}`)
		if full := `{"jsonrpc":"2.0","id":1,"error":` + want + `}`; body != full || resp.StatusCode != 200 {
			t.Errorf("\n got %d %s\nwant %s", resp.StatusCode, body, full)
		}
	}
}

func TestIDsComeBackByteTrue(t *testing.T) {
	r := newRig(t)
	for _, id := range []string{
		`0`, `-1`, `1.0`, `1e2`, `1E+2`, `-0`, `123456789012345678901234567890`, `null`, `""`, `"x"`, `"0"`, `"\"\\"`, `"é😀"`, `"\u0000"`,
	} {
		_, body := r.do(`{"jsonrpc":"2.0","id":` + id + `,"method":"eth_blockNumber"}`)
		if want := `{"jsonrpc":"2.0","id":` + id + `,"result":"0x1"}`; body != want {
			t.Errorf("got %s, want %s", body, want)
		}
	}
}

func TestForwardsWhatWasUnderstoodAndNothingElse(t *testing.T) {
	r := newRig(t)
	r.do(" {\"params\": [ {\"to\" : \"0x\\u0031\", \"n\":1.50, \"z\":null, \"a\":[true ,false]} ,\"latest\"],\n\"id\":\"mine\", \"method\":\"eth_c\\u0061ll\",\"jsonrpc\":\"2.0\"} ")
	r.do(`{"jsonrpc":"2.0","id":1,"method":"eth_gasPrice"}`)
	r.do(`{"jsonrpc":"2.0","id":1,"method":"eth_gasPrice","params":null}`)
	calls := r.wire.calls(t)
	if calls[0].Method != "eth_call" || string(calls[0].Params) != `[{"to":"0x1","n":1.50,"z":null,"a":[true,false]},"latest"]` {
		t.Errorf("%s %s", calls[0].Method, calls[0].Params)
	}
	if string(calls[0].ID) == `"mine"` {
		t.Error("the caller's id reached the node")
	}
	for _, c := range calls[1:] {
		if string(c.Params) != `[]` {
			t.Errorf("absent params became %s", c.Params)
		}
	}
}

func TestHeadersThatReachTheNode(t *testing.T) {
	r := newRig(t)
	resp, _ := r.do(`{"jsonrpc":"2.0","id":1,"method":"eth_gasPrice"}`, func(q *http.Request) {
		q.SetBasicAuth("app", "secret")
		for name, v := range map[string]string{
			"Traceparent": "00-1-2-01", "Tracestate": "a=b", "X-Request-Id": "req-1", "X-Correlation-Id": "c-1",
			"Cookie": "c=1", "X-Api-Key": "k", "X-Forwarded-For": "10.0.0.1", "Idempotency-Key": "i",
		} {
			q.Header.Set(name, v)
		}
	})
	got := r.wire.headers[0]
	for name, want := range map[string]string{
		"Traceparent": "00-1-2-01", "Tracestate": "a=b", "X-Request-Id": "req-1", "X-Correlation-Id": "c-1",
		"Authorization": "", "Cookie": "", "X-Api-Key": "", "X-Forwarded-For": "", "Idempotency-Key": "",
	} {
		if got.Get(name) != want {
			t.Errorf("%s: %q, want %q", name, got.Get(name), want)
		}
	}
	if resp.Header.Get("X-Request-Id") != "req-1" {
		t.Error("X-Request-Id does not come back")
	}
}

func TestChainIDOfTheNodeIsComparedWithThePinnedOne(t *testing.T) {
	r := newRig(t)
	for answer, want := range map[string]string{
		`"result":"0x539"`: `{"jsonrpc":"2.0","id":1,"result":"0x539"}`,
		`"result":"0x1"`:   `{"jsonrpc":"2.0","id":1,"error":{"code":-32002,"message":"node unavailable: it serves chain id 1 instead of 1337"}}`,
		`"result":1337`:    `{"jsonrpc":"2.0","id":1,"error":{"code":-32002,"message":"node unavailable: its answer is not a JSON-RPC response"}}`,
	} {
		r.wire.answers(func(string, json.RawMessage) string { return answer })
		if got := r.call("eth_chainId", "[]"); got != want {
			t.Errorf("%s:\n got %s\nwant %s", answer, got, want)
		}
	}
}

func TestExtraMethodsAreExactNamesAndNeverSigningOnes(t *testing.T) {
	for _, bad := range []string{
		"eth_sendTransaction", "eth_sendPrivateTransaction", "eth_sendRawTransactionConditional", "eth_signTransaction", "eth_sign", "ETH_SIGN",
		"eth_resend", "eth_submitHashrate", "personal_unlockAccount", "admin_peers", "debug_traceTransaction", "debug_traceCall",
		"miner_start", "engine_exchangeCapabilities", "eth_fillTransaction", "account_list", "clef_x",
		"eth_*", "*", "trace_.*", "", "trace", "trace block", "trace_block ", "eth_accounts", "personal_sign", "eth_subscribe", "health_status",
	} {
		err := checkExtraMethod(bad)
		if err == nil || !strings.Contains(err.Error(), `"`+bad+`"`) {
			t.Errorf("%q: %v", bad, err)
		}
	}
	for _, good := range []string{"trace_block", "evm_mine", "anvil_setBalance", "txpool_content", "eth_coinbase", "eth_getWork", "ots_getApiLevel", "zks_L1ChainId"} {
		if err := checkExtraMethod(good); err != nil {
			t.Error(err)
		}
	}
	r := newRig(t, func(c *Config) { c.Services["treasury"].ExtraMethods = []string{"evm_mine"} })
	result(t, r.call("evm_mine", "[]"))
	wantError(t, r.call("evm_revert", "[]"), codeMethod, "the method evm_revert is not available here")

	svc := &Service{Name: "w", ExtraMethods: []string{"eth_sendTransaction", "debug_*"}}
	_, err := New(Config{Services: map[string]*Service{"w": svc}, Default: "x", AllowedHosts: []string{"*"}, AllowedOrigins: []string{"*", "app.example"}})
	for _, want := range []string{"eth_sendTransaction", "debug_*", "Auth", `"x"`, `host "*"`, `origin "*"`, `origin "app.example"`} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("New does not name %s: %v", want, err)
		}
	}
}

func TestNothingInTheBuiltInListCouldSign(t *testing.T) {
	for _, name := range passThrough() {
		if err := checkExtraMethod(name); err != nil {
			t.Error(err)
		}
	}
}

func TestDeadNodeIsNamedWithoutItsAddress(t *testing.T) {
	chain := nodetest.New(t, nodetest.Options{})
	r := newRig(t, func(c *Config) { c.Services["treasury"].Node = dial(t, chain.URL()) })
	for name, c := range map[string]struct {
		fault   func()
		message string
	}{
		"refuses":   {func() { chain.RefuseConn(true) }, "node unavailable"},
		"drops":     {func() { chain.Drop("eth_getBalance", nodetest.Forever) }, "node unavailable"},
		"garbage":   {func() { chain.Garbage("eth_getBalance", []byte("<html>"), nodetest.Forever) }, "node unavailable: its answer is not a JSON-RPC response"},
		"too large": {func() { chain.Oversize("eth_getBalance", 40<<20, nodetest.Forever) }, "node unavailable: its answer is too large"},
		"http 503":  {func() { chain.HTTP("eth_getBalance", 503, []byte("http://user:key@upstream"), nodetest.Forever) }, "node unavailable"},
	} {
		c.fault()
		resp, body := r.do(`{"jsonrpc":"2.0","id":1,"method":"eth_getBalance","params":["` + to + `","latest"]}`)
		wantError(t, body, codeNode, c.message)
		if resp.StatusCode != 200 {
			t.Errorf("%s: HTTP %d", name, resp.StatusCode)
		}
		chain.ClearFaults()
		chain.RefuseConn(false)
	}
	result(t, r.call("eth_getBalance", `["`+to+`","latest"]`))
}
