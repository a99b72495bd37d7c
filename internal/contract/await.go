// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"context"
	"sync"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/store"
)

// Await is Reply once the transaction is mined, or will never be. If ctx ends
// first, the reply as it is then, which is StatePending, and no error.
func (d *Desk) Await(ctx context.Context, t Target, id string) (Reply, error) {
	for {
		key, err := d.accepted(context.WithoutCancel(ctx), t, id)
		if err != nil {
			return Reply{}, err
		}
		if ctx.Err() == nil && !landed(key.State) {
			d.waits.wait(ctx, key.TxID)
		}
		// The last look is not the caller's to end: it is bounded by the node's own time.
		r, err := d.Reply(context.WithoutCancel(ctx), t, id)
		if err != nil || r.State != StatePending || ctx.Err() != nil {
			return r, err
		}
		// The row says that it is mined, and the chain does not: it left its block.
		sleep(ctx, d.book.cfg.Poll)
	}
}

// landed reports whether a transaction in this state is mined, or never will be.
func landed(s store.TxState) bool { return s == store.Mined || s.Final() }

func sleep(ctx context.Context, d time.Duration) {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
	case <-t.C:
	}
}

// pollTime bounds one look at the rows.
const pollTime = 5 * time.Second

// waits are those who wait for transactions. One goroutine looks at the rows of all
// of them, while there are any.
type waits struct {
	db   *store.DB
	poll time.Duration

	mu   sync.Mutex
	by   map[string][]chan struct{} // by transaction
	runs bool
}

// wait returns when the row of a transaction says that it is mined or will never
// be, or is gone, or ctx ends.
func (w *waits) wait(ctx context.Context, tx string) {
	done := make(chan struct{})
	w.mu.Lock()
	w.by[tx] = append(w.by[tx], done)
	if !w.runs {
		w.runs = true
		go w.run() //nolint:gosec // it serves all who wait, and ends after the last of them
	}
	w.mu.Unlock()
	select {
	case <-done:
	case <-ctx.Done():
		w.leave(tx, done)
	}
}

func (w *waits) leave(tx string, done chan struct{}) {
	w.mu.Lock()
	defer w.mu.Unlock()
	list := w.by[tx]
	for i, c := range list {
		if c == done {
			list = append(list[:i:i], list[i+1:]...)
			break
		}
	}
	if w.by[tx] = list; len(list) == 0 {
		delete(w.by, tx)
	}
}

// run looks at the rows until nobody waits.
func (w *waits) run() {
	for {
		time.Sleep(w.poll)
		w.mu.Lock()
		if len(w.by) == 0 {
			w.runs = false
			w.mu.Unlock()
			return
		}
		ids := make([]string, 0, len(w.by))
		for id := range w.by {
			ids = append(ids, id)
		}
		w.mu.Unlock()
		ctx, cancel := context.WithTimeout(context.Background(), pollTime)
		outcomes, err := w.db.Outcomes(ctx, ids)
		cancel()
		if err != nil {
			continue // a store that does not answer now does later, or its callers give up
		}
		open := make(map[string]bool, len(outcomes))
		for _, o := range outcomes {
			open[o.ID] = !landed(o.State)
		}
		w.mu.Lock()
		for _, id := range ids {
			if open[id] {
				continue
			}
			for _, c := range w.by[id] {
				close(c)
			}
			delete(w.by, id)
		}
		w.mu.Unlock()
	}
}
