// SPDX-License-Identifier: Apache-2.0

package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"time"
)

// The reasons of an [Error].
const (
	Invalid         = "invalid"         // the request; nothing was changed
	Unauthenticated = "unauthenticated" // the key is missing, wrong or revoked
	NotFound        = "not_found"       // or not yours, which cannot be told apart
	Forbidden       = "forbidden"       // yours, but not with your role
	Conflict        = "conflict"        // with what is there: in use, changed meanwhile, read-only
	Unavailable     = "unavailable"     // try again later
	Unsupported     = "unsupported"     // this backend never does it
	RateLimited     = "rate_limited"
)

// Error is a refusal by the server.
type Error struct {
	Status     int    // HTTP
	Reason     string // one of the constants, or one that is newer than this package
	Field      string // of the request, like details.vault_name; empty if it is about no field
	Message    string // for people, with the field; never a secret
	RequestID  string // under which the daemon's log has more
	RetryAfter time.Duration
}

// Error is the server's message and, if it has one, the id of the request.
func (e *Error) Error() string {
	text := e.Message
	if text == "" {
		text = fmt.Sprintf("the server answered %d %s", e.Status, http.StatusText(e.Status))
	}
	if e.RequestID != "" {
		text += " (request " + e.RequestID + ")"
	}
	return text
}

// Is reports whether err is a refusal by the server with this reason.
func Is(err error, reason string) bool {
	var e *Error
	return errors.As(err, &e) && e.Reason == reason
}

func failure(answer *http.Response, data []byte) *Error {
	e := &Error{Status: answer.StatusCode, RetryAfter: seconds(answer.Header)}
	var body struct {
		Message   string `json:"errorMessage"`
		Error     string `json:"error"`
		Field     string `json:"field"`
		RequestID string `json:"request_id"`
	}
	if json.Unmarshal(data, &body) == nil { // else something in between has answered
		e.Message, e.Reason, e.Field, e.RequestID = body.Message, body.Error, body.Field, body.RequestID
	}
	if e.Reason == "" && e.Status == http.StatusNotFound {
		e.Reason = NotFound
	}
	return e
}

// pause is how long to wait before the same request may do better; below 0 if
// it never will.
func (e *Error) pause() time.Duration {
	switch e.Status {
	case http.StatusTooManyRequests, http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout:
		return e.RetryAfter
	}
	return -1
}
