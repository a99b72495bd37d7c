// SPDX-License-Identifier: Apache-2.0

package store

import (
	"errors"
	"fmt"
	"time"
)

// Errors that callers tell apart with errors.Is.
var (
	// ErrNotFound says that there is no such row.
	ErrNotFound = errors.New("store: not found")
	// ErrInUse says that another daemon holds the data directory.
	ErrInUse = errors.New("store: data directory in use")
	// ErrNewerSchema says that a newer version wrote this database.
	ErrNewerSchema = errors.New("store: database is newer than this program")
	// ErrOlderSchema says that the database wants migrating first.
	ErrOlderSchema = errors.New("store: database is older than this program")
	// ErrMoved says that the rows have been moved to another database.
	ErrMoved = errors.New("store: database was moved")
	// ErrExists says that there is a row with that id already.
	ErrExists = errors.New("store: exists already")
	// ErrClosed says that the store has been closed; nothing was written.
	ErrClosed = errors.New("store: closed")
	// ErrReadOnly says that the store was opened with OpenReadOnly.
	ErrReadOnly = errors.New("store: opened read-only")
	// ErrLeaseLost says that the fence no longer holds: another owner, another
	// epoch, or expired. Nothing was written.
	ErrLeaseLost = errors.New("store: nonce lease lost")
	// ErrLeaseHeld says that another owner holds the lease; see LeaseHeldError.
	ErrLeaseHeld = errors.New("store: nonce lease held by another process")
	// ErrNonceTaken says that a live row of the sender has that nonce.
	ErrNonceTaken = errors.New("store: nonce taken by another transaction")
	// ErrChanged says that a row is not as the closure expected it. Nothing of
	// the closure was written.
	ErrChanged = errors.New("store: a row was changed by somebody else")
	// ErrApprovalGone says that the approval which brings a transaction is not open
	// any more. Nothing was written.
	ErrApprovalGone = errors.New("store: the request for approval is decided, used or over")
	// ErrForeignSender says that the sender belongs to another membership. It
	// never says which.
	ErrForeignSender = errors.New("store: sender belongs to another membership")
)

// DuplicateKeyError says that the wallet and credential have used the
// idempotency key before. Nothing was written.
type DuplicateKeyError struct {
	TxID        string   // the transaction that was accepted under the key
	RequestHash [32]byte // of the request that was accepted
}

func (e *DuplicateKeyError) Error() string {
	return "store: idempotency key already used by transaction " + e.TxID
}

// LeaseHeldError says who holds a lease. It is an ErrLeaseHeld.
type LeaseHeldError struct {
	Owner   string
	Expires time.Time
}

func (e *LeaseHeldError) Error() string {
	return fmt.Sprintf("store: nonce lease held by %s until %s", e.Owner, e.Expires.UTC().Format(time.RFC3339))
}

// Is makes errors.Is(err, ErrLeaseHeld) true.
func (e *LeaseHeldError) Is(target error) bool { return target == ErrLeaseHeld }

// CommitError says that a COMMIT did not answer with success: the writes may
// or may not have happened. The caller must forget what it assumed and reload
// the rows. A read through the same DB that succeeds after a CommitError shows
// what the database settled on; see [DB.Write].
type CommitError struct{ Err error }

func (e *CommitError) Error() string { return "store: commit, outcome unknown: " + e.Err.Error() }

// Unwrap returns the database's own error.
func (e *CommitError) Unwrap() error { return e.Err }
