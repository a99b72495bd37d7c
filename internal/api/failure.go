// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"strconv"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/api/query"
	"github.com/hsmsigner/hsmsigner/internal/api/schema"
	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/platform"
)

// Failure is the body of every answer that is not a success.
type Failure struct {
	Message   string `json:"errorMessage"`
	Error     string `json:"error"`
	Field     string `json:"field,omitempty"`
	RequestID string `json:"request_id,omitempty"`
}

// refusal is an error that is an answer already.
type refusal struct {
	code  int
	body  Failure
	after time.Duration // for Retry-After; 0: none
	allow string        // methods, for 405
	login bool          // says how to prove who is asking
	cause error         // for the log, of what is our own fault; never shown
}

func (r *refusal) Error() string { return r.body.Message }

// The sorts of errors that package platform does not know.
const (
	unauthenticated = "unauthenticated"
	methodWrong     = "method_not_allowed"
	mediaWrong      = "unsupported_media_type"
	tooLarge        = "too_large"
	tooSlow         = "too_slow"
	rateLimited     = "rate_limited"
	internal        = "internal"
)

// codes says which sort of error has which status code.
func codes() map[platform.Reason]int {
	return map[platform.Reason]int{
		platform.Invalid:     http.StatusBadRequest,
		platform.NotFound:    http.StatusNotFound,
		platform.Forbidden:   http.StatusForbidden,
		platform.Conflict:    http.StatusConflict,
		platform.Unavailable: http.StatusServiceUnavailable,
		platform.Unsupported: http.StatusUnprocessableEntity,
	}
}

// notFound is the same for what does not exist, what is not the caller's, and
// what cannot exist, so that nobody can tell these apart.
func notFound() *refusal {
	return &refusal{code: http.StatusNotFound, body: Failure{Message: "there is nothing here, or nothing that you may see", Error: string(platform.NotFound)}}
}

func invalid(field, msg string) *refusal {
	return &refusal{code: http.StatusBadRequest, body: Failure{Message: said(field, msg), Error: string(platform.Invalid), Field: field}}
}

func said(field, msg string) string {
	if field == "" {
		return msg
	}
	return field + ": " + msg
}

// refuse is the one table from errors to answers.
func refuse(err error) *refusal {
	var answer *refusal
	var denied *platform.Error
	var shape *schema.Problem
	var filter *query.Error
	var large *http.MaxBytesError
	var limit *auth.LimitError
	switch {
	case errors.As(err, &answer):
		return answer
	case errors.As(err, &denied) && denied.Reason == platform.NotFound:
		return notFound()
	case errors.As(err, &denied) && codes()[denied.Reason] != 0:
		r := &refusal{code: codes()[denied.Reason], body: Failure{Message: denied.Error(), Error: string(denied.Reason), Field: denied.Field}}
		if denied.Reason == platform.Unavailable {
			r.after = time.Second
		}
		return r
	case errors.As(err, &shape):
		return invalid(shape.Field, shape.Msg)
	case errors.As(err, &filter):
		return invalid(filter.Parameter, filter.Msg)
	case errors.As(err, &large):
		return &refusal{code: http.StatusRequestEntityTooLarge, body: Failure{Message: fmt.Sprintf("the body is too large: at most %d bytes are read", large.Limit), Error: tooLarge}}
	case errors.As(err, &limit):
		return &refusal{code: http.StatusTooManyRequests, after: max(limit.RetryAfter, time.Second), body: Failure{Message: limit.Error() + ": wait as Retry-After says", Error: rateLimited}}
	case errors.Is(err, auth.ErrCredentials):
		return &refusal{code: http.StatusUnauthorized, login: true, body: Failure{Message: "want the header Authorization: Bearer <API key>; what came is missing, wrong or revoked", Error: unauthenticated}}
	case errors.Is(err, auth.ErrCSRF):
		return &refusal{code: http.StatusForbidden, body: Failure{Message: auth.ErrCSRF.Error(), Error: string(platform.Forbidden)}}
	case errors.Is(err, auth.ErrUnavailable):
		return &refusal{code: http.StatusServiceUnavailable, after: time.Second, body: Failure{Message: auth.ErrUnavailable.Error(), Error: string(platform.Unavailable)}}
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return &refusal{code: http.StatusServiceUnavailable, after: time.Second, body: Failure{Message: "no answer in time: look whether it was done before you try again", Error: string(platform.Unavailable)}}
	}
	return &refusal{code: http.StatusInternalServerError, cause: err, body: Failure{Message: "internal error: the log of the daemon has the cause under this request_id", Error: internal, RequestID: rand.Text()}}
}

func (r *refusal) write(w http.ResponseWriter, log *slog.Logger) {
	h := w.Header()
	if r.after > 0 {
		h.Set("Retry-After", strconv.Itoa(int(math.Ceil(r.after.Seconds()))))
	}
	if r.allow != "" {
		h.Set("Allow", r.allow)
	}
	if r.login {
		h.Set("WWW-Authenticate", `Bearer realm="hsmsigner"`)
	}
	if r.cause != nil && log != nil {
		log.Error("management request failed", "request_id", r.body.RequestID, "error", r.cause.Error())
	}
	writeJSON(w, r.code, r.body)
}
