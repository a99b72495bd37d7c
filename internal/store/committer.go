// SPDX-License-Identifier: Apache-2.0

package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/faultpoint"
)

const (
	// maxBatch bounds how long the first writer of a batch waits for the others.
	maxBatch = 256
	// maxTries is how often a batch is run that others got in the way of.
	maxTries = 4
)

// committer owns a connection that writes, and runs on one goroutine.
//
// When one closure of a batch fails, what it wrote has to go and what the
// others wrote has to stay. Savepoints do that, but cost SQLite nearly half of
// its throughput, and PostgreSQL a round trip each. Failures after a change are
// rare, so the transaction is rolled back, and the closures before the one that
// failed, that one alone, and those after it are run again.
type committer struct {
	db    *DB
	queue chan *request
	s     session // nil: to be connected
	w     Writer
	kept  []*request // reused
}

// lane is a queue with a committer behind it.
func (db *DB) lane(s session) *committer {
	c := &committer{db: db, queue: make(chan *request, 4*maxBatch), s: s}
	c.w = Writer{db: db, s: s, fences: make(map[Fence]bool)}
	return c
}

func (c *committer) drop() {
	if c.s != nil {
		c.s.close()
		c.s, c.w.s = nil, nil
	}
}

// loop runs until the queue is closed and empty.
func (c *committer) loop() {
	defer c.db.writers.Done()
	defer c.drop()
	batch := make([]*request, 0, maxBatch)
	for r := range c.queue {
		// Callers whom the last commit has just answered are ready to write
		// again; let them queue up rather than sync for the first of them alone.
		runtime.Gosched()
		batch = c.gather(append(batch[:0], r))
		c.carry(slices.DeleteFunc(batch, func(r *request) bool { return !r.begun.CompareAndSwap(false, true) }))
		clear(batch[:cap(batch)])
	}
}

func (c *committer) gather(batch []*request) []*request {
	for len(batch) < maxBatch {
		select {
		case r, ok := <-c.queue:
			if !ok {
				return batch
			}
			batch = append(batch, r)
		default:
			return batch
		}
	}
	return batch
}

// mode is how a batch is run.
type mode int

const (
	together mode = iota // statements may be merged
	apart                // so that it is known whose went wrong
	alone                // a batch of one, each answer waited for
)

// carry answers all requests of a batch. Those that have to lock leases do so
// in one order everywhere, or two daemons would wait for each other.
func (c *committer) carry(batch []*request) {
	slices.SortStableFunc(batch, func(a, b *request) int { return cmp.Compare(a.lease, b.lease) })
	for len(batch) > 0 {
		guilty := c.attempt(batch, together)
		if guilty == somebody {
			guilty = c.attempt(batch, apart)
		}
		if guilty == nobody {
			return
		}
		c.carry(batch[:guilty])
		if r := batch[guilty]; !r.answered {
			c.attempt(batch[guilty:guilty+1], alone)
		}
		batch = batch[guilty+1:]
	}
}

// attempt runs a batch in one transaction. It answers all its requests and
// returns nobody, or returns the index of the one that broke the transaction,
// somebody if that is not known, and answers at most some that have failed. A
// batch that is run alone is always answered.
func (c *committer) attempt(batch []*request, m mode) (guilty int) {
	if len(batch) == 1 && !c.db.d.lazy {
		m = alone // nothing more is to be learnt
	}
	var err error
	for try := range maxTries {
		guilty, err = c.try(batch, m)
		if err == nil {
			return nobody
		}
		lost := guilty == nobody || c.s.dead()
		switch {
		case lost && try == 0 && guilty != nobody: // over a new connection, once
		case lost:
			c.answer(batch, err)
			return nobody
		case c.db.d.again(err): // a deadlock: let the other one go first
			time.Sleep(time.Duration(try+1) * 5 * time.Millisecond)
		case m == alone:
			c.answer(batch, err)
			return nobody
		default:
			return guilty
		}
	}
	if m == alone {
		c.answer(batch, err)
		return nobody
	}
	return guilty
}

func (c *committer) answer(batch []*request, err error) {
	for _, r := range batch {
		r.answer(err)
	}
}

// try is attempt without the patience. With an error nothing of the batch is
// stored; guilty is nobody if no transaction could be begun.
func (c *committer) try(batch []*request, m mode) (guilty int, err error) {
	start := time.Now()
	if err := c.begin(m == together); err != nil {
		return nobody, err
	}
	w := &c.w
	w.lazy = c.db.d.lazy && m != alone
	w.fenceAll(batch)
	kept := c.kept[:0]
	for i, r := range batch {
		if r.answered {
			continue
		}
		err := c.one(i, r)
		switch {
		case w.fault != nil:
			c.s.rollback()
			return w.fault.owner, w.fault.err
		case err == nil:
			kept = append(kept, r)
		case !w.touched:
			r.answer(err)
		default:
			c.s.rollback()
			return i, err
		}
	}
	c.kept = kept
	if len(kept) == 0 {
		c.s.rollback()
		return 0, nil
	}
	if err := w.beforeCommit(); err != nil {
		c.s.rollback()
		return 0, err
	}
	if err := c.s.flush(); err != nil {
		c.s.rollback()
		if m := mismatched(err); m != nil {
			return m.owner, m.err
		}
		return 0, err
	}
	return 0, c.finish(kept, start)
}

// finish commits and answers those whose writes are in the transaction. An
// error says that nothing was stored and nobody was answered.
func (c *committer) finish(kept []*request, start time.Time) error {
	err := faultpoint.Error(faultpoint.CommitBefore)
	if err == nil {
		err = c.s.commit()
	}
	if err == nil {
		err = faultpoint.Error(faultpoint.CommitAfter)
	}
	var not *definite
	if errors.As(err, &not) {
		c.s.rollback()
		return not.err
	}
	if err != nil {
		c.w.committed(true)
		c.w.afterCommit(true)
		c.db.doubts.add(c.s.doubt())
		c.s.rollback()
		c.settle()
		err = &CommitError{Err: err}
	} else {
		c.w.committed(false)
		c.w.afterCommit(false)
		c.db.doubts.remove(c.w.settles)
		if c.db.cfg.OnCommit != nil {
			c.db.cfg.OnCommit(len(kept), time.Since(start))
		}
	}
	c.answer(kept, err)
	return nil
}

// begin opens the transaction, over a new connection if the old one is dead,
// and lets it settle what is in doubt.
func (c *committer) begin(merge bool) (err error) {
	if c.s != nil && c.s.dead() {
		c.drop()
	}
	for range 2 {
		if c.s == nil {
			ctx, cancel := context.WithTimeout(context.Background(), connectTimeout)
			c.s, err = c.db.connect(ctx)
			cancel()
			if err != nil {
				c.s = nil
				continue
			}
			c.w.s = c.s
		}
		c.w.reset()
		if err = c.s.begin(merge); err == nil {
			break
		}
		c.drop()
	}
	if err == nil {
		if err = c.w.settle(); err != nil {
			c.s.rollback()
		}
	}
	if err != nil {
		return fmt.Errorf("store: begin: %w", err)
	}
	return nil
}

// one runs a single closure; whatever it returns, nothing has been undone yet.
func (c *committer) one(i int, r *request) error {
	w := &c.w
	w.start(i)
	if r.fence != nil && !w.lazy {
		if err := w.holds(*r.fence); err != nil {
			return err
		}
	}
	err := c.call(r.fn)
	if err == nil {
		err = w.err
	}
	if err != nil {
		w.entries = w.entries[:w.before]
		w.spenders, w.counted = w.spenders[:w.spent], w.counted[:w.kept]
	}
	return err
}

func (c *committer) call(fn func(*Writer) error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			c.db.log.Error("write panicked", "panic", p, "stack", string(debug.Stack()))
			c.w.touched = true
			err = fmt.Errorf("store: write panicked: %v", p)
		}
	}()
	return fn(&c.w)
}

// settle makes the outcome of a failed COMMIT definite by a commit of its own.
// Should this one fail too, on a disk that is still full or while the server is
// away, reads stay held back and the next batch tries again.
func (c *committer) settle() {
	if err := c.begin(false); err != nil { // begin settles
		return
	}
	err := c.s.flush()
	if err == nil {
		err = c.s.commit()
	}
	if err != nil {
		c.s.rollback()
		return
	}
	c.db.doubts.remove(c.w.settles)
}
