// SPDX-License-Identifier: Apache-2.0

package txmgr

import (
	"context"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/node"
	"github.com/hsmsigner/hsmsigner/internal/node/nodetest"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

// spans keeps what several processes record.
type spans struct{ *tracetest.InMemoryExporter }

func newSpans() spans { return spans{tracetest.NewInMemoryExporter()} }

// tracer is one process's.
func (s spans) tracer(instance string, sampler sdk.Sampler) trace.Tracer {
	return sdk.NewTracerProvider(sdk.WithSyncer(s.InMemoryExporter), sdk.WithSampler(sampler),
		sdk.WithResource(resource.NewSchemaless(attribute.String("instance", instance)))).Tracer("test")
}

// of lists the spans of a trace.
func (s spans) of(id trace.TraceID) []tracetest.SpanStub {
	return slices.DeleteFunc(s.GetSpans(), func(span tracetest.SpanStub) bool { return span.SpanContext.TraceID() != id })
}

func instanceOf(s tracetest.SpanStub) string {
	v, _ := s.Resource.Set().Value("instance")
	return v.AsString()
}

func valueOf(s tracetest.SpanStub, k attribute.Key) string {
	for _, kv := range s.Attributes {
		if kv.Key == k {
			return kv.Value.String()
		}
	}
	return ""
}

// named finds the only span of that name that the process recorded.
func named(t *testing.T, list []tracetest.SpanStub, instance, name string) tracetest.SpanStub {
	t.Helper()
	var found []tracetest.SpanStub
	for _, s := range list {
		if s.Name == name && instanceOf(s) == instance {
			found = append(found, s)
		}
	}
	// A lease that is lost on a busy machine makes a stage happen twice.
	if len(found) == 0 {
		t.Fatalf("no span %q of %s in:\n%s", name, instance, listing(list))
	}
	return found[0]
}

func listing(list []tracetest.SpanStub) string {
	var b strings.Builder
	for _, s := range list {
		fmt.Fprintf(&b, "%s %s %v\n", instanceOf(s), s.Name, s.Attributes)
	}
	return b.String()
}

// tracedFleet is a fleet whose replicas a and b are traced. Its first one, which
// is not, has stopped.
func tracedFleet(t *testing.T, rec spans, sampler sdk.Sampler, set Settings) (f *fleet, a, b *replica) {
	t.Helper()
	f = newFleet(t, 1, true, nodetest.Options{Interval: 20 * time.Millisecond}, set)
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	f.all[0].mgr.Stop(ctx)
	a, b = f.traced(rec.tracer("a", sampler)), f.traced(rec.tracer("b", sampler))
	return f, a, b
}

func (f *fleet) traced(tracer trace.Tracer) *replica {
	r := f.replica(true)
	r.mgr.tracer = tracer
	f.mu.Lock()
	f.all = append(f.all, r)
	f.mu.Unlock()
	r.mgr.Start()
	return r
}

// request is what a front end puts around a transaction.
func request(rec spans, instance string) (context.Context, trace.Span) {
	return rec.tracer(instance, sdk.AlwaysSample()).Start(context.Background(), "request")
}

func (f *fleet) sendIn(ctx context.Context, r *replica, wei int64, key string) (common.Hash, error) {
	return r.w.Send(ctx, caller, SendRequest{Args: transfer(0, wei), IdempotencyKey: key})
}

func (f *fleet) confirmed(hash common.Hash) {
	f.t.Helper()
	f.waitFor("confirmed", func() bool { return f.state(hash) == store.Confirmed })
}

// One transaction is one trace, whoever accepted it and whoever sent it.
func TestTraceGoesThroughTwoReplicas(t *testing.T) {
	rec := newSpans()
	f, a, b := tracedFleet(t, rec, sdk.ParentBased(sdk.AlwaysSample()), fast())
	_, err := f.sendBy(a, transfer(0, 1), "")
	f.must(err) // a has the lease
	ctx, request := request(rec, "b")
	hash, err := f.sendIn(ctx, b, 2, "key")
	request.End()
	f.must(err)
	f.confirmed(hash)
	id := request.SpanContext().TraceID()
	f.waitFor("the last span", func() bool {
		return slices.ContainsFunc(rec.of(id), func(s tracetest.SpanStub) bool { return s.Name == "confirm" })
	})
	list := rec.of(id)
	accept := named(t, list, "b", "accept")
	if accept.Parent.SpanID() != request.SpanContext().SpanID() {
		t.Error("the acceptance is no child of its request")
	}
	for _, name := range []string{"idempotency", "build", "policy"} {
		if s := named(t, list, "b", name); s.Parent.SpanID() != accept.SpanContext.SpanID() {
			t.Errorf("%s is no child of the acceptance", name)
		}
	}
	row, err := f.db.TxByHash(context.Background(), hash)
	f.must(err)
	if parseTrace(row.Trace).SpanID() != accept.SpanContext.SpanID() {
		t.Errorf("the row's trace is %q", row.Trace)
	}
	named(t, list, "b", "hand over")
	var last time.Time
	for _, name := range []string{"commit", "sign", "store", "send", "mine", "confirm"} {
		s := named(t, list, "a", name)
		if s.Parent.SpanID() != accept.SpanContext.SpanID() || !s.Parent.IsRemote() {
			t.Errorf("%s is no child of the acceptance", name)
		}
		if valueOf(s, txKey) != row.ID || valueOf(s, walletKey) != "main" {
			t.Errorf("%s has %v", name, s.Attributes)
		}
		if s.Status.Code == codes.Error || s.EndTime.Before(s.StartTime) || s.EndTime.Before(last) {
			t.Errorf("%s: %v from %s to %s, after one that ended %s", name, s.Status, s.StartTime, s.EndTime, last)
		}
		last = s.EndTime
	}
	if s := named(t, list, "a", "send"); valueOf(s, outcomeKey) != "accepted" || valueOf(s, attemptKey) != "first" {
		t.Errorf("send has %v", s.Attributes)
	}
	checkAttributes(t, f.rig, list)
}

// checkAttributes asserts that spans hold nothing but what they may.
func checkAttributes(t *testing.T, r *rig, list []tracetest.SpanStub) {
	t.Helper()
	allowed := []attribute.Key{walletKey, txKey, attemptKey, batchKey, stateKey, outcomeKey}
	hex := regexp.MustCompile(`(?i)0x|[0-9a-f]{40}`)
	for _, s := range list {
		if s.Status.Description != "" || len(s.Events) != 0 {
			t.Errorf("%s says %q and has events %v", s.Name, s.Status.Description, s.Events)
		}
		for _, kv := range s.Attributes {
			text := kv.Value.String()
			if !slices.Contains(allowed, kv.Key) || hex.MatchString(text) || strings.Contains(text, r.chain.URL()) {
				t.Errorf("%s has %s = %s", s.Name, kv.Key, text)
			}
		}
	}
}

// A fail-over, which is a restart on the same rows, continues the trace.
func TestTraceGoesOnAfterAFailOver(t *testing.T) {
	rec := newSpans()
	f, a, b := tracedFleet(t, rec, sdk.ParentBased(sdk.AlwaysSample()), fast())
	_, err := f.sendBy(a, transfer(0, 1), "")
	f.must(err)
	gate := make(chan struct{})
	f.hsm.set(func(h *hsm) { h.gate = gate })
	ctx, request := request(rec, "a")
	go func() { _, _ = f.sendIn(ctx, a, 2, "key") }()
	f.waitFor("assigned", func() bool { return f.count(store.Assigned) == 1 })
	f.kill(a)
	f.hsm.set(func(h *hsm) { h.gate = nil })
	close(gate)
	hash, err := f.sendBy(b, transfer(0, 2), "key") // the caller asks again, elsewhere
	f.must(err)
	f.confirmed(hash)
	id := request.SpanContext().TraceID()
	f.waitFor("the last span", func() bool {
		return slices.ContainsFunc(rec.of(id), func(s tracetest.SpanStub) bool { return s.Name == "confirm" })
	})
	list := rec.of(id)
	accept := named(t, list, "a", "accept")
	for _, name := range []string{"sign", "store", "send", "mine", "confirm"} {
		if s := named(t, list, "b", name); s.Parent.SpanID() != accept.SpanContext.SpanID() {
			t.Errorf("%s is no child of the acceptance", name)
		}
	}
	if s := named(t, list, "b", "resume"); valueOf(s, stateKey) != string(store.Assigned) {
		t.Errorf("resume has %v", s.Attributes)
	}
	checkAttributes(t, f.rig, list)
	// The repetition is a request of its own, and says which transaction it meant.
	for _, s := range rec.GetSpans() {
		for _, link := range s.Links {
			if s.Name == "accept" && link.SpanContext.SpanID() == accept.SpanContext.SpanID() {
				return
			}
		}
	}
	t.Error("the repeated request has no link to the transaction's trace")
}

// A request that is not sampled leaves nothing, neither spans nor a row's trace.
func TestWhatIsNotSampledLeavesNothing(t *testing.T) {
	rec := newSpans()
	f, a, _ := tracedFleet(t, rec, sdk.ParentBased(sdk.NeverSample()), fast())
	hash, err := f.sendBy(a, transfer(0, 1), "key")
	f.must(err)
	f.confirmed(hash)
	row, err := f.db.TxByHash(context.Background(), hash)
	f.must(err)
	if row.Trace != "" || len(rec.GetSpans()) != 0 {
		t.Errorf("trace %q, spans:\n%s", row.Trace, listing(rec.GetSpans()))
	}
}

// What fails says its kind, and nothing of what the backend wrote.
func TestFailedSignatureShowsItsKindOnly(t *testing.T) {
	rec := newSpans()
	f, a, _ := tracedFleet(t, rec, sdk.AlwaysSample(), fast())
	_, err := f.sendBy(a, transfer(0, 1), "")
	f.must(err)
	f.waitFor("confirmed", func() bool { return f.count(store.Confirmed) == 1 })
	rec.Reset()
	secret := "vault 7 of " + addr(0).Hex()
	f.hsm.set(func(h *hsm) {
		h.fail = func(int, [32]byte) error { return fmt.Errorf("%s: %w", secret, key.ErrDisabled) }
	})
	if _, err := f.sendBy(a, transfer(0, 1), ""); err == nil {
		t.Fatal("sent")
	}
	f.hsm.set(func(h *hsm) { h.fail = nil })
	list := rec.GetSpans()
	for _, name := range []string{"sign", "fail"} {
		if s := named(t, list, "a", name); valueOf(s, outcomeKey) != "backend: disabled" || s.Status.Code != codes.Error {
			t.Errorf("%s has %v, %v", name, s.Attributes, s.Status)
		}
	}
	checkAttributes(t, f.rig, list)
}

// Without a tracer the stages cost no memory.
func TestWithoutATracerNothingIsAllocated(t *testing.T) {
	m := New(Config{})
	w := &Wallet{m: m, name: "main"}
	ctx := context.Background()
	sub := &submission{w: w}
	e := &entry{w: w, row: store.Tx{ID: "id", Trace: "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"}}
	s := &sender{m: m, subs: []*submission{sub}}
	batch, errs := []*attempt{{entry: e}}, []error{nil}
	if n := testing.AllocsPerRun(100, func() {
		_, span := w.span(ctx, "accept")
		m.repeats(ctx, e.row)
		sub.follow(span)
		span.end(nil)
		sub.trace = m.traceOf(e.row)
		sub.spanHandOver()
		sub.away.end(node.ErrUnavailable)
		sub.spanOffered()
		_, waiting := sub.spanAwait(ctx)
		waiting.end(nil)
		s.spanAccount(time.Time{}, nil)
		sub.spanCommitted(e)
		e.spanWaited(store.Queued)
		e.spanSign(store.FirstAttempt)(nil)
		e.stamp(&e.signedAt)
		e.spanStored()
		s.spanSend(batch)(errs)
		e.spanMined()
		e.spanFinal()
		e.spanResumed()
		e.spanFailed("fail", nil)
		sub.spanRefused(nil)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
