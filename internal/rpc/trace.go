// SPDX-License-Identifier: Apache-2.0

package rpc

import (
	"context"
	"net/http"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// A request's span says which method it was, for which wallet and with which
// code it ended, and nothing of its parameters or its answer
// (https://opentelemetry.io/docs/specs/semconv/rpc/json-rpc/).
const (
	systemKey    = attribute.Key("rpc.system")
	methodKey    = attribute.Key("rpc.method")
	codeKey      = attribute.Key("rpc.jsonrpc.error_code")
	walletKey    = attribute.Key("hsmsigner.wallet")
	transportKey = attribute.Key("hsmsigner.transport")
)

const traceparent = "traceparent"

// parent takes the caller's W3C traceparent as the parent of what the request
// becomes; one that is malformed or given twice counts as none. tracestate is
// left out: others' text of any size would stand in every span. The header of a
// WebSocket's upgrade is no parent of its messages.
func (s *Server) parent(ctx context.Context, h http.Header) context.Context {
	if s.cfg.Tracer == nil {
		return ctx
	}
	given := h["Traceparent"]
	if len(given) != 1 {
		return ctx
	}
	return propagation.TraceContext{}.Extract(ctx, propagation.MapCarrier{traceparent: given[0]})
}

// span is spanOf for a request that stands for itself; finish ends it.
func (c *call) span(ctx context.Context, m *method, start time.Time) context.Context {
	if s := c.spanOf(ctx, m, start); s != nil {
		return trace.ContextWithSpan(ctx, s)
	}
	return ctx
}

// spanOf begins the span of a request; nil if nothing is traced. m is nil if
// its method is unknown: a name that callers make up is nobody's.
func (c *call) spanOf(ctx context.Context, m *method, start time.Time) trace.Span {
	tracer := c.server.cfg.Tracer
	if tracer == nil {
		return nil
	}
	name := "unknown"
	if m != nil {
		name = m.name
	}
	_, s := tracer.Start(ctx, name, trace.WithSpanKind(trace.SpanKindServer), trace.WithTimestamp(start), trace.WithAttributes(
		systemKey.String("jsonrpc"), methodKey.String(name), walletKey.String(c.door.Name), transportKey.String(c.transport())))
	return s
}

// spanEnd ends the span in ctx. code is 0 for success.
func (c *call) spanEnd(ctx context.Context, code int) {
	if c.server.cfg.Tracer == nil {
		return
	}
	s := trace.SpanFromContext(ctx)
	if code != 0 {
		s.SetAttributes(codeKey.Int(code))
		s.SetStatus(codes.Error, "")
	}
	s.End()
}

// in is ctx with the item's span.
func (it *item) in(ctx context.Context) context.Context {
	if it.span == nil {
		return ctx
	}
	return trace.ContextWithSpan(ctx, it.span)
}
