// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"strings"
	"sync/atomic"
	"time"
)

// Endpoint is one address at which the chain is served. Only URL is required.
type Endpoint struct {
	Name     string            // shown in place of the address; default node-1, node-2, … by position
	URL      string            // http or https; user info in it becomes Username and Password
	WSURL    string            // ws or wss, for subscriptions; default: URL with its scheme changed
	Username string            // HTTP Basic, if not empty
	Password string            // HTTP Basic
	Headers  map[string]string // sent with every request, for nodes behind an API gateway
	TLS      *tls.Config       // nil: the system's roots, TLS 1.2 or newer

	// DialContext, if set, opens every connection, HTTP and WebSocket; nil: a
	// net.Dialer. It is where a rule against private address ranges belongs: a
	// check of the URL alone is defeated by DNS.
	DialContext func(ctx context.Context, network, address string) (net.Conn, error)
}

// endpoint is an Endpoint in use: its connections, and what was learnt of the
// node behind it. A call runs wholly on one endpoint.
type endpoint struct {
	c      *Client
	name   string
	url    string
	wsURL  string
	host   string      // Host header, if it is not the URL's
	header http.Header // of every request; read-only
	// A plain http address is spoken to over wire; everything else, and what
	// wire does not do, goes over transport.
	wire      *wire
	transport *http.Transport
	lastID    atomic.Uint64
	batches   batchLimit
	missing   missingMethods
	verify    coalescer
	stats     recorder
	newest    atomic.Uint64 // height of the newest block that it was seen to have
	watch     *watch        // nil: the only endpoint
}

func newEndpoint(c *Client, in Endpoint) (*endpoint, error) {
	u, err := parseURL(in.URL, "http", "https")
	if err != nil {
		return nil, fmt.Errorf("node url: %w", err)
	}
	if u.User != nil {
		if in.Username == "" {
			in.Username = u.User.Username()
			in.Password, _ = u.User.Password()
		}
		u.User = nil
	}
	wsURL, err := socketURL(in.WSURL, u)
	if err != nil {
		return nil, fmt.Errorf("node websocket url: %w", err)
	}
	dial := dialing(in, min(c.cfg.Timeout, 5*time.Second))
	e := &endpoint{
		c:         c,
		name:      in.Name,
		url:       u.String(),
		wsURL:     wsURL,
		host:      in.Headers["Host"],
		header:    baseHeader(in),
		transport: transport(in, dial, c.cfg.Timeout),
	}
	e.wire = newWire(u, e, dial)
	e.verify.check = e.checkChain
	return e, nil
}

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

func baseHeader(in Endpoint) http.Header {
	h := make(http.Header, len(in.Headers)+3)
	for k, v := range in.Headers {
		h.Set(k, v)
	}
	if in.Username != "" || in.Password != "" {
		pair := in.Username + ":" + in.Password
		h.Set("Authorization", "Basic "+base64.StdEncoding.EncodeToString([]byte(pair)))
	}
	h.Set("User-Agent", "hsmsigner")
	h.Set("Content-Type", "application/json")
	return h
}

// dialFunc has the form of net.Dialer's method.
type dialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// dialing is how connections to an endpoint are made, in that time.
func dialing(in Endpoint, timeout time.Duration) dialFunc {
	if in.DialContext == nil {
		return (&net.Dialer{Timeout: timeout, KeepAlive: 15 * time.Second}).DialContext
	}
	return func(ctx context.Context, network, address string) (net.Conn, error) {
		ctx, cancel := context.WithTimeout(ctx, timeout)
		defer cancel()
		return in.DialContext(ctx, network, address)
	}
}

func transport(in Endpoint, dial dialFunc, timeout time.Duration) *http.Transport {
	t := in.TLS
	if t == nil {
		t = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	return &http.Transport{
		Proxy:                  nil, // never from the environment
		DialContext:            dial,
		TLSClientConfig:        t.Clone(),
		TLSHandshakeTimeout:    min(timeout, 5*time.Second),
		ResponseHeaderTimeout:  timeout,
		ExpectContinueTimeout:  time.Second,
		MaxResponseHeaderBytes: 64 << 10,
		MaxIdleConns:           512,
		MaxIdleConnsPerHost:    256,
		MaxConnsPerHost:        maxConns,
		IdleConnTimeout:        idleTimeout,
		// Also the guard against a compressed answer that grows without end.
		DisableCompression: true,
		ForceAttemptHTTP2:  strings.HasPrefix(in.URL, "https:"),
		WriteBufferSize:    16 << 10,
		ReadBufferSize:     16 << 10,
	}
}
