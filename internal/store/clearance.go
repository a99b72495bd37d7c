// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"time"
)

// What is to be known of a transaction before what it had reserved is given back.

// SpentMark begins the clearance of a transaction that was on its way in a database
// which is a restored backup: it may have been mined since whatever its row says, so
// that what it had reserved is never given back.
const SpentMark = "spent:"

// spend marks whatever is on its way.
func (w *Writer) spend() error {
	_, err := w.exec("mark transactions of a backup", `UPDATE tx SET clearance = $1 || clearance WHERE final = 0 AND clearance NOT LIKE $2`, SpentMark, SpentMark+"%")
	return err
}

// Ending is how a transaction stands, and which signatures there may be of it.
type Ending struct {
	ID        string
	Clearance string
	State     TxState
	Updated   time.Time

	Attempts int   // of any kind
	Outcomes int   // of its audit intent: one for each time that a signature was wanted
	Asked    bool  // a key backend was asked for a signature, or one is stored
	Highest  int64 // nonce of an attempt; -1: no attempt
	// Used is the highest nonce of the sender at which something is final, or at
	// which something else than this transaction is; -1: none is known.
	Used int64
}

const endingColumns = `t.id, t.clearance, t.state, t.updated,
	(SELECT count(*) FROM attempt a WHERE a.tx = t.id),
	(SELECT count(*) FROM audit_outcome o WHERE o.intent = t.intent),
	(SELECT count(*) FROM audit_outcome o WHERE o.intent = t.intent AND o.digest IS NOT NULL)
		+ (SELECT count(*) FROM attempt a WHERE a.tx = t.id AND a.raw IS NOT NULL),
	COALESCE((SELECT max(a.nonce) FROM attempt a WHERE a.tx = t.id), -1),
	COALESCE(CASE WHEN t.final = 1 THEN t.nonce END, -1),
	COALESCE((SELECT h.nonce FROM tx h WHERE h.sender = t.sender AND h.live = 1 AND h.final = 1 ORDER BY h.nonce DESC LIMIT 1), -1)`

func scanEnding(rows *sql.Rows) (e Ending, err error) {
	var updated sql.NullInt64
	var asked int
	var own int64
	err = rows.Scan(&e.ID, &e.Clearance, &e.State, &updated, &e.Attempts, &e.Outcomes, &asked, &e.Highest, &own, &e.Used)
	e.Updated, e.Asked, e.Used = timeOf(updated), asked > 0, max(e.Used, own)
	return e, err
}

// Unsettled is a page of the transactions that ended without being mined and
// still have a clearance: those with an id after after, at most limit. What is
// there is few, however many rows there are.
func (db *DB) Unsettled(ctx context.Context, after string, limit int) ([]Ending, error) {
	r, err := db.reader(ctx)
	if err != nil {
		return nil, err
	}
	return collect(r, scanEnding, "read transactions that are not settled", `SELECT `+endingColumns+` FROM tx t
		WHERE t.clearance <> '' AND t.ended IN ('failed', 'replaced', 'displaced') AND t.id > $1 ORDER BY t.id LIMIT $2`, after, limit)
}

// Endings returns how transactions stand; what has no row is not there.
func (db *DB) Endings(ctx context.Context, ids []string) (map[string]Ending, error) {
	r, err := db.reader(ctx)
	if err != nil {
		return nil, err
	}
	all := make(map[string]Ending, len(ids))
	for list, args := range chunks(ids) {
		part, err := collect(r, scanEnding, "read transactions", `SELECT `+endingColumns+` FROM tx t WHERE t.id IN (`+list+`)`, args...)
		if err != nil {
			return nil, err
		}
		for _, e := range part {
			all[e.ID] = e
		}
	}
	return all, nil
}

// IntentsAsked says of each audit intent that is there whether a key backend may
// have been asked: it was, or nobody has said so far that it was not.
func (db *DB) IntentsAsked(ctx context.Context, ids []string) (map[string]bool, error) {
	r, err := db.reader(ctx)
	if err != nil {
		return nil, err
	}
	asked := make(map[string]bool, len(ids))
	scan := func(rows *sql.Rows) (struct{}, error) {
		var id string
		var outcomes, digests int
		err := rows.Scan(&id, &outcomes, &digests)
		asked[id] = outcomes == 0 || digests > 0
		return struct{}{}, err
	}
	for list, args := range chunks(ids) {
		if _, err := collect(r, scan, "read audit intents", `SELECT i.id,
			(SELECT count(*) FROM audit_outcome o WHERE o.intent = i.id),
			(SELECT count(*) FROM audit_outcome o WHERE o.intent = i.id AND o.digest IS NOT NULL)
			FROM audit_intent i WHERE i.id IN (`+list+`)`, args...); err != nil {
			return nil, err
		}
	}
	return asked, nil
}

// HasTx reports whether there is a transaction of that id.
func (w *Writer) HasTx(id string) (bool, error) {
	found, err := collect(w, scanString, "look for transaction "+id, `SELECT id FROM tx WHERE id = $1`, id)
	return len(found) > 0, w.read(err)
}

// DropClearance forgets the clearance of a transaction that has ended, if it still
// is that one, and reports whether it did: so whatever follows from it happens
// once.
func (w *Writer) DropClearance(id, clearance string) (bool, error) {
	n, err := w.exec("settle transaction "+id, `UPDATE tx SET clearance = '' WHERE id = $1 AND clearance = $2 AND final = 1`, id, clearance)
	return n == 1, err
}
