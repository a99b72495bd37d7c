// SPDX-License-Identifier: Apache-2.0

package wallet

import (
	"context"
	"errors"
	"fmt"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/secp"
)

// Errors of this package. The typed ones carry what a caller may be told.
var (
	// ErrAudit: an audit row could not be written, so nothing was signed, or
	// what was signed was thrown away.
	ErrAudit = errors.New("audit row could not be written")
	// ErrClosed: the wallet was closed.
	ErrClosed = errors.New("wallet is closed")
)

// UnknownAccountError says that the address is not an account of this wallet.
type UnknownAccountError struct{ Address common.Address }

func (e *UnknownAccountError) Error() string { return "unknown account " + e.Address.Hex() }

// UnusableError says that the account is known and must not sign now.
type UnusableError struct {
	Address common.Address
	Reason  string
}

func (e *UnusableError) Error() string {
	return fmt.Sprintf("account %s cannot sign: %s", e.Address.Hex(), e.Reason)
}

// RequestError says that what was asked to be signed is not something this wallet
// signs. The backend was not asked.
type RequestError struct{ Reason string }

func (e *RequestError) Error() string { return e.Reason }

// The kinds of BackendError.
const (
	KindThrottled   = "throttled"
	KindUnavailable = "unavailable"
	KindDenied      = "denied"
	KindDisabled    = "disabled"
	KindNotFound    = "not found"
	KindBadResponse = "bad response"
	KindWrongKey    = "wrong key"
	KindUnsupported = "unsupported" // this kind of backend never does it
	KindTimeout     = "timeout"
	KindCancelled   = "cancelled" // the caller went away
)

// BackendError says why the backend gave no usable signature. Its text names
// only the kind: the cause, for the operator's log, is behind Unwrap.
type BackendError struct {
	Kind string // one of the Kind constants
	err  error
}

func (e *BackendError) Error() string { return "key backend: " + explain(e.Kind) }

// Unwrap returns the cause. It is not for a client's eyes.
func (e *BackendError) Unwrap() error { return e.err }

// Transient reports whether the same request may succeed later by itself.
func (e *BackendError) Transient() bool {
	switch e.Kind {
	case KindThrottled, KindUnavailable, KindTimeout, KindCancelled:
		return true
	}
	return false
}

func explain(kind string) string {
	switch kind {
	case KindThrottled:
		return "throttled the request"
	case KindUnavailable:
		return "unavailable"
	case KindDenied:
		return "denied access to the key"
	case KindDisabled:
		return "the key is disabled"
	case KindNotFound:
		return "the key was not found"
	case KindBadResponse:
		return "gave a bad response"
	case KindWrongKey:
		return "signed with another key than the account's; the signature was thrown away"
	case KindUnsupported:
		return "does not support this"
	case KindTimeout:
		return "did not answer in time"
	case KindCancelled:
		return "not waited for, since the caller went away"
	}
	return kind
}

// backendError wraps what a backend or package secp returned.
func backendError(err error) *BackendError {
	var known *BackendError
	if errors.As(err, &known) {
		return known
	}
	var throttled *key.ThrottledError
	kind := KindUnavailable
	switch {
	case errors.As(err, &throttled):
		kind = KindThrottled
	case errors.Is(err, secp.ErrWrongKey):
		kind = KindWrongKey
	case errors.Is(err, secp.ErrMalformed), errors.Is(err, key.ErrBadResponse):
		kind = KindBadResponse
	case errors.Is(err, key.ErrDenied):
		kind = KindDenied
	case errors.Is(err, key.ErrDisabled):
		kind = KindDisabled
	case errors.Is(err, key.ErrNotFound):
		kind = KindNotFound
	case errors.Is(err, key.ErrUnsupported):
		kind = KindUnsupported
	case errors.Is(err, context.DeadlineExceeded):
		kind = KindTimeout
	case errors.Is(err, context.Canceled):
		kind = KindCancelled
	}
	return &BackendError{Kind: kind, err: err}
}
