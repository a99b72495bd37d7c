// SPDX-License-Identifier: Apache-2.0

package rpc

import (
	"context"
	"errors"
	"net/http"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/strictjson"
)

// admit counts a body or message against the limits of its sender, as many
// requests as it holds. Over HTTP the first was counted by Auth. One that is
// refused for its length counts as one.
func (c *call) admit(ctx context.Context, v strictjson.Value) *Error {
	allow := c.server.cfg.Allow
	if allow == nil {
		return nil
	}
	n := 1
	if v.Kind == strictjson.Array && len(v.Elems) <= c.server.cfg.Limits.Batch {
		n = max(1, len(v.Elems))
	}
	if c.socket == nil {
		n--
	}
	if n == 0 {
		return nil
	}
	err := allow(c.who, n)
	if err == nil {
		return nil
	}
	c.server.metrics.Refused("rate")
	if errors.Is(err, auth.ErrCredentials) {
		if c.socket != nil {
			c.socket.revoke() // whoever was to do that has not come to it yet
		}
		e := invalidRequest("the credential is not valid any more")
		e.Status = http.StatusUnauthorized
		return e
	}
	e, known := toError(err)
	if !known {
		e = c.internal(ctx, "unknown", err)
	}
	return e
}

// limitError reads an error that says when to come again; nil if err is none.
func limitError(err error) *Error {
	var own *auth.LimitError
	var other interface {
		error
		HTTPStatus() int
		RetryAfter() time.Duration
	}
	switch {
	case errors.Is(err, auth.ErrUnavailable):
		return busy(http.StatusServiceUnavailable, time.Second, "credentials cannot be checked just now")
	case errors.As(err, &own):
		return &Error{Code: codeBusy, Message: own.Error(), Status: own.HTTPStatus(), RetryAfter: max(own.RetryAfter, time.Second)}
	case !errors.As(err, &other):
		return nil
	}
	after := max(other.RetryAfter(), time.Second)
	switch other.HTTPStatus() {
	case http.StatusTooManyRequests:
		return busy(http.StatusTooManyRequests, after, "the limit of requests is reached")
	case http.StatusServiceUnavailable:
		return busy(http.StatusServiceUnavailable, after, "the caller cannot be checked just now")
	}
	return nil
}
