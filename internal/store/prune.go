// SPDX-License-Identifier: Apache-2.0

package store

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/audit"
)

const (
	// pruneBatch is how many rows one commit removes, so that signing never
	// waits long behind it.
	pruneBatch = 100
	// prunePage is how many rows are looked at, outside of any commit, to find
	// what may be removed.
	prunePage = 1000
)

// Prune removes final transactions that were last updated before before, with
// their attempts, and idempotency keys made before keepKeys whose transaction
// is gone; it returns how many transactions it removed. What a kept key stands
// for is copied to the key's row first. The live row with the highest nonce of
// each sender always stays: it says how far the sender has come when a node
// that lags behind says otherwise. The audit trail stays whole.
//
// It may run beside anything, on several replicas too. Each row that stays is
// looked at once for each call.
func (db *DB) Prune(ctx context.Context, before, keepKeys time.Time) (int, error) {
	removed := 0
	for _, state := range []TxState{Confirmed, Replaced, Displaced, Failed} {
		n, err := db.pruneState(ctx, state, before)
		removed += n
		if err != nil {
			return removed, err
		}
	}
	_, err := db.inBatches(ctx, func(w *Writer) (int, error) {
		n, err := w.exec("prune idempotency keys", `DELETE FROM idempotency WHERE (wallet, credential, key) IN (
			SELECT i.wallet, i.credential, i.key FROM idempotency i WHERE i.created < $1
			AND NOT EXISTS (SELECT 1 FROM tx t WHERE t.id = i.tx) ORDER BY i.created LIMIT $2)`, keepKeys.UnixMicro(), pruneBatch)
		return int(n), err
	})
	return removed, err
}

// pruneState goes through the final rows in one state by id, so by creation.
func (db *DB) pruneState(ctx context.Context, state TxState, before time.Time) (int, error) {
	const text = `SELECT t.id, CASE WHEN t.updated < $1 AND (t.live = 0 OR EXISTS (
			SELECT 1 FROM tx h WHERE h.sender = t.sender AND h.live = 1 AND h.nonce > t.nonce)) THEN 1 ELSE 0 END
		FROM tx t WHERE t.final = 1 AND t.ended = $2 AND t.id > $3 AND t.id < $4 ORDER BY t.id LIMIT $5`
	return db.prunePages(ctx, func(r querier, last string) ([]prunable, error) {
		return collect(r, scanPrunable, "choose transactions to prune", text,
			before.UnixMicro(), string(state), last, idBound(before), prunePage)
	}, (*Writer).pruneTxs)
}

// prunable is a row that was looked at.
type prunable struct {
	id   string
	gone bool // it may go
}

func scanPrunable(rows *sql.Rows) (r prunable, err error) {
	var gone int64
	err = rows.Scan(&r.id, &gone)
	r.gone = gone != 0
	return r, err
}

// prunePages looks at a page of rows after another, by id, and removes those
// that may go in small commits.
func (db *DB) prunePages(ctx context.Context, page func(r querier, last string) ([]prunable, error), remove func(*Writer, []string) (int, error)) (removed int, err error) {
	for last := ""; ; {
		r, err := db.reader(ctx)
		if err != nil {
			return removed, err
		}
		rows, err := page(r, last)
		if err != nil {
			return removed, err
		}
		var ids []string
		for _, row := range rows {
			last = row.id
			if row.gone {
				ids = append(ids, row.id)
			}
		}
		for batch := range slices.Chunk(ids, pruneBatch) {
			n := 0
			if err := db.Write(ctx, func(w *Writer) (err error) {
				n, err = remove(w, batch)
				return err
			}); err != nil {
				return removed, err
			}
			removed += n
		}
		if len(rows) < prunePage {
			return removed, nil
		}
	}
}

// pruneTxs removes those of the final transactions that still may go, and
// returns how many.
func (w *Writer) pruneTxs(ids []string) (int, error) {
	removed := 0
	for list, args := range chunks(ids) {
		if _, err := w.exec("keep outcomes", `UPDATE idempotency SET state = t.state, hash = t.hash, error = t.error
			FROM tx t WHERE t.id IN (`+list+`) AND t.final = 1 AND idempotency.wallet = t.wallet
			AND idempotency.credential = t.credential AND idempotency.key = t.idempotency_key`, args...); err != nil {
			return 0, err
		}
		n, err := w.exec("prune transactions", `DELETE FROM tx WHERE final = 1 AND id IN (`+list+`) AND (live = 0 OR EXISTS (
			SELECT 1 FROM tx h WHERE h.sender = tx.sender AND h.live = 1 AND h.nonce > tx.nonce))`, args...)
		if err != nil {
			return 0, err
		}
		removed += int(n)
	}
	return removed, nil
}

// PruneKind is the kind of the audit event that says that records were removed.
// Its subject is an id, and only intents with lower ones are gone; its detail has
// a mark of each record that is, so that nobody can remove others in its name.
const PruneKind = "audit-prune"

// PruneMarkSize is how much of a record's sum marks it as removed: nobody finds
// another record with the same mark.
const PruneMarkSize = 16

// pruneDetail is the detail of the event.
type pruneDetail struct {
	Before   string `json:"before"`
	Intents  int    `json:"intents"`
	Outcomes int    `json:"outcomes"`
	Removed  []byte `json:"removed"` // the marks, one after the other, lowest first
}

// PruneMark is the mark of a record that was removed.
func PruneMark(e audit.Entry) [PruneMarkSize]byte {
	sum := e.Sum()
	return [PruneMarkSize]byte(sum[:PruneMarkSize])
}

// PruneMarks returns the marks in the detail of an event of PruneKind, none if it
// is not as it is written.
func PruneMarks(detail string) [][PruneMarkSize]byte {
	var d pruneDetail
	if json.Unmarshal([]byte(detail), &d) != nil || len(d.Removed)%PruneMarkSize != 0 {
		return nil
	}
	marks := make([][PruneMarkSize]byte, 0, len(d.Removed)/PruneMarkSize)
	for mark := range slices.Chunk(d.Removed, PruneMarkSize) {
		marks = append(marks, [PruneMarkSize]byte(mark))
	}
	return marks
}

// PruneAudit removes audit intents of before before, with their outcomes, whose
// transaction is gone or that never had one, and returns how many. The newest
// intent of all stays: by it a restored backup is told. Nothing calls it unless
// the operator has limited how long the audit trail is kept. Events always stay.
// What each commit has removed is an audit event itself, without which the log
// over the trail would call it tampering; so where there is a log, AuditTo must
// have been called.
func (db *DB) PruneAudit(ctx context.Context, before time.Time) (int, error) {
	if err := db.refuseUnlogged(ctx); err != nil {
		return 0, err
	}
	const text = `SELECT i.id, CASE WHEN i.at < $1 AND NOT EXISTS (SELECT 1 FROM tx t WHERE t.id = i.subject)
		AND NOT EXISTS (SELECT 1 FROM audit_outcome o WHERE o.intent = i.id AND o.id >= $3) THEN 1 ELSE 0 END
		FROM audit_intent i WHERE i.id > $2 AND i.id < $3 AND i.id < (SELECT max(n.id) FROM audit_intent n)
		ORDER BY i.id LIMIT $4`
	bound := idBound(before)
	return db.prunePages(ctx, func(r querier, last string) ([]prunable, error) {
		return collect(r, scanPrunable, "choose audit intents to prune", text, before.UnixMicro(), last, bound, prunePage)
	}, func(w *Writer, ids []string) (int, error) {
		d := pruneDetail{Before: before.UTC().Format(time.RFC3339)}
		if err := w.pruneIntents(ids, &d); err != nil || d.Intents == 0 {
			return 0, err
		}
		detail, err := json.Marshal(d)
		if err != nil {
			return 0, w.fail("prune audit intents", err)
		}
		return d.Intents, w.AuditEvent(audit.Event{Kind: PruneKind, Subject: bound, Detail: string(detail)})
	})
}

// refuseUnlogged refuses where there is a log that would not hear of it.
func (db *DB) refuseUnlogged(ctx context.Context) error {
	if db.sink.Load() != nil {
		return nil
	}
	_, err := db.AuditHead(ctx)
	switch {
	case errors.Is(err, ErrNotFound):
		return nil
	case err != nil:
		return err
	}
	return errors.New("store: audit records are pruned only with the key of the audit log, since the log has to hear of it")
}

// pruneIntents removes intents, with their outcomes, and notes in d what it has
// removed: the rows as they are now, so that one that somebody has altered before
// is not taken for the one that was logged.
func (w *Writer) pruneIntents(ids []string, d *pruneDetail) error {
	var marks [][]byte
	removed := func(kind audit.Kind, rows []audit.Stored) {
		for _, row := range rows {
			mark := PruneMark(audit.Entry{Kind: kind, ID: row.ID, Hash: audit.HashLine(row.Line)})
			marks = append(marks, mark[:])
		}
	}
	for list, args := range chunks(ids) {
		outcomes, err := w.takeAudit(audit.OutcomeKind, `intent IN (`+list+`)`, args)
		if err != nil {
			return err
		}
		intents, err := w.takeAudit(audit.IntentKind, `id IN (`+list+`)`, args)
		if err != nil {
			return err
		}
		removed(audit.OutcomeKind, outcomes)
		removed(audit.IntentKind, intents)
		d.Outcomes, d.Intents = d.Outcomes+len(outcomes), d.Intents+len(intents)
	}
	slices.SortFunc(marks, bytes.Compare)
	d.Removed = bytes.Join(marks, nil)
	return nil
}

// takeAudit removes records and returns them.
func (w *Writer) takeAudit(kind audit.Kind, where string, args []any) ([]audit.Stored, error) {
	table, columns := storedColumns(kind)
	rows, err := collect(w, scanStored(kind), "prune audit records", `DELETE FROM `+table+` WHERE `+where+` RETURNING `+columns, args...)
	w.touched = true
	return rows, w.read(err)
}

// inBatches calls remove, each time in a commit of its own, until it removes
// less than a batch, and returns how many it removed in all.
func (db *DB) inBatches(ctx context.Context, remove func(w *Writer) (int, error)) (int, error) {
	removed := 0
	for {
		n := 0
		err := db.Write(ctx, func(w *Writer) (err error) {
			n, err = remove(w)
			return err
		})
		if err != nil {
			return removed, err
		}
		removed += n
		if n < pruneBatch {
			return removed, nil
		}
	}
}

// clockSlack is how far the clocks of two replicas may be apart before a row
// that may be pruned is left for a later time.
const clockSlack = 5 * time.Minute

// idBound is above the ids of all rows that were made before t: those of NewID
// begin with the milliseconds since 1970 in 12 digits. A row is updated no
// earlier than it was made, so no other needs to be looked at.
func idBound(t time.Time) string {
	return fmt.Sprintf("%012x", max(t.Add(clockSlack).UnixMilli(), 0))
}
