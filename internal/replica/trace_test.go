// SPDX-License-Identifier: Apache-2.0

package replica

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"

	"github.com/hsmsigner/hsmsigner/internal/store"
	"github.com/hsmsigner/hsmsigner/internal/txmgr"
)

// A question to a peer is under the span of whoever asks, and one that belongs
// to no trace begins none.
func TestQuestionToAPeerCarriesTheTrace(t *testing.T) {
	ctx, log := context.Background(), slog.New(slog.DiscardHandler)
	db, err := store.OpenSQLite(ctx, store.Config{Dir: t.TempDir(), Logger: log})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	rec := tracetest.NewInMemoryExporter()
	provider := sdk.NewTracerProvider(sdk.WithSyncer(rec), sdk.WithSampler(sdk.ParentBased(sdk.AlwaysSample())))

	var handler http.Handler
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { handler.ServeHTTP(w, r) }))
	defer server.Close()
	asked := New(Config{Store: db, Owner: "asked", URL: server.URL, Logger: log, Tracer: provider.Tracer("test")})
	handler = asked.Handler(txmgr.New(txmgr.Config{Store: db, Shared: true}))
	asking := New(Config{Store: db, Owner: "asking", Logger: log})
	live := 0
	asked.look(ctx, &live)
	asking.look(ctx, &live)
	client := NewClient(asking)
	defer client.Close()

	parent := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceFlags: trace.FlagsSampled})
	for _, from := range []context.Context{ctx, trace.ContextWithSpanContext(ctx, parent)} {
		_, err := client.Await(from, "asked", "nobody", "tx", time.Now().Add(time.Minute))
		if !errors.Is(err, txmgr.ErrNoSender) {
			t.Fatalf("err = %v", err)
		}
	}
	spans := rec.GetSpans()
	if len(spans) != 1 {
		t.Fatalf("%d spans, want that of the traced question", len(spans))
	}
	if s := spans[0]; s.Name != "POST /replica/v1/await" || s.SpanContext.TraceID() != parent.TraceID() || s.Parent.SpanID() != parent.SpanID() {
		t.Errorf("%s under %s of %s", s.Name, s.Parent.SpanID(), s.SpanContext.TraceID())
	}
}
