// SPDX-License-Identifier: Apache-2.0

package rpc

import (
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/hsmsigner/hsmsigner/internal/auth"
)

// Config says what a [Server] serves and within which bounds.
type Config struct {
	// Services by name: the first element of the URL's path. It may be empty:
	// see SetService.
	Services map[string]*Service
	// Default names the service at "/", which may come later if Services is
	// empty. Empty: there is none.
	Default string
	// Auth says who sends r, for the upgrade to a WebSocket too. It may block,
	// and should bound that by r's context. An error that says when to come
	// again is answered as such with its status, 429 or 503: *auth.LimitError,
	// *txmgr.BusyError, auth.ErrUnavailable, or any with the methods HTTPStatus()
	// int and RetryAfter() time.Duration. Any other error is a 401 and its text
	// stays in the log.
	//
	// Auth counts the request against the limits of its sender; it may be called
	// again for an upgrade while credentials are being revoked.
	Auth func(r *http.Request) (auth.Principal, error)
	// Allow counts n more requests of p against its limits, all or none of them:
	// those of a batch beyond the first, and those of each message on an open
	// WebSocket. Its errors are read like those of Auth; with
	// auth.ErrCredentials it ends the WebSocket. It does not block. Nil: there
	// are no limits.
	Allow func(p auth.Principal, n int) error

	// AllowedHosts are names, without port, that a Host header may have
	// besides loopback names and the address of the listener itself. A web
	// page whose name was rebound to our address is thereby refused.
	AllowedHosts []string
	// AllowedOrigins are the origins ("https://app.example") whose web pages
	// may call. A request that has an Origin header is otherwise refused.
	AllowedOrigins []string

	Limits Limits
	// SendTimeout bounds a transaction from request to answer; 45 s. The
	// transaction manager has a deadline of its own, at which it knows what to
	// answer; this one must be later, and only keeps a request from hanging.
	SendTimeout time.Duration
	// CallTimeout bounds everything else; 30 s.
	CallTimeout time.Duration

	// Approvals are asked what has become of a request that waits for people; nil:
	// callers are only told that it does. ApprovalWait is how long they are kept
	// waiting for the outcome before they are told so; 0.
	Approvals    Approvals
	ApprovalWait time.Duration

	// Gateway answers the requests under /NAME/gateway of each wallet, within the
	// same limits of number, memory and rate. A body comes unread, and who reads it
	// bounds it; a WebSocket is to end with its request's context. Nil: there is
	// nothing at these paths.
	Gateway func(w http.ResponseWriter, r *http.Request, v Visit)

	Metrics Metrics      // nil: none
	Tracer  trace.Tracer // of a span per request; nil: none
	Logger  *slog.Logger // nil: silent
}

// Metrics takes what the door measures. Its methods are called concurrently
// and must not block. Labels come from closed sets: a method that is not
// served is called "unknown".
type Metrics interface {
	// Request is called for every answered request and notification. code is
	// 0 for success, else the JSON-RPC error code.
	Request(service, method, transport string, code int, took time.Duration)
	// Refused is called for what was turned away before it was a request:
	// "host", "origin", "auth", "service", "content", "size", "busy", "rate",
	// "parse".
	Refused(reason string)
	// Sockets is called with +1 and -1 as WebSockets open and close.
	Sockets(delta int)
	// Subscriptions is called with +1 and -1.
	Subscriptions(delta int)
}

// Transports, as Metrics gets them.
const (
	transportHTTP = "http"
	transportWS   = "ws"
)

type noMetrics struct{}

func (noMetrics) Request(string, string, string, int, time.Duration) {}
func (noMetrics) Refused(string)                                     {}
func (noMetrics) Sockets(int)                                        {}
func (noMetrics) Subscriptions(int)                                  {}

// check returns every mistake of the configuration at once.
func (c *Config) check() error {
	var errs []error
	if c.Auth == nil {
		errs = append(errs, errors.New("rpc: Auth is not set"))
	}
	if _, ok := c.Services[c.Default]; c.Default != "" && !ok && len(c.Services) > 0 {
		errs = append(errs, fmt.Errorf("rpc: default wallet %q is not among the wallets", c.Default))
	}
	for _, h := range c.AllowedHosts {
		_, notIP := netip.ParseAddr(strings.Trim(h, "[]"))
		if h == "" || strings.ContainsAny(h, "*/:@ ") && notIP != nil {
			errs = append(errs, fmt.Errorf("rpc: allowed host %q: want an exact name without scheme and port, such as signer.example", h))
		}
	}
	for _, o := range c.AllowedOrigins {
		u, err := url.Parse(o)
		if err != nil || u.Scheme == "" || u.Host == "" || u.Scheme+"://"+u.Host != o || strings.Contains(o, "*") {
			errs = append(errs, fmt.Errorf("rpc: allowed origin %q: want an exact origin, such as https://app.example", o))
		}
	}
	for name, svc := range c.Services {
		if err := svc.check(name); err != nil {
			errs = append(errs, fmt.Errorf("rpc: wallet %s: %w", name, err))
		}
	}
	return errors.Join(errs...)
}
