// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// Writer is what a closure of [DB.Write] writes through. It is valid only
// while that closure runs, and only on its goroutine. Its reads see its own
// writes. After any method has returned an error, other than ErrNotFound from
// a read, the closure is undone as a whole. What it is given must not change
// until Write has returned.
type Writer struct {
	db    *DB
	conn  *sql.Conn
	stmts map[string]*sql.Stmt // by text; they live as long as the connection

	// Of this transaction:
	fences   map[Fence]bool // found to hold
	log      []statement    // what changed rows, in order, unless savepoints are used
	replayed bool           // a closure was undone by playing the others again

	// Of this closure:
	mark    int   // where it begins in log
	touched bool  // it may have changed rows
	nested  bool  // it runs under a savepoint
	err     error // its first error
}

// statement is one that changed rows.
type statement struct {
	text string
	args []any
	rows int64 // how many it changed or, if query, returned
	// query says that it has a RETURNING clause.
	query bool
}

// reset forgets the last transaction.
func (w *Writer) reset() {
	clear(w.fences)
	clear(w.log) // it holds the callers' bytes
	w.log = w.log[:0]
	w.replayed = false
	w.start()
}

// start forgets the last closure.
func (w *Writer) start() {
	w.mark, w.touched, w.nested, w.err = len(w.log), false, false, nil
}

// exec runs a statement and returns how many rows it touched. op says in an
// error what was being done.
func (w *Writer) exec(op, text string, args ...any) (int64, error) {
	n, err := w.try(text, args...)
	if err != nil {
		return 0, w.fail(op, err)
	}
	return n, nil
}

// try is exec for a caller that looks at the error, and then calls fail.
func (w *Writer) try(text string, args ...any) (int64, error) {
	n, err := w.run(text, args)
	if err != nil {
		w.touched = true // or even the transaction is gone
		return 0, err
	}
	w.record(statement{text: text, args: args, rows: n})
	return n, nil
}

func (w *Writer) run(text string, args []any) (int64, error) {
	stmt, err := w.prepare(text)
	if err != nil {
		return 0, err
	}
	result, err := stmt.ExecContext(context.Background(), args...)
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

func (w *Writer) record(s statement) {
	if s.rows == 0 {
		return
	}
	w.touched = true
	if !w.db.d.savepoints {
		w.log = append(w.log, s)
	}
}

// replay runs again what changed rows before, in a new transaction, and sees
// to it that it changes as many.
func (w *Writer) replay(log []statement) error {
	for _, s := range log {
		var n int64
		var err error
		if s.query {
			n, err = w.count(s.text, s.args)
		} else {
			n, err = w.run(s.text, s.args)
		}
		if err != nil {
			return err
		}
		if n != s.rows {
			return fmt.Errorf("store: a statement played again changed %d rows instead of %d", n, s.rows)
		}
	}
	w.log = append(w.log, log...)
	w.replayed = len(log) > 0
	w.start()
	return nil
}

func (w *Writer) count(text string, args []any) (n int64, err error) {
	rows, err := w.query(text, args...)
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	for rows.Next() {
		n++
	}
	return n, rows.Err()
}

// query makes Writer a querier. It is for reads.
func (w *Writer) query(text string, args ...any) (*sql.Rows, error) {
	stmt, err := w.prepare(text)
	if err != nil {
		return nil, err
	}
	return stmt.QueryContext(context.Background(), args...)
}

// returning runs a statement that changes at most one row and returns it;
// ErrNotFound if it changed none.
func returning[T any](w *Writer, scan func(*sql.Rows) (T, error), op, text string, args ...any) (T, error) {
	row, err := one(w, scan, op, text, args...)
	switch {
	case err == nil:
		w.record(statement{text: text, args: args, rows: 1, query: true})
	case !errors.Is(err, ErrNotFound):
		w.touched = true
		err = w.fail("", err)
	}
	return row, err
}

func (w *Writer) prepare(text string) (*sql.Stmt, error) {
	if stmt, ok := w.stmts[text]; ok {
		return stmt, nil
	}
	stmt, err := w.conn.PrepareContext(context.Background(), text)
	if err != nil {
		return nil, err
	}
	w.stmts[text] = stmt
	return stmt, nil
}

// raw runs a statement that steers the transaction.
func (w *Writer) raw(text string) error {
	_, err := w.run(text, nil)
	return err
}

// fail remembers the closure's first error. The database may have dropped more
// than the one statement: what came before it must not be committed alone.
func (w *Writer) fail(op string, err error) error {
	if op != "" {
		err = fmt.Errorf("store: %s: %w", op, err)
	}
	if w.err == nil {
		w.err = err
	}
	return err
}

// read remembers an error of a read, but for ErrNotFound, which is an answer.
func (w *Writer) read(err error) error {
	if err == nil || errors.Is(err, ErrNotFound) {
		return err
	}
	w.touched = true
	return w.fail("", err)
}

// settle writes a row that nobody reads; see committer.settle.
func (w *Writer) settle() error {
	_, err := w.exec("settle", `UPDATE schema_version SET settled = settled + 1 WHERE id = 1`)
	return err
}
