// SPDX-License-Identifier: Apache-2.0

// Package syslog sends the records of the audit log to syslog servers (RFC 5424)
// as they are logged, each as the very line that the log has hashed, so that
// what a server has can be checked against a checkpoint.
//
// It guarantees that every record is sent at least once, in the order of the log,
// also across restarts: the position is remembered only once the server's side
// has acknowledged the bytes (TCP, TLS) or the kernel has taken them (UDP, Unix
// datagrams, of which nobody can know more). Who reads may see some records
// twice, and tells them apart by their sequenceId. A record whose row was removed
// because its time was up (retention.audit) before it could be sent is left out.
//
// It never holds up the log, nor one server for another's sake.
package syslog

import (
	"context"
	"crypto/tls"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/audit/logbook"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

// Log is read from. *logbook.Book is one.
type Log interface {
	// Records returns at most limit records from the place from on, in the order
	// of their places, and none if there are no more yet.
	Records(ctx context.Context, from int64, limit int) ([]logbook.Logged, error)
}

// Store remembers how far each server is. *store.DB is one.
type Store interface {
	AuditWitness(ctx context.Context, name string) (store.AuditWitness, error)
	PutAuditWitness(ctx context.Context, a store.AuditWitness) error
}

// Server is a syslog server.
type Server struct {
	Name     string      // under which its position is remembered
	Network  string      // udp, tcp, tls or unix
	Address  string      // host:port, or the path of a socket
	Facility int         // RFC 5424 §6.2.1
	Hostname string      // of this machine, as messages have it
	App      string      // of this program
	TLS      *tls.Config // for network tls; nil: the system's authorities
	Timeout  time.Duration
}

// Config is what an Exporter is made of.
type Config struct {
	Log     Log
	Store   Store
	Servers []Server
	// Turn reports whether it is this process that sends to the server now: where
	// replicas share a database, one at a time does. Nil: always.
	Turn func(ctx context.Context, name string) bool
	Poll time.Duration // between looks for new records; default 500 ms
	// Settle is how long a stream must stay up after a write before what was
	// written counts as arrived, and how often the position is stored at most;
	// default 2 s.
	Settle time.Duration
	Logger *slog.Logger // nil discards
}

// Exporter sends to all servers. Its methods are safe for concurrent use.
type Exporter struct{ cfg Config }

// New makes an Exporter.
func New(c Config) (*Exporter, error) {
	if c.Log == nil || c.Store == nil {
		return nil, errors.New("syslog: a log and a store are required")
	}
	if c.Turn == nil {
		c.Turn = func(context.Context, string) bool { return true }
	}
	if c.Poll <= 0 {
		c.Poll = 500 * time.Millisecond
	}
	if c.Settle <= 0 {
		c.Settle = 2 * time.Second
	}
	if c.Logger == nil {
		c.Logger = slog.New(slog.DiscardHandler)
	}
	return &Exporter{cfg: c}, nil
}

// Run sends until ctx ends.
func (e *Exporter) Run(ctx context.Context) {
	var all sync.WaitGroup
	for _, s := range e.cfg.Servers {
		all.Go(func() { e.serve(ctx, s) })
	}
	all.Wait()
}
