// SPDX-License-Identifier: Apache-2.0

// Package gateway is the REST door to contracts: a URL for each contract and
// method of a service, in the shape that users of ethconnect know.
//
// It guarantees that a request is read in one way only, from its path, query,
// headers and body, and that every parameter it does not know or cannot read is
// refused with a word on what would be right; that all texts and sizes of callers
// are bounded; that a transaction with an id is sent once, however often it is
// asked for; and that no error tells a node's address, a provider's reply or a
// secret.
//
// It never signs, never decides about a nonce or a rule, and reads and stores
// nothing itself: that is behind package contract. It never asks who is calling:
// both of its entrances, the RPC listener and the management API, have done so and
// say it in the [Caller].
package gateway

import (
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/contract"
)

// Caller is who asks, and at which service's gateway.
type Caller struct {
	Principal auth.Principal
	Place     contract.Place  // whose contracts they are
	Wallet    contract.Wallet // the service
	// Base is the path of this gateway's URL, for links, without a slash at its
	// end: /payments/gateway.
	Base string
	// MayChange says that the caller may do more than look. Without it, whatever
	// changes or sends something is refused.
	MayChange bool
	// Page says that ?ui gives a page for people here, on which they make calls as
	// who they have signed in as. Nobody else counts what their bodies take, so that
	// few large ones are at work at once.
	Page bool
}

// Part serves the paths of the gateway that are not of contracts. It is made in
// this package.
type Part interface {
	// serve answers a request, or returns false if the path is not its. A WebSocket
	// is served until it ends, and ends with the context of r: whoever counts it, and
	// knows of its credential, waits for that.
	serve(w http.ResponseWriter, r *http.Request, c Caller, path string) bool
}

// Config is what a [Handler] is made of.
type Config struct {
	Book    *contract.Book
	Desk    *contract.Desk
	Streams Part // event streams and subscriptions; nil: there are none

	Release string // of this program, for the OpenAPI documents

	// Body bounds a body, in bytes; 1 MiB; that of a hook may have the bytecode of a
	// contract beside it. Upload bounds one that uploads a contract; 8 MiB.
	Body, Upload int64
	// ReadTime is how long a body may take to come; 10 s.
	ReadTime time.Duration
	// CallTimeout bounds what asks the node or the store; 30 s. SendTimeout bounds a
	// transaction until it is accepted; 60 s. SyncTimeout bounds the wait for its
	// receipt; 5 min.
	CallTimeout, SendTimeout, SyncTimeout time.Duration

	Logger *slog.Logger // nil discards
}

// Handler serves the gateways of all services. It is safe for concurrent use.
type Handler struct {
	cfg    Config
	log    *slog.Logger
	routes []route

	large largeBodies // at work, of the management API

	stop     chan struct{} // closed when nobody is to wait any longer
	stopping sync.Once
}

// New makes the handler. An error says what is missing in cfg.
func New(cfg Config) (*Handler, error) {
	if cfg.Book == nil || cfg.Desk == nil {
		return nil, errors.New("gateway: there has to be a book of contracts, and a desk")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	def(&cfg.Body, 1<<20)
	def(&cfg.Upload, 8<<20)
	def(&cfg.ReadTime, 10*time.Second)
	def(&cfg.CallTimeout, 30*time.Second)
	def(&cfg.SendTimeout, time.Minute)
	def(&cfg.SyncTimeout, time.Minute)
	return &Handler{cfg: cfg, log: cfg.Logger, routes: ready(routes()), stop: make(chan struct{})}, nil
}

// Stop ends the waiting for receipts: who waits is told that the transaction is
// pending. It may be called more than once.
func (h *Handler) Stop() { h.stopping.Do(func() { close(h.stop) }) }

func def[T comparable](v *T, to T) {
	var zero T
	if *v == zero {
		*v = to
	}
}
