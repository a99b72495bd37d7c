// SPDX-License-Identifier: Apache-2.0

package tracing

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
	coltracepb "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	commonpb "go.opentelemetry.io/proto/otlp/common/v1"
	tracepb "go.opentelemetry.io/proto/otlp/trace/v1"
	"go.uber.org/goleak"
	"google.golang.org/protobuf/proto"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// collector is a collector at its wire.
type collector struct {
	*httptest.Server
	mu       sync.Mutex
	headers  []http.Header
	paths    []string
	requests []*coltracepb.ExportTraceServiceRequest
	answer   func(n int, w http.ResponseWriter) // of the n-th request, from 1
}

func newCollector(t *testing.T) *collector {
	c := &collector{}
	c.Server = httptest.NewServer(c)
	t.Cleanup(c.Close)
	return c
}

func (c *collector) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	var got coltracepb.ExportTraceServiceRequest
	if err := proto.Unmarshal(body, &got); err != nil {
		w.WriteHeader(http.StatusBadRequest)
		return
	}
	c.mu.Lock()
	c.headers, c.paths, c.requests = append(c.headers, r.Header), append(c.paths, r.URL.Path), append(c.requests, &got)
	n, answer := len(c.requests), c.answer
	c.mu.Unlock()
	if answer != nil {
		answer(n, w)
	}
}

func (c *collector) spans() []*tracepb.Span {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []*tracepb.Span
	for _, r := range c.requests {
		for _, rs := range r.ResourceSpans {
			for _, ss := range rs.ScopeSpans {
				all = append(all, ss.Spans...)
			}
		}
	}
	return all
}

// journal is a log that a test can read.
type journal struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (j *journal) Write(b []byte) (int, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.buf.Write(b)
}

func (j *journal) String() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.buf.String()
}

func (j *journal) logger() *slog.Logger { return slog.New(slog.NewTextHandler(j, nil)) }

func open(t *testing.T, cfg Config) *Provider {
	t.Helper()
	if cfg.Version == "" {
		cfg.Version, cfg.Instance = "1.2.3", "start-1"
	}
	p, err := Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 100*time.Millisecond)
		defer cancel()
		_ = p.Close(ctx)
	})
	return p
}

func closeIn(t *testing.T, p *Provider, d time.Duration) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), d)
	defer cancel()
	return p.Close(ctx)
}

func span(p *Provider, name string) {
	_, s := p.Tracer().Start(context.Background(), name)
	s.End()
}

func values(list []*commonpb.KeyValue) map[string]string {
	m := map[string]string{}
	for _, kv := range list {
		m[kv.Key] = kv.Value.GetStringValue()
	}
	return m
}

func TestSpansReachTheCollectorAsTheyWere(t *testing.T) {
	c := newCollector(t)
	p := open(t, Config{Endpoint: c.URL, Sample: 1, Headers: func() (map[string]string, error) {
		return map[string]string{"X-Team": "custody"}, nil
	}})
	ctx, parent := p.Tracer().Start(context.Background(), "parent", trace.WithAttributes(attribute.String("k", "v")))
	_, child := p.Tracer().Start(ctx, "child")
	child.End()
	parent.End()
	if err := closeIn(t, p, time.Minute); err != nil {
		t.Fatal(err)
	}
	spans := c.spans()
	if len(spans) != 2 {
		t.Fatalf("%d spans", len(spans))
	}
	first, second := spans[0], spans[1]
	if first.Name != "child" || second.Name != "parent" || !bytes.Equal(first.TraceId, second.TraceId) || !bytes.Equal(first.ParentSpanId, second.SpanId) {
		t.Errorf("spans do not hang together: %v", spans)
	}
	if got := values(second.Attributes); got["k"] != "v" {
		t.Errorf("attributes %v", got)
	}
	got := values(c.requests[0].ResourceSpans[0].Resource.Attributes)
	if got["service.name"] != "hsmsigner" || got["service.version"] != "1.2.3" || got["service.instance.id"] != "start-1" {
		t.Errorf("resource %v", got)
	}
	if c.paths[0] != "/v1/traces" || c.headers[0].Get("X-Team") != "custody" || c.headers[0].Get("Content-Type") != "application/x-protobuf" {
		t.Errorf("path %s, headers %v", c.paths[0], c.headers[0])
	}
}

func TestEnvironmentHasNoSay(t *testing.T) {
	other := newCollector(t)
	for name, value := range map[string]string{
		"OTEL_EXPORTER_OTLP_ENDPOINT": other.URL, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": other.URL + "/x",
		"OTEL_EXPORTER_OTLP_HEADERS": "X-Leak=1", "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip",
		"OTEL_TRACES_SAMPLER": "always_off", "OTEL_RESOURCE_ATTRIBUTES": "leak=1,service.name=other", "OTEL_SERVICE_NAME": "other",
		"OTEL_BSP_SCHEDULE_DELAY": "3600000", "OTEL_BSP_MAX_QUEUE_SIZE": "1", "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "0",
		"OTEL_SDK_DISABLED": "true", "HTTP_PROXY": other.URL, "http_proxy": other.URL,
	} {
		t.Setenv(name, value)
	}
	c := newCollector(t)
	p := open(t, Config{Endpoint: c.URL, Sample: 1})
	for range 100 {
		_, s := p.Tracer().Start(context.Background(), "a", trace.WithAttributes(attribute.String("k", "v")))
		s.End()
	}
	if err := closeIn(t, p, time.Minute); err != nil {
		t.Fatal(err)
	}
	spans := c.spans()
	if len(spans) != 100 || len(other.requests) != 0 {
		t.Fatalf("%d spans here, %d requests elsewhere", len(spans), len(other.requests))
	}
	if values(spans[0].Attributes)["k"] != "v" || c.headers[0].Get("X-Leak") != "" || c.headers[0].Get("Content-Encoding") != "" {
		t.Errorf("attributes %v, headers %v", spans[0].Attributes, c.headers[0])
	}
	got := values(c.requests[0].ResourceSpans[0].Resource.Attributes)
	if _, leaked := got["leak"]; leaked || got["service.name"] != "hsmsigner" {
		t.Errorf("resource %v", got)
	}
}

// A collector that is away costs its spans and one line of the log, and nobody
// waits for it.
func TestCollectorAwayIsSaidOnceAndNobodyWaits(t *testing.T) {
	var config net.ListenConfig
	l, err := config.Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	l.Close()
	var log journal
	p := open(t, Config{Endpoint: "http://" + address, Sample: 1, Logger: log.logger()})
	begun := time.Now()
	for range 4 * maxQueue {
		span(p, "lost")
	}
	if took := time.Since(begun); took > 15*time.Second {
		t.Errorf("%d spans took %s", 4*maxQueue, took)
	}
	waitFor(t, "the line", func() bool { return strings.Contains(log.String(), "cannot export traces") })
	for range 2 * maxBatch {
		span(p, "lost")
	}
	if l, err = config.Listen(context.Background(), "tcp", address); err != nil {
		t.Fatal(err)
	}
	c := &collector{}
	c.Server = &httptest.Server{Listener: l, Config: &http.Server{Handler: c}}
	c.Start()
	defer c.Close()
	waitFor(t, "export again", func() bool { span(p, "kept"); return strings.Contains(log.String(), "exported again") })
	if err := closeIn(t, p, time.Minute); err != nil {
		t.Fatal(err)
	}
	if len(c.spans()) == 0 {
		t.Error("no span arrived")
	}
	for _, line := range []string{"cannot export traces", "exported again"} {
		if n := strings.Count(log.String(), line); n != 1 {
			t.Errorf("%q is in the log %d times:\n%s", line, n, log.String())
		}
	}
}

func waitFor(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("not in time: %s", what)
}

func TestCloseEndsInTimeThoughTheCollectorHangs(t *testing.T) {
	c := newCollector(t)
	hang := make(chan struct{})
	c.answer = func(int, http.ResponseWriter) { <-hang }
	defer close(hang)
	p := open(t, Config{Endpoint: c.URL, Sample: 1})
	for range 3 * maxBatch {
		span(p, "a")
	}
	begun := time.Now()
	err := closeIn(t, p, 200*time.Millisecond)
	if took := time.Since(begun); took > 10*time.Second {
		t.Errorf("it took %s", took)
	}
	if err == nil || !strings.Contains(err.Error(), "in time") {
		t.Errorf("err = %v", err)
	}
	span(p, "after the end") // which must not block or panic
}

func TestBusyCollectorIsAskedAgain(t *testing.T) {
	c := newCollector(t)
	c.answer = func(n int, w http.ResponseWriter) {
		if n < 3 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}
	var log journal
	p := open(t, Config{Endpoint: c.URL + "/base/", Sample: 1, Logger: log.logger()})
	span(p, "a")
	if err := closeIn(t, p, time.Minute); err != nil {
		t.Fatal(err)
	}
	if len(c.requests) != 3 || log.String() != "" || c.paths[0] != "/base/v1/traces" {
		t.Errorf("%d requests to %v, log %s", len(c.requests), c.paths, log.String())
	}
}

func TestWhatTheCollectorDoesNotWantIsSaid(t *testing.T) {
	for name, answer := range map[string]func(int, http.ResponseWriter){
		"refused 1 spans": func(_ int, w http.ResponseWriter) {
			b, _ := proto.Marshal(&coltracepb.ExportTraceServiceResponse{PartialSuccess: &coltracepb.ExportTracePartialSuccess{RejectedSpans: 1, ErrorMessage: "no"}})
			_, _ = w.Write(b)
		},
		"answered 401": func(_ int, w http.ResponseWriter) { w.WriteHeader(http.StatusUnauthorized) },
		// Where it points to must not get the credential.
		"answered 307": func(_ int, w http.ResponseWriter) {
			w.Header().Set("Location", "http://127.0.0.1:1/")
			w.WriteHeader(http.StatusTemporaryRedirect)
		},
	} {
		c := newCollector(t)
		c.answer = answer
		var log journal
		p := open(t, Config{Endpoint: c.URL, Sample: 1, Logger: log.logger()})
		span(p, "a")
		if err := closeIn(t, p, time.Minute); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(log.String(), name) || len(c.requests) != 1 {
			t.Errorf("%s: %d requests, log %s", name, len(c.requests), log.String())
		}
	}
}

func TestSampleCountsWhereTheCallerSaidNothing(t *testing.T) {
	c := newCollector(t)
	p := open(t, Config{Endpoint: c.URL, Sample: 0})
	for _, flags := range []trace.TraceFlags{0, trace.FlagsSampled} {
		parent := trace.NewSpanContext(trace.SpanContextConfig{TraceID: trace.TraceID{1}, SpanID: trace.SpanID{2}, TraceFlags: flags, Remote: true})
		_, s := p.Tracer().Start(trace.ContextWithRemoteSpanContext(context.Background(), parent), fmt.Sprintf("flags %d", flags))
		s.End()
	}
	span(p, "alone")
	if err := closeIn(t, p, time.Minute); err != nil {
		t.Fatal(err)
	}
	if spans := c.spans(); len(spans) != 1 || spans[0].Name != "flags 1" {
		t.Errorf("spans %v", spans)
	}
}

func TestCredentialIsAskedForAtEveryExport(t *testing.T) {
	c := newCollector(t)
	n := 0
	p := open(t, Config{Endpoint: c.URL, Sample: 1, Headers: func() (map[string]string, error) {
		n++
		return map[string]string{"Authorization": fmt.Sprint("token ", n)}, nil
	}})
	for range 2 * maxBatch {
		span(p, "a")
	}
	if err := closeIn(t, p, time.Minute); err != nil {
		t.Fatal(err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.headers) < 2 || c.headers[0].Get("Authorization") == c.headers[1].Get("Authorization") {
		t.Errorf("%d requests with %v", len(c.headers), c.headers)
	}
}

func TestNoEndpointTracesNothing(t *testing.T) {
	p, err := Open(Config{Sample: 1})
	if p != nil || err != nil || p.Tracer() != nil || p.Close(context.Background()) != nil {
		t.Errorf("provider %v, err %v", p, err)
	}
}

func TestMistakesShowAtTheStart(t *testing.T) {
	for _, endpoint := range []string{"127.0.0.1:4318", "grpc://127.0.0.1:4317", "http://", "http://user:password@host:1", "http://host:1?x=1"} {
		_, err := Open(Config{Endpoint: endpoint})
		if err == nil || !strings.Contains(err.Error(), "want http://") || strings.Contains(err.Error(), "password") {
			t.Errorf("%s: %v", endpoint, err)
		}
	}
	missing := errors.New("tracing.headers.Authorization: secret file: open /x: no such file")
	_, err := Open(Config{Endpoint: "http://127.0.0.1:1", Headers: func() (map[string]string, error) { return nil, missing }})
	if !errors.Is(err, missing) {
		t.Errorf("missing secret: %v", err)
	}
}
