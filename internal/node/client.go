// SPDX-License-Identifier: Apache-2.0

// Package node is the client of one Ethereum node over HTTP JSON-RPC, and
// over WebSocket for subscriptions.
//
// A node is not trusted. Whatever it answers, however slowly and however
// much, a call ends by its deadline with bounded memory, and its answer is
// either well formed or ErrBadResponse. Identity pins the chain that the node
// serves; VerifyChain asks again before anything is sent. What passes through
// (Forward) is handed on byte for byte.
//
// The package never follows a redirect, never takes a proxy from the
// environment, never decides about a nonce, and never puts the node's
// address into an error: those texts reach clients.
package node

import (
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Defaults of a Config.
const (
	DefaultTimeout     = 10 * time.Second
	DefaultMaxResponse = 32 << 20 // bytes
)

// Config says which node to talk to and how. Only URL is required.
type Config struct {
	URL         string            // http or https; user info in it becomes Username and Password
	WSURL       string            // ws or wss, for subscriptions; default: URL with its scheme changed
	ChainID     uint64            // the chain that must answer; 0: whatever the first answer says
	Instance    string            // tells development chains apart that share a genesis block
	Timeout     time.Duration     // of one HTTP request, its answer included; default 10 s
	MaxResponse int64             // bytes of one answer or WebSocket message; default 32 MiB
	Username    string            // HTTP Basic, if not empty
	Password    string            // HTTP Basic
	Headers     map[string]string // sent with every request, for nodes behind an API gateway
	TLS         *tls.Config       // nil: the system's roots, TLS 1.2 or newer
	Logger      *slog.Logger      // nil: silent

	// DialControl, if set, sees the resolved address of every connection
	// before it is made and may refuse it, as net.Dialer.Control does. It is
	// where a rule against private address ranges belongs: a check of the URL
	// alone is defeated by DNS.
	DialControl func(network, address string, c syscall.RawConn) error
}

// Client talks to one node. All methods are safe for concurrent use.
type Client struct {
	cfg     Config
	url     string
	header  http.Header // of every request; read-only after New
	http    *http.Client
	log     *slog.Logger
	lastID  atomic.Uint64
	batches batchLimit
	missing missingMethods
	pin     pin
	verify  coalescer
	stats   recorder
	scratch scratch
	feed    *feed
	closed  chan struct{}
	once    sync.Once
}

// New makes a client. It does not connect.
func New(cfg Config) (*Client, error) {
	u, err := parseURL(cfg.URL, "http", "https")
	if err != nil {
		return nil, fmt.Errorf("node url: %w", err)
	}
	if u.User != nil {
		if cfg.Username == "" {
			cfg.Username = u.User.Username()
			cfg.Password, _ = u.User.Password()
		}
		u.User = nil
	}
	wsURL, err := socketURL(cfg.WSURL, u)
	if err != nil {
		return nil, fmt.Errorf("node websocket url: %w", err)
	}
	if cfg.Timeout < 0 || cfg.MaxResponse < 0 {
		return nil, errors.New("node: timeout and maximum response must not be negative")
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = DefaultTimeout
	}
	if cfg.MaxResponse == 0 {
		cfg.MaxResponse = DefaultMaxResponse
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	c := &Client{
		cfg:    cfg,
		url:    u.String(),
		header: baseHeader(cfg),
		log:    cfg.Logger,
		closed: make(chan struct{}),
	}
	c.http = &http.Client{
		Transport: transport(cfg),
		// A redirect would carry credentials and transactions to a place
		// nobody configured.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	c.pin.id.Store(cfg.ChainID)
	c.verify.check = c.checkChain
	c.feed = newFeed(c, wsURL)
	return c, nil
}

// Close ends all subscriptions and idle connections. Calls in flight run to
// their end.
func (c *Client) Close() {
	c.once.Do(func() {
		close(c.closed)
		c.feed.close()
		c.http.CloseIdleConnections()
	})
}

// Instance is the label of Config.Instance.
func (c *Client) Instance() string { return c.cfg.Instance }

func parseURL(raw string, schemes ...string) (*url.URL, error) {
	u, err := url.Parse(raw)
	if err != nil {
		// The text of url.Error holds the URL, and with it perhaps a password.
		return nil, fmt.Errorf("not a URL; want %s://host:port", schemes[0])
	}
	for _, s := range schemes {
		if u.Scheme == s && u.Hostname() != "" {
			u.Fragment = ""
			return u, nil
		}
	}
	if u.Hostname() == "" && u.Scheme != "" && u.Opaque == "" {
		return nil, fmt.Errorf("has no host; want %s://host:port", schemes[0])
	}
	return nil, fmt.Errorf("scheme %q; want %s", u.Scheme, strings.Join(schemes, " or "))
}

func socketURL(raw string, from *url.URL) (string, error) {
	if raw == "" {
		u := *from
		u.Scheme = strings.Replace(u.Scheme, "http", "ws", 1)
		return u.String(), nil
	}
	u, err := parseURL(raw, "ws", "wss")
	if err != nil {
		return "", err
	}
	if u.User != nil {
		return "", errors.New("has user info; put it into the user name and password of the node")
	}
	return u.String(), nil
}

func baseHeader(cfg Config) http.Header {
	h := make(http.Header, len(cfg.Headers)+3)
	for k, v := range cfg.Headers {
		h.Set(k, v)
	}
	if cfg.Username != "" || cfg.Password != "" {
		pair := cfg.Username + ":" + cfg.Password
		h.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(pair)))
	}
	h.Set("User-Agent", "hsmsigner")
	h.Set("Content-Type", "application/json")
	h.Set("Accept", "application/json")
	return h
}

func transport(cfg Config) *http.Transport {
	t := cfg.TLS
	if t == nil {
		t = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	dialer := &net.Dialer{Timeout: min(cfg.Timeout, 5*time.Second), KeepAlive: 15 * time.Second, Control: cfg.DialControl}
	return &http.Transport{
		Proxy:                  nil, // never from the environment
		DialContext:            dialer.DialContext,
		TLSClientConfig:        t.Clone(),
		TLSHandshakeTimeout:    min(cfg.Timeout, 5*time.Second),
		ResponseHeaderTimeout:  cfg.Timeout,
		ExpectContinueTimeout:  time.Second,
		MaxResponseHeaderBytes: 64 << 10,
		MaxIdleConns:           512,
		MaxIdleConnsPerHost:    256,
		MaxConnsPerHost:        1024, // beyond that, requests wait for their turn until their deadline
		// Shorter than the idle timeout of geth (120 s) and of most proxies,
		// so that we seldom write into a connection that is being closed.
		IdleConnTimeout: 30 * time.Second,
		// Also the guard against a compressed answer that grows without end.
		DisableCompression: true,
		ForceAttemptHTTP2:  strings.HasPrefix(cfg.URL, "https:"),
		WriteBufferSize:    16 << 10,
		ReadBufferSize:     16 << 10,
	}
}
