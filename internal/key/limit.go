// SPDX-License-Identifier: Apache-2.0

package key

import (
	"container/list"
	"context"
	"errors"
	"fmt"
	"math"
	"sync"
	"time"
)

// DefaultShare is the part of a documented quota that a [Quota] should be made
// with. A Quota lets through at most 1.05 of its rate in any one second, or one
// call more than its rate where that is more. So with this share a service that
// counts by the second never has to throttle, and hardly anything is left unused.
const DefaultShare = 0.95

// maxWaiting bounds the callers that wait for their turn at a Quota.
const maxWaiting = 16384

// Quota is how many calls a second a service may be asked for. Everybody who
// asks the same service waits at the same Quota; several processes share what
// is allowed (see [Quota.Share]).
//
// When the service throttles nevertheless, the Quota asks for less, down to a
// tenth, and then slowly for more again, but never for more than its share. A
// service that says how long it wants to be left alone is left alone by
// everybody for so long. It is told of both by [Quota.Throttled] and
// [Quota.Succeeded], or [Quota.Answered].
//
// Callers are served in the order in which they came, but those who wait with
// the context of a [Watch], for a discovery, have every tenth turn only while
// others wait. A nil Quota lets everybody through. All methods are safe for concurrent use.
type Quota struct {
	perSecond float64 // of all processes together

	mu     sync.Mutex
	pace   pace
	until  time.Time // nobody is let through before
	tokens float64   // calls that may be made at once
	filled time.Time // when tokens was right
	queue  list.List // of *waiter, the oldest first
	later  list.List // the same of those who are in no hurry
	passed int       // turns since one of those had his
	timer  *time.Timer
}

// hurry is how many turns others have while one who is in no hurry waits.
const hurry = 9

// waiter is a caller who waits for his turn; ready is closed when it has come.
type waiter struct {
	since time.Time
	ready chan struct{}
}

// NewQuota allows perSecond calls a second, above zero. With math.Inf(1) it
// holds nobody back until the service throttles.
func NewQuota(perSecond float64) *Quota {
	q := &Quota{perSecond: perSecond, pace: newPace(perSecond), filled: time.Now()}
	q.tokens = burst(perSecond)
	return q
}

// Share leaves this process one part in n.
func (q *Quota) Share(n int) {
	if q == nil {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.advance(time.Now())
	q.pace.setShare(q.perSecond / float64(max(1, n)))
	q.dispatch()
}

// Wait waits for the turn of one call. A caller who cannot be served before his
// deadline, or finds too many waiting, gets a [*ThrottledError] at once.
func (q *Quota) Wait(ctx context.Context) error { return q.wait(ctx, time.Now(), false) }

// WaitAgain is Wait for a caller who has been waiting since an earlier time,
// because the service turned his call away or he gave his turn back: he goes
// before all who came later.
func (q *Quota) WaitAgain(ctx context.Context, since time.Time) error {
	return q.wait(ctx, since, true)
}

func (q *Quota) wait(ctx context.Context, since time.Time, again bool) (err error) {
	if err := ctx.Err(); err != nil || q == nil {
		return err
	}
	watch := watchOf(ctx)
	watch.enter()
	defer func() { watch.leave(err == nil) }()
	q.mu.Lock()
	now := time.Now()
	q.advance(now)
	if q.waiting() == 0 && q.due(now) <= 0 {
		q.tokens--
		q.mu.Unlock()
		return nil
	}
	queue := &q.queue
	if watch != nil {
		queue = &q.later
	}
	if err := q.refuse(ctx, now, queue.Len(), again); err != nil {
		q.mu.Unlock()
		return err
	}
	w := &waiter{since: since, ready: make(chan struct{})}
	place := enqueue(queue, w)
	q.dispatch()
	q.mu.Unlock()
	select {
	case <-w.ready:
		return nil
	case <-ctx.Done():
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	select {
	case <-w.ready: // at the same instant
		q.tokens++
	default:
		queue.Remove(place)
	}
	q.dispatch()
	if errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return fmt.Errorf("wait for the quota: %w: %w", &ThrottledError{}, ctx.Err())
	}
	return fmt.Errorf("wait for the quota: %w", ctx.Err())
}

// refuse turns away who cannot be served in time behind those before him even if
// all goes well from now on. Whoever has waited before keeps his place until his deadline.
func (q *Quota) refuse(ctx context.Context, now time.Time, before int, again bool) error {
	least := max(0, q.until.Sub(now))
	if !again {
		ahead := float64(before) + 1 - max(0, q.tokens)
		least += time.Duration(max(0, ahead) / q.pace.share * float64(time.Second)) // nothing where share is +Inf
		if before >= maxWaiting {
			return fmt.Errorf("%d calls wait for the quota: %w", maxWaiting, &ThrottledError{RetryAfter: least})
		}
	}
	if deadline, ok := ctx.Deadline(); ok && now.Add(least).After(deadline) {
		return fmt.Errorf("the quota has no turn before the deadline: %w", &ThrottledError{RetryAfter: least})
	}
	return nil
}

// enqueue puts w behind all who came before him. Those who come again are few
// and old, so the search is from the end where w belongs.
func enqueue(queue *list.List, w *waiter) *list.Element {
	last := queue.Back()
	if last == nil || !w.since.Before(last.Value.(*waiter).since) {
		return queue.PushBack(w)
	}
	for e := queue.Front(); e != nil; e = e.Next() {
		if w.since.Before(e.Value.(*waiter).since) {
			return queue.InsertBefore(w, e)
		}
	}
	return queue.PushBack(w)
}

// GiveBack returns a turn that was not used.
func (q *Quota) GiveBack() {
	if q == nil {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	q.tokens++
	q.dispatch()
}

// Throttled tells the quota that the service has refused a call for now, and how
// long it asked to be left alone (zero if it did not say).
func (q *Quota) Throttled(after time.Duration) {
	if q == nil {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	now := time.Now()
	q.advance(now)
	if after > 0 {
		if until := now.Add(min(after, maxPause)); until.After(q.until) {
			q.until = until
		}
	}
	q.pace.reply(now, true)
	if q.until.After(now) {
		q.pace.changed = q.until // what is not asked cannot show that it takes more
	}
	q.dispatch()
}

// Succeeded tells the quota that the service has answered a call.
func (q *Quota) Succeeded() {
	if q == nil {
		return
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	now := time.Now()
	q.advance(now)
	q.pace.reply(now, false)
}

// Answered tells the quota what became of a call. An error that is not the
// service's answer tells it nothing.
func (q *Quota) Answered(err error) {
	var throttled *ThrottledError
	switch {
	case errors.As(err, &throttled):
		q.Throttled(throttled.RetryAfter)
	case errors.Is(err, ErrUnavailable), errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
	default:
		q.Succeeded()
	}
}

// advance brings rate and tokens up to now.
func (q *Quota) advance(now time.Time) {
	passed := now.Sub(q.filled).Seconds()
	if passed <= 0 {
		return
	}
	q.filled = now
	if math.IsInf(q.pace.rate, 1) {
		q.tokens = 0 // what is saved up while nobody counts is worth nothing later
	} else {
		limit := burst(q.pace.rate)
		if q.waiting() > 0 {
			limit += max(1, q.pace.rate/20) // a timer that is late must not cost those who wait
		}
		q.tokens = min(q.tokens+passed*q.pace.rate, limit)
	}
	q.pace.advance(now, passed)
}

// due is how long the next caller has to wait.
func (q *Quota) due(now time.Time) time.Duration {
	if pause := q.until.Sub(now); pause > 0 {
		return pause
	}
	const nearly = 1 - 1e-9 // floating point
	if math.IsInf(q.pace.rate, 1) || q.tokens >= nearly {
		return 0
	}
	return time.Duration(math.Ceil((1 - q.tokens) / q.pace.rate * float64(time.Second)))
}

// dispatch lets everybody through whose turn has come, and sees to it that it is
// called again for the next.
func (q *Quota) dispatch() {
	now := time.Now()
	q.advance(now)
	for q.waiting() > 0 {
		if wait := q.due(now); wait > 0 {
			if q.timer == nil {
				q.timer = time.AfterFunc(wait, func() {
					q.mu.Lock()
					defer q.mu.Unlock()
					q.dispatch()
				})
			} else {
				q.timer.Reset(wait)
			}
			return
		}
		q.tokens--
		close(q.next().ready)
	}
	if q.timer != nil {
		q.timer.Stop()
	}
}

func (q *Quota) waiting() int { return q.queue.Len() + q.later.Len() }

// next takes the one out of the queues whose turn it is.
func (q *Quota) next() *waiter {
	queue := &q.queue
	if q.queue.Len() == 0 || q.later.Len() > 0 && q.passed >= hurry {
		queue = &q.later
		q.passed = 0
	} else {
		q.passed++
	}
	return queue.Remove(queue.Front()).(*waiter)
}

// QuotaState is how a Quota stands.
type QuotaState struct {
	Rate      float64       // calls a second that are let through now; +Inf: no limit
	Share     float64       // calls a second that are let through at most; +Inf: no limit
	Waiting   int           // callers who wait for their turn
	Paused    time.Duration // how long the service wants to be left alone from now on
	Throttled uint64        // calls that the service has throttled so far
}

// State says how the quota stands.
func (q *Quota) State() QuotaState {
	if q == nil {
		return QuotaState{Rate: math.Inf(1), Share: math.Inf(1)}
	}
	q.mu.Lock()
	defer q.mu.Unlock()
	now := time.Now()
	q.advance(now)
	return QuotaState{
		Rate: q.pace.rate, Share: q.pace.share, Waiting: q.waiting(),
		Paused: max(0, q.until.Sub(now)), Throttled: q.pace.throttled,
	}
}
