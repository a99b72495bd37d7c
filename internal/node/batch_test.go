// SPDX-License-Identifier: Apache-2.0

package node_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/hsmsigner/hsmsigner/internal/node"
	"github.com/hsmsigner/hsmsigner/internal/node/nodetest"
)

// asked are the ids of a batch, as the server saw them.
func asked(body []byte) (ids []json.RawMessage) {
	var reqs []struct{ ID json.RawMessage }
	if json.Unmarshal(body, &reqs) != nil {
		return nil
	}
	for _, r := range reqs {
		ids = append(ids, r.ID)
	}
	return ids
}

func threeCalls() ([]*node.Call, []string) {
	out := make([]string, 3)
	calls := make([]*node.Call, 3)
	for i := range calls {
		calls[i] = &node.Call{Method: "m", Params: []any{i}, Result: &out[i]}
	}
	return calls, out
}

func TestBatchAnswersAreMatchedByID(t *testing.T) {
	c := client(t, node.Config{URL: answering(t, func(w http.ResponseWriter, body []byte) {
		ids := asked(body)
		fmt.Fprintf(w, `[{"id":%s,"result":"c"},{"id":"%s","result":"a"},{"id":%s,"error":{"code":5,"message":"b"}}]`, ids[2], ids[0], ids[1])
	})})
	calls, out := threeCalls()
	if err := c.Batch(ctx(t), calls); err != nil {
		t.Fatal(err)
	}
	var e *node.Error
	if out[0] != "a" || out[2] != "c" || !errors.As(calls[1].Err, &e) || e.Code != 5 {
		t.Errorf("%q %v", out, calls[1].Err)
	}
}

func TestMissingAndDoubleAnswersOfABatchAreBad(t *testing.T) {
	c := client(t, node.Config{URL: answering(t, func(w http.ResponseWriter, body []byte) {
		ids := asked(body)
		fmt.Fprintf(w, `[{"id":%[1]s,"result":"a"},{"id":%[1]s,"result":"z"},{"id":777,"result":"?"}]`, ids[0])
	})})
	calls, _ := threeCalls()
	err := c.Batch(ctx(t), calls)
	if !errors.Is(err, node.ErrBadResponse) {
		t.Error("no answer at all, but", err)
	}
	for i, want := range []string{"two answers", "no answer", "no answer"} {
		if !errors.Is(calls[i].Err, node.ErrBadResponse) || !strings.Contains(calls[i].Err.Error(), want) {
			t.Errorf("call %d: %v, want %s", i, calls[i].Err, want)
		}
	}
}

func TestMoreAnswersThanQuestionsAreBad(t *testing.T) {
	c := client(t, node.Config{URL: answering(t, func(w http.ResponseWriter, _ []byte) {
		_, _ = io.WriteString(w, "["+strings.Repeat(`{"id":1,"result":1},`, 100_000)+`{"id":1,"result":1}]`)
	})})
	calls, _ := threeCalls()
	if err := c.Batch(ctx(t), calls); !errors.Is(err, node.ErrBadResponse) {
		t.Error(err)
	}
}

func TestNodeWithoutBatchesGetsSingleCalls(t *testing.T) {
	for name, refuse := range map[string]func(w http.ResponseWriter){
		"parse error": func(w http.ResponseWriter) {
			_, _ = io.WriteString(w, `{"id":null,"error":{"code":-32700,"message":"x"}}`)
		},
		"reth": func(w http.ResponseWriter) {
			_, _ = io.WriteString(w, `{"id":null,"error":{"code":-32005,"message":"Batched requests are not supported by this server"}}`)
		},
		"HTTP 400":      func(w http.ResponseWriter) { http.Error(w, "bad request", http.StatusBadRequest) },
		"payload limit": func(w http.ResponseWriter) { http.Error(w, "too large", http.StatusRequestEntityTooLarge) },
	} {
		t.Run(name, func(t *testing.T) {
			batches, singles := 0, 0
			c := client(t, node.Config{URL: answering(t, func(w http.ResponseWriter, body []byte) {
				if body[0] == '[' {
					batches++
					refuse(w)
					return
				}
				singles++
				answerTo(w, body, `"ok"`)
			})})
			for round := range 2 {
				calls, out := threeCalls()
				if err := c.Batch(ctx(t), calls); err != nil || out[0]+out[1]+out[2] != "okokok" {
					t.Fatal(round, err, out)
				}
			}
			if batches != 1 || singles != 6 {
				t.Errorf("%d batches and %d singles, want 1 and 6", batches, singles)
			}
		})
	}
}

func TestSmallerBatchLimitIsFoundAndRemembered(t *testing.T) {
	chain, c := pair(t, nodetest.Options{BatchLimit: 10})
	for range 2 {
		calls := make([]*node.Call, 70)
		for i := range calls {
			calls[i] = &node.Call{Method: "eth_blockNumber", Result: new(node.Uint64)}
		}
		if err := c.Batch(ctx(t), calls); err != nil {
			t.Fatal(err)
		}
		for i, call := range calls {
			if call.Err != nil {
				t.Fatal(i, call.Err)
			}
		}
	}
	// 70, 35, 17 are refused; then pieces of 8: nine for each round.
	if n := chain.Requests(); n != 3+9+9 {
		t.Errorf("%d requests, want 21", n)
	}
}

func TestRefusalOfAWholeBatchHoldsForEachCall(t *testing.T) {
	requests := 0
	c := client(t, node.Config{URL: answering(t, func(w http.ResponseWriter, _ []byte) {
		requests++
		_, _ = io.WriteString(w, `{"id":null,"error":{"code":-32005,"message":"rate limit exceeded"}}`)
	})})
	calls, _ := threeCalls()
	if err := c.Batch(ctx(t), calls); err != nil || requests != 1 {
		t.Fatal(err, requests)
	}
	for _, call := range calls {
		var e *node.Error
		if !errors.As(call.Err, &e) || e.Code != -32005 {
			t.Error(call.Err)
		}
	}
}

func TestForwardBatchKeepsOrderAndBytes(t *testing.T) {
	_, c := pair(t, nodetest.Options{})
	calls := []*node.ForwardCall{
		{Method: "eth_chainId"},
		{Method: "nope", Params: []byte(`[1]`)},
		{Method: "eth_getBlockByNumber", Params: []byte(`["0xffff",false]`)},
	}
	c.ForwardBatch(ctx(t), calls, nil)
	for i, want := range []string{`"0x539"`, `{"code":-32601,"message":"the method nope does not exist/is not available"}`, `null`} {
		if got := string(calls[i].Response.Result) + string(calls[i].Response.Error); calls[i].Err != nil || got != want {
			t.Errorf("call %d: %s %v, want %s", i, got, calls[i].Err, want)
		}
	}
}

func TestBigBatchesAreCutBySize(t *testing.T) {
	chain, c := pair(t, nodetest.Options{})
	calls := make([]*node.ForwardCall, 4)
	for i := range calls {
		calls[i] = &node.ForwardCall{Method: "eth_call", Params: []byte(`["` + strings.Repeat("a", 1<<20) + `"]`)}
	}
	c.ForwardBatch(ctx(t), calls, nil)
	for _, call := range calls {
		if call.Err != nil {
			t.Fatal(call.Err)
		}
	}
	if n := chain.Requests(); n != 4 {
		t.Errorf("%d requests for 4 MiB, want 4", n)
	}
}
