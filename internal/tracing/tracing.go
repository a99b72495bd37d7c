// SPDX-License-Identifier: Apache-2.0

// Package tracing sends OpenTelemetry spans to a collector, by OTLP over HTTP
// (https://opentelemetry.io/docs/specs/otlp/#otlphttp).
//
// It guarantees that no request waits for the collector or fails because of it:
// finished spans stand in a bounded queue, what does not fit is dropped, and
// that export fails is one line of the log until it works again. It sets
// nothing global: who traces is given a tracer.
//
// Only [Config] counts. None of the environment's OTEL_ variables has a say in
// where spans go, what they are called or which are kept, nor has a proxy of
// the environment. (The SDK reads some and complains on standard error of what
// it cannot read; every one of its settings is overridden here.)
//
// It never makes a span itself and knows nothing of what is in one: that spans
// hold no parameter, address or secret is the care of those who make them.
package tracing

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/sdk/resource"
	sdk "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
)

// Config is what a [Provider] is made of.
type Config struct {
	// Endpoint is the collector's base URL, like http://127.0.0.1:4318; spans go
	// to /v1/traces below it. Empty: nothing is traced.
	Endpoint string
	// Headers are sent along, as for a credential. They are asked for at every
	// export, so that a changed file takes effect; nil: none. The error's text
	// goes to the log.
	Headers func() (map[string]string, error)
	// Sample is the share of traces that begin here which are kept, 0 to 1. A
	// trace that began elsewhere is kept if its beginner said so.
	Sample   float64
	Version  string       // of the program
	Instance string       // of this process; unique per start
	Logger   *slog.Logger // nil: silent
}

// Bounds of what waits, in spans, and of what is waited for.
const (
	maxQueue      = 8192 // some 16 MiB at most
	maxBatch      = 1024
	batchDelay    = time.Second
	exportTimeout = 10 * time.Second // of one batch, with its retries
)

// Provider is where spans go. A nil one is valid and traces nothing. Its
// methods are safe for concurrent use.
type Provider struct {
	sdk *sdk.TracerProvider
	end context.CancelFunc // ends exports that are under way
}

// Open makes a provider; nil without an error if cfg names no endpoint. It does
// not reach for the collector, which may come later. Call [Provider.Close].
func Open(cfg Config) (*Provider, error) {
	if cfg.Endpoint == "" {
		return nil, nil //nolint:nilnil // a nil Provider is one that traces nothing
	}
	client, err := newClient(cfg)
	if err != nil {
		return nil, err
	}
	log := cfg.Logger
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	ctx, end := context.WithCancel(context.Background())
	exporter, err := otlptrace.New(ctx, client)
	if err != nil {
		end()
		return nil, fmt.Errorf("tracing: %w", err)
	}
	queue := sdk.NewBatchSpanProcessor(&reporter{SpanExporter: exporter, log: log, ctx: ctx},
		sdk.WithMaxQueueSize(maxQueue), sdk.WithMaxExportBatchSize(maxBatch),
		sdk.WithBatchTimeout(batchDelay), sdk.WithExportTimeout(exportTimeout))
	return &Provider{end: end, sdk: sdk.NewTracerProvider(
		sdk.WithSampler(sdk.ParentBased(sdk.TraceIDRatioBased(cfg.Sample))),
		sdk.WithSpanProcessor(queue),
		sdk.WithResource(resource.Empty()), // the client says who we are
		sdk.WithRawSpanLimits(sdk.SpanLimits{
			AttributeValueLengthLimit: 256, AttributeValueDepthLimit: 2, AttributeCountLimit: 32,
			EventCountLimit: 16, LinkCountLimit: 16, AttributePerEventCountLimit: 8, AttributePerLinkCountLimit: 8,
		}),
	)}, nil
}

// Tracer gives the tracer of this program; nil, which those who take one read
// as none, if nothing is traced.
func (p *Provider) Tracer() trace.Tracer {
	if p == nil {
		return nil
	}
	return p.sdk.Tracer("github.com/hsmsigner/hsmsigner")
}

// Close exports what waits until ctx ends, and drops the rest. Spans that end
// later are dropped.
func (p *Provider) Close(ctx context.Context) error {
	if p == nil {
		return nil
	}
	defer p.end()
	if err := p.sdk.Shutdown(ctx); err != nil {
		if errors.Is(err, context.DeadlineExceeded) {
			return errors.New("tracing: the collector did not take the last spans in time")
		}
		return fmt.Errorf("tracing: %w", err)
	}
	return nil
}
