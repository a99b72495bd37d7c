// SPDX-License-Identifier: Apache-2.0

package logbook

import (
	"context"
	"errors"
	"fmt"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/hsmsigner/hsmsigner/internal/audit"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

// Reader reads a log: of a daemon's store, or of one opened read-only beside
// it. Its methods are safe for concurrent use.
type Reader struct {
	db *store.DB
	v  Verifier
}

// Read makes a reader of the log in db, which trusts nothing but the key.
func Read(db *store.DB, v Verifier) *Reader { return &Reader{db: db, v: v} }

// Verifier is the key that the reader trusts.
func (r *Reader) Verifier() Verifier { return r.v }

// Checkpoint returns the newest signed state; store.ErrNotFound if the log is
// empty.
func (r *Reader) Checkpoint(ctx context.Context) (Checkpoint, error) { return r.CheckpointAt(ctx, -1) }

// CheckpointAt returns the signed state of that size; store.ErrNotFound if the
// log was never signed at it.
func (r *Reader) CheckpointAt(ctx context.Context, size int64) (Checkpoint, error) {
	row, err := r.db.AuditCheckpointAt(ctx, size)
	if err != nil {
		return Checkpoint{}, err
	}
	c, err := ParseCheckpoint([]byte(row.Note), r.v)
	if err == nil && c.Size != row.Size {
		err = fmt.Errorf("audit checkpoint: of the size %d stands where that of the size %d belongs", c.Size, row.Size)
	}
	c.At = row.At
	return c, err
}

// CheckpointFrom returns the smallest signed state of that size or larger;
// store.ErrNotFound if there is none.
func (r *Reader) CheckpointFrom(ctx context.Context, size int64) (Checkpoint, error) {
	rows, err := r.db.AuditCheckpoints(ctx, size, 1)
	if err != nil {
		return Checkpoint{}, err
	}
	if len(rows) == 0 {
		return Checkpoint{}, fmt.Errorf("%w: no audit checkpoint of size %d or larger", store.ErrNotFound, size)
	}
	return r.CheckpointAt(ctx, rows[0].Size)
}

// Records returns the records from that place on, at most limit, which is at
// most 2048.
func (r *Reader) Records(ctx context.Context, from int64, limit int) ([]Logged, error) {
	limit = min(limit, maxBatch)
	var all []Logged
	for len(all) < limit {
		b, err := r.db.AuditBatchAt(ctx, from)
		if errors.Is(err, store.ErrNotFound) {
			break
		}
		if err != nil {
			return nil, err
		}
		entries, _ := parseEntries(b.Entries)
		skip := from - b.First
		if skip >= int64(len(entries)) {
			return nil, fmt.Errorf("%w: the batch at place %d has %d records instead of %d", ErrTampered, b.First, len(entries), b.Records)
		}
		entries = entries[skip:]
		entries = entries[:min(len(entries), limit-len(all))]
		rows, err := r.rows(ctx, entries)
		if err != nil {
			return nil, err
		}
		for i, e := range entries {
			all = append(all, Logged{Index: from + int64(i), Kind: e.Kind, ID: e.ID, Line: rows[i].Line, At: b.At})
		}
		from += int64(len(entries))
	}
	return all, nil
}

// rows reads the rows of entries; those that are gone have no line.
func (r *Reader) rows(ctx context.Context, entries []audit.Entry) ([]audit.Stored, error) {
	var ids [audit.EventKind + 1][]string
	for _, e := range entries {
		ids[e.Kind] = append(ids[e.Kind], e.ID)
	}
	var found [audit.EventKind + 1]map[string]audit.Stored
	for _, kind := range audit.Kinds() {
		if len(ids[kind]) == 0 {
			continue
		}
		var err error
		if found[kind], err = r.db.AuditStored(ctx, kind, ids[kind]); err != nil {
			return nil, err
		}
	}
	rows := make([]audit.Stored, len(entries))
	for i, e := range entries {
		rows[i] = found[e.Kind][e.ID]
	}
	return rows, nil
}

// place is where a record stands in the log.
type place struct {
	index int64
	entry audit.Entry
}

// find returns the first place of a record, of any kind if kind is 0.
func (r *Reader) find(ctx context.Context, kind audit.Kind, id string) (place, error) {
	var found *place
	err := r.db.AuditBatchesOf(ctx, id, id, func(b store.AuditBatch) bool {
		entries, _ := parseEntries(b.Entries)
		for i, e := range entries {
			if e.ID == id && (kind == 0 || e.Kind == kind) && (found == nil || b.First+int64(i) < found.index) {
				found = &place{b.First + int64(i), e}
			}
		}
		return false
	})
	if err != nil {
		return place{}, err
	}
	if found == nil {
		return place{}, fmt.Errorf("%w: audit record %s is not in the log", store.ErrNotFound, id)
	}
	return *found, nil
}

// Prove shows that a record is in the log under its newest checkpoint;
// store.ErrNotFound if it is not. A kind of 0 is any.
func (r *Reader) Prove(ctx context.Context, kind audit.Kind, id string) (Proof, error) {
	c, err := r.Checkpoint(ctx)
	if err != nil {
		return Proof{}, err
	}
	return r.ProveAt(ctx, c, kind, id)
}

// ProveAt is Prove under a checkpoint that the caller has from this log, so that
// several records are shown under one.
func (r *Reader) ProveAt(ctx context.Context, c Checkpoint, kind audit.Kind, id string) (Proof, error) {
	p, err := r.find(ctx, kind, id)
	if err != nil {
		return Proof{}, err
	}
	if p.index >= c.Size {
		return Proof{}, fmt.Errorf("%w: audit record %s came after the checkpoint of size %d", store.ErrNotFound, id, c.Size)
	}
	rows, err := r.rows(ctx, []audit.Entry{p.entry})
	if err != nil {
		return Proof{}, err
	}
	if rows[0].Line == nil {
		return Proof{}, fmt.Errorf("%w: the row of audit record %s was removed", store.ErrNotFound, id)
	}
	hashes, err := tlog.ProveRecord(c.Size, p.index, r.hashes(ctx, c))
	if err != nil {
		return Proof{}, fmt.Errorf("%w: %w", ErrTampered, err)
	}
	proof := Proof{Line: rows[0].Line, Index: p.index, Hashes: hashes, Checkpoint: c}
	if err := proof.Check(r.v); err != nil {
		return Proof{}, fmt.Errorf("%w: record %s: %w", ErrTampered, id, err)
	}
	return proof, nil
}

// Consistency returns the hashes that show that the state of size to begins
// with all records of the state of size from (RFC 6962, section 2.1.2); none
// if from is 0 or equals to.
func (r *Reader) Consistency(ctx context.Context, from, to int64) ([]tlog.Hash, error) {
	c, err := r.Checkpoint(ctx)
	if err != nil {
		return nil, err
	}
	if from < 0 || from > to || to > c.Size {
		return nil, fmt.Errorf("audit log: no consistency from size %d to %d: want 0 ≤ from ≤ to ≤ %d", from, to, c.Size)
	}
	if from == 0 || from == to {
		return nil, nil
	}
	hashes, err := tlog.ProveTree(to, from, r.hashes(ctx, c))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrTampered, err)
	}
	return hashes, nil
}

// RootAt is the root hash of the log's first records, as many as size says,
// shown by the newest checkpoint.
func (r *Reader) RootAt(ctx context.Context, size int64) (tlog.Hash, error) {
	c, err := r.Checkpoint(ctx)
	if err != nil {
		return tlog.Hash{}, err
	}
	if size < 0 || size > c.Size {
		return tlog.Hash{}, fmt.Errorf("%w: the audit log has %d records, not %d", store.ErrNotFound, c.Size, size)
	}
	h, err := tlog.TreeHash(size, r.hashes(ctx, c))
	if err != nil {
		return tlog.Hash{}, fmt.Errorf("%w: %w", ErrTampered, err)
	}
	return h, nil
}

// hashes reads hashes of the tree, each of which is checked against the
// checkpoint.
func (r *Reader) hashes(ctx context.Context, c Checkpoint) tlog.HashReader {
	return tlog.TileHashReader(tlog.Tree{N: c.Size, Hash: c.Root}, &tileReader{ctx: ctx, db: r.db})
}

// tileReader reads tiles for one call.
type tileReader struct {
	ctx context.Context //nolint:containedctx // lives for one call
	db  *store.DB
}

func (t *tileReader) Height() int { return tileBits }

func (t *tileReader) SaveTiles([]tlog.Tile, [][]byte) {}

func (t *tileReader) ReadTiles(tiles []tlog.Tile) ([][]byte, error) {
	data := make([][]byte, len(tiles))
	for i, tile := range tiles {
		rows, err := t.db.AuditTiles(t.ctx, int64(tile.L), tile.N, tile.N)
		if err != nil {
			return nil, err
		}
		if len(rows) != 1 || len(rows[0].Hashes) < tile.W*tlog.HashSize {
			return nil, fmt.Errorf("tile %d of level %d is not there, or too short", tile.N, tile.L)
		}
		data[i] = rows[0].Hashes[:tile.W*tlog.HashSize]
	}
	return data, nil
}
