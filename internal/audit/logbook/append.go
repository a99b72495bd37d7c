// SPDX-License-Identifier: Apache-2.0

package logbook

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/hsmsigner/hsmsigner/internal/audit"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

const (
	// maxBatch bounds a row of audit_batch: 370 kB.
	maxBatch = 2048
	// maxTries is how often an append is tried that other replicas were faster at.
	maxTries = 64
)

// step says how entries are appended.
type step struct {
	check bool   // they may be in the log already: leave out those that are
	swept string // stored with them, if set
	adopt bool   // they were there before the log, and go only into one of this size
	size  int64
}

// append adds a batch to the log. It makes and signs the batch for the place
// where it takes the log's end to be, and the store writes it only if that is
// still the end: so nobody waits for a signature while they hold the row, and
// what was found before about the log's content still holds.
func (b *Book) append(ctx context.Context, entries []audit.Entry, s step) error {
	b.appending.Lock()
	defer b.appending.Unlock()
	for range maxTries {
		if b.tree == nil {
			if err := b.load(ctx); err != nil {
				return err
			}
		}
		if s.adopt && b.tree.size != s.size {
			return store.ErrChanged
		}
		todo := entries
		if s.check {
			var err error
			if todo, err = b.missing(ctx, entries); err != nil {
				return err
			}
		}
		if len(todo) == 0 {
			return nil
		}
		a, next, err := b.build(todo, time.Now(), s.adopt)
		if err != nil {
			return err
		}
		a.Swept = s.swept
		err = b.db.AppendAudit(ctx, a)
		var unknown *store.CommitError
		if errors.As(err, &unknown) {
			b.tree = nil
			if err = b.landed(ctx, a, err); err == nil {
				return nil
			}
		}
		if err == nil {
			b.tree = next
			b.known = Checkpoint{Size: next.size, Root: next.root().hash}
			return nil
		}
		b.tree = nil
		if !errors.Is(err, store.ErrChanged) {
			return err
		}
	}
	return fmt.Errorf("audit log: other replicas were faster %d times in a row", maxTries)
}

// landed finds out whether an append whose commit did not answer has happened.
func (b *Book) landed(ctx context.Context, a store.AuditAppend, unknown error) error {
	there, err := b.db.AuditBatches(ctx, a.Batch.First, 1)
	switch {
	case err != nil:
		return errors.Join(unknown, err)
	case len(there) == 1 && bytes.Equal(there[0].Proof, a.Batch.Proof):
		return nil
	}
	return store.ErrChanged // it has not
}

// build makes the batch that follows on the tree, and the tree after it.
func (b *Book) build(entries []audit.Entry, now time.Time, adopted bool) (store.AuditAppend, *tree, error) {
	first, at := b.tree.size, now.UnixMicro()
	batch := store.AuditBatch{First: first, Records: int64(len(entries)), At: now, Low: entries[0].ID, High: entries[0].ID}
	batch.Entries = make([]byte, 0, 49*len(entries))
	batch.Proof = make([]byte, 0, (4*tlog.HashSize+5)*len(entries)+80)
	next := b.tree.clone()
	var a store.AuditAppend
	full := func(level int, number int64, hashes []node) {
		a.Tiles = append(a.Tiles, tileRow(level, number, hashes))
	}
	next.full = full
	for _, e := range entries {
		batch.Low, batch.High = min(batch.Low, e.ID), max(batch.High, e.ID)
		batch.Entries = appendEntry(batch.Entries, e)
		next.add(node{hash: e.Hash})
	}
	next.full = nil
	for i := 0; i < len(entries); i += groupSize {
		g := b.cfg.Key.sealGroup(adopted, first+int64(i), at, entries[i:min(i+groupSize, len(entries))])
		batch.Proof = appendGroup(batch.Proof, g)
	}
	for level, tile := range next.tiles {
		if len(tile) > 0 && next.size>>(tileBits*level) != first>>(tileBits*level) {
			number, _ := partial(next.size, level)
			a.Tiles = append(a.Tiles, tileRow(level, number, tile))
		}
	}
	note, err := b.cfg.Key.sign(next.size, next.root().hash)
	if err != nil {
		return a, nil, err
	}
	a.Batch = batch
	a.Checkpoint = store.AuditCheckpoint{Size: next.size, Note: string(note), At: now}
	return a, next, nil
}

func tileRow(level int, number int64, hashes []node) store.AuditTile {
	t := store.AuditTile{Level: int64(level), Number: number, Hashes: make([]byte, 0, len(hashes)*tlog.HashSize)}
	for _, n := range hashes {
		t.Hashes = append(t.Hashes, n.hash[:]...)
	}
	return t
}

// load reads where the log ends, and believes it only if it is what the key has
// signed and begins with what this process has seen of it before.
func (b *Book) load(ctx context.Context) error {
	head, err := b.db.AuditHead(ctx)
	if err != nil {
		return err
	}
	if head.Size < b.known.Size {
		return fmt.Errorf("%w: it has %d records, after it had %d", ErrTampered, head.Size, b.known.Size)
	}
	if head.Size == 0 {
		if _, err := b.db.AuditCheckpointAt(ctx, -1); !errors.Is(err, store.ErrNotFound) {
			return errors.Join(ErrTampered, fmt.Errorf("it has no records, but checkpoints: %w", err))
		}
		b.tree = &tree{}
		return nil
	}
	c, err := b.CheckpointAt(ctx, head.Size)
	if err != nil {
		return fmt.Errorf("%w: the checkpoint of its size %d: %w", ErrTampered, head.Size, err)
	}
	t, err := b.edge(ctx, head.Size)
	if err != nil {
		return err
	}
	if root := t.root().hash; root != c.Root {
		return fmt.Errorf("%w: the root hash of its %d records is %v, signed was %v", ErrTampered, head.Size, root, c.Root)
	}
	if err := b.follows(ctx, c); err != nil {
		return err
	}
	b.tree, b.known = t, c
	return nil
}

// edge reads the right edge of the tree.
func (b *Book) edge(ctx context.Context, size int64) (*tree, error) {
	tiles := make([][]tlog.Hash, levels(size))
	for level := range tiles {
		number, width := partial(size, level)
		if width == 0 {
			continue
		}
		rows, err := b.db.AuditTiles(ctx, int64(level), number, number)
		if err != nil {
			return nil, err
		}
		if len(rows) != 1 || len(rows[0].Hashes) < width*tlog.HashSize {
			return nil, fmt.Errorf("%w: tile %d of level %d is not there, or too short", ErrTampered, number, level)
		}
		tiles[level] = parseHashes(rows[0].Hashes[:width*tlog.HashSize])
	}
	return fromTiles(size, tiles), nil
}

func parseHashes(b []byte) []tlog.Hash {
	hashes := make([]tlog.Hash, len(b)/tlog.HashSize)
	for i := range hashes {
		copy(hashes[i][:], b[i*tlog.HashSize:])
	}
	return hashes
}

// follows checks that the log still begins with what this process knew of it.
func (b *Book) follows(ctx context.Context, c Checkpoint) error {
	switch {
	case b.known.Size == 0:
		return nil
	case b.known.Size == c.Size && b.known.Root == c.Root:
		return nil
	case b.known.Size == c.Size:
		return fmt.Errorf("%w: of its %d records, some are others than before", ErrTampered, c.Size)
	}
	proof, err := tlog.ProveTree(c.Size, b.known.Size, b.hashes(ctx, c))
	if err == nil {
		err = tlog.CheckTree(proof, c.Size, c.Root, b.known.Size, b.known.Root)
	}
	if err != nil {
		return fmt.Errorf("%w: of its first %d records, some are others than before: %w", ErrTampered, b.known.Size, err)
	}
	return nil
}
