// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"errors"
	"time"

	"github.com/ethereum/go-ethereum/common"
)

// Table idempotency: which request a key stands for, and what became of it.

// IdempotentRow is the outcome of the request that was accepted under a key.
type IdempotentRow struct {
	TxID        string
	RequestHash [32]byte
	State       TxState
	Hash        common.Hash // zero if nothing was signed
	Error       string      // why it is Failed
	Created     time.Time
}

func scanIdempotent(rows *sql.Rows) (IdempotentRow, error) {
	var (
		row               IdempotentRow
		requestHash, hash sql.RawBytes
		state, text       sql.NullString
		created           sql.NullInt64
	)
	if err := rows.Scan(&row.TxID, &requestHash, &created, &state, &hash, &text); err != nil {
		return IdempotentRow{}, err
	}
	copy(row.RequestHash[:], requestHash)
	row.State, row.Hash, row.Error = TxState(state.String), common.BytesToHash(hash), text.String
	row.Created = timeOf(created)
	return row, nil
}

// Idempotent looks a key up within its wallet and credential. It answers as
// long as the key is kept, also when its transaction has been pruned.
func (db *DB) Idempotent(ctx context.Context, wallet, credential, key string) (IdempotentRow, bool, error) {
	r, err := db.reader(ctx)
	if err != nil {
		return IdempotentRow{}, false, err
	}
	row, err := keyRow(r, wallet, credential, key)
	if errors.Is(err, ErrNotFound) {
		return IdempotentRow{}, false, nil
	}
	return row, err == nil, err
}

func keyRow(q querier, wallet, credential, key string) (IdempotentRow, error) {
	return one(q, scanIdempotent, "read idempotency key", `SELECT i.tx, i.request_hash, i.created,
		COALESCE(t.state, i.state), COALESCE(t.hash, i.hash), COALESCE(t.error, i.error)
		FROM idempotency i LEFT JOIN tx t ON t.id = i.tx
		WHERE i.wallet = $1 AND i.credential = $2 AND i.key = $3`, wallet, credential, key)
}

func (w *Writer) insertKey(t Tx) error {
	return w.expect("insert idempotency key of", t.ID, `INSERT INTO idempotency (wallet, credential, key, request_hash, tx, created)
		VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT (wallet, credential, key) DO NOTHING`,
		[]any{t.Wallet, t.Credential, t.IdempotencyKey, t.RequestHash[:], t.ID, timeArg(t.Created)}, func(err error) error {
			if err != nil {
				return nil
			}
			row, err := keyRow(w, t.Wallet, t.Credential, t.IdempotencyKey)
			if err != nil {
				return err
			}
			return &DuplicateKeyError{TxID: row.TxID, RequestHash: row.RequestHash}
		})
}
