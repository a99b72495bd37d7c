// SPDX-License-Identifier: Apache-2.0

package store

import (
	"bytes"
	"context"
	"database/sql"
	"time"

	"github.com/ethereum/go-ethereum/common"
)

// Table attempt.

const attemptColumns = `a.id, a.tx, a.sender, a.nonce, a.kind, a.digest, a.payload, a.raw, a.hash, a.epoch, a.outcome, a.created`

func scanAttempt(rows *sql.Rows) (Attempt, error) {
	var (
		a                          Attempt
		nonce                      int64
		kind, outcome              string
		created                    sql.NullInt64
		digest, payload, raw, hash sql.RawBytes
	)
	err := rows.Scan(&a.ID, &a.Tx, &a.Sender, &nonce, &kind, &digest, &payload, &raw, &hash, &a.Epoch, &outcome, &created)
	if err != nil {
		return Attempt{}, err
	}
	a.Nonce = uint64(nonce)
	a.Kind, a.Outcome = AttemptKind(kind), AttemptOutcome(outcome)
	a.Digest, a.Hash = common.BytesToHash(digest), common.BytesToHash(hash)
	a.Payload, a.Raw = bytes.Clone(payload), bytes.Clone(raw)
	a.Created = timeOf(created)
	return a, nil
}

// InsertAttempt stores an attempt, as a rule before its digest is signed. Its
// transaction must exist. An empty Outcome is Open, a zero Created now.
func (w *Writer) InsertAttempt(a Attempt) error {
	if a.Created.IsZero() {
		a.Created = time.Now()
	}
	if a.Outcome == "" {
		a.Outcome = Open
	}
	nonce, err := uintArg("nonce", a.Nonce)
	if err != nil {
		return w.fail("", err)
	}
	return w.expect("insert attempt", a.ID, `INSERT INTO attempt
		(id, tx, sender, nonce, kind, digest, payload, raw, hash, epoch, outcome, created)
		VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12)`, []any{
		a.ID, a.Tx, a.Sender, nonce, string(a.Kind), a.Digest.Bytes(), a.Payload, a.Raw, hashArg(a.Hash),
		a.Epoch, string(a.Outcome), timeArg(a.Created),
	}, nil)
}

// StoreSigned stores the signed bytes of an attempt, once. It returns false,
// and changes nothing, unless the attempt is still the very one that was
// signed: same transaction, nonce, digest and epoch, open, and without bytes.
// A false says that the signature must be forgotten, never sent.
func (w *Writer) StoreSigned(attemptID, tx string, nonce uint64, digest common.Hash, epoch int64, raw []byte, hash common.Hash) (bool, error) {
	args, err := signedArgs(attemptID, tx, nonce, digest, epoch, raw, hash)
	if err != nil {
		return false, w.fail("", err)
	}
	n, err := w.exec("store signature of attempt "+attemptID, signedText, args...)
	return n == 1, err
}

const signedText = `UPDATE attempt SET raw = $1, hash = $2
	WHERE id = $3 AND tx = $4 AND nonce = $5 AND digest = $6 AND epoch = $7 AND outcome = 'open' AND raw IS NULL`

func signedArgs(attemptID, tx string, nonce uint64, digest common.Hash, epoch int64, raw []byte, hash common.Hash) ([]any, error) {
	n, err := uintArg("nonce", nonce)
	return []any{bytesArg(raw), hash.Bytes(), attemptID, tx, n, digest.Bytes(), epoch}, err
}

// SetAttemptOutcome moves an attempt to an outcome if it has one of from (any
// if from is empty), and reports whether it did.
func (w *Writer) SetAttemptOutcome(id string, from []AttemptOutcome, to AttemptOutcome) (bool, error) {
	text, args := outcomeStatement(id, from, to)
	n, err := w.exec("set outcome of attempt "+id, text, args...)
	return n == 1, err
}

func outcomeStatement(id string, from []AttemptOutcome, to AttemptOutcome) (string, []any) {
	set := newSetter("attempt")
	set.word("outcome", string(to))
	set.where("id", id)
	oneOf(set, "outcome", from)
	return set.text()
}

// Attempts returns the attempts of a transaction in the order they were made.
func (db *DB) Attempts(ctx context.Context, txID string) ([]Attempt, error) {
	r, err := db.reader(ctx)
	if err != nil {
		return nil, err
	}
	return attemptsOf(r, txID)
}

// Attempts returns the attempts as this closure would leave them.
func (w *Writer) Attempts(txID string) ([]Attempt, error) {
	all, err := attemptsOf(w, txID)
	return all, w.read(err)
}

func attemptsOf(q querier, txID string) ([]Attempt, error) {
	return collect(q, scanAttempt, "read attempts of "+txID,
		`SELECT `+attemptColumns+` FROM attempt a WHERE a.tx = $1 ORDER BY a.id`, txID)
}

// AttemptByHash returns the attempt with the hash of signed bytes.
func (db *DB) AttemptByHash(ctx context.Context, hash common.Hash) (Attempt, error) {
	r, err := db.reader(ctx)
	if err != nil {
		return Attempt{}, err
	}
	return one(r, scanAttempt, "read attempt with hash "+hash.Hex(),
		`SELECT `+attemptColumns+` FROM attempt a WHERE a.hash = $1 LIMIT 1`, hash.Bytes())
}
