// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
	"runtime"
	"runtime/debug"
	"slices"
	"time"
)

// maxBatch bounds how long the first writer of a batch waits for the others.
const maxBatch = 256

// committer owns the one connection that writes, and runs on one goroutine.
//
// When one closure of a batch fails, what it wrote has to go and what the
// others wrote has to stay. Savepoints do that, but cost SQLite nearly half of
// its throughput (it copies each page that each savepoint touches). Failures
// after a change are rare, so there the transaction is rolled back and the
// statements of the closures that went well are played again: nobody else can
// write in between, hence they do the same again, which is checked. Where
// others can, dialect.savepoints is set.
type committer struct {
	db   *DB
	conn *sql.Conn
	w    Writer
}

func newCommitter(ctx context.Context, db *DB) (*committer, error) {
	c := &committer{db: db}
	if err := c.connect(ctx); err != nil {
		return nil, err
	}
	db.queue = make(chan *request, 4*maxBatch)
	db.done = make(chan struct{})
	return c, nil
}

func (c *committer) connect(ctx context.Context) error {
	conn, err := c.db.writePool.Conn(ctx)
	if err != nil {
		return fmt.Errorf("store: connect: %w", err)
	}
	c.conn = conn
	c.w = Writer{db: c.db, conn: conn, stmts: make(map[string]*sql.Stmt), fences: make(map[Fence]bool)}
	return nil
}

// drop ends the connection for good: given back to the pool it would come
// again, with whatever transaction is open on it.
func (c *committer) drop() {
	if c.conn == nil {
		return
	}
	for _, stmt := range c.w.stmts {
		_ = stmt.Close()
	}
	_ = c.conn.Raw(func(any) error { return driver.ErrBadConn })
	_ = c.conn.Close()
	c.conn = nil
}

// loop runs until the queue is closed and empty.
func (c *committer) loop() {
	defer close(c.db.done)
	defer c.drop()
	batch := make([]*request, 0, maxBatch)
	for r := range c.db.queue {
		// Callers whom the last commit has just answered are ready to write
		// again; let them queue up rather than sync for the first of them alone.
		runtime.Gosched()
		batch = c.gather(append(batch[:0], r))
		for rest := batch; len(rest) > 0; {
			rest = c.run(rest)
		}
		clear(batch)
	}
}

func (c *committer) gather(batch []*request) []*request {
	for len(batch) < maxBatch {
		select {
		case r, ok := <-c.db.queue:
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

// run carries out a batch in one transaction and answers its requests. It
// returns those that it did not come to.
func (c *committer) run(batch []*request) (rest []*request) {
	start := time.Now()
	if err := c.begin(); err != nil {
		for _, r := range batch {
			if r.begun.CompareAndSwap(false, true) {
				r.done <- err
			}
		}
		return nil
	}
	kept := batch[:0]
	for i, r := range batch {
		if !r.begun.CompareAndSwap(false, true) {
			continue
		}
		err := c.one(r, len(batch) > 1)
		if err == nil {
			kept = append(kept, r)
			continue
		}
		undone := c.undo()
		r.done <- err
		if undone != nil {
			c.rollback()
			for _, earlier := range kept {
				earlier.done <- &CommitError{Err: undone}
			}
			return batch[i+1:]
		}
		if c.w.replayed {
			// Commit now, so that no closure is played again twice.
			rest = batch[i+1:]
			break
		}
	}
	c.finish(kept, start)
	return rest
}

// finish commits and answers those whose writes are in the transaction.
func (c *committer) finish(kept []*request, start time.Time) {
	if len(kept) == 0 {
		c.rollback()
		return
	}
	err := c.w.raw("COMMIT")
	if err != nil {
		c.rollback()
		c.db.unsettled.Store(true)
		c.settle()
		err = &CommitError{Err: err}
	} else {
		c.db.unsettled.Store(false)
	}
	if err == nil && c.db.cfg.OnCommit != nil {
		c.db.cfg.OnCommit(len(kept), time.Since(start))
	}
	for _, r := range kept {
		r.done <- err
	}
}

// begin opens the transaction, over a new connection if the old one is dead.
func (c *committer) begin() error {
	var err error
	for range 2 {
		if c.conn == nil {
			if err = c.connect(context.Background()); err != nil {
				continue
			}
		}
		c.w.reset()
		if err = c.w.raw(c.db.d.begin); err == nil {
			break
		}
		c.drop()
	}
	if err == nil && c.db.unsettled.Load() {
		if err = c.w.settle(); err != nil {
			c.rollback()
		}
	}
	if err != nil {
		return fmt.Errorf("store: begin: %w", err)
	}
	return nil
}

// one runs a single closure; whatever it returns, nothing has been undone yet.
func (c *committer) one(r *request, shared bool) error {
	w := &c.w
	w.start()
	if r.fence != nil {
		if err := w.holds(*r.fence); err != nil {
			return err
		}
	}
	if shared && c.db.d.savepoints {
		if err := w.raw("SAVEPOINT w"); err != nil {
			w.touched = true
			return w.fail("savepoint", err)
		}
		w.nested = true
	}
	err := c.call(r.fn)
	if err == nil {
		err = w.err
	}
	if err == nil && w.nested {
		if e := w.raw("RELEASE SAVEPOINT w"); e != nil {
			err = w.fail("release savepoint", e)
		}
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

// undo takes back what the closure that failed last has written. An error
// means that the transaction is lost, with all that was in it.
func (c *committer) undo() error {
	w := &c.w
	switch {
	case w.nested:
		clear(w.fences) // their row locks may go with the savepoint
		if err := w.raw("ROLLBACK TO SAVEPOINT w"); err != nil {
			return err
		}
		return w.raw("RELEASE SAVEPOINT w")
	case !w.touched:
		return nil
	case c.db.d.savepoints: // the fence or the savepoint itself broke
		return w.err
	}
	redo := slices.Clone(w.log[:w.mark]) // begin clears the log
	if err := w.raw("ROLLBACK"); err != nil {
		return err
	}
	if err := c.begin(); err != nil {
		return err
	}
	return w.replay(redo)
}

// rollback ends the transaction. That none is open is the one error that it
// may meet, and is what it wants; anything worse shows at the next begin.
func (c *committer) rollback() {
	if c.conn != nil {
		_ = c.w.raw("ROLLBACK")
	}
}

// settle makes the outcome of a failed COMMIT definite. SQLite may have
// written the whole transaction to its journal before the sync failed, and
// would then find it there after a crash, although it has been rolled back
// now. The next commit overwrites that part of the journal. Should this one
// fail too, on a disk that is still full, the flag stays up and the next batch
// tries again.
func (c *committer) settle() {
	if err := c.begin(); err != nil { // begin settles
		return
	}
	if err := c.w.raw("COMMIT"); err != nil {
		c.rollback()
		return
	}
	c.db.unsettled.Store(false)
}
