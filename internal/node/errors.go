// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"strconv"
	"strings"
	"syscall"
)

// Errors of a Client. Each is wrapped with the method that was called. None
// contains the node's URL, host or address.
var (
	ErrUnavailable = errors.New("node unavailable")
	ErrTimeout     = errors.New("node timed out")
	ErrTooLarge    = errors.New("node's answer is too large")
	ErrBadResponse = errors.New("node gave a bad response")
	ErrNotFound    = errors.New("node does not have it")
	ErrClosed      = errors.New("node client closed")
)

// Error is the node's own answer that it will not do what was asked.
type Error struct {
	Code    int
	Message string
	Data    json.RawMessage // nil if the node sent none
	Raw     json.RawMessage // the whole error object, byte for byte
}

func (e *Error) Error() string {
	return e.Message + " (code " + strconv.Itoa(e.Code) + ")"
}

// parseError reads an error object. A node that sends something else than an
// object with a code still refused: what it sent is kept as the message.
func parseError(raw json.RawMessage) *Error {
	var e struct {
		Code    json.Number     `json:"code"`
		Message string          `json:"message"`
		Data    json.RawMessage `json:"data"`
	}
	if err := json.Unmarshal(raw, &e); err != nil || e.Message == "" {
		if e.Message == "" {
			e.Message = "node refused without a message"
		}
	}
	code, _ := strconv.Atoi(e.Code.String())
	if string(e.Data) == "null" {
		e.Data = nil
	}
	return &Error{Code: code, Message: e.Message, Data: e.Data, Raw: raw}
}

// ChainMismatchError says that the node serves another chain than the pinned
// one.
type ChainMismatchError struct{ Want, Got uint64 }

func (e *ChainMismatchError) Error() string {
	return fmt.Sprintf("node serves chain id %d, not %d", e.Got, e.Want)
}

// fault is an error of the connection: a sentinel and a phrase from our own
// fixed stock, so that no text of net or net/url (which name the host) gets out.
type fault struct {
	kind   error
	phrase string
}

func (f *fault) Error() string {
	if f.phrase == "" {
		return f.kind.Error()
	}
	return f.kind.Error() + ": " + f.phrase
}

func (f *fault) Unwrap() error { return f.kind }

func badResponse(format string, args ...any) error {
	return &fault{ErrBadResponse, fmt.Sprintf(format, args...)}
}

// closedIdle recognises net/http's unexported error for a kept connection that
// the server closed as we began to use it.
func closedIdle(err error) bool {
	return strings.Contains(err.Error(), "server closed idle connection")
}

// connectionFault turns an error of the HTTP client into one of ours. ctx is the
// caller's: if it was cancelled, that is the error.
func connectionFault(ctx context.Context, err error) error {
	if ctx.Err() == context.Canceled {
		return context.Canceled
	}
	var f *fault
	var netErr net.Error
	var dns *net.DNSError
	var rule interface{ Refused() bool }
	switch {
	case errors.As(err, &f):
		return f
	case errors.As(err, &rule) && rule.Refused(): // Endpoint.DialContext's
		return &fault{ErrUnavailable, "its address is one that this deployment does not connect to"}
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &netErr) && netErr.Timeout():
		return &fault{ErrTimeout, ""}
	case errors.Is(err, syscall.ECONNREFUSED):
		return &fault{ErrUnavailable, "connection refused"}
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return &fault{ErrUnavailable, "connection reset"}
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), closedIdle(err):
		return &fault{ErrUnavailable, "connection closed before the answer"}
	case errors.As(err, &dns):
		return &fault{ErrUnavailable, "name does not resolve"}
	case isTLS(err):
		return &fault{ErrUnavailable, "TLS handshake refused"}
	default:
		return &fault{ErrUnavailable, "connection failed"}
	}
}
