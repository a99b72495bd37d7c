// SPDX-License-Identifier: Apache-2.0

package logbook

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/audit"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

const (
	// sweepAge is how old a row is before it is missed: until then the process
	// that wrote it may be about to append it.
	sweepAge = time.Minute
	// sweepLag is how many sweeps the stored mark is behind: a row may be
	// committed a while after its id was made.
	sweepLag = 10
	// sweepPage is how many rows are looked at together.
	sweepPage = 8192
)

// BeginKind is the kind of the event that a log begins with, after the records
// that were there before it. Rows without a keyed hash are taken in before it
// and never after it.
const BeginKind = "audit-log-begin"

// begin takes in what was there before the log, if that is not done yet.
func (b *Book) begin(ctx context.Context) error {
	head, err := b.db.AuditHead(ctx)
	if err != nil || head.Began >= 0 {
		return err
	}
	if found, err := b.findBegin(ctx); err != nil || found {
		return err
	}
	if open, err := b.adopting(ctx, head); err != nil || !open {
		if err == nil {
			b.cfg.Logger.Error("the record that the audit log began with is gone; rows without a keyed hash are not taken into it any more")
		}
		return err
	}
	before, adopted := idOf(time.Now()), 0
	for {
		head, err := b.db.AuditHead(ctx)
		if err != nil || head.Began >= 0 {
			return err
		}
		n, more, err := b.adopt(ctx, head, before)
		if errors.Is(err, store.ErrChanged) { // another replica is at it, too
			continue
		}
		if err != nil {
			return fmt.Errorf("audit log: take in the records that were there before: %w", err)
		}
		if adopted += n; n > 0 && adopted%(64*maxBatch) < n {
			b.cfg.Logger.Info("taking the audit records of before into the log", "records", adopted)
		}
		if !more {
			break
		}
	}
	detail, err := json.Marshal(map[string]any{"adopted": adopted, "key": b.v.text})
	if err != nil {
		return fmt.Errorf("audit log: %w", err)
	}
	e := audit.Event{ID: store.NewID(), At: time.Now(), Kind: BeginKind, Detail: string(detail)}
	if err := b.db.WriteEvent(ctx, e); err != nil {
		return err
	}
	if err := b.flush(ctx); err != nil {
		return err
	}
	p, err := b.find(ctx, audit.EventKind, e.ID)
	if err != nil {
		return err
	}
	b.cfg.Logger.Info("the audit log has begun", "adopted", adopted, "key", b.v.text)
	return b.began(ctx, p.index)
}

// began notes where the record is that the log began with. The taking in has gone
// over rows that are too young to be missed yet: the sweep goes over them again.
func (b *Book) began(ctx context.Context, place int64) error {
	head, err := b.db.AuditHead(ctx)
	if err != nil {
		return err
	}
	return b.db.MarkAuditBegan(ctx, place, min(head.Swept, idOf(time.Now().Add(-max(sweepLag*b.cfg.Sweep, 2*sweepAge)))))
}

// findBegin looks for the record that the log began with, in case a crash, or
// somebody else, has removed the mark of where it is.
func (b *Book) findBegin(ctx context.Context) (bool, error) {
	ids, err := b.db.AuditEventsOf(ctx, BeginKind, 16)
	if err != nil {
		return false, err
	}
	for _, id := range ids {
		p, err := b.Prove(ctx, audit.EventKind, id)
		if errors.Is(err, store.ErrNotFound) {
			continue
		}
		if err != nil {
			return false, err
		}
		return true, b.began(ctx, p.Index)
	}
	return false, nil
}

// adopting reports whether the log still takes in what was there before it: it
// has no other records yet. The mark in the database says so too, but whoever
// tampers with it could have rows taken in that nobody wrote.
func (b *Book) adopting(ctx context.Context, head store.AuditHead) (bool, error) {
	if head.Size == 0 {
		return true, nil
	}
	batch, err := b.db.AuditBatchAt(ctx, head.Size-1)
	if err != nil {
		return false, err
	}
	entries, _ := parseEntries(batch.Entries)
	groups, _ := parseGroups(batch.Proof)
	if len(entries) == 0 || len(groups) == 0 {
		return false, nil
	}
	g := &groups[len(groups)-1]
	i := len(g.paths) - 1
	j := groupJudge{v: b.v, first: head.Size - int64(len(g.paths)), at: batch.At.UnixMicro(), g: g}
	return g.adopted && j.vouched(i, entries[len(entries)-1]), nil
}

// adopt takes in some rows by id, those without a keyed hash and those that the
// command line has stamped before there was a log. It says how many, and whether
// there are more.
func (b *Book) adopt(ctx context.Context, head store.AuditHead, before string) (n int, more bool, err error) {
	var all []audit.Entry
	for _, kind := range audit.Kinds() {
		ids, err := b.db.AuditIDs(ctx, kind, head.Swept, before, maxBatch)
		if err != nil {
			return 0, false, err
		}
		for _, id := range ids {
			all = append(all, audit.Entry{Kind: kind, ID: id})
		}
	}
	slices.SortStableFunc(all, func(x, y audit.Entry) int { return strings.Compare(x.ID, y.ID) })
	if len(all) == 0 {
		return 0, false, nil
	}
	end := min(len(all), maxBatch)
	for end < len(all) && all[end].ID == all[end-1].ID {
		end++
	}
	all = all[:end]
	rows, err := b.rows(ctx, all)
	if err != nil {
		return 0, false, err
	}
	entries := make([]audit.Entry, 0, len(all))
	old := idOf(time.Now().Add(-sweepAge)) // what is younger, the sweep finds, if nobody else appends it
	for _, row := range rows {
		if row.Line != nil && (row.MAC == nil || row.ID < old && b.stamped(row)) {
			entries = append(entries, audit.Entry{Kind: row.Kind, ID: row.ID, Hash: audit.HashLine(row.Line)})
		}
	}
	last := all[len(all)-1].ID
	if len(entries) == 0 {
		return 0, true, b.db.MarkAuditSwept(ctx, last)
	}
	return len(entries), true, b.append(ctx, entries, step{swept: last, adopt: true, size: head.Size})
}

// sweeps looks for rows that are not in the log, at the start and then now and
// again.
func (b *Book) sweeps(ctx context.Context) {
	tick := time.NewTicker(b.cfg.Sweep)
	defer tick.Stop()
	from := ""
	var marks []string
	first := ""
	if b.db.Alone() {
		// What the last process has left behind, nobody else is about to append. What
		// this one writes, it is about to: that would be in the log twice.
		first = idOf(b.start)
	}
	for ; ctx.Err() == nil; first = "" {
		to := max(idOf(time.Now().Add(-sweepAge)), first)
		err := b.sweep(ctx, &from, to)
		switch {
		case err != nil && ctx.Err() == nil:
			b.cfg.Logger.Warn("cannot look for audit records that are not in the log", "err", err)
		case err == nil:
			if marks = append(marks, to); len(marks) > sweepLag {
				if err := b.db.MarkAuditSwept(ctx, marks[0]); err == nil {
					marks = marks[1:]
				}
			}
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
		}
	}
}

// sweep takes in rows from *from up to to that are not in the log and whose keyed
// hash is right, and moves *from on to to; an empty one is where the last process
// left off.
func (b *Book) sweep(ctx context.Context, from *string, to string) error {
	if *from == "" {
		head, err := b.db.AuditHead(ctx)
		if err != nil {
			return err
		}
		*from = head.Swept
	}
	taken, refused, first := 0, 0, ""
	for _, kind := range audit.Kinds() {
		for after := *from; ; {
			ids, err := b.db.AuditIDs(ctx, kind, after, to, sweepPage)
			if err != nil {
				return err
			}
			if len(ids) == 0 {
				break
			}
			after = ids[len(ids)-1]
			good, bad, err := b.lost(ctx, kind, ids)
			if err != nil {
				return err
			}
			if len(bad) > 0 && first == "" {
				first = bad[0]
			}
			taken, refused = taken+len(good), refused+len(bad)
			for chunk := range slices.Chunk(good, maxBatch) {
				if err := b.append(ctx, chunk, step{check: true}); err != nil {
					return err
				}
			}
		}
	}
	if taken > 0 {
		b.cfg.Logger.Info("took audit records into the log that a crash had kept from it", "records", taken)
	}
	if refused > 0 {
		b.cfg.Logger.Error("audit rows that nobody with the log's key has written are not taken into the log", "rows", refused, "first", first)
	}
	*from = max(*from, to)
	return nil
}

// lost returns which of the rows are not in the log: those whose keyed hash is
// right, and the ids of the others.
func (b *Book) lost(ctx context.Context, kind audit.Kind, ids []string) (good []audit.Entry, bad []string, err error) {
	entries := make([]audit.Entry, len(ids))
	for i, id := range ids {
		entries[i] = audit.Entry{Kind: kind, ID: id}
	}
	if entries, err = b.missing(ctx, entries); err != nil || len(entries) == 0 {
		return nil, nil, err
	}
	rows, err := b.rows(ctx, entries)
	if err != nil {
		return nil, nil, err
	}
	for _, row := range rows {
		switch {
		case row.Line == nil:
		case b.stamped(row):
			good = append(good, audit.Entry{Kind: row.Kind, ID: row.ID, Hash: audit.HashLine(row.Line)})
		default:
			bad = append(bad, row.ID)
		}
	}
	return good, bad, nil
}

// name is what tells a record from all others.
type name struct {
	kind audit.Kind
	id   string
}

// missing returns the entries whose records are not in the log, in their order.
// As a rule all are there, and it reads no more of the log than their own batches.
func (r *Reader) missing(ctx context.Context, entries []audit.Entry) ([]audit.Entry, error) {
	if len(entries) == 0 {
		return nil, nil
	}
	sought := make(map[name]struct{}, len(entries))
	low, high := entries[0].ID, entries[0].ID
	for _, e := range entries {
		sought[name{e.Kind, e.ID}] = struct{}{}
		low, high = min(low, e.ID), max(high, e.ID)
	}
	err := r.db.AuditBatchesOf(ctx, low, high, func(b store.AuditBatch) bool {
		there, _ := parseEntries(b.Entries)
		for _, e := range there {
			delete(sought, name{e.Kind, e.ID})
		}
		return len(sought) == 0
	})
	if err != nil || len(sought) == 0 {
		return nil, err
	}
	left := make([]audit.Entry, 0, len(sought))
	for _, e := range entries {
		if _, ok := sought[name{e.Kind, e.ID}]; ok {
			left = append(left, e)
		}
	}
	return left, nil
}

// idOf is the lowest id that package store makes at that time.
func idOf(t time.Time) string { return fmt.Sprintf("%012x", max(t.UnixMilli(), 0)) }
