// SPDX-License-Identifier: Apache-2.0

package tracing

import (
	"context"
	"log/slog"
	"sync"

	sdk "go.opentelemetry.io/otel/sdk/trace"
)

// reporter logs when export begins to fail and when it works again, and keeps
// its errors from the SDK, which would write each to standard error.
type reporter struct {
	sdk.SpanExporter
	log *slog.Logger
	ctx context.Context // ends what is under way, when the provider is closed

	mu   sync.Mutex
	lost int // spans since it began to fail; zero while it works
}

// ExportSpans never fails.
func (r *reporter) ExportSpans(ctx context.Context, spans []sdk.ReadOnlySpan) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(r.ctx, cancel)()
	err := r.SpanExporter.ExportSpans(ctx, spans)
	r.mu.Lock()
	defer r.mu.Unlock()
	switch {
	case err != nil && r.lost == 0:
		r.log.Warn("cannot export traces: spans are dropped until the collector takes them", "err", err)
	case err == nil && r.lost > 0:
		r.log.Info("traces are exported again", "lost_spans", r.lost)
	}
	if err != nil {
		r.lost += len(spans)
	} else {
		r.lost = 0
	}
	return nil
}
