// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"time"
)

// pruneBatch is how many rows one commit removes, so that signing never waits
// long behind it.
const pruneBatch = 100

// Prune removes final transactions that were last updated before before, with
// their attempts, and idempotency keys made before keepKeys whose transaction
// is gone; it returns how many transactions it removed. What a kept key stands
// for is copied to the key's row first. The live row with the highest nonce of
// each sender always stays: it says how far the sender has come when a node
// that lags behind says otherwise. The audit trail stays whole.
func (db *DB) Prune(ctx context.Context, before, keepKeys time.Time) (int, error) {
	removed := 0
	for {
		n := 0
		err := db.Write(ctx, func(w *Writer) (err error) {
			n, err = w.pruneTxs(before)
			return err
		})
		if err != nil {
			return removed, err
		}
		removed += n
		if n < pruneBatch {
			break
		}
	}
	for {
		var n int64
		err := db.Write(ctx, func(w *Writer) (err error) {
			n, err = w.exec("prune idempotency keys", `DELETE FROM idempotency WHERE (wallet, credential, key) IN (
				SELECT i.wallet, i.credential, i.key FROM idempotency i WHERE i.created < $1
				AND NOT EXISTS (SELECT 1 FROM tx t WHERE t.id = i.tx) LIMIT $2)`, keepKeys.UnixMicro(), pruneBatch)
			return err
		})
		if err != nil || n < pruneBatch {
			return removed, err
		}
	}
}

func (w *Writer) pruneTxs(before time.Time) (int, error) {
	scan := func(rows *sql.Rows) (id string, err error) { return id, rows.Scan(&id) }
	ids, err := collect(w, scan, "choose transactions to prune", `SELECT t.id FROM tx t
		WHERE t.final = 1 AND t.updated < $1 AND (t.live = 0 OR EXISTS (
			SELECT 1 FROM tx h WHERE h.sender = t.sender AND h.live = 1 AND h.nonce > t.nonce))
		ORDER BY t.updated LIMIT $2`, before.UnixMicro(), pruneBatch)
	if err != nil {
		return 0, w.read(err)
	}
	for _, id := range ids {
		if _, err := w.exec("keep outcome of "+id, `UPDATE idempotency SET state = t.state, hash = t.hash, error = t.error
			FROM tx t WHERE t.id = $1 AND idempotency.wallet = t.wallet
			AND idempotency.credential = t.credential AND idempotency.key = t.idempotency_key`, id); err != nil {
			return 0, err
		}
		if _, err := w.exec("prune transaction "+id, `DELETE FROM tx WHERE id = $1`, id); err != nil {
			return 0, err
		}
	}
	return len(ids), nil
}
