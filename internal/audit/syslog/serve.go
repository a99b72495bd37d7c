// SPDX-License-Identifier: Apache-2.0

package syslog

import (
	"context"
	"fmt"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/store"
)

const (
	batch        = 500              // records that are read at once
	firstPause   = time.Second      // after a failure; doubled
	longestPause = 30 * time.Second // up to this
)

const prefix = "syslog:"

// Row is the name under which a server's position is remembered in the store.
func Row(name string) string { return prefix + name }

// serve sends to one server until ctx ends.
func (e *Exporter) serve(ctx context.Context, s Server) {
	failures := 0
	for ctx.Err() == nil {
		if !e.cfg.Turn(ctx, s.Name) {
			pause(ctx, e.cfg.Poll)
			continue
		}
		d := delivery{Exporter: e, server: s}
		err := d.run(ctx)
		if ctx.Err() != nil {
			return
		}
		if err == nil { // another replica's turn
			continue
		}
		if d.row.Size > d.began {
			failures = 0
		}
		if failures == 0 {
			e.cfg.Logger.Warn("syslog server takes no audit records; trying again", "server", s.Name, "err", err)
		}
		e.complain(ctx, s, err)
		pause(ctx, min(firstPause<<min(failures, 10), longestPause))
		failures++
	}
}

func pause(ctx context.Context, d time.Duration) {
	select {
	case <-time.After(d):
	case <-ctx.Done():
	}
}

// complain stores why a server is not being sent anything.
func (e *Exporter) complain(ctx context.Context, s Server, why error) {
	row, err := e.cfg.Store.AuditWitness(ctx, Row(s.Name))
	if err == nil {
		row.At, row.Error = time.Now(), why.Error()
		err = e.cfg.Store.PutAuditWitness(ctx, row)
	}
	if err != nil {
		e.cfg.Logger.Debug("cannot store that a syslog server is away", "server", s.Name, "err", err)
	}
}

// delivery is what is sent over one connection.
type delivery struct {
	*Exporter
	server  Server
	link    *link
	row     store.AuditWitness // as it is stored
	began   int64              // what its size was
	next    int64              // place of the record to be written next
	arrived int64              // all before it are known to have arrived
	marks   []mark             // written, and not yet known to have arrived
}

// mark is how far a write has come, and when.
type mark struct {
	next  int64
	bytes int64 // written in all
	at    time.Time
}

// run sends from the remembered position on. It returns without an error if it is
// another replica's turn, which sends again what was not known to have arrived.
func (d *delivery) run(ctx context.Context) (err error) {
	if d.row, err = d.cfg.Store.AuditWitness(ctx, Row(d.server.Name)); err != nil {
		return err
	}
	d.began, d.next, d.arrived = d.row.Size, d.row.Size, d.row.Size
	if d.link, err = d.server.dial(ctx); err != nil {
		return err
	}
	defer d.link.close()
	if d.row.Error != "" {
		d.cfg.Logger.Info("syslog server takes audit records again", "server", d.server.Name)
	}
	for d.cfg.Turn(ctx, d.server.Name) {
		n, err := d.step(ctx)
		if err != nil {
			return err
		}
		if n < batch {
			pause(ctx, d.cfg.Poll)
		}
		if ctx.Err() != nil {
			d.settle()
			return d.remember(context.WithoutCancel(ctx))
		}
	}
	return nil
}

// step writes what is new, and remembers what has arrived.
func (d *delivery) step(ctx context.Context) (n int, err error) {
	records, err := d.cfg.Log.Records(ctx, d.next, batch)
	if err != nil {
		return 0, err
	}
	for _, r := range records {
		if r.Index != d.next {
			return 0, fmt.Errorf("syslog: asked the log for record %d and got %d", d.next, r.Index)
		}
		if r.Line != nil {
			if err := d.link.write(d.server.message(r)); err != nil {
				return 0, err
			}
		}
		d.next++
	}
	if len(records) > 0 {
		d.marks = append(d.marks, mark{d.next, d.link.written(), time.Now()})
	}
	if err := d.link.err(); err != nil {
		return 0, err
	}
	d.settle()
	if d.arrived > d.row.Size && time.Since(d.row.At) >= d.cfg.Settle || d.row.Error != "" {
		return len(records), d.remember(ctx)
	}
	return len(records), nil
}

// settle finds out how far what was written has come. In a stream that is what
// the other side's kernel has acknowledged, and after which it has kept the
// connection up for a while: a server that fell over has lost what it had not
// read, and its kernel resets the connection.
func (d *delivery) settle() {
	if d.link.stream && d.link.err() != nil {
		return
	}
	acknowledged := d.link.acknowledged()
	for len(d.marks) > 0 {
		m := d.marks[0]
		if d.link.stream && (time.Since(m.at) < d.cfg.Settle || m.bytes > acknowledged) {
			return
		}
		d.arrived, d.marks = m.next, d.marks[1:]
	}
}

// remember stores how far the server has come.
func (d *delivery) remember(ctx context.Context) error {
	if d.arrived == d.row.Size && d.row.Error == "" {
		return nil
	}
	d.row.Size, d.row.At, d.row.Error = d.arrived, time.Now(), ""
	return d.cfg.Store.PutAuditWitness(ctx, d.row)
}
