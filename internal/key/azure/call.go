// SPDX-License-Identifier: Apache-2.0

package azure

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/key"
)

var errClosed = errors.New("closed")

// call makes one call and returns as soon as ctx is done. The library's callers
// wait for each other's tokens without looking at their contexts, so a call that
// may need a token is left behind when ctx is done. What the library does to
// itself over a strange answer is a bad response.
func call[T any](ctx context.Context, b *Backend, do func(context.Context) (T, error)) (T, error) {
	type answer struct {
		value T
		err   error
	}
	var none T
	if b.switched.Load() {
		return none, errClosed
	}
	if err := ctx.Err(); err != nil {
		return none, err
	}
	safely := func() (a answer) {
		defer func() {
			if p := recover(); p != nil {
				a = answer{err: fmt.Errorf("the answer could not be handled (%T): %w", p, key.ErrBadResponse)}
			}
		}()
		a.value, a.err = do(ctx)
		return a
	}
	if b.cred.warm() {
		a := safely()
		return a.value, a.err
	}
	answers := make(chan answer, 1)
	go func() { answers <- safely() }()
	select {
	case a := <-answers:
		return a.value, a.err
	case <-ctx.Done():
		return none, ctx.Err()
	case <-b.closed:
		return none, errClosed
	}
}

const (
	readAttempts = 4 // of a reading call that finds the vault unavailable
	// throttledAttempts bounds the calls of one reading that is throttled again
	// and again; its caller's deadline usually comes first.
	throttledAttempts = 60
	firstBackoff      = 100 * time.Millisecond
	maxBackoff        = 5 * time.Second
)

// read makes a call that only reads. It waits for its turn, and tries again what
// may pass by itself: a listing of many calls would otherwise fail because of
// one.
func (b *Backend) read(ctx context.Context, op string, ref key.Ref, do func(context.Context) error) error {
	backoff, unavailable := firstBackoff, 0
	for attempt := 1; ; attempt++ {
		if err := b.cfg.Reads.Wait(ctx); err != nil {
			return b.failure(ctx, op, ref, err)
		}
		_, err := call(ctx, b, func(ctx context.Context) (struct{}, error) { return struct{}{}, do(ctx) })
		if err == nil {
			b.cfg.Reads.Succeeded()
			return nil
		}
		err = b.failure(ctx, op, ref, err)
		b.cfg.Reads.Answered(err)
		if ctx.Err() != nil || b.switched.Load() {
			return err
		}
		delay := backoff/2 + rand.N(backoff)
		var throttled *key.ThrottledError
		switch {
		case errors.As(err, &throttled) && attempt < throttledAttempts:
			delay = max(delay, throttled.RetryAfter+rand.N(firstBackoff))
		case errors.Is(err, key.ErrUnavailable) && unavailable+1 < readAttempts:
			unavailable++
		default:
			return err
		}
		if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= delay {
			return err // this says more than "deadline exceeded" would
		}
		if sleep(ctx, delay) != nil {
			return err
		}
		backoff = min(2*backoff, maxBackoff)
	}
}
