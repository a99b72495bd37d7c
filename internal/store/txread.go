// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/ethereum/go-ethereum/common"
)

const txColumns = `t.id, t.wallet, t.credential, t.idempotency_key, t.request_hash, t.intent, t.sender, t.nonce,
	t.explicit, t.kind, t.payload, t.state, t.fee_ceiling, t.replaces, t.expires, t.created, t.updated,
	t.hash, t.block, t.block_hash, t.succeeded, t.error, t.trace, t.clearance, t.origin, t.timing`

func scanTx(rows *sql.Rows) (Tx, error) {
	var (
		t                                  Tx
		nonce, expires, block              sql.NullInt64
		created, updated                   sql.NullInt64
		explicit, succeeded                int64
		kind, state, timing                string
		ceiling                            sql.NullString
		requestHash, hash, blockHash, data sql.RawBytes
	)
	err := rows.Scan(&t.ID, &t.Wallet, &t.Credential, &t.IdempotencyKey, &requestHash, &t.Intent, &t.Sender, &nonce,
		&explicit, &kind, &data, &state, &ceiling, &t.Replaces, &expires, &created, &updated,
		&hash, &block, &blockHash, &succeeded, &t.Error, &t.Trace, &t.Clearance, &t.Origin, &timing)
	if err != nil {
		return Tx{}, err
	}
	copy(t.RequestHash[:], requestHash)
	if nonce.Valid {
		n := uint64(nonce.Int64)
		t.Nonce = &n
	}
	t.Explicit, t.Succeeded = explicit != 0, succeeded != 0
	t.Kind, t.State = TxKind(kind), TxState(state)
	t.Payload = slices.Clone([]byte(data))
	t.Expires, t.Created, t.Updated = timeOf(expires), timeOf(created), timeOf(updated)
	t.Hash, t.BlockHash = common.BytesToHash(hash), common.BytesToHash(blockHash)
	t.Block = uint64(block.Int64)
	t.Timing = timingOf(timing)
	if t.FeeCeiling, err = bigOf(ceiling); err != nil {
		return Tx{}, fmt.Errorf("transaction %s: %w", t.ID, err)
	}
	return t, nil
}

// Tx returns a transaction; ErrNotFound if there is none, or it was pruned.
func (db *DB) Tx(ctx context.Context, id string) (Tx, error) {
	r, err := db.reader(ctx)
	if err != nil {
		return Tx{}, err
	}
	return txByID(r, id)
}

// Tx returns a transaction as this closure would leave it.
func (w *Writer) Tx(id string) (Tx, error) {
	t, err := txByID(w, id)
	return t, w.read(err)
}

func txByID(q querier, id string) (Tx, error) {
	return one(q, scanTx, "read transaction "+id, `SELECT `+txColumns+` FROM tx t WHERE t.id = $1`, id)
}

// TxByHash returns the transaction of which the hash is an attempt, whatever
// became of that attempt.
func (db *DB) TxByHash(ctx context.Context, hash common.Hash) (Tx, error) {
	r, err := db.reader(ctx)
	if err != nil {
		return Tx{}, err
	}
	return one(r, scanTx, "read transaction with hash "+hash.Hex(),
		`SELECT `+txColumns+` FROM attempt a JOIN tx t ON t.id = a.tx WHERE a.hash = $1 LIMIT 1`, hash.Bytes())
}

// LoadSender returns what a lease holder has to know of a sender, as one
// snapshot: every row that is not final, and every live row with a nonce of at
// least fromNonce, each with its attempts in the order they were made. Rows
// come by nonce, those without a nonce last, and then by creation. Offered rows
// are not among them: the holder takes those by [DB.Offered].
func (db *DB) LoadSender(ctx context.Context, senderID string, fromNonce uint64) ([]Tx, map[string][]Attempt, error) {
	from, err := uintArg("nonce", fromNonce)
	if err != nil {
		return nil, nil, err
	}
	var txs []Tx
	attempts := make(map[string][]Attempt)
	err = db.snapshot(ctx, func(q querier) error {
		const open, done = `t.sender = $1 AND t.final = 0 AND t.state <> 'offered'`, `t.sender = $1 AND t.live = 1 AND t.final = 1 AND t.nonce >= $2`
		for _, part := range []struct {
			where string
			args  []any
		}{{open, []any{senderID}}, {done, []any{senderID, from}}} {
			rows, err := collect(q, scanTx, "load sender "+senderID, `SELECT `+txColumns+` FROM tx t WHERE `+part.where, part.args...)
			if err != nil {
				return err
			}
			txs = append(txs, rows...)
			tries, err := collect(q, scanAttempt, "load sender "+senderID,
				`SELECT `+attemptColumns+` FROM tx t JOIN attempt a ON a.tx = t.id WHERE `+part.where+` ORDER BY a.id`, part.args...)
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
	slices.SortFunc(txs, byNonce)
	return txs, attempts, nil
}

func byNonce(a, b Tx) int {
	switch {
	case a.Nonce != nil && b.Nonce == nil:
		return -1
	case a.Nonce == nil && b.Nonce != nil:
		return 1
	case a.Nonce != nil && *a.Nonce != *b.Nonce:
		if *a.Nonce < *b.Nonce {
			return -1
		}
		return 1
	}
	if c := a.Created.Compare(b.Created); c != 0 {
		return c
	}
	return strings.Compare(a.ID, b.ID)
}

// HighestNonce returns the highest nonce of a live row of the sender, and
// whether there is one.
func (db *DB) HighestNonce(ctx context.Context, sender string) (uint64, bool, error) {
	return db.endNonce(ctx, "highest nonce of "+sender,
		`SELECT nonce FROM tx WHERE sender = $1 AND live = 1 AND nonce IS NOT NULL ORDER BY nonce DESC LIMIT 1`, sender)
}

// LowestNonce is HighestNonce at the other end.
func (db *DB) LowestNonce(ctx context.Context, sender string) (uint64, bool, error) {
	return db.endNonce(ctx, "lowest nonce of "+sender,
		`SELECT nonce FROM tx WHERE sender = $1 AND live = 1 AND nonce IS NOT NULL ORDER BY nonce LIMIT 1`, sender)
}

func (db *DB) endNonce(ctx context.Context, what, query, sender string) (uint64, bool, error) {
	r, err := db.reader(ctx)
	if err != nil {
		return 0, false, err
	}
	scan := func(rows *sql.Rows) (n int64, err error) { return n, rows.Scan(&n) }
	n, err := one(r, scan, what, query, sender)
	if errors.Is(err, ErrNotFound) {
		return 0, false, nil
	}
	return uint64(n), err == nil, err
}

// openSenders is a table of the senders that have a row which is not final. It
// jumps along the index tx_open from sender to sender, so it costs as much as
// there are such senders, however many rows they have.
const openSenders = `WITH RECURSIVE o (sender) AS (
	SELECT (SELECT t.sender FROM tx t WHERE t.final = 0 ORDER BY t.sender LIMIT 1)
	UNION ALL
	SELECT (SELECT t.sender FROM tx t WHERE t.final = 0 AND t.sender > o.sender ORDER BY t.sender LIMIT 1)
	FROM o WHERE o.sender IS NOT NULL)`

func scanString(rows *sql.Rows) (s string, err error) { return s, rows.Scan(&s) }

// SendersWithWork returns the senders that have a row which is not final,
// offered ones too. It costs as much as there are such senders, however many
// are idle.
func (db *DB) SendersWithWork(ctx context.Context) ([]string, error) {
	r, err := db.reader(ctx)
	if err != nil {
		return nil, err
	}
	return collect(r, scanString, "senders with work", openSenders+` SELECT sender FROM o WHERE sender IS NOT NULL ORDER BY sender`)
}

// Counts counts the rows that are not final, by state.
func (db *DB) Counts(ctx context.Context) (map[TxState]int, error) {
	r, err := db.reader(ctx)
	if err != nil {
		return nil, err
	}
	counts := make(map[TxState]int)
	scan := func(rows *sql.Rows) (struct{}, error) {
		var state string
		var n int
		err := rows.Scan(&state, &n)
		counts[TxState(state)] = n
		return struct{}{}, err
	}
	_, err = collect(r, scan, "count transactions", `SELECT state, count(*) FROM tx WHERE final = 0 GROUP BY state`)
	return counts, err
}
