// SPDX-License-Identifier: Apache-2.0

package rpc

import (
	"context"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
)

const (
	callerTrace  = "0af7651916cd43dd8448eb211c80319c"
	callerSpan   = "b7ad6b7169203331"
	callerParent = "00-" + callerTrace + "-" + callerSpan + "-01"
)

func traced(t *testing.T) (*rig, *tracetest.InMemoryExporter) {
	t.Helper()
	rec := tracetest.NewInMemoryExporter()
	tracer := sdk.NewTracerProvider(sdk.WithSyncer(rec), sdk.WithSampler(sdk.ParentBased(sdk.AlwaysSample()))).Tracer("test")
	return newRig(t, func(c *Config) { c.Tracer = tracer }), rec
}

// spansOf waits for n spans: a span ends after its answer may have been read.
func spansOf(t *testing.T, rec *tracetest.InMemoryExporter, n int) []tracetest.SpanStub {
	t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(time.Millisecond) {
		if got := rec.GetSpans(); len(got) >= n {
			return got
		}
	}
	t.Fatalf("%d spans, want %d", len(rec.GetSpans()), n)
	return nil
}

func valueOf(s tracetest.SpanStub, k attribute.Key) string {
	for _, kv := range s.Attributes {
		if kv.Key == k {
			return kv.Value.String()
		}
	}
	return ""
}

const payment = `[{"from":"FROM","to":"0x00000000000000000000000000000000000000aa","value":"0x5"}]`

func TestCallersTraceparentIsTheParentOfTheRequest(t *testing.T) {
	r, rec := traced(t)
	result(t, r.call("eth_sendTransaction", strings.Replace(payment, "FROM", r.hand.address.Hex(), 1), header("Traceparent", callerParent)))
	s := spansOf(t, rec, 1)[0]
	if s.Name != "eth_sendTransaction" || s.SpanKind != trace.SpanKindServer || s.SpanContext.TraceID().String() != callerTrace || s.Parent.SpanID().String() != callerSpan {
		t.Errorf("%s %s under %s of %s", s.SpanKind, s.Name, s.Parent.SpanID(), s.SpanContext.TraceID())
	}
	if valueOf(s, walletKey) != "treasury" || valueOf(s, methodKey) != s.Name || valueOf(s, transportKey) != "http" || len(s.Attributes) != 4 {
		t.Errorf("attributes %v", s.Attributes)
	}
	if r.hand.under[0].SpanID() != s.SpanContext.SpanID() {
		t.Error("the transaction was not begun under the request's span")
	}
}

func TestMalformedTraceparentIsNoParent(t *testing.T) {
	r, rec := traced(t)
	for _, given := range [][]string{
		nil,
		{""},
		{"x"},
		{callerParent, callerParent},
		{strings.ToUpper(callerParent)},
		{callerParent + "-x"},
		{callerParent[:len(callerParent)-1]},
		{" " + callerParent[1:]},
		{"ff-" + callerTrace + "-" + callerSpan + "-01"},
		{"00-" + strings.Repeat("0", 32) + "-" + callerSpan + "-01"},
		{"00-" + callerTrace + "-" + strings.Repeat("0", 16) + "-01"},
		{"00-" + strings.Repeat("g", 32) + "-" + callerSpan + "-01"},
	} {
		rec.Reset()
		result(t, r.call("eth_accounts", "[]", func(req *http.Request) { req.Header["Traceparent"] = given }))
		if s := spansOf(t, rec, 1)[0]; s.Parent.IsValid() || s.SpanContext.TraceID().String() == callerTrace {
			t.Errorf("%q became a parent", given)
		}
	}
}

func TestCallerDecidesWhetherItIsTraced(t *testing.T) {
	r, rec := traced(t)
	result(t, r.call("eth_accounts", "[]", header("Traceparent", callerParent[:len(callerParent)-1]+"0")))
	result(t, r.call("eth_accounts", "[]"))
	if got := spansOf(t, rec, 1); len(got) != 1 || got[0].Parent.IsValid() {
		t.Errorf("spans %v", got)
	}
}

func TestSpanHasTheCodeAndNothingOfTheRequest(t *testing.T) {
	r, rec := traced(t)
	secret := "0x00000000000000000000000000000000deadbeef"
	r.call("eth_sign", `["`+secret+`","0x01"]`, header("Tracestate", "vendor="+secret), header("Traceparent", callerParent))
	r.call("eth_"+secret, `[]`)
	got := spansOf(t, rec, 2)
	for _, s := range got {
		if s.Status.Code != codes.Error || s.Status.Description != "" || valueOf(s, codeKey) == "" || s.SpanContext.TraceState().Len() != 0 {
			t.Errorf("%s: %v, %v", s.Name, s.Status, s.Attributes)
		}
		for _, kv := range s.Attributes {
			if strings.Contains(kv.Value.String(), "deadbeef") {
				t.Errorf("%s has %s = %s", s.Name, kv.Key, kv.Value.String())
			}
		}
	}
	if got[1].Name != "unknown" || valueOf(got[1], codeKey) != "-32601" {
		t.Errorf("unknown method: %s %v", got[1].Name, got[1].Attributes)
	}
}

func TestEachRequestOfABatchHasItsSpan(t *testing.T) {
	r, rec := traced(t)
	args := strings.Replace(payment, "FROM", r.hand.address.Hex(), 1)
	r.do(`[{"jsonrpc":"2.0","id":1,"method":"eth_sendTransaction","params":`+args+`},{"jsonrpc":"2.0","id":2,"method":"eth_blockNumber"},`+
		`{"jsonrpc":"2.0","id":3,"method":"eth_accounts"},{"jsonrpc":"2.0","id":4,"method":"eth_nothing"},{"jsonrpc":"2.0","id":5,"method":"eth_sendTransaction","params":`+args+`}]`,
		header("Traceparent", callerParent))
	var names []string
	own := map[trace.SpanID]bool{}
	for _, s := range spansOf(t, rec, 5) {
		names = append(names, s.Name)
		own[s.SpanContext.SpanID()] = true
		if s.Parent.SpanID().String() != callerSpan {
			t.Errorf("%s is under %s", s.Name, s.Parent.SpanID())
		}
	}
	slices.Sort(names)
	if got := strings.Join(names, " "); got != "eth_accounts eth_blockNumber eth_sendTransaction eth_sendTransaction unknown" {
		t.Errorf("spans %s", got)
	}
	if a, b := r.hand.under[0].SpanID(), r.hand.under[1].SpanID(); a == b || !own[a] || !own[b] {
		t.Errorf("begun under %s and %s", a, b)
	}
}

// The upgrade's header says nothing of what is asked an hour later.
func TestEachMessageOfASocketIsATraceOfItsOwn(t *testing.T) {
	r, rec := traced(t)
	c, _, err := r.dial(func(o *websocket.DialOptions) { o.HTTPHeader.Set("Traceparent", callerParent) })
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		result(t, c.ask(`{"jsonrpc":"2.0","id":1,"method":"eth_accounts"}`))
	}
	got := spansOf(t, rec, 2)
	if got[0].Parent.IsValid() || got[1].Parent.IsValid() || got[0].SpanContext.TraceID() == got[1].SpanContext.TraceID() || valueOf(got[0], transportKey) != "ws" {
		t.Errorf("spans %v", got)
	}
}

func TestWithoutATracerNothingIsAllocated(t *testing.T) {
	r := newRig(t)
	c := &call{server: r.srv, door: (*r.srv.doors.Load())["treasury"]}
	m, it := c.door.methods["eth_blockNumber"], &item{}
	ctx, now, h := context.Background(), time.Now(), http.Header{"Traceparent": {callerParent}}
	if n := testing.AllocsPerRun(100, func() {
		ctx := r.srv.parent(ctx, h)
		ctx = c.span(ctx, m, now)
		it.span = c.spanOf(ctx, m, now)
		c.spanEnd(it.in(ctx), 0)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
