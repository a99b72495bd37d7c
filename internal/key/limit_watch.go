// SPDX-License-Identifier: Apache-2.0

package key

import (
	"context"
	"sync/atomic"
	"time"
)

// Watch tells work that waits for a [Quota] from work that hangs. A page of a
// listing may need thousands of calls, and with a small quota a long time; what
// hangs is one that neither waits for its turn nor gets one. It is safe for
// concurrent use.
type Watch struct {
	waiting atomic.Int64
	turns   atomic.Int64
	last    atomic.Int64 // Unix time, ns
}

type watchKey struct{}

// NewWatch watches everything that waits at a Quota with the context that it
// returns. Such calls are in no hurry: signatures go before them.
func NewWatch(ctx context.Context) (context.Context, *Watch) {
	w := &Watch{}
	w.last.Store(time.Now().UnixNano())
	return context.WithValue(ctx, watchKey{}, w), w
}

// Turns is how many calls were let through.
func (w *Watch) Turns() int64 { return w.turns.Load() }

// Idle is how long ago the last call was let through; zero while one waits.
func (w *Watch) Idle() time.Duration {
	if w.waiting.Load() > 0 {
		return 0
	}
	return time.Since(time.Unix(0, w.last.Load()))
}

func watchOf(ctx context.Context) *Watch {
	w, _ := ctx.Value(watchKey{}).(*Watch)
	return w
}

func (w *Watch) enter() {
	if w != nil {
		w.waiting.Add(1)
	}
}

func (w *Watch) leave(through bool) {
	if w == nil {
		return
	}
	w.last.Store(time.Now().UnixNano())
	if through {
		w.turns.Add(1)
	}
	w.waiting.Add(-1)
}
