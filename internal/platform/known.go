// SPDX-License-Identifier: Apache-2.0

package platform

import (
	"context"
	"sync"
	"time"
)

// known keeps what was decrypted and checked, for all services that need it. It
// is safe for concurrent use, and nobody waits in it for another key than his own.
type known[T any] struct {
	mu  sync.Mutex
	all map[Version]*opened[T]
}

// opened is what was decrypted and checked, or why it could not be.
type opened[T any] struct {
	done  chan struct{} // closed when what follows is set
	value T
	err   error
	at    time.Time
}

// get makes a value for a key, once for everybody who waits, or says again why it
// could not be made a moment ago.
func (k *known[T]) get(ctx context.Context, key Version, open func() (T, error)) (T, error) {
	k.mu.Lock()
	o := k.all[key]
	if o == nil || o.failed() {
		o = &opened[T]{done: make(chan struct{})}
		if k.all == nil {
			k.all = make(map[Version]*opened[T])
		}
		k.all[key] = o
		k.mu.Unlock()
		o.value, o.err = open()
		o.at = time.Now()
		close(o.done)
		return o.value, o.err
	}
	k.mu.Unlock()
	select {
	case <-o.done:
		return o.value, o.err
	case <-ctx.Done():
		var none T
		return none, ctx.Err()
	}
}

// failed reports whether it could not be made, and may be tried again.
func (o *opened[T]) failed() bool {
	select {
	case <-o.done:
		return o.err != nil && time.Since(o.at) >= firstWait
	default:
		return false
	}
}

// forget drops what no row stands for any more, since it holds secrets.
func (k *known[T]) forget(keep map[Version]bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for name := range k.all {
		if !keep[name] {
			delete(k.all, name)
		}
	}
}
