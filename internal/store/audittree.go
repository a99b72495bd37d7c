// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"time"
)

// Tables audit_log, audit_batch, audit_tile and audit_checkpoint, whose meaning
// is package logbook's.

// AuditHead is the row of audit_log.
type AuditHead struct {
	Size  int64
	Swept string // id below which no row is missing
	Began int64  // place of the record that the log began with; -1: it has not begun
}

// AuditBatch is a row of audit_batch.
type AuditBatch struct {
	First   int64
	Records int64
	At      time.Time
	Low     string
	High    string
	Entries []byte
	Proof   []byte
}

// AuditTile is a row of audit_tile.
type AuditTile struct {
	Level  int64
	Number int64
	Hashes []byte
}

// AuditCheckpoint is a row of audit_checkpoint.
type AuditCheckpoint struct {
	Size int64
	Note string
	At   time.Time
}

// AuditAppend is one step of the log.
type AuditAppend struct {
	Batch      AuditBatch // First is the size that the log must have
	Tiles      []AuditTile
	Checkpoint AuditCheckpoint
	Swept      string // if set, the new mark
}

// AuditHead reads the row of audit_log; ErrNotFound if there is no log.
func (db *DB) AuditHead(ctx context.Context) (AuditHead, error) {
	r, err := db.reader(ctx)
	if err != nil {
		return AuditHead{}, err
	}
	scan := func(rows *sql.Rows) (h AuditHead, err error) {
		var began sql.NullInt64
		err = rows.Scan(&h.Size, &h.Swept, &began)
		h.Began = -1
		if began.Valid {
			h.Began = began.Int64
		}
		return h, err
	}
	return one(r, scan, "read the head of the audit log", `SELECT size, swept, began FROM audit_log WHERE id = 1`)
}

// Alone reports whether no other daemon can write to this database: a data
// directory is locked.
func (db *DB) Alone() bool { return db.pg == nil }

// CreateAuditLog makes the row of audit_log, unless it is there.
func (db *DB) CreateAuditLog(ctx context.Context) error {
	return db.writeLog(ctx, func(w *Writer) error {
		_, err := w.exec("create the audit log", `INSERT INTO audit_log (id, size, swept) VALUES (1, 0, '') ON CONFLICT (id) DO NOTHING`)
		return err
	})
}

// AppendAudit appends to the log, if it still has the size a.Batch.First; else
// ErrChanged, and nothing is written. Of several that try, whoever comes first
// has the row of audit_log until the commit.
func (db *DB) AppendAudit(ctx context.Context, a AuditAppend) error {
	return db.writeLog(ctx, func(w *Writer) error {
		b := a.Batch
		size := b.First + b.Records
		err := w.expect("append to the audit log at", "", `UPDATE audit_log SET size = $1 WHERE id = 1 AND size = $2`,
			[]any{size, b.First}, func(err error) error {
				if err == nil {
					return ErrChanged
				}
				return nil
			})
		if err != nil {
			return err
		}
		if a.Swept != "" {
			if _, err := w.exec("mark the audit log as swept", `UPDATE audit_log SET swept = $1 WHERE id = 1`, a.Swept); err != nil {
				return err
			}
		}
		err = w.expect("append audit batch", "", `INSERT INTO audit_batch (first, records, at, low, high, entries, proof) VALUES ($1, $2, $3, $4, $5, $6, $7)`,
			[]any{b.First, b.Records, timeArg(b.At), b.Low, b.High, b.Entries, b.Proof}, nil)
		if err != nil {
			return err
		}
		for _, t := range a.Tiles {
			err := w.expect("store audit tile", "", `INSERT INTO audit_tile (level, number, hashes) VALUES ($1, $2, $3)
				ON CONFLICT (level, number) DO UPDATE SET hashes = excluded.hashes`, []any{t.Level, t.Number, t.Hashes}, nil)
			if err != nil {
				return err
			}
		}
		c := a.Checkpoint
		return w.expect("append audit checkpoint", "", `INSERT INTO audit_checkpoint (size, note, at) VALUES ($1, $2, $3)`,
			[]any{c.Size, c.Note, timeArg(c.At)}, nil)
	})
}

// MarkAuditSwept stores that no row below the id is missing in the log.
func (db *DB) MarkAuditSwept(ctx context.Context, id string) error {
	return db.writeLog(ctx, func(w *Writer) error {
		_, err := w.exec("mark the audit log as swept", `UPDATE audit_log SET swept = $1 WHERE id = 1 AND swept < $1`, id)
		return err
	})
}

// MarkAuditBegan stores at which place the record is that the log began with, and
// the id below which no row is missing.
func (db *DB) MarkAuditBegan(ctx context.Context, place int64, swept string) error {
	return db.writeLog(ctx, func(w *Writer) error {
		_, err := w.exec("begin the audit log", `UPDATE audit_log SET began = $1, swept = $2 WHERE id = 1`, place, swept)
		return err
	})
}

const batchColumns = `first, records, at, low, high, entries, proof`

func scanBatch(rows *sql.Rows) (AuditBatch, error) {
	l, err := readLoose(rows, 7)
	if err != nil {
		return AuditBatch{}, err
	}
	return AuditBatch{First: l.integer(), Records: l.integer(), At: l.time(), Low: l.text(), High: l.text(), Entries: l.bytes(), Proof: l.bytes()}, nil
}

// AuditBatches returns the batches whose first place is from or above, in their
// order, at most limit.
func (db *DB) AuditBatches(ctx context.Context, from int64, limit int) ([]AuditBatch, error) {
	r, err := db.reader(ctx)
	if err != nil {
		return nil, err
	}
	return collect(r, scanBatch, "read audit batches", `SELECT `+batchColumns+` FROM audit_batch
		WHERE first >= $1 ORDER BY first LIMIT $2`, from, int64(limit))
}

// AuditBatchAt returns the batch that holds a place; ErrNotFound if none does.
func (db *DB) AuditBatchAt(ctx context.Context, place int64) (AuditBatch, error) {
	r, err := db.reader(ctx)
	if err != nil {
		return AuditBatch{}, err
	}
	b, err := one(r, scanBatch, "read audit batch", `SELECT `+batchColumns+` FROM audit_batch
		WHERE first <= $1 ORDER BY first DESC LIMIT 1`, place)
	if err == nil && place >= b.First+b.Records {
		err = ErrNotFound
	}
	return b, err
}

// AuditBatchLast returns the last batch; ErrNotFound if there is none.
func (db *DB) AuditBatchLast(ctx context.Context) (AuditBatch, error) {
	r, err := db.reader(ctx)
	if err != nil {
		return AuditBatch{}, err
	}
	return one(r, scanBatch, "read the last audit batch", `SELECT `+batchColumns+` FROM audit_batch ORDER BY first DESC LIMIT 1`)
}

// AuditBatchesOf calls see with each batch, without its proof, that may have a
// record with an id from low to high, until see says that it has seen enough.
func (db *DB) AuditBatchesOf(ctx context.Context, low, high string, see func(AuditBatch) (enough bool)) error {
	const page = 32
	after, place := low, int64(-1)
	for {
		r, err := db.reader(ctx)
		if err != nil {
			return err
		}
		scan := func(rows *sql.Rows) (AuditBatch, error) {
			l, err := readLoose(rows, 5)
			if err != nil {
				return AuditBatch{}, err
			}
			return AuditBatch{First: l.integer(), Records: l.integer(), Low: l.text(), High: l.text(), Entries: l.bytes()}, nil
		}
		batches, err := collect(r, scan, "find audit batches", `SELECT first, records, low, high, entries FROM audit_batch
			WHERE high >= $1 AND (high > $1 OR first > $2) AND low <= $3 ORDER BY high, first LIMIT $4`, after, place, high, int64(page))
		if err != nil {
			return err
		}
		for _, b := range batches {
			if see(b) {
				return nil
			}
			after, place = b.High, b.First
		}
		if len(batches) < page {
			return nil
		}
	}
}

// AuditTiles reads tiles of a level by their numbers, from the first to the last.
func (db *DB) AuditTiles(ctx context.Context, level, first, last int64) ([]AuditTile, error) {
	r, err := db.reader(ctx)
	if err != nil {
		return nil, err
	}
	scan := func(rows *sql.Rows) (AuditTile, error) {
		l, err := readLoose(rows, 3)
		if err != nil {
			return AuditTile{}, err
		}
		return AuditTile{Level: l.integer(), Number: l.integer(), Hashes: l.bytes()}, nil
	}
	return collect(r, scan, "read audit tiles", `SELECT level, number, hashes FROM audit_tile
		WHERE level = $1 AND number >= $2 AND number <= $3 ORDER BY number`, level, first, last)
}

// AuditTileCounts returns how many tiles there are of each level.
func (db *DB) AuditTileCounts(ctx context.Context) (map[int64]int64, error) {
	r, err := db.reader(ctx)
	if err != nil {
		return nil, err
	}
	counts := make(map[int64]int64)
	scan := func(rows *sql.Rows) (struct{}, error) {
		var level, n int64
		err := rows.Scan(&level, &n)
		counts[level] = n
		return struct{}{}, err
	}
	_, err = collect(r, scan, "count audit tiles", `SELECT level, count(*) FROM audit_tile GROUP BY level`)
	return counts, err
}

func scanCheckpoint(rows *sql.Rows) (AuditCheckpoint, error) {
	l, err := readLoose(rows, 3)
	if err != nil {
		return AuditCheckpoint{}, err
	}
	return AuditCheckpoint{Size: l.integer(), Note: l.text(), At: l.time()}, nil
}

// AuditCheckpoints returns the checkpoints of a size from from on, smallest
// first, at most limit.
func (db *DB) AuditCheckpoints(ctx context.Context, from int64, limit int) ([]AuditCheckpoint, error) {
	r, err := db.reader(ctx)
	if err != nil {
		return nil, err
	}
	return collect(r, scanCheckpoint, "read audit checkpoints", `SELECT size, note, at FROM audit_checkpoint
		WHERE size >= $1 ORDER BY size LIMIT $2`, from, int64(limit))
}

// AuditCheckpointAt returns the checkpoint of a size; of the largest one if size
// is below zero. ErrNotFound if there is none.
func (db *DB) AuditCheckpointAt(ctx context.Context, size int64) (AuditCheckpoint, error) {
	r, err := db.reader(ctx)
	if err != nil {
		return AuditCheckpoint{}, err
	}
	if size < 0 {
		return one(r, scanCheckpoint, "read the newest audit checkpoint", `SELECT size, note, at FROM audit_checkpoint ORDER BY size DESC LIMIT 1`)
	}
	return one(r, scanCheckpoint, "read audit checkpoint", `SELECT size, note, at FROM audit_checkpoint WHERE size = $1`, size)
}

// AuditUnanswered returns intents below the id before whose verdict allows and
// that have no outcome, in the order of their ids: those above after, at most
// limit of them.
func (db *DB) AuditUnanswered(ctx context.Context, after, before string, limit int) ([]string, error) {
	r, err := db.reader(ctx)
	if err != nil {
		return nil, err
	}
	return collect(r, scanString, "find audit intents without an outcome", `SELECT i.id FROM audit_intent i
		WHERE i.id > $1 AND i.id < $2 AND i.verdict LIKE 'allow%'
		AND NOT EXISTS (SELECT 1 FROM audit_outcome o WHERE o.intent = i.id) ORDER BY i.id LIMIT $3`, after, before, int64(limit))
}

// AuditUnmeant returns outcomes whose intent does not exist, in the order of
// their ids: those above after, at most limit of them.
func (db *DB) AuditUnmeant(ctx context.Context, after string, limit int) ([]string, error) {
	r, err := db.reader(ctx)
	if err != nil {
		return nil, err
	}
	return collect(r, scanString, "find audit outcomes without an intent", `SELECT o.id FROM audit_outcome o
		WHERE o.id > $1 AND NOT EXISTS (SELECT 1 FROM audit_intent i WHERE i.id = o.intent) ORDER BY o.id LIMIT $2`, after, int64(limit))
}
