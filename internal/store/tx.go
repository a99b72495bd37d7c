// SPDX-License-Identifier: Apache-2.0

package store

import (
	"database/sql"
	"fmt"
	"math/big"
	"time"

	"github.com/ethereum/go-ethereum/common"
)

// Table tx: what a Writer does to it. Reads are in txread.go.

// InsertTx stores an accepted transaction and, if it has an idempotency key,
// that key's row. A key that is known gives a *DuplicateKeyError, a nonce that
// a live row of the sender has gives ErrNonceTaken, an approval that it uses and
// that is not open any more ErrApprovalGone. A zero Created or Updated
// is now.
func (w *Writer) InsertTx(t Tx) error {
	now := time.Now()
	if t.Created.IsZero() {
		t.Created = now
	}
	if t.Updated.IsZero() {
		t.Updated = now
	}
	if t.IdempotencyKey != "" {
		if err := w.insertKey(t); err != nil {
			return err
		}
	}
	nonce, err := nonceArg(t.Nonce)
	if err != nil {
		return w.fail("", err)
	}
	block, err := blockArg(t.Block, t.BlockHash)
	if err != nil {
		return w.fail("", err)
	}
	if t.Clearance != "" {
		w.spends(Spender{ID: t.ID, Tx: true})
	}
	// No conflict target: both unique indexes count, and no error breaks the
	// transaction on PostgreSQL.
	const text = `INSERT INTO tx (id, wallet, credential, idempotency_key, request_hash, intent, sender, nonce,
		explicit, kind, payload, state, live, final, fee_ceiling, replaces, expires, created, updated,
		hash, block, block_hash, succeeded, error, trace, offered, ended, clearance, origin)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16, $17, $18, $19, $20, $21, $22, $23, $24, $25, $26, $27, $28, $29)
		ON CONFLICT DO NOTHING`
	args := []any{
		t.ID, t.Wallet, t.Credential, t.IdempotencyKey, t.RequestHash[:], t.Intent, t.Sender, nonce,
		boolArg(t.Explicit), string(t.Kind), bytesArg(t.Payload), string(t.State), boolArg(t.State.Live()), boolArg(t.State.Final()),
		bigArg(t.FeeCeiling), t.Replaces, timeArg(t.Expires), timeArg(t.Created), timeArg(t.Updated),
		hashArg(t.Hash), block, hashArg(t.BlockHash), boolArg(t.Succeeded), t.Error, t.Trace,
		boolArg(isOffered(t.State)), endedArg(t.State), t.Clearance, t.Origin,
	}
	err = w.expect("insert transaction", t.ID, text, args, func(err error) error {
		if err != nil {
			return nil
		}
		if t.Nonce != nil && t.State.Live() {
			taken, err := w.nonceTaken(t.Sender, *t.Nonce)
			if err != nil {
				return err
			}
			if taken {
				return ErrNonceTaken
			}
		}
		return fmt.Errorf("%w: transaction %s", ErrExists, t.ID)
	})
	if err != nil || t.Uses == "" {
		return err
	}
	// Last: of a row that is there already its approval was taken then.
	return w.useApproval(t.Uses)
}

func (w *Writer) nonceTaken(sender string, nonce uint64) (bool, error) {
	scan := func(rows *sql.Rows) (n int64, err error) { return n, rows.Scan(&n) }
	found, err := collect(w, scan, "look for nonce", `SELECT 1 FROM tx WHERE sender = $1 AND nonce = $2 AND live = 1`, sender, int64(nonce))
	return len(found) > 0, err
}

// TxUpdate says what to change in a transaction. Zero fields keep what is
// there, but for Nonce, which counts if SetNonce is true.
type TxUpdate struct {
	State      TxState
	SetNonce   bool
	Nonce      *uint64 // with SetNonce: nil clears
	Hash       *common.Hash
	Block      *uint64
	BlockHash  *common.Hash // pointer to the zero hash clears it, and Block
	Succeeded  *bool
	Error      *string
	Payload    []byte
	FeeCeiling *big.Int
	Replaces   *string
	Expires    *time.Time // pointer to the zero time clears
	Clearance  *string
	Timing     *Timing
}

// UpdateTx changes a transaction if its state is one of from (any state if
// from is empty), and reports whether it did: false also if there is no such
// row. It sets Updated to now. Two live rows with one nonce give ErrNonceTaken.
func (w *Writer) UpdateTx(id string, from []TxState, u TxUpdate) (bool, error) {
	text, args, err := u.statement(id, from)
	if err != nil {
		return false, w.fail("", err)
	}
	n, err := w.try(text, args...)
	if err != nil && w.db.d.unique(err) {
		return false, w.fail("", ErrNonceTaken)
	}
	if err != nil {
		return false, w.fail("update transaction "+id, err)
	}
	return n == 1, nil
}

func (u *TxUpdate) statement(id string, from []TxState) (string, []any, error) {
	set := newSetter("tx")
	set.add("updated", timeArg(time.Now()))
	if u.State != "" {
		set.word("state", string(u.State))
		// An index is rewritten when its columns are set, even to what they were.
		if !allSame(from, TxState.Live, u.State.Live()) {
			set.add("live", boolArg(u.State.Live()))
		}
		if !allSame(from, TxState.Final, u.State.Final()) {
			set.add("final", boolArg(u.State.Final()))
			set.add("ended", endedArg(u.State))
		}
		if !allSame(from, isOffered, isOffered(u.State)) {
			set.add("offered", boolArg(isOffered(u.State)))
		}
	}
	if u.SetNonce {
		nonce, err := nonceArg(u.Nonce)
		if err != nil {
			return "", nil, err
		}
		set.add("nonce", nonce)
	}
	if u.Hash != nil {
		set.add("hash", hashArg(*u.Hash))
	}
	switch {
	case u.BlockHash != nil && *u.BlockHash == common.Hash{}:
		set.add("block", nil)
	case u.Block != nil:
		block, err := uintArg("block", *u.Block)
		if err != nil {
			return "", nil, err
		}
		set.add("block", block)
	}
	if u.BlockHash != nil {
		set.add("block_hash", hashArg(*u.BlockHash))
	}
	if u.Succeeded != nil {
		set.add("succeeded", boolArg(*u.Succeeded))
	}
	if u.Error != nil {
		set.add("error", *u.Error)
	}
	if u.Payload != nil {
		set.add("payload", u.Payload)
	}
	if u.FeeCeiling != nil {
		set.add("fee_ceiling", bigArg(u.FeeCeiling))
	}
	if u.Replaces != nil {
		set.add("replaces", *u.Replaces)
	}
	if u.Expires != nil {
		set.add("expires", timeArg(*u.Expires))
	}
	if u.Clearance != nil {
		set.add("clearance", *u.Clearance)
	}
	if u.Timing != nil {
		set.add("timing", u.Timing.text())
	}
	set.where("id", id)
	oneOf(set, "state", from)
	text, args := set.text()
	return text, args, nil
}

func isOffered(s TxState) bool { return s == Offered }

// endedArg is the column ended.
func endedArg(s TxState) any {
	if s.Final() {
		return string(s)
	}
	return nil
}

func allSame(states []TxState, is func(TxState) bool, want bool) bool {
	for _, s := range states {
		if is(s) != want {
			return false
		}
	}
	return len(states) > 0
}

func blockArg(number uint64, hash common.Hash) (any, error) {
	if number == 0 && hash == (common.Hash{}) {
		return nil, nil
	}
	return uintArg("block", number)
}

// bytesArg keeps nil out of columns that are NOT NULL.
func bytesArg(b []byte) []byte {
	if b == nil {
		return []byte{}
	}
	return b
}
