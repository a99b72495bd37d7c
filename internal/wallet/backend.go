// SPDX-License-Identifier: Apache-2.0

package wallet

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/faultpoint"
	"github.com/hsmsigner/hsmsigner/internal/key"
)

const (
	firstBackoff = 50 * time.Millisecond
	maxBackoff   = 2 * time.Second
	// A caller without a deadline gets this many call timeouts in all.
	callsWithoutDeadline = 3
	// So many callers may wait for a free slot of the limiter.
	maxQueue = 16384
)

// call makes one signing call to the backend.
type call func(ctx context.Context) (key.Signature, error)

// askBackend gets a signature, asking again as long as the failure may pass by
// itself and the deadline leaves room. A digest signed twice because a reply
// was lost does no harm: only the signature that is returned is used. asked
// says whether the backend was called at all.
//
// The way to a call is always the same: past the breaker, then a turn at the
// quota, then a slot. The quota knows of every throttled reply and holds back
// all callers as long as the backend wants; whoever has to ask again keeps his
// place in its queue. While the breaker is open a patient caller waits until his
// deadline, others are refused at once.
//
// What is frozen while it waits is not asked for: a [*freeze.FrozenError].
func (w *Wallet) askBackend(ctx context.Context, j job, ask call) (sig key.Signature, asked bool, err error) {
	if _, ok := ctx.Deadline(); !ok {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, callsWithoutDeadline*w.cfg.SignTimeout)
		defer cancel()
	}
	w.waiting.Add(1)
	defer w.waiting.Add(-1)
	came := time.Now()
	backoff := firstBackoff
	var last error // what the backend said when it was asked
	for {
		if err := w.admit(ctx, came, asked, j.patient); err != nil {
			if last != nil && !errors.Is(err, context.Canceled) && !errors.Is(err, ErrClosed) {
				err = last // this says more than "timeout" would
			}
			return key.Signature{}, asked, err
		}
		if err := w.Frozen(j.address); err != nil {
			<-w.slots
			w.quota.GiveBack()
			return key.Signature{}, asked, err
		}
		asked = true
		sig, err := w.callBackend(ctx, ask)
		if err == nil || !key.Transient(err) || ctx.Err() != nil {
			return sig, asked, err
		}
		last = err
		delay := backoff/2 + rand.N(backoff/2+1)
		var throttled *key.ThrottledError
		needed := delay
		if errors.As(err, &throttled) {
			needed = max(needed, w.quota.State().Paused)
		}
		if deadline, _ := ctx.Deadline(); time.Until(deadline) <= needed {
			return key.Signature{}, asked, err
		}
		if sleep(ctx, delay) != nil {
			return key.Signature{}, asked, err
		}
		backoff = min(2*backoff, maxBackoff)
	}
}

// callBackend makes one call in a slot that the caller has taken.
func (w *Wallet) callBackend(caller context.Context, ask call) (key.Signature, error) {
	started := time.Now()
	ctx, cancel := context.WithTimeout(caller, w.cfg.SignTimeout)
	defer cancel()
	ctx, giveUp := context.WithCancelCause(ctx)
	defer w.suspectLater(started, giveUp)()
	sig, err := guarded(ctx, func(ctx context.Context) (key.Signature, error) {
		// The slot belongs to the call, not to its caller: a backend that
		// ignores ctx keeps its slot, so the limit holds.
		defer func() { <-w.slots }()
		if err := faultpoint.Error(faultpoint.Sign); err != nil {
			return key.Signature{}, injected(err)
		}
		return ask(ctx)
	})
	if err != nil && errors.Is(context.Cause(ctx), errOvertaken) {
		err = errOvertaken
	}
	w.learn(started, caller.Err() != nil, err)
	outcome := "ok"
	if err != nil {
		outcome = backendError(err).Kind
	}
	w.cfg.Observer.BackendCall(w.cfg.Name, outcome, time.Since(started))
	return sig, err
}

// errOvertaken ends a call that hangs while others are answered.
var errOvertaken = fmt.Errorf("no answer, while calls made later had theirs: %w", key.ErrUnavailable)

// suspectLater gives a call up that hangs although the backend is there. stop
// frees what it holds.
func (w *Wallet) suspectLater(started time.Time, giveUp context.CancelCauseFunc) (stop func()) {
	patience := max(hangAfter, 4*w.stats.latency())
	if patience >= w.cfg.SignTimeout {
		return func() { giveUp(nil) }
	}
	s := &suspect{started: started, giveUp: func() { giveUp(errOvertaken) }}
	timer := time.AfterFunc(patience, func() { w.breaker.suspect(s) })
	return func() {
		if !timer.Stop() {
			w.breaker.clear(s)
		}
		giveUp(nil)
	}
}

// learn tells quota, breaker and statistics what became of a call. gone says
// that its caller waits no longer.
func (w *Wallet) learn(started time.Time, gone bool, err error) {
	took := time.Since(started)
	w.quota.Answered(err)
	timeout := errors.Is(err, context.DeadlineExceeded)
	switch {
	case errors.Is(err, context.Canceled):
		return // the caller's doing
	case gone && !definite(err) && took < w.cfg.SignTimeout/5:
		return // the caller was in a hurry, which shows nothing of the backend
	case timeout, errors.Is(err, key.ErrUnavailable):
		w.breaker.failed(started, timeout, err)
	case definite(err):
		w.breaker.answered(started)
	}
	w.stats.call(took, err)
}

// definite reports whether the backend has answered, and so is there. An error
// that no adapter has a name for may be anything.
func definite(err error) bool {
	var throttled *key.ThrottledError
	if err == nil || errors.As(err, &throttled) {
		return true
	}
	for _, answer := range []error{key.ErrNotFound, key.ErrDisabled, key.ErrDenied, key.ErrBadResponse, key.ErrUnsupported} {
		if errors.Is(err, answer) {
			return true
		}
	}
	return false
}

// admit waits until a call may be made, and returns with a slot taken. again
// says that the caller has made a call before. Closing the wallet ends the wait.
func (w *Wallet) admit(ctx context.Context, came time.Time, again, patient bool) error {
	waiting, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(w.life, cancel)()
	for {
		err := w.admitOnce(waiting, came, again, patient)
		switch {
		case err == nil:
			return nil
		case w.life.Err() != nil && ctx.Err() == nil:
			return ErrClosed
		case !errors.Is(err, errOpened):
			return err
		}
		again = true
	}
}

// errOpened says that the breaker has opened while a caller waited.
var errOpened = errors.New("the backend is away")

func (w *Wallet) admitOnce(ctx context.Context, came time.Time, again, patient bool) error {
	probe, err := w.breaker.pass(ctx, patient)
	if err != nil {
		return err
	}
	if again {
		err = w.quota.WaitAgain(ctx, came)
	} else {
		err = w.quota.Wait(ctx)
	}
	if err != nil {
		return err
	}
	if err := w.takeSlot(ctx, came); err != nil {
		return err
	}
	if !probe && w.breaker.isOpen() {
		<-w.slots
		w.quota.GiveBack()
		return errOpened
	}
	return nil
}

// takeSlot waits for a free slot of the limiter. A turn at the quota is for now:
// if the slots are what there is too little of, it is given back, and another is
// waited for with the slot in hand.
func (w *Wallet) takeSlot(ctx context.Context, came time.Time) error {
	select {
	case w.slots <- struct{}{}:
	default:
		w.quota.GiveBack()
		if err := w.waitForSlot(ctx); err != nil {
			return err
		}
		if err := w.quota.WaitAgain(ctx, came); err != nil {
			<-w.slots
			return err
		}
	}
	if w.life.Err() != nil {
		<-w.slots
		return ErrClosed
	}
	return nil
}

func (w *Wallet) waitForSlot(ctx context.Context) error {
	defer w.queued.Add(-1)
	if w.queued.Add(1) > maxQueue {
		return fmt.Errorf("%d calls wait for a free slot: %w", maxQueue, &key.ThrottledError{})
	}
	select {
	case w.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return fmt.Errorf("wait for a free slot: %w", ctx.Err())
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
