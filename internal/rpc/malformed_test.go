// SPDX-License-Identifier: Apache-2.0

package rpc

import (
	"net/http"
	"strings"
	"testing"
)

const to = `0x00000000000000000000000000000000000000aa`

// malformed is every kind of request that is not well formed, with the exact
// answer. Each ran against a node that would answer anything.
func malformed() []struct {
	name, body string
	status     int
	code       int
	message    string
	id         string // "null" where the request had none that could be read
} {
	own := strings.ToLower(newHand().address.Hex())
	deep := strings.Repeat("[", 40) + strings.Repeat("]", 40)
	return []struct {
		name, body string
		status     int
		code       int
		message    string
		id         string
	}{
		// Not JSON: HTTP 400, -32700.
		{"empty body", ``, 400, codeParse, "parse error: unexpected end at byte 0", "null"},
		{"blank body", " \n", 400, codeParse, "parse error: unexpected end at byte 2", "null"},
		{"text", `hello`, 400, codeParse, "parse error: unexpected character 'h' at byte 0", "null"},
		{"byte-order mark", "\uFEFF{}", 400, codeParse, "parse error: unexpected character 'ï' at byte 0", "null"},
		{"cut off", `{"jsonrpc":"2.0"`, 400, codeParse, "parse error: expected , or } in object at byte 16", "null"},
		{"cut off in a string", `{"jsonrpc":"2.`, 400, codeParse, "parse error: unterminated string at byte 14", "null"},
		{"trailing data", `{"jsonrpc":"2.0","id":1,"method":"eth_accounts"} x`, 400, codeParse, "parse error: data after the end of the value at byte 49", "null"},
		{"two documents", `{"jsonrpc":"2.0","id":1,"method":"eth_accounts"}{}`, 400, codeParse, "parse error: data after the end of the value at byte 48", "null"},
		{"trailing comma in object", `{"jsonrpc":"2.0",}`, 400, codeParse, "parse error: expected a member name in quotes at byte 17", "null"},
		{"trailing comma in batch", `[{},]`, 400, codeParse, "parse error: unexpected character ']' at byte 4", "null"},
		{"single quotes", `{'jsonrpc':'2.0'}`, 400, codeParse, "parse error: expected a member name in quotes at byte 1", "null"},
		{"comment", `{/**/}`, 400, codeParse, "parse error: expected a member name in quotes at byte 1", "null"},
		{"NaN", `{"id":NaN}`, 400, codeParse, "parse error: unexpected character 'N' at byte 6", "null"},
		{"leading zero", `{"id":01}`, 400, codeParse, "parse error: expected , or } in object at byte 7", "null"},
		{"hexadecimal number", `{"id":0x1}`, 400, codeParse, "parse error: expected , or } in object at byte 7", "null"},
		{"number ends in a point", `{"id":1.}`, 400, codeParse, "parse error: malformed number at byte 8", "null"},
		{"duplicate method", `{"jsonrpc":"2.0","id":1,"method":"eth_chainId","method":"eth_sendTransaction"}`, 400, codeParse, `parse error: duplicate member "method" at byte 55`, "null"},
		{"duplicate method by escape", `{"method":"a","\u006dethod":"b"}`, 400, codeParse, `parse error: duplicate member "method" at byte 27`, "null"},
		{"duplicate in params", `{"jsonrpc":"2.0","id":1,"method":"eth_call","params":[{"to":"0x1","to":"0x2"}]}`, 400, codeParse, `parse error: duplicate member "to" at byte 70`, "null"},
		{"invalid UTF-8", "{\"id\":\"\xff\"}", 400, codeParse, "parse error: invalid UTF-8 in string at byte 8", "null"},
		{"lone surrogate", `{"id":"\ud800"}`, 400, codeParse, "parse error: lone surrogate in string at byte 13", "null"},
		{"control character", "{\"id\":\"\n\"}", 400, codeParse, "parse error: control character in string at byte 7", "null"},
		{"unknown escape", `{"id":"\x41"}`, 400, codeParse, "parse error: unknown escape at byte 9", "null"},
		{"nested too deep", deep, 400, codeParse, "parse error: nesting deeper than 32 at byte 32", "null"},
		{"params nested too deep", `{"jsonrpc":"2.0","id":1,"method":"eth_call","params":` + deep + `}`, 400, codeParse, "parse error: nesting deeper than 32 at byte 84", "null"},

		// JSON, but not a request: -32600.
		{"null", `null`, 200, codeInvalidRequest, "invalid request: want a request object or an array of them, got null", "null"},
		{"a number", `1`, 200, codeInvalidRequest, "invalid request: want a request object or an array of them, got a number", "null"},
		{"a string", `"eth_accounts"`, 200, codeInvalidRequest, "invalid request: want a request object or an array of them, got a string", "null"},
		{"empty batch", `[]`, 200, codeInvalidRequest, "invalid request: the batch is empty", "null"},
		{"empty object", `{}`, 200, codeInvalidRequest, `invalid request: jsonrpc is missing; want "jsonrpc":"2.0"`, "null"},
		{"no version", `{"id":1,"method":"eth_accounts"}`, 200, codeInvalidRequest, `invalid request: jsonrpc is missing; want "jsonrpc":"2.0"`, "1"},
		{"version 1.0", `{"jsonrpc":"1.0","id":1,"method":"eth_accounts"}`, 200, codeInvalidRequest, `invalid request: jsonrpc must be the string "2.0"`, "1"},
		{"version as a number", `{"jsonrpc":2.0,"id":1,"method":"eth_accounts"}`, 200, codeInvalidRequest, `invalid request: jsonrpc must be the string "2.0"`, "1"},
		{"no method", `{"jsonrpc":"2.0","id":1}`, 200, codeInvalidRequest, "invalid request: method is missing", "1"},
		{"method a number", `{"jsonrpc":"2.0","id":1,"method":7}`, 200, codeInvalidRequest, "invalid request: method must be a string, got a number", "1"},
		{"method null", `{"jsonrpc":"2.0","id":1,"method":null}`, 200, codeInvalidRequest, "invalid request: method must be a string, got null", "1"},
		{"method empty", `{"jsonrpc":"2.0","id":1,"method":""}`, 200, codeInvalidRequest, "invalid request: method is empty", "1"},
		{"id an object", `{"jsonrpc":"2.0","id":{},"method":"eth_accounts"}`, 200, codeInvalidRequest, "invalid request: id must be a string, a number or null, got an object", "null"},
		{"id an array", `{"jsonrpc":"2.0","id":[1],"method":"eth_accounts"}`, 200, codeInvalidRequest, "invalid request: id must be a string, a number or null, got an array", "null"},
		{"id a boolean", `{"jsonrpc":"2.0","id":true,"method":"eth_accounts"}`, 200, codeInvalidRequest, "invalid request: id must be a string, a number or null, got a boolean", "null"},
		{"params a string", `{"jsonrpc":"2.0","id":1,"method":"eth_call","params":"x"}`, 200, codeInvalidRequest, "invalid request: params must be an array, got a string", "1"},
		{"params a number", `{"jsonrpc":"2.0","id":1,"method":"eth_call","params":0}`, 200, codeInvalidRequest, "invalid request: params must be an array, got a number", "1"},
		{"params a boolean", `{"jsonrpc":"2.0","id":1,"method":"eth_call","params":false}`, 200, codeInvalidRequest, "invalid request: params must be an array, got a boolean", "1"},
		{"Method in another case", `{"jsonrpc":"2.0","id":1,"method":"eth_chainId","Method":"eth_sendTransaction"}`, 200, codeInvalidRequest, `invalid request: unknown member "Method"; want jsonrpc, id, method and params, in exactly these letters`, "1"},
		{"ID in another case", `{"jsonrpc":"2.0","ID":1,"method":"eth_chainId"}`, 200, codeInvalidRequest, `invalid request: unknown member "ID"; want jsonrpc, id, method and params, in exactly these letters`, "null"},
		{"unknown member", `{"jsonrpc":"2.0","id":1,"method":"eth_chainId","extra":0}`, 200, codeInvalidRequest, `invalid request: unknown member "extra"; want jsonrpc, id, method and params, in exactly these letters`, "1"},
		{"unknown long member", `{"jsonrpc":"2.0","id":1,"method":"eth_chainId","` + strings.Repeat("x", 100) + `":0}`, 200, codeInvalidRequest, `invalid request: unknown member "` + strings.Repeat("x", 64) + `"…; want jsonrpc, id, method and params, in exactly these letters`, "1"},
		{"a response", `{"jsonrpc":"2.0","id":1,"result":"0x1"}`, 200, codeInvalidRequest, `invalid request: unknown member "result"; want jsonrpc, id, method and params, in exactly these letters`, "1"},

		// A request for something that is not there: -32601.
		{"unknown method", `{"jsonrpc":"2.0","id":1,"method":"eth_nope"}`, 200, codeMethod, "the method eth_nope is not available here", "1"},
		{"method in another case", `{"jsonrpc":"2.0","id":1,"method":"ETH_CHAINID"}`, 200, codeMethod, "the method ETH_CHAINID is not available here", "1"},
		{"method with a space", `{"jsonrpc":"2.0","id":1,"method":"eth_chainId "}`, 200, codeMethod, `the method "eth_chainId " is not available here`, "1"},
		{"method with a NUL", `{"jsonrpc":"2.0","id":1,"method":"eth_chainId\u0000"}`, 200, codeMethod, `the method "eth_chainId\x00" is not available here`, "1"},
		{"long method", `{"jsonrpc":"2.0","id":1,"method":"` + strings.Repeat("m", 1000) + `"}`, 200, codeMethod, `the method "` + strings.Repeat("m", 64) + `"… is not available here`, "1"},
		{"personal_unlockAccount", `{"jsonrpc":"2.0","id":1,"method":"personal_unlockAccount"}`, 200, codeMethod, "the method personal_unlockAccount is not available here", "1"},
		{"admin_addPeer", `{"jsonrpc":"2.0","id":1,"method":"admin_addPeer"}`, 200, codeMethod, "the method admin_addPeer is not available here", "1"},
		{"debug_setHead", `{"jsonrpc":"2.0","id":1,"method":"debug_setHead"}`, 200, codeMethod, "the method debug_setHead is not available here", "1"},
		{"miner_start", `{"jsonrpc":"2.0","id":1,"method":"miner_start"}`, 200, codeMethod, "the method miner_start is not available here", "1"},
		{"engine_newPayloadV4", `{"jsonrpc":"2.0","id":1,"method":"engine_newPayloadV4"}`, 200, codeMethod, "the method engine_newPayloadV4 is not available here", "1"},
		{"eth_resend", `{"jsonrpc":"2.0","id":1,"method":"eth_resend"}`, 200, codeMethod, "the method eth_resend is not available here", "1"},
		{"eth_submitWork", `{"jsonrpc":"2.0","id":1,"method":"eth_submitWork"}`, 200, codeMethod, "the method eth_submitWork is not available here", "1"},
		{"eth_sendRawTransactionSync", `{"jsonrpc":"2.0","id":1,"method":"eth_sendRawTransactionSync"}`, 200, codeMethod, "the method eth_sendRawTransactionSync is not available here", "1"},
		{"anvil_impersonateAccount", `{"jsonrpc":"2.0","id":1,"method":"anvil_impersonateAccount"}`, 200, codeMethod, "the method anvil_impersonateAccount is not available here", "1"},
		{"subscription over HTTP", `{"jsonrpc":"2.0","id":1,"method":"eth_subscribe","params":["newHeads"]}`, 200, codeMethod, "eth_subscribe needs a WebSocket: open one at this URL", "1"},
		{"unsubscribe over HTTP", `{"jsonrpc":"2.0","id":1,"method":"eth_unsubscribe","params":["0x1"]}`, 200, codeMethod, "eth_unsubscribe needs the WebSocket of its subscription", "1"},

		// Parameters of the wrong form: -32602.
		{"params by name", `{"jsonrpc":"2.0","id":1,"method":"eth_call","params":{"to":"0x1"}}`, 200, codeParams, "eth_call takes an array of parameters, got an object", "1"},
		{"params by name for a method of ours", `{"jsonrpc":"2.0","id":1,"method":"eth_sendTransaction","params":{}}`, 200, codeParams, "eth_sendTransaction takes an array of parameters, got an object", "1"},
		{"too many", `{"jsonrpc":"2.0","id":1,"method":"eth_accounts","params":[1]}`, 200, codeParams, "eth_accounts takes 0 parameters, got 1", "1"},
		{"health_status with parameters", `{"jsonrpc":"2.0","id":1,"method":"health_status","params":[1]}`, 200, codeParams, "health_status takes 0 parameters, got 1", "1"},
		{"send nothing", `{"jsonrpc":"2.0","id":1,"method":"eth_sendTransaction"}`, 200, codeParams, "eth_sendTransaction takes 1 to 2 parameters, got 0", "1"},
		{"send three", `{"jsonrpc":"2.0","id":1,"method":"eth_sendTransaction","params":[{},{},{}]}`, 200, codeParams, "eth_sendTransaction takes 1 to 2 parameters, got 3", "1"},
		{"send a string", `{"jsonrpc":"2.0","id":1,"method":"eth_sendTransaction","params":["0x"]}`, 200, codeParams, "want an object with the transaction's fields, got a string", "1"},
		{"options not an object", `{"jsonrpc":"2.0","id":1,"method":"eth_sendTransaction","params":[{"from":"` + own + `"},"k"]}`, 200, codeParams, `parameter 2 (options) must be an object such as {"idempotencyKey": "…"}, got a string`, "1"},
		{"options with an unknown member", `{"jsonrpc":"2.0","id":1,"method":"eth_sendTransaction","params":[{"from":"` + own + `"},{"idempotencykey":"k"}]}`, 200, codeParams, `parameter 2 (options) has an unknown member "idempotencykey"; want idempotencyKey`, "1"},
		{"idempotency key a number", `{"jsonrpc":"2.0","id":1,"method":"eth_sendTransaction","params":[{"from":"` + own + `"},{"idempotencyKey":1}]}`, 200, codeParams, "idempotencyKey must be a string of 1 to 255 printable ASCII characters", "1"},
		{"idempotency key empty", `{"jsonrpc":"2.0","id":1,"method":"eth_sendTransaction","params":[{"from":"` + own + `"},{"idempotencyKey":""}]}`, 200, codeParams, "idempotencyKey must be a string of 1 to 255 printable ASCII characters", "1"},
		{"idempotency key too long", `{"jsonrpc":"2.0","id":1,"method":"eth_sendTransaction","params":[{"from":"` + own + `"},{"idempotencyKey":"` + strings.Repeat("k", 256) + `"}]}`, 200, codeParams, "idempotencyKey must be a string of 1 to 255 printable ASCII characters", "1"},
		{"sign without data", `{"jsonrpc":"2.0","id":1,"method":"eth_sign","params":["` + own + `"]}`, 200, codeParams, "eth_sign takes 2 parameters, got 1", "1"},
		{"sign for a number", `{"jsonrpc":"2.0","id":1,"method":"eth_sign","params":[1,"0x"]}`, 200, codeParams, "parameter 1 (account) must be an address: 0x and 40 hexadecimal digits; got a number", "1"},
		{"sign for a short address", `{"jsonrpc":"2.0","id":1,"method":"eth_sign","params":["0xaa","0x"]}`, 200, codeParams, `parameter 1 (account) must be an address: 0x and 40 hexadecimal digits; got "0xaa"`, "1"},
		{"sign text", `{"jsonrpc":"2.0","id":1,"method":"eth_sign","params":["` + own + `","hello"]}`, 200, codeParams, `parameter 2 (data) must be 0x-prefixed hexadecimal data of whole bytes; got "hello"`, "1"},
		{"sign half a byte", `{"jsonrpc":"2.0","id":1,"method":"eth_sign","params":["` + own + `","0xabc"]}`, 200, codeParams, `parameter 2 (data) must be 0x-prefixed hexadecimal data of whole bytes; got "0xabc"`, "1"},
		{"personal_sign with a number for a password", `{"jsonrpc":"2.0","id":1,"method":"personal_sign","params":["0x","` + own + `",1]}`, 200, codeParams, "parameter 3 (password) must be a string or null, got a number", "1"},
		{"personal_sign without an account", `{"jsonrpc":"2.0","id":1,"method":"personal_sign","params":["0x","0x"]}`, 200, codeParams, `parameter 2 (account) must be an address: 0x and 40 hexadecimal digits; got "0x"`, "1"},
		{"typed data of the first version", `{"jsonrpc":"2.0","id":1,"method":"eth_signTypedData","params":[[],"` + own + `"]}`, 200, codeParams, "parameter 1 (account) is an array: the first version of eth_signTypedData is not supported; want [account, EIP-712 data]", "1"},
		{"sign for a stranger", `{"jsonrpc":"2.0","id":1,"method":"eth_sign","params":["` + to + `","0x"]}`, 200, codeServer, "unknown account 0x00000000000000000000000000000000000000AA", "1"},
	}
}

func TestMalformedRequestsGetExactlyOneAnswer(t *testing.T) {
	r := newRig(t)
	cases := malformed()
	if len(cases) < 60 {
		t.Fatalf("%d cases; the promise is 60", len(cases))
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			resp, body := r.do(c.body)
			e := &Error{Code: c.code, Message: c.message}
			want := string(e.appendTo([]byte(`{"jsonrpc":"2.0","id":`+c.id+`,"error":`))) + "}"
			if resp.StatusCode != c.status || body != want {
				t.Errorf("\n got %d %s\nwant %d %s", resp.StatusCode, body, c.status, want)
			}
			if got := resp.Header.Get("Content-Type"); got != "application/json" {
				t.Errorf("Content-Type %q", got)
			}
		})
	}
	if n := len(r.wire.calls(t)); n != 0 {
		t.Errorf("%d of them reached the node", n)
	}
	if len(r.hand.begun) != 0 {
		t.Errorf("%d transactions were begun", len(r.hand.begun))
	}
	if resp, body := r.do(`{"jsonrpc":"2.0","id":1,"method":"eth_blockNumber","params":null}`); resp.StatusCode != http.StatusOK || result(t, body) != `"0x1"` {
		t.Errorf("a good request after them: %d %s", resp.StatusCode, body)
	}
}

// The same documents in a batch spoil only their own item, or, where they are
// no JSON, the whole message.
func TestMalformedItemSpoilsOnlyItself(t *testing.T) {
	r := newRig(t)
	for _, c := range malformed() {
		if c.code == codeParse || c.name == "empty batch" {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			good := `{"jsonrpc":"2.0","id":"g","method":"eth_blockNumber"}`
			_, body := r.do(`[` + good + `,` + c.body + `,` + good + `]`)
			e := &Error{Code: c.code, Message: strings.Replace(c.message, "a request object or an array of them", "a request object", 1)}
			bad := string(e.appendTo([]byte(`{"jsonrpc":"2.0","id":`+c.id+`,"error":`))) + "}"
			ok := `{"jsonrpc":"2.0","id":"g","result":"0x1"}`
			if want := `[` + ok + `,` + bad + `,` + ok + `]`; body != want {
				t.Errorf("\n got %s\nwant %s", body, want)
			}
		})
	}
}
