// SPDX-License-Identifier: Apache-2.0

package store

import (
	"cmp"
	"database/sql"
	"errors"
	"fmt"
	"slices"

	"github.com/hsmsigner/hsmsigner/internal/audit"
)

// Writer is what a closure of [DB.Write] writes through. It is valid only
// while that closure runs, and only on its goroutine. Its reads see its own
// writes. After any method has returned an error, other than ErrNotFound from
// a read, the closure is undone as a whole. What it is given must not change
// until Write has returned.
type Writer struct {
	db *DB
	s  session

	// Of this transaction:
	lazy     bool           // what must touch one row is not waited for
	fences   map[Fence]bool // found to hold
	settles  []*doubt       // what its commit settles
	fault    *mismatch      // what broke it
	entries  []audit.Entry  // records that it has written; reused
	spenders []Spender      // what it has stored that may spend; reused
	counted  []Allowance    // that it has changed; reused
	line     []byte         // of the last of them; reused

	// Of this closure:
	owner       int   // its place in the batch
	touched     bool  // it may have changed rows
	err         error // its first error
	before      int   // entries of the closures before it
	spent, kept int   // spenders and counted likewise
}

// reset forgets the last transaction.
func (w *Writer) reset() {
	clear(w.fences)
	clear(w.entries) // they hold the callers' ids
	clear(w.spenders)
	clear(w.counted)
	w.spenders, w.counted = w.spenders[:0], w.counted[:0]
	w.settles, w.fault, w.lazy, w.entries = nil, nil, false, w.entries[:0]
	w.start(0)
}

// start forgets the last closure.
func (w *Writer) start(owner int) {
	w.owner, w.touched, w.err, w.before = owner, false, nil, len(w.entries)
	w.spent, w.kept = len(w.spenders), len(w.counted)
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
	n, err := w.s.exec(text, args)
	if err != nil || n != 0 || w.lazy {
		w.touched = true // after an error even the transaction may be gone
	}
	return n, w.faulty(err)
}

// expect runs a statement that has to touch exactly one row. If it did not,
// instead turns that into the closure's error, if it is not nil and knows one;
// its argument is the statement's error, nil if it touched another number of
// rows. Where answers are put off, the closure is run again, alone, to find out.
func (w *Writer) expect(op, id, text string, args []any, instead func(error) error) error {
	if w.lazy {
		w.touched = true
		err := w.faulty(w.s.expect(w.owner, op, id, text, args))
		if err != nil {
			err = w.fail("", err)
		}
		return err
	}
	n, err := w.try(text, args...)
	if err == nil && n == 1 {
		return nil
	}
	if instead != nil {
		if other := instead(err); other != nil {
			return w.fail("", other)
		}
	}
	if err == nil {
		err = errTouched(n)
	}
	return w.fail(op+" "+id, err)
}

func errTouched(n int64) error { return fmt.Errorf("touched %d rows instead of 1", n) }

// faulty notes what has broken the whole transaction.
func (w *Writer) faulty(err error) error {
	if err != nil && w.fault == nil {
		w.fault = mismatched(err)
	}
	return err
}

// query makes Writer a querier. It is for reads.
func (w *Writer) query(text string, args ...any) (*sql.Rows, error) {
	rows, err := w.s.query(text, args)
	return rows, w.faulty(err)
}

// returning runs a statement that changes at most one row and returns it;
// ErrNotFound if it changed none.
func returning[T any](w *Writer, scan func(*sql.Rows) (T, error), op, text string, args ...any) (T, error) {
	row, err := one(w, scan, op, text, args...)
	switch {
	case err == nil:
		w.touched = true
	case !errors.Is(err, ErrNotFound):
		w.touched = true
		err = w.fail("", err)
	}
	return row, err
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

// settle sees to it that the commit of this transaction settles what is in
// doubt. It writes a row that nobody reads, so that the commit is a real one.
func (w *Writer) settle() error {
	list := w.db.doubts.list()
	for _, d := range list {
		done, err := w.s.settled(d)
		if err == nil && !done {
			err = errDoubt
		}
		if err != nil {
			return err
		}
	}
	if len(list) > 0 {
		if err := w.bump(); err != nil {
			return err
		}
	}
	w.settles = list
	return nil
}

// bump makes the transaction one that writes.
func (w *Writer) bump() error {
	_, err := w.exec("settle", `UPDATE schema_version SET settled = settled + 1 WHERE id = 1`)
	return err
}

// fenceAll checks the leases of a whole batch before its closures run, where
// answers are put off. The rows are locked by sender: in the order in which
// everybody locks them.
func (w *Writer) fenceAll(batch []*request) {
	if !w.lazy {
		return
	}
	order := make([]int, 0, len(batch))
	for i, r := range batch {
		if r.fence != nil && !r.answered {
			order = append(order, i)
		}
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(batch[a].fence.Sender, batch[b].fence.Sender) })
	for _, i := range order {
		f := *batch[i].fence
		if w.fences[f] {
			continue
		}
		w.fences[f] = true
		w.start(i)
		_ = w.expect("check lease of", f.Sender, w.db.d.fence, []any{f.Sender, f.Owner, f.Epoch}, nil) // faulty has noted an error
	}
}
