// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"sync/atomic"
)

// request is one closure on its way to the writer.
type request struct {
	ctx    context.Context
	fence  *Fence
	lease  string // the sender whose lease it writes; such requests have a lane of their own
	counts bool   // it locks allowances; likewise
	log    bool   // it appends to the audit log; likewise
	fn     func(*Writer) error
	begun  atomic.Bool // whoever sets it decides: the writer to run fn, or the caller to give up
	done   chan error  // buffered, so that the writer never waits for a caller

	answered bool // of the writer
}

func (r *request) answer(err error) {
	if !r.answered {
		r.answered = true
		r.done <- err
	}
}

// Write runs fn inside a transaction and returns once it is committed and
// synced. Writes that wait at the same time share one transaction and one
// sync, yet an error or panic of fn undoes what this fn wrote and nothing else,
// and is returned verbatim.
//
//   - fn runs alone, on the writer's goroutine: it must be short, must not wait
//     for another Write, must not use w after it returned, and must not end its
//     goroutine (so no t.Fatal inside).
//   - fn may run more than once, each time in a new transaction after the former
//     was rolled back; only the last run counts. So it writes to w, and sets
//     anew whatever else it sets.
//   - Once a method of w has returned an error, fn is undone even if it
//     returns nil; Write then returns that first error. What a method without a
//     result but its error demands of a row may be checked only after fn has
//     returned: Write then returns that error although fn never saw it.
//   - If ctx ends before fn began, fn does not run. Later ctx has no effect.
//   - A *CommitError means that the outcome is unknown, for all who shared the
//     transaction. Until a later commit has succeeded, which makes it definite
//     whether the unknown one counts, reads fail rather than show rows that a
//     crash, or a commit still on its way, could change.
//   - Any other error means that nothing of fn was stored.
func (db *DB) Write(ctx context.Context, fn func(w *Writer) error) error {
	return db.submit(&request{ctx: ctx, fn: fn})
}

// WriteFenced is Write for the holder of a nonce lease. In the same
// transaction it sees to it that f's owner and epoch still hold the lease, that
// it has not expired by the database's clock, and that nobody is granted it
// before the commit; otherwise it returns ErrLeaseLost and nothing is stored,
// whether fn ran or not.
func (db *DB) WriteFenced(ctx context.Context, f Fence, fn func(w *Writer) error) error {
	return db.submit(&request{ctx: ctx, fence: &f, fn: fn})
}

// writeLease is Write for what changes the lease row of a sender, and no other.
func (db *DB) writeLease(ctx context.Context, sender string, fn func(w *Writer) error) error {
	return db.submit(&request{ctx: ctx, lease: sender, fn: fn})
}

// writeLog is Write for what appends to the audit log.
func (db *DB) writeLog(ctx context.Context, fn func(w *Writer) error) error {
	return db.submit(&request{ctx: ctx, log: true, fn: fn})
}

func (db *DB) submit(r *request) error {
	if err := r.ctx.Err(); err != nil {
		return err
	}
	if len(db.lanes) == 0 {
		return ErrReadOnly
	}
	lane := db.lanes[0]
	switch last := len(db.lanes) - 1; {
	case r.lease != "":
		lane = db.lanes[min(1, last)]
	case r.log:
		lane = db.lanes[min(2, last)]
	case r.counts:
		lane = db.lanes[last]
	}
	r.done = make(chan error, 1)
	db.mu.RLock()
	if db.closed {
		db.mu.RUnlock()
		return ErrClosed
	}
	select {
	case lane.queue <- r:
		db.mu.RUnlock()
	case <-r.ctx.Done():
		db.mu.RUnlock()
		return r.ctx.Err()
	}
	select {
	case err := <-r.done:
		return err
	case <-r.ctx.Done():
		if r.begun.CompareAndSwap(false, true) {
			return r.ctx.Err()
		}
		return <-r.done
	}
}
