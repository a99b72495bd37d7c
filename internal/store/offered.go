// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"time"

	"github.com/ethereum/go-ethereum/common"
)

// What replicas that do not hold a sender's lease do with its rows: offer them
// to the holder, follow what becomes of them, and take them back.

// OfferedSenders returns the senders that have offered rows. It costs as much
// as there are such rows; replicas poll it.
func (db *DB) OfferedSenders(ctx context.Context) ([]string, error) {
	r, err := db.reader(ctx)
	if err != nil {
		return nil, err
	}
	return collect(r, scanString, "senders with offers", `SELECT DISTINCT sender FROM tx WHERE offered = 1 ORDER BY sender`)
}

// Offered returns the offered rows of a sender by id, at most limit, and the
// attempts of those of kind RawTx, which hold the caller's own bytes.
func (db *DB) Offered(ctx context.Context, sender string, limit int) ([]Tx, map[string][]Attempt, error) {
	var txs []Tx
	attempts := make(map[string][]Attempt)
	err := db.snapshot(ctx, func(q querier) (err error) {
		op := "read offers of " + sender
		txs, err = collect(q, scanTx, op, `SELECT `+txColumns+` FROM tx t
			WHERE t.sender = $1 AND t.offered = 1 ORDER BY t.id LIMIT $2`, sender, limit)
		if err != nil {
			return err
		}
		var raw []string
		for _, t := range txs {
			if t.Kind == RawTx {
				raw = append(raw, t.ID)
			}
		}
		for list, args := range chunks(raw) {
			tries, err := collect(q, scanAttempt, op, `SELECT `+attemptColumns+` FROM attempt a WHERE a.tx IN (`+list+`) ORDER BY a.id`, args...)
			if err != nil {
				return err
			}
			for _, a := range tries {
				attempts[a.Tx] = append(attempts[a.Tx], a)
			}
		}
		return nil
	})
	if err != nil {
		return nil, nil, err
	}
	return txs, attempts, nil
}

// OrphanSenders returns the senders that have rows which are not final, while
// nobody holds their lease: it has expired by the database's clock, was
// released, or never was. It costs as much as there are senders with such rows,
// however many are idle.
func (db *DB) OrphanSenders(ctx context.Context) ([]string, error) {
	r, err := db.reader(ctx)
	if err != nil {
		return nil, err
	}
	return collect(r, scanString, "senders without a holder", openSenders+`
		SELECT o.sender FROM o LEFT JOIN lease l ON l.sender = o.sender
		WHERE o.sender IS NOT NULL AND (l.sender IS NULL OR l.expires <= `+db.d.now+`) ORDER BY o.sender`)
}

// LeaseOf says who was granted the lease of a sender last, and how long it
// still runs by the database's clock: zero or less if it has expired or was
// released. ErrNotFound if there never was one.
func (db *DB) LeaseOf(ctx context.Context, sender string) (owner string, remaining time.Duration, err error) {
	r, err := db.reader(ctx)
	if err != nil {
		return "", 0, err
	}
	var left int64
	scan := func(rows *sql.Rows) (o string, err error) { return o, rows.Scan(&o, &left) }
	owner, err = one(r, scan, "read lease of "+sender, `SELECT owner, expires - `+db.d.now+` FROM lease WHERE sender = $1`, sender)
	return owner, time.Duration(left) * time.Microsecond, err
}

// TxOutcome is what the caller of a transaction waits for.
type TxOutcome struct {
	ID    string
	State TxState
	Hash  common.Hash // as Tx.Hash: zero if none was written to the row, or it is that of a cancel
	Error string
}

// Outcomes returns what has become of transactions, in no order. Ids without a
// row are left out.
func (db *DB) Outcomes(ctx context.Context, ids []string) ([]TxOutcome, error) {
	r, err := db.reader(ctx)
	if err != nil {
		return nil, err
	}
	scan := func(rows *sql.Rows) (o TxOutcome, err error) {
		var hash sql.RawBytes
		err = rows.Scan(&o.ID, &o.State, &hash, &o.Error)
		o.Hash = common.BytesToHash(hash)
		return o, err
	}
	all := make([]TxOutcome, 0, len(ids))
	for list, args := range chunks(ids) {
		part, err := collect(r, scan, "read outcomes", `SELECT t.id, t.state, CASE WHEN EXISTS (
			SELECT 1 FROM attempt a WHERE a.tx = t.id AND a.hash = t.hash AND a.kind = 'cancel') THEN NULL ELSE t.hash END, t.error
			FROM tx t WHERE t.id IN (`+list+`)`, args...)
		if err != nil {
			return nil, err
		}
		all = append(all, part...)
	}
	return all, nil
}

// CancelUnclaimed is [Writer.CancelUnclaimed] in a commit of its own.
func (db *DB) CancelUnclaimed(ctx context.Context, id, failure string) (ok bool, err error) {
	err = db.Write(ctx, func(w *Writer) (err error) {
		ok, err = w.CancelUnclaimed(id, failure)
		return err
	})
	return ok && err == nil, err
}

// CancelUnclaimed makes a transaction Failed, with failure as its error, that
// is still Offered or Queued, and reports whether it did. It is for the replica
// whose caller has run out of time; it wants no lease, since the holder finds
// out when it assigns a nonce by compare-and-set.
func (w *Writer) CancelUnclaimed(id, failure string) (bool, error) {
	return w.UpdateTx(id, []TxState{Offered, Queued}, TxUpdate{State: Failed, SetNonce: true, Error: &failure})
}

// Disclose is [Writer.Disclose] in a commit of its own.
func (db *DB) Disclose(ctx context.Context, id string) (hash common.Hash, ok bool, err error) {
	err = db.Write(ctx, func(w *Writer) (err error) {
		hash, ok, err = w.Disclose(id)
		return err
	})
	if err != nil {
		return common.Hash{}, false, err
	}
	return hash, ok, nil
}

// Disclose returns the hash that a caller of the transaction may be shown. A
// hash that was shown counts as sent (TXMGR.md no. 12), so a row that is
// Assigned or Signed becomes Sent in the same commit; a holder who moves or
// fails transactions by compare-and-set from those two states can then no
// longer do so. It answers false if no bytes are stored that may be mined
// (withdrawn ones and cancels do not count), if the transaction is Offered,
// Queued, Held or Failed, or if there is none.
func (w *Writer) Disclose(id string) (common.Hash, bool, error) {
	// Lock the row first: what is read after that stays so until the commit.
	if _, err := w.exec("lock transaction "+id, `UPDATE tx SET updated = updated WHERE id = $1 AND state IN ('assigned', 'signed')`, id); err != nil {
		return common.Hash{}, false, err
	}
	found, err := collect(w, scanTx, "read transaction "+id, `SELECT `+txColumns+` FROM tx t WHERE t.id = $1`, id)
	if err != nil {
		return common.Hash{}, false, w.read(err)
	}
	if len(found) == 0 {
		return common.Hash{}, false, nil
	}
	switch found[0].State {
	case Offered, Queued, Held, Failed:
		return common.Hash{}, false, nil
	}
	attempts, err := w.Attempts(id)
	if err != nil {
		return common.Hash{}, false, err
	}
	hash, ok := shown(found[0], attempts)
	if !ok {
		return common.Hash{}, false, nil
	}
	switch found[0].State {
	case Assigned, Signed:
		err = w.ExpectTx(id, []TxState{Assigned, Signed}, TxUpdate{State: Sent, Hash: &hash})
	}
	return hash, err == nil, err
}

// shown is the hash of t that its callers are told: of what was mined, else of
// the newest bytes that do what was asked for.
func shown(t Tx, attempts []Attempt) (hash common.Hash, ok bool) {
	for _, a := range attempts {
		if a.Raw == nil || a.Kind == CancelAttempt || a.Outcome == Void || a.Outcome == Impossible {
			continue
		}
		hash, ok = a.Hash, true
		if a.Hash == t.Hash && (t.State == Mined || t.State == Confirmed) {
			break
		}
	}
	return hash, ok
}

// NextNonce returns the lowest nonce of at least from that no live row of the
// sender has.
func (db *DB) NextNonce(ctx context.Context, sender string, from uint64) (uint64, error) {
	r, err := db.reader(ctx)
	if err != nil {
		return 0, err
	}
	first, err := uintArg("nonce", from)
	if err != nil {
		return 0, err
	}
	// Below the first gap, and only there, each nonce is from plus its rank.
	scan := func(rows *sql.Rows) (n int64, err error) { return n, rows.Scan(&n) }
	n, err := one(r, scan, "next nonce of "+sender, `SELECT count(*) FROM (
		SELECT nonce, row_number() OVER (ORDER BY nonce) - 1 AS above FROM tx
		WHERE sender = $1 AND live = 1 AND nonce >= $2) AS taken
		WHERE nonce - above = $3`, sender, first, first)
	return from + uint64(n), err
}
