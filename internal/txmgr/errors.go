// SPDX-License-Identifier: Apache-2.0

package txmgr

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"net/http"
	"time"

	"github.com/ethereum/go-ethereum/common"
)

// The errors of this file are what a front end can tell a caller. They are
// found with errors.As, so they may be wrapped; their texts are made for the
// caller and never carry a secret, a node's URL or a provider's reply.

// UnknownAccountError says that the wallet has no account with this address.
type UnknownAccountError struct{ Address common.Address }

func (e *UnknownAccountError) Error() string { return fmt.Sprintf("unknown account %s", e.Address) }

// ChainIDError says that a request named another chain than the wallet's.
// Nothing was stored.
type ChainIDError struct {
	Given *big.Int // from the request
	Want  *big.Int // the chain id that is pinned for the wallet
}

func (e *ChainIDError) Error() string {
	return fmt.Sprintf("chain id %s does not match %s", e.Given, e.Want)
}

// RevertError says that the transaction would revert, as the node found when
// it estimated the gas. No nonce was spent.
type RevertError struct {
	Reason string // decoded from Data; empty if Data has none
	Data   []byte // what the contract returned, undecoded; may be empty
}

func (e *RevertError) Error() string {
	if e.Reason == "" {
		return "execution reverted"
	}
	return "execution reverted: " + e.Reason
}

// BusyError refuses a request for load. It is given only while nothing is
// stored: clients send again by themselves (TXMGR.md no. 3).
type BusyError struct {
	Reason     string        // which limit was met
	RetryAfter time.Duration // zero if there is no estimate
	Status     int           // http.StatusTooManyRequests if the caller is over a limit of its own, http.StatusServiceUnavailable if everybody is
}

func (e *BusyError) Error() string { return "too busy: " + e.Reason }

// HTTPStatus is Status, or 503 where none was set.
func (e *BusyError) HTTPStatus() int {
	if e.Status == http.StatusTooManyRequests {
		return e.Status
	}
	return http.StatusServiceUnavailable
}

// PendingError says that a transaction is stored but that its outcome was not
// known at the deadline. It may still be sent, so the caller must look it up
// (by TxID, or by repeating the idempotency key) and not send another.
type PendingError struct{ TxID string }

func (e *PendingError) Error() string {
	return fmt.Sprintf("outcome pending: transaction %s is stored and may still be sent", e.TxID)
}

// BackendError says that the key backend did not sign. Nothing was sent.
type BackendError struct {
	Kind string // "unavailable", "throttled", "denied access", …: never what the provider wrote
	Err  error  // for the log; may be nil
}

func (e *BackendError) Error() string { return "key backend failed: " + e.Kind }

// Unwrap gives the error of the backend.
func (e *BackendError) Unwrap() error { return e.Err }

// RefusedError is any other definite refusal, with the JSON-RPC error code
// that fits it. The transaction will not be sent.
type RefusedError struct {
	Code int // JSON-RPC 2.0 error code
	Msg  string
}

func (e *RefusedError) Error() string { return e.Msg }

// errStoreAway refuses what the store did not take, again and again.
func errStoreAway() error {
	return &BusyError{Reason: "the transaction store does not answer; nothing was stored", RetryAfter: time.Second}
}

// storeError says that the store failed before anything was stored, so that the
// caller may safely send again.
type storeError struct{ err error }

func (e *storeError) Error() string { return e.err.Error() }
func (e *storeError) Unwrap() error { return e.err }

func storeFailed(err error) error {
	if err == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	return &storeError{err}
}
