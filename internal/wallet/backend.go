// SPDX-License-Identifier: Apache-2.0

package wallet

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/faultpoint"
	"github.com/hsmsigner/hsmsigner/internal/key"
)

const (
	firstBackoff = 50 * time.Millisecond
	maxBackoff   = 2 * time.Second
	// A caller without a deadline gets this many call timeouts in all.
	callsWithoutDeadline = 3
)

// pause holds back every call of a wallet after its backend asked for fewer:
// a quota is shared by all keys, so one throttled call speaks for all.
type pause struct{ until atomic.Int64 } // Unix time, ns

func (p *pause) extend(until time.Time) {
	for {
		old := p.until.Load()
		if until.UnixNano() <= old || p.until.CompareAndSwap(old, until.UnixNano()) {
			return
		}
	}
}

func (p *pause) remaining() time.Duration {
	return time.Until(time.Unix(0, p.until.Load()))
}

// askBackend gets a signature, asking again as long as the failure may pass by
// itself and the deadline leaves room. A digest signed twice because a reply
// was lost does no harm: only the signature that is returned is used. asked
// says whether the backend was called at all.
func (w *Wallet) askBackend(ctx context.Context, ref key.Ref, digest [32]byte) (sig key.Signature, asked bool, err error) {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, callsWithoutDeadline*w.cfg.SignTimeout)
		defer cancel()
	}
	backoff := firstBackoff
	for {
		if err := w.takeSlot(ctx); err != nil {
			return key.Signature{}, asked, err
		}
		asked = true
		sig, err := w.callBackend(ctx, ref, digest)
		if err == nil || !key.Transient(err) || ctx.Err() != nil {
			return sig, asked, err
		}
		delay := backoff/2 + rand.N(backoff/2+1)
		var throttled *key.ThrottledError
		if errors.As(err, &throttled) {
			delay += throttled.RetryAfter
			w.pause.extend(time.Now().Add(delay))
		}
		if deadline, _ := ctx.Deadline(); time.Until(deadline) <= delay {
			return key.Signature{}, asked, err // this says more than "timeout" would
		}
		if sleep(ctx, delay) != nil {
			return key.Signature{}, asked, err
		}
		backoff = min(2*backoff, maxBackoff)
	}
}

// callBackend makes one call in a slot that the caller has taken.
func (w *Wallet) callBackend(ctx context.Context, ref key.Ref, digest [32]byte) (key.Signature, error) {
	started := time.Now()
	ctx, cancel := context.WithTimeout(ctx, w.cfg.SignTimeout)
	defer cancel()
	sig, err := guarded(ctx, func(ctx context.Context) (key.Signature, error) {
		// The slot belongs to the call, not to its caller: a backend that
		// ignores ctx keeps its slot, so the limit holds.
		defer func() { <-w.slots }()
		if err := faultpoint.Error(faultpoint.Sign); err != nil {
			return key.Signature{}, injected(err)
		}
		return w.cfg.Backend.SignDigest(ctx, ref, digest)
	})
	outcome := "ok"
	if err != nil {
		outcome = backendError(err).Kind
	}
	w.cfg.Observer.BackendCall(w.cfg.Name, outcome, time.Since(started))
	return sig, err
}

// takeSlot waits for a free slot of the limiter, outside any pause.
func (w *Wallet) takeSlot(ctx context.Context) error {
	for {
		if d := w.pause.remaining(); d > 0 {
			if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= d {
				return fmt.Errorf("wait until the backend takes requests again: %w", &key.ThrottledError{RetryAfter: d})
			}
			// Those who waited must not all wake at one instant.
			if err := sleep(ctx, d+rand.N(firstBackoff)); err != nil {
				return fmt.Errorf("wait until the backend takes requests again: %w", err)
			}
		}
		select {
		case w.slots <- struct{}{}:
		case <-ctx.Done():
			return fmt.Errorf("wait for a free slot: %w", ctx.Err())
		case <-w.closing:
			return ErrClosed
		}
		select {
		case <-w.closing:
			<-w.slots
			return ErrClosed
		default:
		}
		if w.pause.remaining() <= 0 {
			return nil
		}
		<-w.slots // throttled while this one waited
	}
}

// guarded runs one backend call in a goroutine of its own, so that a backend
// which ignores ctx cannot hold the caller past its deadline, and one that
// panics on a strange answer cannot end the process.
func guarded[T any](ctx context.Context, call func(context.Context) (T, error)) (T, error) {
	type answer struct {
		value T
		err   error
	}
	answers := make(chan answer, 1)
	go func() {
		var a answer
		defer func() {
			if p := recover(); p != nil {
				a.err = fmt.Errorf("panic in the backend: %v: %w", p, key.ErrBadResponse)
			}
			answers <- a
		}()
		a.value, a.err = call(ctx)
	}()
	var none T
	select {
	case a := <-answers:
		return a.value, a.err
	case <-ctx.Done():
		return none, ctx.Err()
	}
}

// injected gives an error that a fault point made the kind that its rule
// names: one that may pass by itself, unless it says "denied".
func injected(err error) error {
	var at *faultpoint.InjectedError
	if errors.As(err, &at) && at.Kind == "denied" {
		return fmt.Errorf("%w: %w", err, key.ErrDenied)
	}
	return fmt.Errorf("%w: %w", err, key.ErrUnavailable)
}
