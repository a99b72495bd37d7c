// SPDX-License-Identifier: Apache-2.0

package rpc

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
)

func TestBatchAnswersInOrderEachJudgedByItself(t *testing.T) {
	r := newRig(t)
	r.wire.answers(func(_ string, params json.RawMessage) string { return `"result":` + string(params) })
	_, body := r.do(`[
		{"jsonrpc":"2.0","id":1,"method":"eth_call","params":["a"]},
		{"jsonrpc":"2.0","id":2,"method":"personal_unlockAccount","params":[]},
		{"jsonrpc":"2.0","id":3,"method":"eth_sendTransaction","params":[{"from":"` + r.own() + `","to":"` + to + `"}]},
		{"jsonrpc":"2.0","method":"eth_call","params":["notification"]},
		{"jsonrpc":"2.0","id":"d","method":"eth_accounts"},
		[{"jsonrpc":"2.0","id":9,"method":"eth_accounts"}],
		7,
		{"jsonrpc":"2.0","id":3,"method":"eth_call","params":["same id"]},
		{"jsonrpc":"2.0","id":null,"method":"eth_sendTransaction","params":[{"from":"` + r.own() + `","gasprice":"0x1"}]},
		{"jsonrpc":"2.0","id":5,"method":"admin_peers"}
	]`)
	want := compact(t, `[
		{"jsonrpc":"2.0","id":1,"result":["a"]},
		{"jsonrpc":"2.0","id":2,"error":{"code":-32601,"message":"the method personal_unlockAccount is not available here"}},
		{"jsonrpc":"2.0","id":3,"result":"`+common.HexToHash("0x7").Hex()+`"},
		{"jsonrpc":"2.0","id":"d","result":["`+r.own()+`"]},
		{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"invalid request: want a request object, got an array"}},
		{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"invalid request: want a request object, got a number"}},
		{"jsonrpc":"2.0","id":3,"result":["same id"]},
		{"jsonrpc":"2.0","id":null,"error":{"code":-32602,"message":"MESSAGE"}},
		{"jsonrpc":"2.0","id":5,"error":{"code":-32601,"message":"the method admin_peers is not available here"}}
	]`)
	before, after, _ := strings.Cut(want, "MESSAGE")
	if !strings.HasPrefix(body, before+"gasprice") || !strings.HasSuffix(body, after) {
		t.Errorf("\n got %s\nwant %s", body, want)
	}
	var sent []string
	for _, c := range r.wire.calls(t) {
		sent = append(sent, string(c.Params))
	}
	if got := strings.Join(sent, ""); got != `["a"]["notification"]["same id"]` {
		t.Errorf("the node got %s", got)
	}
	if len(r.wire.bodies) != 1 {
		t.Errorf("in %d pieces", len(r.wire.bodies))
	}
}

func TestBatchOrderIsNonceOrderAndWaitingOverlaps(t *testing.T) {
	const n = 100
	r := newRig(t)
	r.hand.next = 0
	r.hand.slow = time.Millisecond
	together := make(chan struct{})
	first := true
	// The first wait ends only after the last has begun: had the door waited
	// before beginning the next, nothing would ever end.
	r.hand.hold = func(ctx context.Context) error {
		if first {
			first = false
			r.hand.mu.Lock()
			if len(r.hand.begun) == n {
				close(together)
			}
			r.hand.mu.Unlock()
		}
		select {
		case <-together:
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	var items []string
	for i := range n {
		items = append(items, fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"eth_sendTransaction","params":[{"from":"%s","to":"%s","value":"0x%x"}]}`, i, r.own(), to, i+1))
	}
	_, body := r.do(`[` + strings.Join(items, ",") + `]`)
	var answers []struct {
		ID     int
		Result common.Hash
	}
	if err := json.Unmarshal([]byte(body), &answers); err != nil || len(answers) != n {
		t.Fatalf("%v: %s", err, body)
	}
	for i, a := range answers {
		b := r.hand.begun[i]
		if a.ID != i || a.Result.Big().Int64() != int64(i) || b.Args.Value.Int64() != int64(i+1) || b.Order == nil || b.Order != r.hand.begun[0].Order {
			t.Fatalf("item %d: %+v, begun %+v", i, a, b)
		}
	}
}

func TestNotificationsAreDoneAndNotAnswered(t *testing.T) {
	r := newRig(t)
	for _, body := range []string{
		`{"jsonrpc":"2.0","method":"eth_sendTransaction","params":[{"from":"` + r.own() + `","to":"` + to + `"}]}`,
		`[{"jsonrpc":"2.0","method":"eth_sendTransaction","params":[{"from":"` + r.own() + `","to":"` + to + `"}]},{"jsonrpc":"2.0","method":"eth_gasPrice"}]`,
		`{"jsonrpc":"2.0","method":"eth_nope"}`,
		`[{"jsonrpc":"2.0","method":"eth_nope"}]`,
	} {
		resp, answer := r.do(body)
		if resp.StatusCode != 204 || answer != "" {
			t.Errorf("%s: %d %q", body, resp.StatusCode, answer)
		}
	}
	if len(r.hand.begun) != 2 || len(r.wire.calls(t)) != 1 {
		t.Errorf("sent %d, forwarded %d", len(r.hand.begun), len(r.wire.calls(t)))
	}
}

func TestBatchOverTheLimitIsRefusedWhole(t *testing.T) {
	r := newRig(t)
	item := `{"jsonrpc":"2.0","id":1,"method":"eth_gasPrice"}`
	_, body := r.do(`[` + strings.Repeat(item+",", 9_999) + item + `]`)
	if want := `{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"invalid request: the batch has 10000 requests; 100 are allowed"}}`; body != want {
		t.Errorf("\n got %s\nwant %s", body, want)
	}
	if len(r.wire.calls(t)) != 0 {
		t.Error("part of it reached the node")
	}
	if _, body := r.do(`[` + strings.Repeat(item+",", 99) + item + `]`); strings.Count(body, `"result"`) != 100 {
		t.Errorf("100 are allowed: %s", body)
	}
}

func TestIdempotencyHeaderDoesNotNameBatchItems(t *testing.T) {
	r := newRig(t)
	_, body := r.do(`[{"jsonrpc":"2.0","id":1,"method":"eth_sendTransaction","params":[{"from":"`+r.own()+`","to":"`+to+`"},{"idempotencyKey":"k"}]},{"jsonrpc":"2.0","id":2,"method":"eth_gasPrice"}]`,
		header("Idempotency-Key", "k"))
	if !strings.Contains(body, `"code":-32602`) || !strings.Contains(body, `{"jsonrpc":"2.0","id":2,"result":"0x1"}`) || len(r.hand.begun) != 0 {
		t.Error(body)
	}
	_, body = r.do(`[{"jsonrpc":"2.0","id":1,"method":"eth_sendTransaction","params":[{"from":"` + r.own() + `","to":"` + to + `"},{"idempotencyKey":"k1"}]},{"jsonrpc":"2.0","id":2,"method":"eth_sendTransaction","params":[{"from":"` + r.own() + `","to":"` + to + `"},{"idempotencyKey":"k2"}]}]`)
	if len(r.hand.begun) != 2 || r.hand.begun[0].IdempotencyKey != "k1" || r.hand.begun[1].IdempotencyKey != "k2" {
		t.Errorf("%s, begun %+v", body, r.hand.begun)
	}
}

func TestPanicBehindTheDoorIsOneItemsError(t *testing.T) {
	r := newRig(t)
	r.hand.hold = func(context.Context) error { panic("boom") }
	_, body := r.do(`[{"jsonrpc":"2.0","id":1,"method":"eth_sendTransaction","params":[{"from":"`+r.own()+`","to":"`+to+`"}]},{"jsonrpc":"2.0","id":2,"method":"eth_gasPrice"}]`,
		header("X-Request-Id", "seen-1"))
	if want := `[{"jsonrpc":"2.0","id":1,"error":{"code":-32603,"message":"internal error; it is logged under request id seen-1"}},{"jsonrpc":"2.0","id":2,"result":"0x1"}]`; body != want {
		t.Errorf("\n got %s\nwant %s", body, want)
	}
}
