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

// AuditSink is the log over the audit trail, as the store needs it. All of it
// must be quick, and safe for concurrent use.
type AuditSink struct {
	// Stamp makes the keyed hash that is stored with a record, from the hash of
	// its line.
	Stamp func(hash [32]byte) []byte
	// Committed, if set, is told which records a commit has written, in their
	// order, before those who wrote them are answered. It must copy what it keeps.
	Committed func([]audit.Entry)
	// Gate, if set, says why no intent may be written now.
	Gate func() error
}

// AuditTo has the records of this store go into a log. It is called once, before
// anything is written that is to be in it.
func (db *DB) AuditTo(s AuditSink) { db.sink.Store(&s) }

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
	w.spends(Spender{ID: i.ID})
	sink := w.db.sink.Load()
	if sink != nil && sink.Gate != nil {
		if err := sink.Gate(); err != nil {
			return w.fail("append audit intent "+i.ID, err)
		}
	}
	var mac any
	if sink != nil {
		w.line = i.AppendLine(w.line[:0])
		mac = w.stamp(sink, audit.IntentKind, i.ID)
	}
	return w.expect("append audit intent", i.ID, `INSERT INTO audit_intent
		(id, at, principal, wallet, address, action, subject, verdict, detail, mac) VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)`,
		[]any{i.ID, timeArg(i.At), i.Principal, i.Wallet, i.Address.Bytes(), string(i.Action), i.Subject, i.Verdict, i.Detail, mac}, nil)
}

// AuditOutcome appends an outcome in the commit of the closure. It must have
// an id and a time.
func (w *Writer) AuditOutcome(o audit.Outcome) error {
	var mac any
	if sink := w.db.sink.Load(); sink != nil {
		w.line = o.AppendLine(w.line[:0])
		mac = w.stamp(sink, audit.OutcomeKind, o.ID)
	}
	return w.expect("append audit outcome", o.ID, `INSERT INTO audit_outcome
		(id, intent, at, digest, hash, request_id, error, mac) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)`,
		[]any{o.ID, o.Intent, timeArg(o.At), hashArg(o.Digest), hashArg(o.Hash), o.RequestID, o.Error, mac}, nil)
}

// stamp notes the record whose line is in w.line for the log, should this
// transaction be committed, and returns its keyed hash.
func (w *Writer) stamp(sink *AuditSink, kind audit.Kind, id string) any {
	hash := audit.HashLine(w.line)
	w.entries = append(w.entries, audit.Entry{Kind: kind, ID: id, Hash: hash})
	return sink.Stamp(hash)
}

// committed hands to the log what a transaction has written.
func (w *Writer) committed(doubtful bool) {
	sink := w.db.sink.Load()
	if len(w.entries) == 0 || sink == nil || sink.Committed == nil {
		return
	}
	for i := range w.entries {
		w.entries[i].Doubtful = doubtful
	}
	sink.Committed(w.entries)
}

// AuditOf returns an intent, ErrNotFound if there is none, and its outcomes,
// oldest first.
func (db *DB) AuditOf(ctx context.Context, intentID string) (audit.Intent, []audit.Outcome, error) {
	r, err := db.reader(ctx)
	if err != nil {
		return audit.Intent{}, nil, err
	}
	intent, err := one(r, scanIntent, "read audit intent "+intentID,
		`SELECT id, at, principal, wallet, address, action, subject, verdict, detail FROM audit_intent WHERE id = $1`, intentID)
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
	err := rows.Scan(&i.ID, &at, &i.Principal, &i.Wallet, &address, &action, &i.Subject, &i.Verdict, &i.Detail)
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

// AuditStored reads records by their ids. Those that are not there are left out.
func (db *DB) AuditStored(ctx context.Context, kind audit.Kind, ids []string) (map[string]audit.Stored, error) {
	r, err := db.reader(ctx)
	if err != nil {
		return nil, err
	}
	table, columns := storedColumns(kind)
	all := make(map[string]audit.Stored, len(ids))
	for list, args := range chunks(ids) {
		rows, err := collect(r, scanStored(kind), "read audit records", `SELECT `+columns+` FROM `+table+` WHERE id IN (`+list+`)`, args...)
		if err != nil {
			return nil, err
		}
		for _, row := range rows {
			all[row.ID] = row
		}
	}
	return all, nil
}

// AuditIDs returns the ids of the records of a kind that are above after and
// below before, if that is not empty, lowest first, at most limit.
func (db *DB) AuditIDs(ctx context.Context, kind audit.Kind, after, before string, limit int) ([]string, error) {
	r, err := db.reader(ctx)
	if err != nil {
		return nil, err
	}
	table, _ := storedColumns(kind)
	if before == "" {
		return collect(r, scanString, "list audit records", `SELECT id FROM `+table+` WHERE id > $1 ORDER BY id LIMIT $2`, after, int64(limit))
	}
	return collect(r, scanString, "list audit records", `SELECT id FROM `+table+`
		WHERE id > $1 AND id < $2 ORDER BY id LIMIT $3`, after, before, int64(limit))
}
