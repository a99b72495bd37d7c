// SPDX-License-Identifier: Apache-2.0

package allowance

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/store"
)

const (
	// maxOps is how many ops of either kind share a commit.
	maxOps = 1000
	// maxLazy is how many wait to be written while nothing can be.
	maxLazy = 100_000
)

// do has an op written and waits for it. While a commit is on its way whoever
// comes waits for the next one, and they share it.
func (l *Ledger) do(ctx context.Context, o *op) error {
	o.done = make(chan struct{})
	l.queue.Lock()
	l.waits = append(l.waits, o)
	begin := !l.busy
	l.busy = true
	l.queue.Unlock()
	if begin {
		go l.drain()
	}
	select {
	case <-o.done:
		return o.err
	case <-ctx.Done():
	}
	l.queue.Lock()
	defer l.queue.Unlock()
	select {
	case <-o.done:
		return o.err
	default:
	}
	if i := slices.Index(l.waits, o); i >= 0 {
		l.waits = slices.Delete(l.waits, i, i+1) // not begun
	}
	o.left = true
	return ctx.Err()
}

// drain writes until nobody waits.
func (l *Ledger) drain() {
	for {
		batch := l.next()
		if batch == nil {
			return
		}
		err := l.commit(batch)
		l.answer(batch, err)
	}
}

// next takes what is to be written next; nil, and nobody is at it any more, if
// nobody waits.
func (l *Ledger) next() []*op {
	l.queue.Lock()
	defer l.queue.Unlock()
	if len(l.waits) == 0 {
		l.rest()
		return nil
	}
	l.waits = slices.DeleteFunc(l.waits, func(o *op) bool {
		// Memory may know by now what it did not when it came.
		done := o.kind == reserve && l.remembers(o)
		if done {
			close(o.done)
		}
		return done
	})
	if len(l.waits) == 0 {
		l.rest()
		return nil
	}
	n := min(len(l.lazily), maxOps)
	m := min(len(l.waits), maxOps)
	// What gives back comes first.
	batch := slices.Concat(l.lazily[:n], l.waits[:m])
	l.lazily, l.waits = slices.Clone(l.lazily[n:]), slices.Clone(l.waits[m:])
	return batch
}

// rest says that nobody writes any more. The queue must be held.
func (l *Ledger) rest() {
	l.busy = false
	l.idle.Broadcast()
}

func (l *Ledger) answer(batch []*op, err error) {
	l.queue.Lock()
	defer l.queue.Unlock()
	for _, o := range batch {
		if err != nil {
			o.err = err
		}
		switch {
		case o.done == nil && err != nil:
			if len(l.lazily) < maxLazy { // else the sweep finds it out
				l.lazily = append(l.lazily, o)
			}
		case o.left && o.kind == reserve && o.err == nil:
			l.lazily = append(l.lazily, &op{kind: unused, id: o.id, receipt: o.receipt})
		}
		if o.done != nil {
			close(o.done)
		}
	}
}

// commit writes a batch, a few times if need be: another replica that hangs may
// keep a row locked for some seconds, and what was written by a commit of which
// nobody knows whether it happened is found, since ids are reserved once.
func (l *Ledger) commit(batch []*op) error {
	ctx, cancel := context.WithTimeout(context.Background(), commitTimeout)
	defer cancel()
	var err error
	var landed map[string]bool
	if l.mem != nil {
		names := l.mem.begin(batch)
		defer func() {
			if err == nil {
				l.mem.decide(landed)
			}
			l.mem.end(names, err)
		}()
	}
	for range tries {
		err = l.cfg.Store.WriteAllowance(ctx, func(w *store.Writer) (err error) {
			landed, err = l.write(w, batch)
			return err
		})
		if err == nil || ctx.Err() != nil || errors.Is(err, store.ErrClosed) || errors.Is(err, store.ErrReadOnly) {
			break
		}
	}
	if err != nil {
		return fmt.Errorf("allowance: what is left of the limits is not known: %w", err)
	}
	return nil
}

// write does a batch within a transaction. landed says of what was in doubt in
// memory whether it is in the rows.
func (l *Ledger) write(w *store.Writer, batch []*op) (landed map[string]bool, err error) {
	b, landed, err := l.lock(w, batch)
	if err != nil {
		return nil, err
	}
	for _, o := range batch {
		o.err = nil
		if err := b.run(w, o); err != nil {
			return nil, err
		}
	}
	names := make([]string, 0, len(b))
	for name := range b {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		if err := save(w, name, b[name]); err != nil {
			return nil, err
		}
	}
	return landed, nil
}

func save(w *store.Writer, name string, s *state) error {
	switch {
	case s.broken != nil:
		return nil
	case s.idle() && s.drop:
		return w.DropAllowance(name)
	case !s.changed:
		return nil
	}
	text, err := s.encode()
	if err != nil {
		return fmt.Errorf("limit %s: %w", name, err)
	}
	return w.SetAllowance(store.Allowance{Name: name, State: text, Value: s})
}

// lock reads the limits of a batch, which nobody changes until the commit.
func (l *Ledger) lock(w *store.Writer, batch []*op) (b book, landed map[string]bool, err error) {
	if _, known := l.now(); !known {
		if err := l.beat(w); err != nil {
			return nil, nil, err
		}
	}
	var names []string
	for _, o := range batch {
		names = append(names, o.names()...)
	}
	var doubts map[string]*taken
	if l.mem != nil {
		doubts = l.mem.doubts()
		for _, t := range doubts {
			names = append(names, (&op{receipt: t.receipt}).names()...)
		}
	}
	slices.Sort(names)
	names = slices.Compact(names)
	texts, _, err := w.LockAllowances(names)
	if err != nil {
		return nil, nil, err
	}
	now, _ := l.now()
	b = make(book, len(names))
	for _, name := range names {
		s := decode(texts[name])
		s.drop = texts[name] == "" // made for this, unless something is put into it
		s.advance(now)
		b[name] = s
	}
	for _, o := range batch {
		if o.kind == tidy {
			b[o.keys[0]].drop = true
		}
	}
	if l.mem == nil {
		return b, nil, nil
	}
	l.mem.adds(b)
	landed, err = b.landed(w, doubts)
	return b, landed, err
}

// remembers does an op in memory, if that suffices.
func (l *Ledger) remembers(o *op) bool {
	if l.mem == nil {
		return false
	}
	now, known := l.now()
	if !known {
		return false
	}
	receipt, did, err := l.mem.reserve(o.id, o.takes, now, l.since())
	if did {
		o.receipt, o.err = receipt, err
	}
	return did
}

// Run writes what was settled, and sweeps, until ctx ends.
func (l *Ledger) Run(ctx context.Context) {
	flush, beat, sweep := time.NewTicker(flushEvery), time.NewTicker(beatEvery), time.NewTicker(sweepEvery)
	defer flush.Stop()
	defer beat.Stop()
	defer sweep.Stop()
	l.sweepOnce(ctx, l.Sweep)
	for {
		select {
		case <-ctx.Done():
			l.finish()
			return
		case <-flush.C:
			l.flush()
		case <-beat.C:
			if err := l.tick(ctx); err != nil && ctx.Err() == nil {
				l.cfg.Logger.Warn("the time could not be written to the store; it is tried again", "err", err)
			}
			l.often(ctx)
		case <-sweep.C:
			l.sweepOnce(ctx, l.Sweep)
		}
	}
}

// flush writes what was settled, if nobody else is about to.
func (l *Ledger) flush() {
	l.queue.Lock()
	if l.busy || len(l.lazily) == 0 {
		l.queue.Unlock()
		return
	}
	l.busy = true
	n := min(len(l.lazily), maxOps)
	batch := slices.Clone(l.lazily[:n])
	l.lazily = slices.Clone(l.lazily[n:])
	l.queue.Unlock()
	err := l.commit(batch)
	l.answer(batch, err)
	if err != nil {
		l.cfg.Logger.Warn("what became of reserved allowances could not be written; it is tried again", "err", err)
	}
	l.drain()
}

// finish is flush once nobody else writes: what was settled before is written then,
// or cannot be.
func (l *Ledger) finish() {
	l.queue.Lock()
	for l.busy {
		l.idle.Wait()
	}
	l.queue.Unlock()
	l.flush()
}
