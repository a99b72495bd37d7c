// SPDX-License-Identifier: Apache-2.0

package replica

import (
	"context"
	"net/http"

	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
)

// carry gives the trace of ctx, if it has one, to a peer
// (https://www.w3.org/TR/trace-context/). Requests that are handed over carry
// theirs in their rows.
func carry(ctx context.Context, h http.Header) {
	propagation.TraceContext{}.Inject(ctx, propagation.HeaderCarrier(h))
}

// span begins the span of a peer's question; the function that it returns ends
// it. A question that belongs to no trace begins none.
func (r *Registry) span(request *http.Request) (context.Context, func(reply)) {
	ctx := request.Context()
	if r.cfg.Tracer == nil {
		return ctx, func(reply) {}
	}
	ctx = propagation.TraceContext{}.Extract(ctx, propagation.HeaderCarrier(request.Header))
	if !trace.SpanContextFromContext(ctx).IsSampled() {
		return ctx, func(reply) {}
	}
	ctx, s := r.cfg.Tracer.Start(ctx, request.Pattern, trace.WithSpanKind(trace.SpanKindServer))
	return ctx, func(a reply) {
		if a.Unknown || a.Missing || a.Failure != "" {
			s.SetStatus(codes.Error, "")
		}
		s.End()
	}
}
