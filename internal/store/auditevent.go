// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"math"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/audit"
)

// Table audit_event: only ever appended to.

// WriteEvent appends one event in a commit of its own. An empty id and a zero
// time are filled in.
func (db *DB) WriteEvent(ctx context.Context, e audit.Event) error {
	return db.Write(ctx, func(w *Writer) error { return w.AuditEvent(e) })
}

// AuditEvent appends an event in the commit of the closure. An empty id and a
// zero time are filled in.
func (w *Writer) AuditEvent(e audit.Event) error {
	if e.ID == "" {
		e.ID = NewID()
	}
	if e.At.IsZero() {
		e.At = time.Now()
	}
	var mac any
	if sink := w.db.sink.Load(); sink != nil {
		w.line = e.AppendLine(w.line[:0])
		mac = w.stamp(sink, audit.EventKind, e.ID)
	}
	return w.expect("append audit event", e.ID, `INSERT INTO audit_event
		(id, at, principal, kind, consortium, environment, membership, wallet, subject, detail, mac)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11)`,
		[]any{e.ID, timeArg(e.At), e.Principal, e.Kind, e.Consortium, e.Environment, e.Membership, e.Wallet, e.Subject, e.Detail, mac}, nil)
}

// AuditEventsOf returns the ids of the newest events of a kind, newest first, at
// most limit; all if limit is below 0.
func (db *DB) AuditEventsOf(ctx context.Context, kind string, limit int) ([]string, error) {
	r, err := db.reader(ctx)
	if err != nil {
		return nil, err
	}
	if limit < 0 {
		limit = math.MaxInt
	}
	return collect(r, scanString, "list audit events", `SELECT id FROM audit_event WHERE kind = $1 ORDER BY id DESC LIMIT $2`, kind, int64(limit))
}
