// SPDX-License-Identifier: Apache-2.0

package logbook

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/hsmsigner/hsmsigner/internal/store"
)

// An export is JSON lines. Those of a record are its own bytes; these are
// between them:
//
//   - "export", the first line: the log's name, the place of the first record and,
//     if that is not 0, the hashes of the tree before it;
//   - "seal", before the records of a group: what vouches for each of them;
//   - "pruned", in the place of a record whose row was removed;
//   - "checkpoint", after the last record of a batch;
//   - "prune", at the end: the event of a prune that stands in the log after the
//     last record of the file.
const (
	exportKind     = "export"
	sealKind       = "seal"
	prunedKind     = "pruned"
	checkpointKind = "checkpoint"
	pruneKind      = "prune"
)

// exportLine is any of these lines.
type exportLine struct {
	Kind string `json:"kind"`
	// Of an export:
	Version int         `json:"version,omitempty"`
	Origin  string      `json:"origin,omitempty"`
	Edge    []tlog.Hash `json:"edge,omitempty"` // of the tree before First, the largest part first
	// Of an export and a seal:
	First int64 `json:"first"`
	// Of a seal:
	Count     int    `json:"count,omitempty"`
	At        int64  `json:"at_us,omitempty"` // microseconds since 1970
	Adopted   bool   `json:"adopted,omitempty"`
	Signature []byte `json:"signature,omitempty"` // Ed25519
	Paths     []byte `json:"paths,omitempty"`     // of each record, one after the other
	// Of a pruned record:
	Record string `json:"record,omitempty"` // its kind
	ID     string `json:"id,omitempty"`
	Hash   string `json:"hash,omitempty"`
	// Of a checkpoint:
	Size int64 `json:"size,omitempty"`
	// Of a checkpoint and a prune:
	Note string `json:"note,omitempty"`
	// Of a prune, whose place is First:
	Line   string      `json:"line,omitempty"`
	Hashes []tlog.Hash `json:"hashes,omitempty"`
}

// Export writes the records with the places from to (to-1) as JSON lines, to the
// end if to is 0, each as it was logged, and between them lines of kind "export",
// "seal", "pruned", "checkpoint" and "prune" that let VerifyExport judge the file by
// itself. It writes whole batches: a few more records than were asked for.
func (r *Reader) Export(ctx context.Context, w io.Writer, from, to int64) error {
	head, err := r.db.AuditHead(ctx)
	if err != nil && !errors.Is(err, store.ErrNotFound) {
		return err
	}
	if to <= 0 || to > head.Size {
		to = head.Size
	}
	if from < 0 || from > to {
		return fmt.Errorf("audit export: places %d to %d; the log has %d records", from, to, head.Size)
	}
	out := bufio.NewWriterSize(w, 1<<16)
	e := exporter{r: r, out: out, json: json.NewEncoder(out)}
	e.json.SetEscapeHTML(false)
	if from, err = e.begin(ctx, from, head.Size); err != nil {
		return err
	}
	for from < to {
		batch, err := r.db.AuditBatchAt(ctx, from)
		if err != nil {
			return fmt.Errorf("audit export: batch at place %d: %w", from, err)
		}
		n, err := e.batch(ctx, batch)
		if err != nil {
			return err
		}
		from = batch.First + int64(n)
	}
	if err := e.prunes(ctx, from); err != nil {
		return err
	}
	return out.Flush()
}

// exporter writes one export.
type exporter struct {
	r    *Reader
	out  *bufio.Writer
	json *json.Encoder
	gone bool // a record's row was
}

// begin writes the first line, and says where the first batch begins.
func (e *exporter) begin(ctx context.Context, from, size int64) (int64, error) {
	line := exportLine{Kind: exportKind, Version: 1, Origin: e.r.v.name}
	if from > 0 && from < size {
		batch, err := e.r.db.AuditBatchAt(ctx, from)
		if err != nil {
			return 0, fmt.Errorf("audit export: batch at place %d: %w", from, err)
		}
		from = batch.First
	}
	if from > 0 {
		c, err := e.r.Checkpoint(ctx)
		if err != nil {
			return 0, err
		}
		if line.Edge, err = peaksOf(from, e.r.hashes(ctx, c)); err != nil {
			return 0, fmt.Errorf("%w: %w", ErrTampered, err)
		}
	}
	line.First = from
	return from, e.json.Encode(line)
}

// prunes writes the prunes that came after the last record of the file.
func (e *exporter) prunes(ctx context.Context, from int64) error {
	if !e.gone {
		return nil
	}
	late, err := e.r.prunesFrom(ctx, from)
	if err != nil {
		return err
	}
	for _, p := range late {
		err := e.json.Encode(exportLine{Kind: pruneKind, First: p.Index, Line: string(p.Line), Hashes: p.Hashes, Note: string(p.Checkpoint.Note)})
		if err != nil {
			return fmt.Errorf("audit export: %w", err)
		}
	}
	return nil
}

// peaksOf returns the perfect trees that a tree of that size consists of, the
// largest first.
func peaksOf(size int64, hashes tlog.HashReader) ([]tlog.Hash, error) {
	var indexes []int64
	at := int64(0)
	for level := 62; level >= 0; level-- {
		if size&(1<<level) != 0 {
			indexes = append(indexes, tlog.StoredHashIndex(level, at>>level))
			at += 1 << level
		}
	}
	return hashes.ReadHashes(indexes)
}

// batch writes a batch and says how many records it has.
func (e *exporter) batch(ctx context.Context, row store.AuditBatch) (int, error) {
	view := viewBatch(row)
	var err error
	if view.rows, err = e.r.rows(ctx, view.entries); err != nil {
		return 0, err
	}
	n := 0
	for i := range view.groups {
		g := &view.groups[i]
		if n+len(g.paths) > len(view.entries) {
			break
		}
		err := e.json.Encode(exportLine{
			Kind: sealKind, First: row.First + int64(n), Count: len(g.paths), At: row.At.UnixMicro(), Adopted: g.adopted,
			Signature: g.signature[:], Paths: joinPaths(g.paths),
		})
		if err != nil {
			return 0, fmt.Errorf("audit export: %w", err)
		}
		for range g.paths {
			if err := e.record(view, n); err != nil {
				return 0, fmt.Errorf("audit export: %w", err)
			}
			n++
		}
	}
	if n == 0 || n != len(view.entries) {
		return 0, fmt.Errorf("%w: the batch at place %d has no seals for all its records", ErrTampered, row.First)
	}
	c, err := e.r.db.AuditCheckpointAt(ctx, row.First+int64(n))
	if err != nil {
		return 0, fmt.Errorf("audit export: checkpoint of size %d: %w", row.First+int64(n), err)
	}
	return n, e.json.Encode(exportLine{Kind: checkpointKind, Size: c.Size, Note: c.Note})
}

func joinPaths(paths [][]tlog.Hash) []byte {
	var b []byte
	for _, path := range paths {
		for _, h := range path {
			b = append(b, h[:]...)
		}
	}
	return b
}

func (e *exporter) record(view *batchView, i int) error {
	if line := view.rows[i].Line; line != nil {
		if _, err := e.out.Write(line); err != nil {
			return err
		}
		return e.out.WriteByte('\n')
	}
	entry := view.entries[i]
	e.gone = true
	return e.json.Encode(exportLine{
		Kind: prunedKind, Record: entry.Kind.String(), ID: entry.ID, Hash: base64.StdEncoding.EncodeToString(entry.Hash[:]),
	})
}
