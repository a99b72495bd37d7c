// SPDX-License-Identifier: Apache-2.0

package auth

import (
	"errors"
	"fmt"
	"net/http"
	"time"
)

// Errors that the front doors tell apart. None of them says whether a name is
// known, or what was wrong with a secret.
var (
	// ErrCredentials says that the caller has shown nothing that is valid: 401.
	ErrCredentials = errors.New("no valid credentials")
	// ErrCSRF says that a request which changes something came with a session
	// cookie but without the session's token, so that another web page may have
	// sent it: 403.
	ErrCSRF = errors.New("the request carries a session cookie but not the session's token: send it as X-CSRF-Token")
	// ErrUnavailable says that nobody can be asked just now who the caller is:
	// 503. The store or the identity provider does not answer.
	ErrUnavailable = errors.New("credentials cannot be checked just now")
)

// LimitError refuses a caller who asks too often: 429.
type LimitError struct {
	Reason     string // which limit was met
	RetryAfter time.Duration
}

func (e *LimitError) Error() string { return "too busy: " + e.Reason }

// HTTPStatus is 429.
func (e *LimitError) HTTPStatus() int { return http.StatusTooManyRequests }

func unavailable(err error) error { return fmt.Errorf("%w: %w", ErrUnavailable, err) }
