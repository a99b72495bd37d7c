// SPDX-License-Identifier: Apache-2.0

package wallet

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/key"
)

const (
	maxStrikes    = 5               // failures in a row that open the breaker; a timeout counts double
	minOutage     = 2 * time.Second // and they have lasted so long: a cut connection hits many calls at one instant
	probeInterval = 2 * time.Second // between calls that are let through an open breaker
	hangAfter     = 2 * time.Second // a call that takes longer, and four times the average, is suspected to hang
)

// The states of a breaker, as [Status] shows them.
const (
	BreakerClosed   = "closed"    // calls are made
	BreakerOpen     = "open"      // no call is made
	BreakerHalfOpen = "half-open" // the next caller's call is made, to see whether the backend is back
)

// breaker keeps callers away from a backend that is down. It opens when the
// backend was unavailable or did not answer several times in a row, and never
// because of an answer, whatever that says. While it is open one call is let
// through every probeInterval, whatever became of the one before; the first that
// is answered closes it.
type breaker struct {
	opened, closed func(cause error, failures int) // called without the lock

	mu       sync.Mutex
	strikes  int
	failures int
	since    time.Time // begin of the first of the failed calls
	alive    time.Time // begin of the last call that was answered
	cause    error     // of the last failure
	open     bool
	probe    time.Time     // when the next call is let through
	changed  chan struct{} // closed when the breaker closes
	suspects map[*suspect]struct{}
}

// suspect is a call that takes strangely long.
type suspect struct {
	started time.Time
	giveUp  func() // does not block
	over    bool
}

// pass returns nil if a call may be made now. If not, a patient caller waits
// until one may or ctx ends; others get an error that wraps key.ErrUnavailable at
// once. probe says that the call is the one that an open breaker lets through.
func (b *breaker) pass(ctx context.Context, patient bool) (probe bool, err error) {
	for {
		b.mu.Lock()
		if !b.open {
			b.mu.Unlock()
			return false, nil
		}
		now := time.Now()
		if !now.Before(b.probe) {
			b.probe = now.Add(probeInterval)
			b.mu.Unlock()
			return true, nil
		}
		wait, changed, refusal := b.probe.Sub(now), b.changed, b.refusal()
		b.mu.Unlock()
		if !patient {
			return false, refusal
		}
		timer := time.NewTimer(wait)
		select {
		case <-timer.C:
		case <-changed:
		case <-ctx.Done():
			timer.Stop()
			if errors.Is(ctx.Err(), context.Canceled) {
				return false, fmt.Errorf("wait for the backend to come back: %w", ctx.Err())
			}
			return false, refusal
		}
		timer.Stop()
	}
}

// refusal is what a caller is told whose call is not made. The cause is text
// only: its request id is another call's.
func (b *breaker) refusal() error {
	return fmt.Errorf("not asked, since its last %d calls have failed (%s): %w", b.failures, b.cause.Error(), key.ErrUnavailable)
}

// isOpen reports whether calls are held back.
func (b *breaker) isOpen() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.open
}

// answered notes that the backend has answered a call begun at started.
func (b *breaker) answered(started time.Time) {
	b.mu.Lock()
	was, cause, failures := b.open, b.cause, b.failures
	if started.After(b.alive) {
		b.alive = started
	}
	b.strikes, b.failures, b.open = 0, 0, false
	if was {
		close(b.changed)
	}
	for s := range b.suspects {
		if s.started.Before(started) {
			delete(b.suspects, s)
			s.giveUp()
		}
	}
	b.mu.Unlock()
	if was {
		b.closed(cause, failures)
	}
}

// failed notes that a call begun at started got no answer.
func (b *breaker) failed(started time.Time, timeout bool, cause error) {
	b.mu.Lock()
	if !started.After(b.alive) {
		b.mu.Unlock()
		return // the backend has answered a later call
	}
	if b.failures == 0 || started.Before(b.since) {
		b.since = started
	}
	b.failures++
	b.strikes++
	if timeout {
		b.strikes++
	}
	b.cause = cause
	now := time.Now()
	opens := !b.open && b.strikes >= maxStrikes && now.Sub(b.since) >= minOutage
	if opens {
		b.open, b.probe, b.changed = true, now.Add(probeInterval), make(chan struct{})
	}
	failures := b.failures
	b.mu.Unlock()
	if opens {
		b.opened(cause, failures)
	}
}

// suspect takes note of a call that takes strangely long: it is given up as soon
// as a call that was begun later is answered, for then this one hangs for reasons
// of its own, like a connection that died.
func (b *breaker) suspect(s *suspect) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case s.over:
	case b.alive.After(s.started):
		s.giveUp()
	default:
		if b.suspects == nil {
			b.suspects = map[*suspect]struct{}{}
		}
		b.suspects[s] = struct{}{}
	}
}

// clear forgets a call that is over.
func (b *breaker) clear(s *suspect) {
	b.mu.Lock()
	defer b.mu.Unlock()
	s.over = true
	delete(b.suspects, s)
}

// hint says that the backend seems to be back: the next call is let through.
func (b *breaker) hint() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.probe = time.Now()
}

func (b *breaker) state() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case !b.open:
		return BreakerClosed
	case time.Now().Before(b.probe):
		return BreakerOpen
	}
	return BreakerHalfOpen
}
