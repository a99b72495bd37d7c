// SPDX-License-Identifier: Apache-2.0

package wallet

import (
	"context"
	"fmt"
	"math/rand/v2"
	"sync"
	"time"
)

const (
	firstRetry  = time.Second            // after a failed discovery; doubles up to the interval
	changeDelay = 200 * time.Millisecond // lets a burst of changes become one discovery
)

// changer is the optional capability of a backend to notice that its keys
// have changed.
type changer interface {
	// Changed yields a value after keys were added, removed or altered.
	Changed() <-chan struct{}
}

// refresher lets callers share discoveries. A caller joins the run that has
// not begun, never one that has: that one may have listed the keys before the
// caller made a new one.
type refresher struct {
	mu   sync.Mutex
	next *run
	kick chan struct{} // one slot
}

// run is one discovery. report and err are set before done is closed.
type run struct {
	done   chan struct{}
	report Report
	err    error
}

func (r *refresher) join() *run {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.next == nil {
		r.next = &run{done: make(chan struct{})}
	}
	select {
	case r.kick <- struct{}{}:
	default:
	}
	return r.next
}

// begin takes the run that callers are waiting for, or a new one.
func (r *refresher) begin() *run {
	r.mu.Lock()
	defer r.mu.Unlock()
	begun := r.next
	r.next = nil
	if begun == nil {
		begun = &run{done: make(chan struct{})}
	}
	return begun
}

// Refresh runs a discovery and waits for it. Concurrent calls share one. If
// the backend cannot be listed the last good snapshot stays and the error is
// a [*BackendError]; if only storing the snapshot fails, the new one is in use
// and the report is valid beside the error. Discovery goes on when ctx ends.
func (w *Wallet) Refresh(ctx context.Context) (Report, error) {
	joined := w.refresh.join()
	select {
	case <-joined.done:
		return joined.report, joined.err
	case <-ctx.Done():
		return Report{}, fmt.Errorf("wallet %s: refresh: %w", w.cfg.Name, ctx.Err())
	case <-w.stopped:
		return Report{}, fmt.Errorf("wallet %s: refresh: %w", w.cfg.Name, ErrClosed)
	}
}

// Reload takes over the accounts that another process has stored for this
// wallet: where several share a store, one discovery serves all of them.
func (w *Wallet) Reload(ctx context.Context) error {
	rows, err := w.cfg.Snapshots.Accounts(ctx, w.cfg.Name)
	if err != nil {
		return fmt.Errorf("wallet %s: load accounts: %w", w.cfg.Name, err)
	}
	accounts := make([]Account, 0, len(rows))
	for _, row := range rows {
		if a := fromRow(row); w.cfg.selected(a.Name, a.Address, a.Tags) {
			accounts = append(accounts, a)
		}
	}
	w.publish(newSnapshot(accounts))
	if len(accounts) > 0 {
		w.ready.Store(true)
	}
	return nil
}

// keepFresh runs discoveries one at a time until ctx ends.
func (w *Wallet) keepFresh(ctx context.Context) {
	defer close(w.stopped)
	var changed <-chan struct{}
	if c, ok := w.cfg.Backend.(changer); ok {
		changed = c.Changed()
	}
	timer := time.NewTimer(0) // the first discovery is at once
	defer timer.Stop()
	retry := firstRetry
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-w.refresh.kick:
		case _, open := <-changed:
			if !open {
				changed = nil
				continue
			}
			if sleep(ctx, changeDelay) != nil {
				return
			}
		}
		current := w.refresh.begin()
		report, failed := w.discover(ctx)
		if ctx.Err() != nil {
			return
		}
		current.report, current.err = report, failed
		close(current.done)
		if failed != nil {
			w.cfg.Logger.Warn("account discovery incomplete; the last good accounts stay in use",
				"err", cause(failed), "retry_in", retry)
			timer.Reset(retry)
			retry = min(2*retry, w.cfg.RefreshInterval)
			continue
		}
		retry = min(firstRetry, w.cfg.RefreshInterval)
		// Wallets that started together must not ask their vault together.
		timer.Reset(w.cfg.RefreshInterval - rand.N(w.cfg.RefreshInterval/10+1))
	}
}

// sleep waits for d or the end of ctx.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
