// SPDX-License-Identifier: Apache-2.0

package logbook

import (
	"bytes"
	"context"
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/hsmsigner/hsmsigner/internal/audit"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

// tile compares a tile with what is stored. A full one is complete; of the last
// one of a level, the stored one may have grown since.
func (d *dbExaminer) tile(ctx context.Context, level int, number int64, hashes []node, last bool) {
	if d.lost || d.failed != nil {
		return
	}
	rows, err := d.r.db.AuditTiles(ctx, int64(level), number, number)
	if err != nil {
		d.failed = err
		return
	}
	place := func(i int) int64 { return (number<<tileBits + int64(i)) << (tileBits * level) }
	var stored []byte
	if len(rows) == 1 {
		stored = rows[0].Hashes
	}
	for i, n := range hashes {
		at := i * tlog.HashSize
		switch {
		case n.bad:
		case len(stored) < at+tlog.HashSize:
			d.blame(Problem{Index: place(i), What: Tree, Why: fmt.Sprintf("hash %d of tile %d of level %d is missing", i, number, level)})
			return
		case !bytes.Equal(stored[at:at+tlog.HashSize], n.hash[:]):
			d.blame(Problem{Index: place(i), What: Tree, Why: fmt.Sprintf("hash %d of tile %d of level %d is not that of the records below it", i, number, level)})
		}
	}
	if extra := len(stored) - len(hashes)*tlog.HashSize; extra > 0 && !(last && d.grew(ctx)) {
		d.blame(Problem{Index: place(len(hashes)), What: Tree, Why: fmt.Sprintf("tile %d of level %d has %d bytes too many", number, level, extra)})
	}
}

// grew reports whether the log has grown since it was opened: then more may be
// found than there was.
func (d *dbExaminer) grew(ctx context.Context) bool {
	head, err := d.r.db.AuditHead(ctx)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		d.failed = err
	}
	return head.Size > d.head.Size
}

// close judges what stands at the end of the log.
func (d *dbExaminer) close(ctx context.Context) error {
	size := d.tree.size
	if d.head.Size != size {
		d.blame(Problem{Index: max(min(d.head.Size, size), 0), What: Damaged, Why: fmt.Sprintf("the database says that the log has %d records, and it has %d", d.head.Size, size)})
	}
	for level, tile := range d.tree.tiles {
		if number, _ := partial(size, level); len(tile) > 0 {
			d.tile(ctx, level, number, tile, true)
		}
	}
	if d.failed != nil {
		return d.failed
	}
	if err := d.beyond(ctx, size); err != nil {
		return err
	}
	counts, err := d.r.db.AuditTileCounts(ctx)
	if err != nil || d.lost || d.grew(ctx) {
		return errors.Join(err, d.failed)
	}
	for level, n := range counts {
		want := int64(0)
		if level >= 0 && level < int64(levels(size)) {
			number, width := partial(size, int(level))
			if want = number; width > 0 {
				want++
			}
		}
		if n > want {
			d.blame(Problem{Index: size, What: Tree, Why: fmt.Sprintf("there are %d tiles of level %d that belong to no records", n-want, level)})
		}
	}
	return nil
}

// beyond judges checkpoints of more records than there are, but for those of a
// log that has grown meanwhile.
func (d *dbExaminer) beyond(ctx context.Context, size int64) error {
	for {
		c, ok, err := d.point(ctx)
		if err != nil || !ok {
			return err
		}
		d.points = d.points[1:]
		if c.Size > size && d.grew(ctx) {
			return d.failed
		}
		if _, err := ParseCheckpoint([]byte(c.Note), d.v); err != nil || c.Size <= size {
			d.checkpoint(c)
			continue
		}
		d.blame(Problem{Index: size, What: Truncated, Size: c.Size, Why: fmt.Sprintf("the log was signed with %d records, and has %d", c.Size, size)})
	}
}

// rows looks for rows that are not in the log.
func (d *dbExaminer) rows(ctx context.Context) error {
	old := idOf(d.cfg.Now.Add(-d.cfg.Grace))
	for _, kind := range audit.Kinds() {
		for after := ""; ; {
			ids, err := d.r.db.AuditIDs(ctx, kind, after, "", sweepPage)
			if err != nil {
				return err
			}
			if len(ids) == 0 {
				break
			}
			d.report.Rows += int64(len(ids))
			after = ids[len(ids)-1]
			entries := make([]audit.Entry, len(ids))
			for i, id := range ids {
				entries[i] = audit.Entry{Kind: kind, ID: id}
			}
			missing, err := d.r.missing(ctx, entries)
			if err != nil {
				return err
			}
			for _, e := range missing {
				if e.ID >= old {
					d.report.Waiting++
					continue
				}
				d.blame(Problem{Index: -1, What: Unlogged, Kind: kind, ID: e.ID, Why: fmt.Sprintf("the row of %s %s is not in the log", kind, e.ID)})
			}
		}
	}
	return nil
}

// pairs looks for outcomes without an intent, and intents without an outcome.
func (d *dbExaminer) pairs(ctx context.Context) error {
	for after := ""; ; {
		ids, err := d.r.db.AuditUnmeant(ctx, after, sweepPage)
		if err != nil {
			return err
		}
		for _, id := range ids {
			after = id
			d.blame(Problem{Index: -1, What: Unmeant, Kind: audit.OutcomeKind, ID: id, Why: "the intent of outcome " + id + " does not exist"})
		}
		if len(ids) < sweepPage {
			break
		}
	}
	old := idOf(d.cfg.Now.Add(-d.cfg.Grace))
	for after := ""; ; {
		ids, err := d.r.db.AuditUnanswered(ctx, after, old, sweepPage)
		if err != nil {
			return err
		}
		d.report.Unanswered += int64(len(ids))
		for _, id := range ids {
			after = id
			if len(d.report.UnansweredIDs) < d.cfg.Limit {
				d.report.UnansweredIDs = append(d.report.UnansweredIDs, id)
			}
		}
		if len(ids) < sweepPage {
			return nil
		}
	}
}
