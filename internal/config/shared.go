// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"time"
)

// Database is the PostgreSQL database in which several daemons, or one, keep
// their rows; without it they are in a SQLite file in the data folder.
type Database struct {
	URL         Secret        // database, or url: postgres://user:password@host:5432/name
	Connections int           // connections: at most so many to the server; default 10
	Timeout     time.Duration // timeout: of one statement; default 10s
	Pooler      Pooler        // pooler: what stands before the server; default auto
}

// Set reports whether a database was given.
func (d Database) Set() bool { return d.URL.Set() }

// Pooler says what stands between the daemon and PostgreSQL.
type Pooler string

// The kinds of connection pooler.
const (
	PoolerAuto        Pooler = "auto"        // found out at the start
	PoolerNone        Pooler = "none"        // the server itself, or a pooler in session mode
	PoolerTransaction Pooler = "transaction" // pgbouncer and the like in transaction mode
)

// Replica is how daemons on one database reach each other.
type Replica struct {
	Listen string        // listen: address for peers; without it they read this one's answers from the database
	URL    string        // url: at which peers reach it; default http:// and the listen address
	Lease  time.Duration // lease: how long a dead replica's accounts wait for another; default 10s
	Drain  time.Duration // drain: how long a stopping replica is not ready before it refuses requests, so that the load balancer turns away; default 3s with a database, else 0
}

// Retention is how long rows are kept that are done with. Zero keeps for ever.
type Retention struct {
	Transactions    time.Duration // transactions: after they are final; default 2160h (90 days)
	IdempotencyKeys time.Duration // idempotency_keys: after they were first used; default 2160h
	Audit           time.Duration // audit: intents and outcomes whose transaction is gone; default 0, for ever
}

// Tracing is where OpenTelemetry spans go.
type Tracing struct {
	Endpoint string // endpoint: OTLP over HTTP, like http://127.0.0.1:4318; empty for no tracing
	Headers  map[string]Secret
	Sample   float64 // sample: share of requests that are traced, if the caller does not say; default 1
}

func readDatabase(v value) (Database, error) {
	d := Database{Connections: 10, Timeout: 10 * time.Second, Pooler: PoolerAuto}
	whole := false
	if v.node.Kind == yamlMapping {
		for i := 0; i < len(v.node.Content); i += 2 {
			whole = whole || v.node.Content[i].Value == "url"
		}
	}
	if !whole {
		var err error
		d.URL, err = databaseURL(v)
		return d, err
	}
	o := v.object()
	need(o, "url", &d.URL, databaseURL)
	field(o, "connections", &d.Connections, integer(6, 1000))
	field(o, "timeout", &d.Timeout, duration(100*time.Millisecond, 5*time.Minute))
	field(o, "pooler", &d.Pooler, oneOf(PoolerAuto, PoolerNone, PoolerTransaction))
	o.done()
	return d, nil
}

// databaseURL reads a URL as a [Secret]; its text never shows in a message,
// since it carries a password.
func databaseURL(v value) (Secret, error) {
	const want = "want postgres://user:password@host:5432/name" //nolint:gosec // no password of anybody
	inline := v.r.inlineSecrets
	s, err := secret(v)
	if err != nil || !s.Set() {
		return s, err
	}
	plain, err := s.Reveal()
	if err != nil {
		return s, nil //nolint:nilerr // secret has reported it, with the file
	}
	u, err := url.Parse(plain)
	switch {
	case err != nil || u.Scheme == "":
		return s, errors.New("is not a URL: " + want)
	case u.Scheme != "postgres" && u.Scheme != "postgresql":
		return s, fmt.Errorf("has the scheme %q: %s, or leave it out and name a folder for SQLite in data", u.Scheme, want)
	case len(u.Path) <= 1:
		return s, errors.New("names no database: " + want)
	}
	if _, password := u.User.Password(); !password {
		v.r.inlineSecrets = inline
	}
	return s, nil
}

func readReplica(v value) (Replica, error) {
	c := Replica{Lease: 10 * time.Second, Drain: 3 * time.Second}
	o := v.object()
	field(o, "listen", &c.Listen, listenAddress)
	field(o, "url", &c.URL, matching(peerURL, "http://host:port or https://host:port"))
	field(o, "lease", &c.Lease, duration(500*time.Millisecond, 5*time.Minute))
	field(o, "drain", &c.Drain, duration(0, time.Minute))
	o.done()
	if o == nil {
		return c, nil
	}
	address, err := netip.ParseAddrPort(c.Listen)
	_, named := o.given("url")
	switch {
	case named && c.Listen == "":
		o.at("url").fail("is given, but listen is not: want the address to listen on, like 0.0.0.0:8081")
	case err == nil && address.Addr().IsUnspecified() && !named:
		o.at("url").fail("is missing: replica.listen is %s, so say how peers reach it, like http://10.0.0.5:8081", c.Listen)
	case c.URL == "" && c.Listen != "" && !strings.HasSuffix(c.Listen, ":0"):
		c.URL = "http://" + c.Listen
	}
	return c, nil
}

var peerURL = regexp.MustCompile(`^https?://[A-Za-z0-9.\[\]:-]+$`)

const day = 24 * time.Hour

func defaultRetention() Retention {
	return Retention{Transactions: 90 * day, IdempotencyKeys: 90 * day}
}

func readRetention(v value) (Retention, error) {
	c := defaultRetention()
	o := v.object()
	field(o, "transactions", &c.Transactions, orNever(duration(time.Minute, 36500*day)))
	field(o, "idempotency_keys", &c.IdempotencyKeys, orNever(duration(time.Minute, 36500*day)))
	field(o, "audit", &c.Audit, orNever(duration(time.Minute, 36500*day)))
	o.done()
	if o == nil {
		return c, nil
	}
	keys, given := o.given("idempotency_keys")
	if c.IdempotencyKeys != 0 && (c.Transactions == 0 || c.IdempotencyKeys < c.Transactions) {
		if given {
			keys.fail("is shorter than transactions: a retry of a payment whose key is forgotten pays again")
		} else {
			c.IdempotencyKeys = c.Transactions
		}
	}
	return c, nil
}

// orNever also takes the word never, as zero.
func orNever(d parser[time.Duration]) parser[time.Duration] {
	return func(v value) (time.Duration, error) {
		if v.node.Value == "never" {
			return 0, nil
		}
		got, err := d(v)
		if err != nil {
			err = fmt.Errorf("%w, or never", err)
		}
		return got, err
	}
}

// orZero also takes 0.
func orZero(d parser[time.Duration]) parser[time.Duration] {
	return func(v value) (time.Duration, error) {
		if v.node.Value == "0" || v.node.Value == "0s" {
			return 0, nil
		}
		got, err := d(v)
		if err != nil {
			err = fmt.Errorf("%w, or 0", err)
		}
		return got, err
	}
}

func readTracing(v value) (Tracing, error) {
	c := Tracing{Sample: 1}
	o := v.object()
	need(o, "endpoint", &c.Endpoint, matching(tracingURL, "http:// or https:// with host, port and no query, like http://127.0.0.1:4318"))
	field(o, "headers", &c.Headers, readHeaders)
	field(o, "sample", &c.Sample, number(0, 1))
	o.done()
	return c, nil
}

var tracingURL = regexp.MustCompile(`^https?://[A-Za-z0-9.\[\]:-]+(/[A-Za-z0-9._/-]*)?$`)

// shared checks what only database and replica together can show.
func (r *reader) shared(o *object, c *Config) {
	replica, given := o.given("replica")
	switch {
	case given && !c.Database.Set():
		if _, named := o.given("database"); !named {
			replica.fail("is for daemons that share a PostgreSQL database: want database, or no replica")
		}
	case !given && c.Database.Set():
		c.Replica = Replica{Lease: 10 * time.Second, Drain: 3 * time.Second}
	}
	if c.Replica.Listen != "" && !strings.HasSuffix(c.Replica.Listen, ":0") && (c.Replica.Listen == c.RPC.Listen || c.Replica.Listen == c.Admin.Listen) {
		o.at("replica").fail("listens on %s, as rpc or admin does: want another address", c.Replica.Listen)
	}
}
