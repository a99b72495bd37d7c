// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/audit/logbook"
	"github.com/hsmsigner/hsmsigner/internal/audit/syslog"
	"github.com/hsmsigner/hsmsigner/internal/audit/witness"
	"github.com/hsmsigner/hsmsigner/internal/config"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

// auditTrail is the audit log of this daemon, and who else is given it.
type auditTrail struct {
	book  *logbook.Book
	close func() // gives the last records to the log, and waits; before the database is closed, after all that writes
}

// openAudit opens the log, and begins to append to it and to give it away. It
// comes before anything is written that belongs on record. owner is this process
// among replicas.
func openAudit(ctx context.Context, c *config.Config, db *store.DB, owner string, log *slog.Logger) (*auditTrail, error) {
	key, err := auditKey(ctx, c, db, log)
	if err != nil {
		return nil, err
	}
	book, err := logbook.Open(ctx, logbook.Config{Store: db, Key: key, Interval: c.Audit.Interval, Logger: log})
	if err != nil {
		return nil, err
	}
	turns := &auditTurns{db: db, owner: owner + "/audit", shared: c.Database.Set()}
	keeper, err := openWitnesses(c.Audit.Witnesses, book, db, turns, log)
	if err != nil {
		return nil, err
	}
	exporter, err := openSyslog(c.Audit.Syslog, book, db, turns, log)
	if err != nil {
		return nil, err
	}
	log.Info("audit log", "log", key.Origin(), "key", key.Verifier().String())
	background := context.WithoutCancel(ctx)
	giving, endGiving := context.WithCancel(background)
	writing, endWriting := context.WithCancel(background)
	var givers, writer sync.WaitGroup
	writer.Go(func() {
		if err := book.Run(writing); err != nil {
			log.Error("the audit log has ended", "err", err)
		}
	})
	givers.Go(func() { keeper.Run(giving) })
	givers.Go(func() { exporter.Run(giving) })
	return &auditTrail{book: book, close: func() {
		endGiving()
		givers.Wait()
		turns.release(background)
		endWriting()
		writer.Wait()
	}}, nil
}

// health is what readiness looks at.
func (t *auditTrail) health(context.Context) error { return t.book.Health() }

func openWitnesses(all []config.AuditWitness, book *logbook.Book, db *store.DB, turns *auditTurns, log *slog.Logger) (*witness.Keeper, error) {
	cfg := witness.Config{Log: book, Store: db, Turn: turns.witness, Logger: log}
	for _, w := range all {
		var place witness.Place = witness.File{Path: w.File}
		if w.URL != "" {
			roots, err := moreRoots(w.CACert)
			if err != nil {
				return nil, fmt.Errorf("audit.witnesses: %s: %w", w.Name, err)
			}
			if place, err = witness.NewServer(w.URL, w.Key, roots); err != nil {
				return nil, fmt.Errorf("audit.witnesses: %s: %w", w.Name, err)
			}
		}
		cfg.Witnesses = append(cfg.Witnesses, witness.Witness{Name: w.Name, Place: place, Every: w.Every, Timeout: w.Timeout})
	}
	return witness.New(cfg)
}

func openSyslog(all []config.AuditSyslog, book *logbook.Book, db *store.DB, turns *auditTurns, log *slog.Logger) (*syslog.Exporter, error) {
	cfg := syslog.Config{Log: book, Store: db, Turn: turns.syslog, Logger: log}
	host, err := os.Hostname()
	if err != nil {
		host = ""
	}
	for _, s := range all {
		server := syslog.Server{Name: s.Name, Network: s.Network, Address: s.Address, Facility: s.Facility, Hostname: s.Hostname, App: s.App, Timeout: s.Timeout}
		if server.Hostname == "" {
			server.Hostname = host
		}
		if s.Network == "tls" {
			if server.TLS, err = syslogTLS(s); err != nil {
				return nil, fmt.Errorf("audit.syslog: %s: %w", s.Name, err)
			}
		}
		cfg.Servers = append(cfg.Servers, server)
	}
	return syslog.New(cfg)
}

func syslogTLS(s config.AuditSyslog) (*tls.Config, error) {
	roots, err := moreRoots(s.CACert)
	if err != nil {
		return nil, err
	}
	cfg := &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	if !s.ClientCert.Set() {
		return cfg, nil
	}
	cert, err := s.ClientCert.Reveal()
	if err != nil {
		return nil, err
	}
	private, err := s.ClientKey.Reveal()
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair([]byte(cert), []byte(private))
	if err != nil {
		return nil, err
	}
	cfg.Certificates = []tls.Certificate{pair}
	return cfg, nil
}

// How long a replica keeps a turn at a witness or a syslog server, and how often
// it asks for it.
const (
	turnTime = 30 * time.Second
	turnAsk  = 5 * time.Second
)

// auditTurns sees to it that of all replicas on a database one at a time gives
// anything to the same receiver: by leases, which run out when it dies.
type auditTurns struct {
	db     *store.DB
	owner  string
	shared bool

	mu   sync.Mutex
	mine map[string]turn
}

// turn is what the database said last.
type turn struct {
	mine  bool
	until time.Time // when to ask again
}

func (t *auditTurns) witness(ctx context.Context, name string) bool {
	return t.take(ctx, witness.Row(name))
}

func (t *auditTurns) syslog(ctx context.Context, name string) bool {
	return t.take(ctx, syslog.Row(name))
}

func (t *auditTurns) take(ctx context.Context, name string) bool {
	if !t.shared {
		return true
	}
	t.mu.Lock()
	last := t.mine[name]
	t.mu.Unlock()
	if time.Now().Before(last.until) {
		return last.mine
	}
	ctx, cancel := context.WithTimeout(ctx, turnAsk)
	defer cancel()
	_, err := t.db.AcquireLease(ctx, "audit-"+name, t.owner, turnTime)
	now := turn{mine: err == nil, until: time.Now().Add(turnAsk)}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.mine == nil {
		t.mine = make(map[string]turn)
	}
	t.mine[name] = now
	return now.mine
}

// release lets others take over at once.
func (t *auditTurns) release(ctx context.Context) {
	if !t.shared {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	_ = t.db.ReleaseLeases(ctx, t.owner) // else they run out
}
