// SPDX-License-Identifier: Apache-2.0

// Package eventstream follows chains and tells others which events of contracts
// there were: streams, each with subscriptions, delivered in batches to a webhook
// or to WebSockets.
//
// It guarantees that every event of a subscription from its first block on is
// delivered at least once, whatever restarts in between: the checkpoint of a
// subscription advances only over what was taken by its receiver, or was given up
// because the stream is told to skip what fails. The checkpoint knows the hashes
// of the newest blocks, so that a reorganisation is noticed: events that vanished
// are told again, as removed, and those of the new blocks follow. Of the processes
// on one store exactly one delivers a stream, the holder of its lease. A webhook is
// dialled by package dialrule's rules only, judged by the address its name
// resolves to, and its redirects are not followed.
//
// It never signs or sends a transaction, and never puts a webhook's URL or headers
// into an error, a log or a row in clear text; the headers are sealed. Of the URL the
// audit trail tells the host. What was sealed for one receiver is never sent to
// another because somebody changed the URL. It knows
// nothing of HTTP requests that come in.
package eventstream

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/dialrule"
	"github.com/hsmsigner/hsmsigner/internal/node"
	"github.com/hsmsigner/hsmsigner/internal/seal"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

// Bounds of what one place may have.
const (
	MaxStreams       = 100 // of a place
	MaxSubscriptions = 100 // of a stream
	MaxListeners     = 100 // WebSockets of a wallet, at one process
	MaxTopics        = 100 // of a WebSocket
)

// Place is where streams stand: what is in one is not found from another.
type Place struct {
	Environment string // id
	Membership  string // id
}

// Node is asked for blocks and logs. *fleet.Wallet and *node.Client are ones.
type Node interface {
	// Forward passes a request to the node; see node.Client.
	Forward(ctx context.Context, method string, params []byte, header http.Header) (node.Response, error)
}

// Sealer encrypts headers of webhooks. *seal.Sealer is one.
type Sealer interface {
	Seal(ctx context.Context, p seal.Place, plain []byte) ([]byte, error)
	Open(ctx context.Context, p seal.Place, sealed []byte) ([]byte, error)
}

// Config is what [Streams] work with. Zero durations are their defaults.
type Config struct {
	Store *store.DB
	Owner string // unique per process start; default a new id
	// Node finds the node of a wallet; nil: the wallet does not run in this process.
	Node   func(wallet string) Node
	Sealer Sealer // nil: no webhook can have headers
	// Consortium is the id of the consortium that a place stands in, for the audit
	// trail. It may be nil.
	Consortium func(Place) string
	// Egress says which addresses webhooks may have. By plain http only those that
	// Egress.Rules.Allow names are reached.
	Egress dialrule.Config

	Poll     time.Duration // between looks for a new block, and for what other replicas changed; default 1 s
	LeaseTTL time.Duration // after which another replica takes over; default 15 s
	// QueueBytes is how much of a stream's events waits, as JSON, before no more is
	// read; default 32 MiB.
	QueueBytes int
	SaveEvery  time.Duration // how often a checkpoint that passed no event is written; default 5 s
	Backoff    time.Duration // before the second try of a batch; default 1 s, doubled up to 30 s
	UserAgent  string        // default hsmsigner

	Logger *slog.Logger // nil discards
}

// Streams keeps the streams and delivers them. All methods are safe for concurrent
// use.
type Streams struct {
	cfg    Config
	log    *slog.Logger
	dialer *dialrule.Dialer // for https
	plain  *dialrule.Dialer // for http
	hub    *hub
	kick   chan struct{}

	mu      sync.Mutex
	runners map[string]*runner // by the stream's id
}

// New checks the configuration. It starts nothing.
func New(cfg Config) (*Streams, error) {
	if cfg.Store == nil || cfg.Node == nil {
		return nil, errors.New("eventstream: there has to be a store, and what finds a wallet's node")
	}
	byDefault(&cfg.Owner, store.NewID())
	byDefault(&cfg.Poll, time.Second)
	byDefault(&cfg.LeaseTTL, 15*time.Second)
	byDefault(&cfg.SaveEvery, 5*time.Second)
	byDefault(&cfg.QueueBytes, 32<<20)
	byDefault(&cfg.Backoff, time.Second)
	byDefault(&cfg.UserAgent, "hsmsigner")
	s := &Streams{cfg: cfg, log: cfg.Logger, hub: newHub(), kick: make(chan struct{}, 1), runners: make(map[string]*runner)}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	s.hub.changed = s.wake
	var err error
	if s.dialer, err = dialrule.NewDialer(cfg.Egress); err != nil {
		return nil, fmt.Errorf("eventstream: %w", err)
	}
	cfg.Egress.Rules.Only = true
	if s.plain, err = dialrule.NewDialer(cfg.Egress); err != nil {
		return nil, fmt.Errorf("eventstream: %w", err)
	}
	return s, nil
}

func byDefault[T comparable](field *T, value T) {
	var zero T
	if *field == zero {
		*field = value
	}
}

// wake has Run look at the streams now.
func (s *Streams) wake() {
	select {
	case s.kick <- struct{}{}:
	default:
	}
}
