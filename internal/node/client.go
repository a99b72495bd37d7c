// SPDX-License-Identifier: Apache-2.0

// Package node is the client of one Ethereum chain over HTTP JSON-RPC, and
// over WebSocket for subscriptions, at one node or at several of which one is
// used at a time.
//
// A node is not trusted. Whatever it answers, however slowly and however
// much, a call ends by its deadline with bounded memory, and its answer is
// either well formed or ErrBadResponse. Identity pins the chain that the node
// serves; VerifyChain asks again before anything is sent. What passes through
// (Forward) is handed on byte for byte.
//
// Where there are several endpoints, each call runs wholly on the one that
// was active when it began, and an endpoint becomes active only after it has
// shown, just then, the pinned chain id and first block. See monitor for when
// the active one is left, and Generation for how to notice.
//
// The package never follows a redirect, never takes a proxy from the
// environment, never decides about a nonce, never repeats at another node
// what it sent to one, and never puts a node's address into an error or a
// log: those texts reach clients.
package node

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"
)

// Defaults of a Config.
const (
	DefaultTimeout     = 10 * time.Second
	DefaultMaxResponse = 32 << 20 // bytes
	DefaultCheck       = 2 * time.Second
	DefaultDownAfter   = 5 * time.Second
	DefaultDwell       = 30 * time.Second
	DefaultMaxLag      = 5 // blocks
)

// Config says which node to talk to and how. Only URL or Endpoints is
// required.
type Config struct {
	URL         string            // as Endpoint.URL, and so on: for a single node
	WSURL       string            //
	Username    string            //
	Password    string            //
	Headers     map[string]string //
	ChainID     uint64            // the chain that must answer; 0: whatever the first answer says
	Instance    string            // tells development chains apart that share a genesis block
	Timeout     time.Duration     // of one HTTP request, its answer included; default 10 s
	MaxResponse int64             // bytes of one answer or WebSocket message, less for what is known to be short; default 32 MiB
	TLS         *tls.Config       // of endpoints that have none of their own
	Logger      *slog.Logger      // nil: silent

	// DialContext is that of endpoints that have none of their own.
	DialContext func(ctx context.Context, network, address string) (net.Conn, error)

	// Endpoints are several nodes of one chain, in the order of preference,
	// instead of URL, WSURL, Username, Password and Headers. What follows is
	// of use only with more than one; see monitor.
	Endpoints []Endpoint
	Check     time.Duration // how often each is looked at; default 2 s
	DownAfter time.Duration // the active one is left when it did not answer for so long; default 5 s
	MaxLag    uint64        // or is more than so many blocks behind; default 5
	Dwell     time.Duration // but for its lag not sooner than so long after a change; default 30 s
}

// Client talks to one chain. All methods are safe for concurrent use.
type Client struct {
	cfg       Config
	log       *slog.Logger
	endpoints []*endpoint // in configured order; at least one
	current   atomic.Pointer[tenure]
	pin       pin
	memory    *memory
	feed      *feed
	monitor   *monitor // nil: there is only one endpoint
	closed    chan struct{}
	once      sync.Once
}

// tenure is an endpoint's time as the active one. Both values change together,
// so that who sees the one sees the other.
type tenure struct {
	*endpoint
	generation uint64
}

// New makes a client. With one endpoint it does not connect; with several it
// begins to watch them, until Close.
func New(cfg Config) (*Client, error) {
	list, err := endpointList(cfg)
	if err != nil {
		return nil, err
	}
	if cfg.Timeout < 0 || cfg.MaxResponse < 0 {
		return nil, errors.New("node: timeout and maximum response must not be negative")
	}
	if cfg.Check < 0 || cfg.DownAfter < 0 || cfg.Dwell < 0 {
		return nil, errors.New("node: check, down after and dwell must not be negative")
	}
	or(&cfg.Timeout, DefaultTimeout)
	or(&cfg.MaxResponse, DefaultMaxResponse)
	or(&cfg.Check, DefaultCheck)
	or(&cfg.DownAfter, DefaultDownAfter)
	or(&cfg.Dwell, DefaultDwell)
	or(&cfg.MaxLag, DefaultMaxLag)
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	c := &Client{cfg: cfg, log: cfg.Logger, memory: newMemory(), closed: make(chan struct{})}
	c.pin.id.Store(cfg.ChainID)
	for _, in := range list {
		e, err := newEndpoint(c, in)
		if err != nil {
			if len(list) > 1 {
				return nil, fmt.Errorf("%s: %w", in.Name, err)
			}
			return nil, err
		}
		c.endpoints = append(c.endpoints, e)
	}
	c.current.Store(&tenure{c.endpoints[0], 1})
	c.feed = newFeed(c)
	if len(c.endpoints) > 1 {
		c.monitor = startMonitor(c)
	}
	return c, nil
}

func or[T comparable](v *T, otherwise T) {
	var zero T
	if *v == zero {
		*v = otherwise
	}
}

// endpointList is cfg's endpoints, each with a name of its own.
func endpointList(cfg Config) ([]Endpoint, error) {
	list := append([]Endpoint(nil), cfg.Endpoints...)
	switch {
	case len(list) == 0:
		list = []Endpoint{{URL: cfg.URL, WSURL: cfg.WSURL, Username: cfg.Username, Password: cfg.Password, Headers: cfg.Headers}}
	case cfg.URL != "" || cfg.WSURL != "" || cfg.Username != "" || cfg.Password != "" || len(cfg.Headers) > 0:
		// Credentials of one node must not go to another by mistake.
		return nil, errors.New("node: URL, credentials and headers belong to each endpoint where there are several")
	}
	seen := make(map[string]bool, len(list))
	for i := range list {
		in := &list[i]
		or(&in.Name, fmt.Sprintf("node-%d", i+1))
		if seen[in.Name] {
			return nil, fmt.Errorf("node: two endpoints are called %q", in.Name)
		}
		seen[in.Name] = true
		or(&in.TLS, cfg.TLS)
		if in.DialContext == nil {
			in.DialContext = cfg.DialContext
		}
	}
	return list, nil
}

// Close ends all subscriptions, the watch over the endpoints, and idle
// connections. Calls in flight run to their end. It must not be called from a
// function that was given to OnChange.
func (c *Client) Close() {
	c.once.Do(func() {
		close(c.closed)
		if c.monitor != nil {
			c.monitor.stop()
		}
		c.feed.close()
		for _, e := range c.endpoints {
			e.transport.CloseIdleConnections()
			if e.wire != nil {
				e.wire.close()
			}
		}
	})
}

// Instance is the label of Config.Instance.
func (c *Client) Instance() string { return c.cfg.Instance }

// active is the endpoint for a call that begins now.
func (c *Client) active() *endpoint { return c.current.Load().endpoint }

// Generation counts the changes of the active endpoint; it starts at 1. A
// call runs wholly on the endpoint that was active when it began, and the
// generation never goes back. Hence, if Generation is the same before a call
// and after it, the answer came from the endpoint that is active still.
func (c *Client) Generation() uint64 { return c.current.Load().generation }

// OnChange makes f be called after each change of the active endpoint, from a
// goroutine of the client, one call at a time: when f is called, Generation
// has risen and new calls go to the new endpoint. f must return soon. The
// returned function ends it; a call of f may still be running then.
func (c *Client) OnChange(f func()) (remove func()) {
	if c.monitor == nil {
		return func() {}
	}
	return c.monitor.listeners.add(f)
}
