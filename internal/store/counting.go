// SPDX-License-Identifier: Apache-2.0

package store

// Counting is what a process that counts limits in memory (package allowance) is
// told of transactions, where no other process writes to the database. Both are
// called by the goroutine that writes, and must be quick.
type Counting struct {
	// Before is called before a COMMIT with what has been stored that something may
	// be reserved for. It may write allowances; an error undoes the transaction.
	Before func(w *Writer, stored []Spender) error
	// After is told, before anybody is answered, which allowances a commit has
	// changed, in their order, and what it has stored. With doubtful it is not known
	// whether it has. It must copy what it keeps.
	After func(changed []Allowance, stored []Spender, doubtful bool)
}

// Spender is something that may spend what was reserved for its id: a transaction,
// or an intent.
type Spender struct {
	ID string
	Tx bool
}

// Count has a process told. It is called once, before anything is reserved.
func (db *DB) Count(c Counting) { db.counting.Store(&c) }

// spends notes what may spend something.
func (w *Writer) spends(s Spender) {
	if w.db.counting.Load() != nil {
		w.spenders = append(w.spenders, s)
	}
}

// counts notes that an allowance was changed.
func (w *Writer) counts(a Allowance) {
	if w.db.counting.Load() != nil {
		w.counted = append(w.counted, a)
	}
}

// Counted is what this transaction has made of an allowance; State is empty if it
// has dropped it. It reports false if it has not changed it, and is for
// Counting.Before.
func (w *Writer) Counted(name string) (a Allowance, changed bool) {
	for i := len(w.counted) - 1; i >= 0; i-- {
		if w.counted[i].Name == name {
			return w.counted[i], true
		}
	}
	return Allowance{}, false
}

// beforeCommit has what is about to be committed counted.
func (w *Writer) beforeCommit() error {
	c := w.db.counting.Load()
	if c == nil || len(w.spenders) == 0 {
		return nil
	}
	return c.Before(w, w.spenders)
}

// afterCommit tells what was.
func (w *Writer) afterCommit(doubtful bool) {
	c := w.db.counting.Load()
	if c != nil && len(w.spenders)+len(w.counted) > 0 {
		c.After(w.counted, w.spenders, doubtful)
	}
}
