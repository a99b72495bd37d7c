// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"fmt"
)

// querier is what a read needs: the reader of a DB, or a Writer.
type querier interface {
	query(text string, args ...any) (*sql.Rows, error)
}

// reader reads outside of any transaction, or inside tx if that is set.
type reader struct {
	ctx context.Context //nolint:containedctx // lives for one call
	db  *DB
	tx  *sql.Tx
}

func (r reader) query(text string, args ...any) (*sql.Rows, error) {
	if !r.db.d.prepares {
		return r.direct(text, args)
	}
	if r.tx != nil {
		// Preparing takes a connection of the pool. Whoever has one already must
		// not wait for another: all that there are may be waiting so.
		return r.tx.QueryContext(r.ctx, text, args...)
	}
	stmt, err := r.db.readStmt(r.ctx, text)
	if err != nil {
		return nil, err
	}
	return stmt.QueryContext(r.ctx, args...)
}

// direct reads where the driver keeps the statements, or nobody may. Reading
// once more after the connection broke does no harm.
func (r reader) direct(text string, args []any) (*sql.Rows, error) {
	if r.tx != nil {
		return r.tx.QueryContext(r.ctx, text, args...)
	}
	rows, err := r.db.readPool.QueryContext(r.ctx, text, args...)
	if err != nil && r.db.d.gone(err) {
		return r.db.readPool.QueryContext(r.ctx, text, args...)
	}
	return rows, err
}

// reader hands out a querier once no failed COMMIT is in doubt.
func (db *DB) reader(ctx context.Context) (reader, error) {
	if db.doubts.any.Load() {
		if err := db.Write(ctx, func(*Writer) error { return nil }); err != nil {
			return reader{}, err
		}
	}
	return reader{ctx: ctx, db: db}, nil
}

// snapshot runs fn over one state of the database.
func (db *DB) snapshot(ctx context.Context, fn func(q querier) error) error {
	r, err := db.reader(ctx)
	if err != nil {
		return err
	}
	r.tx, err = db.readPool.BeginTx(ctx, db.d.snapshot)
	if err != nil && db.d.gone(err) {
		r.tx, err = db.readPool.BeginTx(ctx, db.d.snapshot)
	}
	if err != nil {
		return fmt.Errorf("store: begin read: %w", err)
	}
	defer func() { _ = r.tx.Rollback() }()
	return fn(r)
}

func (db *DB) readStmt(ctx context.Context, text string) (*sql.Stmt, error) {
	if stmt, ok := db.reads.Load(text); ok {
		return stmt.(*sql.Stmt), nil
	}
	stmt, err := db.readPool.PrepareContext(ctx, text)
	if err != nil {
		return nil, err
	}
	if first, raced := db.reads.LoadOrStore(text, stmt); raced {
		_ = stmt.Close()
		return first.(*sql.Stmt), nil
	}
	return stmt, nil
}

// collect scans all rows of a query.
func collect[T any](q querier, scan func(*sql.Rows) (T, error), op, text string, args ...any) ([]T, error) {
	rows, err := q.query(text, args...)
	if err != nil {
		return nil, fmt.Errorf("store: %s: %w", op, err)
	}
	defer rows.Close()
	var all []T
	for rows.Next() {
		row, err := scan(rows)
		if err != nil {
			return nil, fmt.Errorf("store: %s: %w", op, err)
		}
		all = append(all, row)
	}
	if err := rows.Err(); err != nil {
		return nil, fmt.Errorf("store: %s: %w", op, err)
	}
	return all, nil
}

// one scans the first row of a query; ErrNotFound if there is none.
func one[T any](q querier, scan func(*sql.Rows) (T, error), op, text string, args ...any) (T, error) {
	all, err := collect(q, scan, op, text, args...)
	if err != nil {
		var none T
		return none, err
	}
	if len(all) == 0 {
		var none T
		return none, fmt.Errorf("%w: %s", ErrNotFound, op)
	}
	return all[0], nil
}
