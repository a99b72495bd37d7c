// SPDX-License-Identifier: Apache-2.0

package txmgr

import (
	"context"
	"errors"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"

	"github.com/hsmsigner/hsmsigner/internal/node"
	"github.com/hsmsigner/hsmsigner/internal/policy"
	"github.com/hsmsigner/hsmsigner/internal/store"
	"github.com/hsmsigner/hsmsigner/internal/wallet"
)

// A transaction's spans are one trace, through all processes that work on it
// and over restarts: the one that accepts it writes the span of its acceptance
// into the row (store.Tx.Trace), and every later span is a child of that one.
//
//	accept           the way in: idempotency, build (chain id, fees, gas), policy
//	hand over        given to the process that holds the lease, until its answer
//	offer            stored for that process, where it did not answer
//	await holder     that process is asked for the outcome
//	account          the node's count and balance, which the transaction waits for
//	commit           from the hand-over to the sender until its row is stored
//	wait for nonce   in the queue, or ahead of its turn
//	sign             the wallet and its key backend
//	store            the signed bytes
//	send             one call to the node
//	mine             from the node's yes to the block
//	confirm          from the block to what is final
//	resume           read from its row, after a restart or a fail-over
//	fail, lost       the end of what was not mined
//
// Stages that may take long are made when they end, with their begin: nothing is
// kept open for them. A row without a trace, or that is not sampled, costs a
// look at a flag in each place. Attributes come from closed sets, but for the
// wallet's name and the id of the row: no address, hash, amount or message.
const (
	walletKey  = attribute.Key("hsmsigner.wallet")
	txKey      = attribute.Key("hsmsigner.tx")
	attemptKey = attribute.Key("hsmsigner.attempt") // why it is signed: first, bump, cancel
	batchKey   = attribute.Key("hsmsigner.batch")   // how many transactions one call carried
	stateKey   = attribute.Key("hsmsigner.state")   // of the row
	outcomeKey = attribute.Key("hsmsigner.outcome") // ok, or a kind of error
)

// span is a span under way; nil, which every method takes, if nothing is traced.
type span struct{ of trace.Span }

// span begins a span of the request in ctx.
func (w *Wallet) span(ctx context.Context, name string) (context.Context, *span) {
	if w.m.tracer == nil {
		return ctx, nil
	}
	ctx, of := w.m.tracer.Start(ctx, name, trace.WithAttributes(walletKey.String(w.name)))
	return ctx, &span{of}
}

// end ends it, once; later calls do nothing.
func (s *span) end(err error) {
	if s == nil || !s.of.IsRecording() {
		return
	}
	s.of.SetAttributes(outcomeKey.String(kindOf(err)))
	if err != nil {
		s.of.SetStatus(codes.Error, "")
	}
	s.of.End()
}

// repeats notes that the request in ctx asks for a transaction that is known.
func (m *Manager) repeats(ctx context.Context, row store.Tx) {
	if m.tracer == nil {
		return
	}
	s := trace.SpanFromContext(ctx)
	s.SetAttributes(txKey.String(row.ID))
	if of := parseTrace(row.Trace); of.IsValid() {
		s.AddLink(trace.Link{SpanContext: of})
	}
}

// follow makes s the parent of everything that becomes of the transaction.
func (sub *submission) follow(s *span) {
	if s == nil || !s.of.SpanContext().IsSampled() {
		return
	}
	sub.trace = s.of.SpanContext()
	sub.row.Trace = formatTrace(sub.trace)
	sub.arrived = time.Now()
}

// traceOf reads a row's trace; nothing unless it is to be recorded here.
func (m *Manager) traceOf(row store.Tx) trace.SpanContext {
	if m.tracer == nil || row.Trace == "" {
		return trace.SpanContext{}
	}
	return parseTrace(row.Trace)
}

const traceparent = "traceparent"

// parseTrace reads a W3C traceparent (https://www.w3.org/TR/trace-context/).
func parseTrace(text string) trace.SpanContext {
	ctx := propagation.TraceContext{}.Extract(context.Background(), propagation.MapCarrier{traceparent: text})
	return trace.SpanContextFromContext(ctx)
}

func formatTrace(of trace.SpanContext) string {
	carrier := propagation.MapCarrier{}
	propagation.TraceContext{}.Inject(trace.ContextWithSpanContext(context.Background(), of), carrier)
	return carrier[traceparent]
}

// under begins a span under a transaction's trace, at begun.
func (m *Manager) under(ctx context.Context, of trace.SpanContext, name string, kind trace.SpanKind, begun time.Time, attributes ...attribute.KeyValue) (context.Context, trace.Span) {
	return m.tracer.Start(trace.ContextWithRemoteSpanContext(ctx, of), name,
		trace.WithTimestamp(begun), trace.WithSpanKind(kind), trace.WithAttributes(attributes...))
}

// past makes a span of a stage of e that ends now. Callers have looked whether
// e is traced.
func (e *entry) past(name string, begun time.Time, attributes ...attribute.KeyValue) trace.Span {
	if begun.IsZero() {
		begun = time.Now()
	}
	attributes = append(attributes, walletKey.String(e.w.name), txKey.String(e.row.ID))
	_, s := e.w.m.under(context.Background(), e.trace, name, trace.SpanKindInternal, begun, attributes...)
	return s
}

// The rest are the stages, each a line where it happens.

func (sub *submission) spanOffered() {
	if !sub.trace.IsSampled() {
		return
	}
	_, s := sub.w.m.under(context.Background(), sub.trace, "offer", trace.SpanKindInternal, sub.arrived,
		walletKey.String(sub.w.name), txKey.String(sub.row.ID))
	s.End()
}

// spanHandOver begins the span of a request that another process is given. Its
// row carries the trace there.
func (sub *submission) spanHandOver() {
	if sub.trace.IsSampled() {
		_, of := sub.w.m.under(context.Background(), sub.trace, "hand over", trace.SpanKindClient, time.Now(),
			walletKey.String(sub.w.name), txKey.String(sub.row.ID))
		sub.away = &span{of}
	}
}

// spanAwait is for one who asks another process; ctx carries the span there.
func (sub *submission) spanAwait(ctx context.Context) (context.Context, *span) {
	if !sub.trace.IsSampled() {
		return ctx, nil
	}
	ctx, of := sub.w.m.under(ctx, sub.trace, "await holder", trace.SpanKindClient, time.Now(),
		walletKey.String(sub.w.name), txKey.String(sub.row.ID))
	return ctx, &span{of}
}

// spanAccount is for those who could not be given a nonce before the node said
// what it counts.
func (s *sender) spanAccount(begun time.Time, err error) {
	if s.m.tracer == nil {
		return
	}
	for _, sub := range s.subs[:min(len(s.subs), maxBatch)] {
		if !sub.trace.IsSampled() {
			continue
		}
		from := begun
		if from.Before(sub.arrived) {
			from = sub.arrived
		}
		_, of := s.m.under(context.Background(), sub.trace, "account", trace.SpanKindClient, from,
			walletKey.String(sub.w.name), txKey.String(sub.row.ID))
		(&span{of}).end(err)
	}
}

func (sub *submission) spanCommitted(e *entry) {
	if e.trace.IsSampled() {
		e.past("commit", sub.arrived, stateKey.String(string(e.row.State))).End()
	}
}

func (e *entry) spanWaited(from store.TxState) {
	if e.trace.IsSampled() {
		e.past("wait for nonce", e.stage, stateKey.String(string(from))).End()
	}
}

// spanSign begins at once; the function that it returns ends it.
func (e *entry) spanSign(kind store.AttemptKind) func(error) {
	if !e.trace.IsSampled() {
		return untraced
	}
	s := &span{e.past("sign", time.Now(), attemptKey.String(string(kind)))}
	return s.end
}

func untraced(error) {}

func (e *entry) spanStored() {
	if e.trace.IsSampled() {
		e.past("store", e.signedAt).End()
	}
}

// stamp notes when a stage began that has no other clock.
func (e *entry) stamp(at *time.Time) {
	if e.trace.IsSampled() {
		*at = time.Now()
	}
}

// spanSend begins a span for each transaction of a batch that is traced. The
// function that it returns takes the node's answers.
func (s *sender) spanSend(batch []*attempt) func([]error) {
	var spans []trace.Span
	if s.m.tracer != nil {
		begun := time.Now()
		for i, a := range batch {
			e := a.entry
			if !e.trace.IsSampled() {
				continue
			}
			if spans == nil {
				spans = make([]trace.Span, len(batch))
			}
			_, spans[i] = s.m.under(context.Background(), e.trace, "send", trace.SpanKindClient, begun, walletKey.String(e.w.name),
				txKey.String(e.row.ID), attemptKey.String(string(a.row.Kind)), batchKey.Int(len(batch)))
		}
	}
	if spans == nil {
		return unanswered
	}
	return func(errs []error) {
		for i, of := range spans {
			if of == nil {
				continue
			}
			verdict := node.Classify(errs[i], batch[i].row.Hash)
			of.SetAttributes(outcomeKey.String(verdict.String()))
			if verdict != node.Accepted && verdict != node.Known {
				of.SetStatus(codes.Error, "")
			}
			of.End()
		}
	}
}

func unanswered([]error) {}

func (e *entry) spanMined() {
	if e.trace.IsSampled() {
		e.past("mine", e.stage).End()
	}
}

// spanFinal is for what is mined, and deep enough.
func (e *entry) spanFinal() {
	if e.trace.IsSampled() {
		e.past("confirm", e.minedAt, stateKey.String(string(e.row.State))).End()
	}
}

func (e *entry) spanResumed() {
	if e.trace.IsSampled() {
		e.past("resume", time.Now(), stateKey.String(string(e.row.State))).End()
	}
}

// spanFailed is for a transaction that ends without a block.
func (e *entry) spanFailed(name string, reason error) {
	if e.trace.IsSampled() {
		(&span{e.past(name, time.Now(), stateKey.String(string(e.row.State)))}).end(reason)
	}
}

// spanRefused is for what another process took and gets no nonce here.
func (sub *submission) spanRefused(reason error) {
	if !sub.trace.IsSampled() {
		return
	}
	_, of := sub.w.m.under(context.Background(), sub.trace, "fail", trace.SpanKindInternal, time.Now(),
		walletKey.String(sub.w.name), txKey.String(sub.row.ID))
	(&span{of}).end(reason)
}

// kindOf is the kind of an error, of a closed set.
func kindOf(err error) string {
	var (
		unknown *UnknownAccountError
		chain   *ChainIDError
		revert  *RevertError
		busy    *BusyError
		pending *PendingError
		backend *BackendError
		signing *wallet.BackendError
		refused *RefusedError
		denied  *policy.DeniedError
		failed  *storeError
		nerr    *node.Error
	)
	switch {
	case err == nil:
		return "ok"
	case errors.As(err, &backend):
		return "backend: " + backend.Kind
	case errors.As(err, &signing):
		return "backend: " + signing.Kind
	case errors.As(err, &denied):
		return "denied"
	case errors.As(err, &failed):
		return "store"
	case errors.As(err, &nerr), errors.Is(err, node.ErrUnavailable), errors.Is(err, node.ErrTimeout):
		return "node"
	case errors.As(err, &revert):
		return "reverted"
	case errors.As(err, &busy):
		return "busy"
	case errors.As(err, &pending):
		return "pending"
	case errors.As(err, &unknown):
		return "unknown account"
	case errors.As(err, &chain):
		return "chain id"
	case errors.Is(err, ErrPeer), errors.Is(err, ErrNoSender):
		return "no answer"
	case errors.Is(err, context.DeadlineExceeded):
		return "timeout"
	case errors.Is(err, context.Canceled):
		return "cancelled"
	case errors.As(err, &refused):
		return "refused"
	default:
		return "error"
	}
}
