// SPDX-License-Identifier: Apache-2.0

package approval

import (
	"context"
	"sync"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/store"
)

const (
	perLook    = 64               // requests that one look takes up
	atOnce     = 128              // transactions that are being sent here at a time
	perWallet  = 4                // of them by one wallet, whose node may hang
	elsewhere  = time.Second      // how long the replica where it was approved has it for itself
	leastPause = time.Second      // between two tries of one transaction
	mostPause  = 30 * time.Second //
	everyPrune = time.Hour
)

// Run sends what is approved, ends what is over, and forgets what ended long ago,
// until ctx ends. It waits for what it has begun, as long as a caller of
// eth_sendTransaction would.
func (b *Book) Run(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	tick := time.NewTicker(b.cfg.Poll)
	defer tick.Stop()
	e := &executor{b: b, wake: make(chan struct{}, 1), running: map[string]bool{}, of: map[string]int{}, next: map[string]pause{}}
	var pruned time.Time
	for here := false; ; {
		e.look(ctx, &wg, here)
		b.expire(ctx)
		b.endRestored(ctx)
		if now := b.now(); now.Sub(pruned) >= everyPrune {
			pruned = now
			if _, err := b.cfg.Store.DropApprovals(ctx, now.Add(-b.cfg.Keep)); err != nil && ctx.Err() == nil {
				b.cfg.Logger.Warn("old requests for approval could not be forgotten", "err", err)
			}
		}
		select {
		case <-ctx.Done():
			return
		case <-b.kick:
			here = true
		case <-e.wake:
			here = true
		case <-tick.C:
			here = false
		}
	}
}

// pause is when a transaction is tried again, and how long after the last time.
type pause struct {
	until time.Time
	took  time.Duration
}

// executor is what one Run has in hand.
type executor struct {
	b    *Book
	wake chan struct{} // there is a place for one that was turned away

	mu      sync.Mutex
	running map[string]bool
	of      map[string]int // running ones by wallet
	full    bool           // one was turned away
	next    map[string]pause
}

// look begins to send what is approved. here says that something was approved in
// this process: other processes leave that to it for a moment, which saves work
// and is not what keeps it from being sent twice.
func (e *executor) look(ctx context.Context, wg *sync.WaitGroup, here bool) {
	if e.b.cfg.Wallet == nil {
		return
	}
	open := make(map[string]bool)
	for after := ""; ; {
		list, err := e.b.cfg.Store.WaitingApprovals(ctx, store.ApprovalApproved, after, perLook)
		if err != nil {
			if ctx.Err() == nil {
				e.b.cfg.Logger.Warn("what is approved could not be read", "err", err)
			}
			return
		}
		for _, a := range list {
			after, open[a.ID] = a.ID, true
			if !here && e.b.now().Sub(a.Decided) < elsewhere {
				continue
			}
			e.begin(ctx, wg, a)
		}
		if len(list) < perLook {
			e.b.holdOnly(open)
			return
		}
	}
}

// begin sends one, unless it is being sent, was tried just now, is the caller's to
// use, or there is no place for it. It never waits: those of other wallets, and
// what is over, are not kept up by a node that hangs.
func (e *executor) begin(ctx context.Context, wg *sync.WaitGroup, a store.Approval) {
	q, err := readRequest(a.Request)
	if err != nil || !e.b.genuine(a) || !q.sends() || !e.take(a) {
		return
	}
	wg.Go(func() {
		again := e.b.execute(ctx, a, q)
		e.done(a, again)
		if again {
			return
		}
		e.b.notify()
	})
}

func (e *executor) take(a store.Approval) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.running[a.ID] || e.b.now().Before(e.next[a.ID].until) {
		return false
	}
	if len(e.running) >= atOnce || e.of[a.Wallet] >= perWallet {
		e.full = true
		return false
	}
	e.running[a.ID] = true
	e.of[a.Wallet]++
	return true
}

// done notes that a try is over; again that it is to be tried once more, later
// each time.
func (e *executor) done(a store.Approval, again bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	id := a.ID
	delete(e.running, id)
	if e.of[a.Wallet]--; e.of[a.Wallet] == 0 {
		delete(e.of, a.Wallet)
	}
	if e.full {
		e.full = false
		select {
		case e.wake <- struct{}{}:
		default:
		}
	}
	if !again {
		delete(e.next, id)
		e.b.hold(id, "")
		return
	}
	took := min(max(2*e.next[id].took, leastPause), mostPause)
	e.next[id] = pause{e.b.now().Add(took), took}
}

// expire ends what is over.
func (b *Book) expire(ctx context.Context) {
	list, err := b.cfg.Store.OverdueApprovals(ctx, b.now(), perLook)
	if err != nil {
		if ctx.Err() == nil {
			b.cfg.Logger.Warn("requests for approval that are over could not be read", "err", err)
		}
		return
	}
	for _, a := range list {
		if err := b.over(ctx, a); err != nil && ctx.Err() == nil {
			b.cfg.Logger.Warn("a request for approval could not be ended", "approval", a.ID, "err", err)
		}
	}
}

// endRestored ends what a restored backup had open. The store has taken it out of
// everybody's reach already.
func (b *Book) endRestored(ctx context.Context) {
	list, err := b.cfg.Store.RestoredApprovals(ctx, perLook)
	if err != nil {
		if ctx.Err() == nil {
			b.cfg.Logger.Warn("requests for approval of a restored backup could not be read", "err", err)
		}
		return
	}
	for _, a := range list {
		if b.genuine(a) {
			err = ignoreFaster(b.end(ctx, a, store.ApprovalExpired, restoredText))
		} else {
			err = b.cfg.Store.Write(ctx, func(w *store.Writer) error { return w.CloseApproval(a.ID) })
		}
		if err != nil && ctx.Err() == nil {
			b.cfg.Logger.Warn("a request for approval of a restored backup could not be ended", "approval", a.ID, "err", err)
		}
	}
}

// over ends one whose time is over.
func (b *Book) over(ctx context.Context, a store.Approval) error {
	if !b.genuine(a) {
		return b.cfg.Store.Write(ctx, func(w *store.Writer) error { return w.CloseApproval(a.ID) })
	}
	q, err := readRequest(a.Request)
	if err != nil {
		return err
	}
	if a.State == store.ApprovalApproved && q.sends() {
		// Whoever has begun to send it in time has its row, or will not get it.
		if done, err := b.settled(ctx, a, q); done || err != nil {
			return err
		}
	}
	text := expiredText(a)
	if why := b.waits(a.ID); why != "" {
		text += ": " + why
	}
	return ignoreFaster(b.end(ctx, a, store.ApprovalExpired, text))
}
