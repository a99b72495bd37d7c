// SPDX-License-Identifier: Apache-2.0

package store

import (
	"fmt"

	"github.com/ethereum/go-ethereum/common"
)

// The compare-and-sets whose failure is the closure's failure. Unlike their
// counterparts with a bool they need not be answered before the next statement
// goes out, so that on PostgreSQL a closure of them costs one round trip
// together with its COMMIT. A mismatch may therefore show only when the
// closure has returned; either way Write returns an ErrChanged and nothing of
// the closure is stored.

// ExpectTx is [Writer.UpdateTx] for a row that must be in one of from.
func (w *Writer) ExpectTx(id string, from []TxState, u TxUpdate) error {
	text, args, err := u.statement(id, from)
	if err != nil {
		return w.fail("", err)
	}
	return w.expect("update transaction", id, text, args, func(err error) error {
		switch {
		case err == nil:
			return fmt.Errorf("%w: transaction %s", ErrChanged, id)
		case w.db.d.unique(err):
			return ErrNonceTaken
		}
		return nil
	})
}

// ExpectSigned is [Writer.StoreSigned] for an attempt that must still be the
// very one that was signed.
func (w *Writer) ExpectSigned(attemptID, tx string, nonce uint64, digest common.Hash, epoch int64, raw []byte, hash common.Hash) error {
	args, err := signedArgs(attemptID, tx, nonce, digest, epoch, raw, hash)
	if err != nil {
		return w.fail("", err)
	}
	return w.expect("store signature of attempt", attemptID, signedText, args, changed("attempt", attemptID))
}

// ExpectOutcome is [Writer.SetAttemptOutcome] for an attempt that must have
// one of from.
func (w *Writer) ExpectOutcome(attemptID string, from []AttemptOutcome, to AttemptOutcome) error {
	text, args := outcomeStatement(attemptID, from, to)
	return w.expect("set outcome of attempt", attemptID, text, args, changed("attempt", attemptID))
}

// changed words that a row was not as it was expected.
func changed(what, id string) func(error) error {
	return func(err error) error {
		if err != nil {
			return nil
		}
		return fmt.Errorf("%w: %s %s", ErrChanged, what, id)
	}
}
