// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/audit"
)

// Tables audit_intent and audit_outcome: only ever appended to.

var _ audit.Log = (*DB)(nil)

// WriteIntent appends one intent in a commit of its own; see audit.Log.
func (db *DB) WriteIntent(ctx context.Context, intent audit.Intent) error {
	return db.Write(ctx, func(w *Writer) error { return w.AuditIntent(intent) })
}

// WriteOutcome appends one outcome in a commit of its own; see audit.Log.
func (db *DB) WriteOutcome(ctx context.Context, outcome audit.Outcome) error {
	return db.Write(ctx, func(w *Writer) error { return w.AuditOutcome(outcome) })
}

// AuditIntent appends an intent in the commit of the closure. It must have an
// id and a time.
func (w *Writer) AuditIntent(i audit.Intent) error {
	return w.expect("append audit intent", i.ID, `INSERT INTO audit_intent
		(id, at, principal, wallet, address, action, subject, verdict) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
		[]any{i.ID, timeArg(i.At), i.Principal, i.Wallet, i.Address.Bytes(), string(i.Action), i.Subject, i.Verdict}, nil)
}

// AuditOutcome appends an outcome in the commit of the closure. It must have
// an id and a time.
func (w *Writer) AuditOutcome(o audit.Outcome) error {
	return w.expect("append audit outcome", o.ID, `INSERT INTO audit_outcome
		(id, intent, at, digest, hash, request_id, error) VALUES ($1, $2, $3, $4, $5, $6, $7)`,
		[]any{o.ID, o.Intent, timeArg(o.At), hashArg(o.Digest), hashArg(o.Hash), o.RequestID, o.Error}, nil)
}

// AuditOf returns an intent, ErrNotFound if there is none, and its outcomes,
// oldest first.
func (db *DB) AuditOf(ctx context.Context, intentID string) (audit.Intent, []audit.Outcome, error) {
	r, err := db.reader(ctx)
	if err != nil {
		return audit.Intent{}, nil, err
	}
	intent, err := one(r, scanIntent, "read audit intent "+intentID,
		`SELECT id, at, principal, wallet, address, action, subject, verdict FROM audit_intent WHERE id = $1`, intentID)
	if err != nil {
		return audit.Intent{}, nil, err
	}
	outcomes, err := collect(r, scanOutcome, "read audit outcomes of "+intentID,
		`SELECT id, intent, at, digest, hash, request_id, error FROM audit_outcome WHERE intent = $1 ORDER BY id`, intentID)
	return intent, outcomes, err
}

func scanIntent(rows *sql.Rows) (audit.Intent, error) {
	var i audit.Intent
	var at sql.NullInt64
	var action string
	var address sql.RawBytes
	err := rows.Scan(&i.ID, &at, &i.Principal, &i.Wallet, &address, &action, &i.Subject, &i.Verdict)
	i.At, i.Action, i.Address = timeOf(at), audit.Action(action), common.BytesToAddress(address)
	return i, err
}

func scanOutcome(rows *sql.Rows) (audit.Outcome, error) {
	var o audit.Outcome
	var at sql.NullInt64
	var digest, hash sql.RawBytes
	err := rows.Scan(&o.ID, &o.Intent, &at, &digest, &hash, &o.RequestID, &o.Error)
	o.At, o.Digest, o.Hash = timeOf(at), common.BytesToHash(digest), common.BytesToHash(hash)
	return o, err
}
