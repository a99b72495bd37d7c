// SPDX-License-Identifier: Apache-2.0

package logbook

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"errors"
	"fmt"
	"hash"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/audit"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

// What Config leaves open.
const (
	defaultInterval = 200 * time.Millisecond
	defaultBehind   = 30 * time.Second
	defaultSweep    = time.Minute
)

// ErrTampered says that the log's rows are not what the key has signed. Nothing
// is appended to it then: `audit verify` says what is wrong.
var ErrTampered = errors.New("audit log: its rows are not what was signed; see audit verify")

// macSize is how much of the keyed hash is kept: no shorter one is in reach of
// guessing.
const macSize = 16

// Book is the log of a process that appends to it. Its methods are safe for
// concurrent use.
type Book struct {
	*Reader
	cfg   Config
	stamp func([32]byte) []byte
	start time.Time // of the process's clock that no jump of the wall clock moves
	wake  chan struct{}
	hurry chan struct{}

	// since is when the oldest record that is not in the log was committed, after
	// start; 0 if there is none.
	since atomic.Int64

	mu     sync.Mutex
	queue  []audit.Entry
	first  time.Duration // of the queue: when it began to fill
	handed int64         // records that were ever put in the queue
	done   int64         // of them, those that are in the log, or turned out never to have been written
	moved  chan struct{} // closed when done rises
	failed error         // of the last attempt to append; nil if it went well

	appending sync.Mutex
	tree      *tree // as it is in the database; nil: to be read
	known     Checkpoint
}

// Open begins to follow the store: from now on its rows are written with their
// keyed hash, and handed to the log. It must come before the first audit row of
// this process is written. A store that has no log yet gets one, over all rows
// that are there, which can take minutes for ten million.
func Open(ctx context.Context, cfg Config) (*Book, error) {
	if cfg.Store == nil || cfg.Key == nil {
		return nil, fmt.Errorf("audit log: no store or no key given")
	}
	if cfg.Interval <= 0 {
		cfg.Interval = defaultInterval
	}
	if cfg.Behind <= 0 {
		cfg.Behind = defaultBehind
	}
	if cfg.Sweep <= 0 {
		cfg.Sweep = defaultSweep
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	b := &Book{
		Reader: Read(cfg.Store, cfg.Key.Verifier()), cfg: cfg, start: time.Now(),
		stamp: cfg.Key.stamper(), wake: make(chan struct{}, 1), hurry: make(chan struct{}, 1), moved: make(chan struct{}),
	}
	if err := cfg.Store.CreateAuditLog(ctx); err != nil {
		return nil, err
	}
	cfg.Store.AuditTo(store.AuditSink{Stamp: b.stamp, Committed: b.committed, Gate: b.gate})
	b.appending.Lock()
	err := b.load(ctx)
	b.appending.Unlock()
	if err != nil {
		return nil, err
	}
	if err := b.begin(ctx); err != nil {
		return nil, err
	}
	return b, nil
}

// Stamp lets a store whose process keeps no log, such as the command line's,
// write rows that the daemon's next sweep takes into the log.
func Stamp(db *store.DB, key *Key) { db.AuditTo(store.AuditSink{Stamp: key.stamper()}) }

// stamper makes the keyed hash of a record from the hash of its line.
func (k *Key) stamper() func([32]byte) []byte {
	pool := sync.Pool{New: func() any { return hmac.New(sha256.New, k.mac[:]) }}
	return func(line [32]byte) []byte {
		h := pool.Get().(hash.Hash)
		h.Reset()
		h.Write(line[:])
		var sum [sha256.Size]byte
		h.Sum(sum[:0])
		pool.Put(h)
		return append(make([]byte, 0, macSize), sum[:macSize]...)
	}
}

// stamped reports whether the keyed hash of a row is right.
func (b *Book) stamped(s audit.Stored) bool {
	return hmac.Equal(s.MAC, b.stamp(audit.HashLine(s.Line)))
}

// committed takes what the store has committed. It is on the way of every
// signature.
func (b *Book) committed(entries []audit.Entry) {
	b.mu.Lock()
	empty := len(b.queue) == 0
	if empty {
		b.first = b.now()
		b.since.CompareAndSwap(0, int64(b.first))
	}
	b.queue = append(b.queue, entries...)
	b.handed += int64(len(entries))
	b.mu.Unlock()
	if empty {
		poke(b.wake)
	}
}

// now is the time since start, and never 0.
func (b *Book) now() time.Duration { return max(time.Since(b.start), 1) }

func poke(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}

// behind is for how long a record has waited for the log, 0 if none does.
func (b *Book) behind() time.Duration {
	since := b.since.Load()
	if since == 0 {
		return 0
	}
	return b.now() - time.Duration(since)
}

// gate keeps anybody from signing while the log does not follow.
func (b *Book) gate() error {
	if behind := b.behind(); behind > b.cfg.Behind {
		return fmt.Errorf("the audit log is %v behind; nothing is signed until it has caught up", behind.Truncate(time.Second))
	}
	return nil
}

// Health returns why the log does not keep up: it is behind for longer than
// Config.Behind, or the last attempt to append has failed. nil if all is well.
func (b *Book) Health() error {
	b.mu.Lock()
	failed := b.failed
	b.mu.Unlock()
	if err := b.gate(); err != nil {
		return errors.Join(err, failed)
	}
	return failed
}

// Run appends to the log what this process commits, and now and then what a
// crash has kept from it, until ctx ends; then it appends what is left and
// returns nil. Call it once, in a goroutine, and let it end after all that
// writes and before the store is closed.
func (b *Book) Run(ctx context.Context) error {
	var sweeps sync.WaitGroup
	sweeps.Go(func() { b.sweeps(ctx) })
	defer sweeps.Wait()
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-b.wake:
			b.gather(ctx)
			if err := b.flush(ctx); err != nil && ctx.Err() == nil {
				b.cfg.Logger.Error("cannot append to the audit log", "err", err)
				wait(ctx, time.Second)
				poke(b.wake)
			}
		}
	}
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
	defer cancel()
	if err := b.flush(last); err != nil {
		b.cfg.Logger.Warn("the newest audit records are not in the log yet; the next start takes them in", "err", err)
	}
	return nil
}

// gather waits for more records that can be appended together.
func (b *Book) gather(ctx context.Context) {
	timer := time.NewTimer(b.cfg.Interval)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	case <-b.hurry:
		wait(ctx, min(20*time.Millisecond, b.cfg.Interval)) // somebody waits, others may be about to
	}
}

func wait(ctx context.Context, d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// flush appends all that is in the queue.
func (b *Book) flush(ctx context.Context) error {
	b.mu.Lock()
	entries, first := b.queue, b.first
	b.queue = nil
	b.mu.Unlock()
	if len(entries) == 0 {
		return nil
	}
	rest, err := b.appendAll(ctx, entries, b.now()-first > late)
	b.mu.Lock()
	b.done += int64(len(entries) - len(rest))
	if len(rest) > 0 {
		b.queue, b.first = append(rest, b.queue...), first
	}
	if len(b.queue) == 0 {
		b.since.Store(0)
	} else {
		b.since.Store(int64(b.first))
	}
	b.failed = err
	close(b.moved)
	b.moved = make(chan struct{})
	b.mu.Unlock()
	return err
}

// late is after which time a record may have been taken in by the sweep of
// another replica: less than sweepAge.
const late = 20 * time.Second

// appendAll appends entries in batches and returns those that are left after an
// error.
func (b *Book) appendAll(ctx context.Context, entries []audit.Entry, check bool) (rest []audit.Entry, err error) {
	sure, err := b.settle(ctx, entries)
	if err != nil {
		return entries, err
	}
	for len(sure) > 0 {
		n := min(len(sure), maxBatch)
		if err := b.append(ctx, sure[:n], step{check: check}); err != nil {
			return sure, err
		}
		sure = sure[n:]
	}
	return nil, nil
}

// settle finds out which entries of a commit of unknown outcome are there, and
// leaves out the others.
func (b *Book) settle(ctx context.Context, entries []audit.Entry) ([]audit.Entry, error) {
	var doubtful [audit.EventKind + 1][]string
	any := false
	for _, e := range entries {
		if e.Doubtful {
			doubtful[e.Kind] = append(doubtful[e.Kind], e.ID)
			any = true
		}
	}
	if !any {
		return entries, nil
	}
	var there [audit.EventKind + 1]map[string]audit.Stored
	for _, kind := range audit.Kinds() {
		var err error
		if there[kind], err = b.db.AuditStored(ctx, kind, doubtful[kind]); err != nil {
			return nil, err
		}
	}
	sure := make([]audit.Entry, 0, len(entries))
	for _, e := range entries {
		if e.Doubtful {
			row, ok := there[e.Kind][e.ID]
			if !ok || audit.HashLine(row.Line) != e.Hash {
				continue
			}
			e.Doubtful = false
		}
		sure = append(sure, e)
	}
	return sure, nil
}

// Await returns once the records, of any kind, are under a signed checkpoint, or
// with ctx's error. They must have been committed before.
func (b *Book) Await(ctx context.Context, ids ...string) error {
	b.mu.Lock()
	mine := b.handed
	b.mu.Unlock()
	for {
		b.mu.Lock()
		done, moved := b.done >= mine, b.moved
		b.mu.Unlock()
		if done {
			break
		}
		poke(b.hurry)
		select {
		case <-moved:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	for len(ids) > 0 { // another replica may have written them
		_, err := b.find(ctx, 0, ids[0])
		switch {
		case err == nil:
			ids = ids[1:]
		case errors.Is(err, store.ErrNotFound):
			wait(ctx, b.cfg.Interval)
		default:
			return err
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
	}
	return nil
}
