// SPDX-License-Identifier: Apache-2.0

package key_test

import (
	"context"
	"errors"
	"math"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/key"
)

// counter is a backend that only counts.
type counter struct {
	key.Backend
	calls int
}

func (c *counter) SignDigest(context.Context, key.Ref, [32]byte) (key.Signature, error) {
	c.calls++
	return key.Signature{}, nil
}

func TestLimitSpreadsSignaturesOverTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &counter{}
		b := key.Limit(c, key.NewQuota(10))
		begun := time.Now()
		for range 30 { // one at once, then ten a second
			if _, err := b.SignDigest(t.Context(), "", [32]byte{}); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(begun); took != 2900*time.Millisecond {
			t.Errorf("30 signatures took %s", took)
		}
	})
}

func TestLimitRefusesAtOnceWhatCannotBeInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &counter{}
		b := key.Limit(c, key.NewQuota(1))
		if _, err := b.SignDigest(t.Context(), "", [32]byte{}); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		_, err := b.SignDigest(ctx, "", [32]byte{})
		var throttled *key.ThrottledError
		if !errors.As(err, &throttled) || c.calls != 1 {
			t.Errorf("got %v after %d calls", err, c.calls)
		}
	})
}

func TestQuotaIsSharedAmongReplicas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, quota := &counter{}, key.NewQuota(30)
		quota.Share(3)
		b := key.Limit(c, quota)
		begun := time.Now()
		for range 60 { // a third of it: what was saved before, then ten a second
			if _, err := b.SignDigest(t.Context(), "", [32]byte{}); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(begun); took < 4*time.Second {
			t.Errorf("60 signatures took %s", took)
		}
	})
}

func TestWhoCannotBeServedInTimeIsRefusedAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := key.NewQuota(10)
		ctx, cancel := context.WithTimeout(t.Context(), 5050*time.Millisecond)
		defer cancel()
		var served, refused int
		var mu sync.Mutex
		var callers sync.WaitGroup
		begun := time.Now()
		for range 80 {
			callers.Go(func() {
				err := q.Wait(ctx)
				var throttled *key.ThrottledError
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err == nil:
					served++
				case errors.As(err, &throttled) && time.Since(begun) == 0 && throttled.RetryAfter > 5*time.Second:
					refused++
				default:
					t.Errorf("%v after %s", err, time.Since(begun))
				}
			})
		}
		callers.Wait()
		if served != 51 || refused != 29 {
			t.Errorf("%d served and %d refused, want 51 and 29", served, refused)
		}
	})
}

func TestQueueIsBounded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := key.NewQuota(1)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		var callers sync.WaitGroup
		for range 17_000 {
			callers.Go(func() { q.Wait(ctx) })
		}
		synctest.Wait()
		if n := q.State().Waiting; n != 16384 {
			t.Errorf("%d wait", n)
		}
		begun := time.Now()
		var throttled *key.ThrottledError
		if err := q.Wait(ctx); !errors.As(err, &throttled) || time.Since(begun) != 0 {
			t.Errorf("one more gets %v after %s", err, time.Since(begun))
		}
		cancel()
		callers.Wait()
		if n := q.State().Waiting; n != 0 {
			t.Errorf("%d wait after all have left", n)
		}
	})
}

func TestCallersAreServedInOrderAndThoseWhoComeAgainFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := key.NewQuota(1)
		first := time.Now()
		if err := q.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		var order []string
		var mu sync.Mutex
		var callers sync.WaitGroup
		join := func(name string, wait func() error) {
			time.Sleep(time.Millisecond)
			callers.Go(func() {
				if err := wait(); err != nil {
					t.Error(err)
				}
				mu.Lock()
				defer mu.Unlock()
				order = append(order, name)
			})
			synctest.Wait()
		}
		wait := func() error { return q.Wait(t.Context()) }
		join("b", wait)
		join("c", wait)
		join("d", wait)
		join("a", func() error { return q.WaitAgain(t.Context(), first) })
		join("e", wait)
		callers.Wait()
		if got := strings.Join(order, ""); got != "abcde" {
			t.Errorf("order %s", got)
		}
	})
}

func TestWhoLeavesTheQueueCostsNoTurn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := key.NewQuota(10)
		if err := q.Wait(t.Context()); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		var leavers sync.WaitGroup
		for range 50 {
			leavers.Go(func() {
				if err := q.Wait(ctx); !errors.Is(err, context.Canceled) {
					t.Errorf("got %v", err)
				}
			})
		}
		synctest.Wait()
		cancel()
		leavers.Wait()
		begun := time.Now()
		if err := q.Wait(t.Context()); err != nil || time.Since(begun) > 100*time.Millisecond {
			t.Errorf("%v after %s", err, time.Since(begun))
		}
		q.GiveBack()
		begun = time.Now()
		if err := q.Wait(t.Context()); err != nil || time.Since(begun) != 0 {
			t.Errorf("a turn that was given back: %v after %s", err, time.Since(begun))
		}
	})
}

func TestDeadlineInTheQueueIsBothThrottledAndADeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := key.NewQuota(10)
		for range 11 { // the rate falls while somebody waits, so he is not served in time
			q.Wait(t.Context())
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		errs := make(chan error)
		for range 9 {
			go func() { errs <- q.Wait(ctx) }()
		}
		synctest.Wait()
		for range 50 {
			q.Throttled(0)
		}
		var late error
		for range 9 {
			if err := <-errs; err != nil {
				late = err
			}
		}
		var throttled *key.ThrottledError
		if !errors.As(late, &throttled) || !errors.Is(late, context.DeadlineExceeded) {
			t.Errorf("got %v", late)
		}
	})
}

func TestShareKeepsWhatWasLearned(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := key.NewQuota(100)
		for range 100 {
			q.Throttled(0)
		}
		time.Sleep(200 * time.Millisecond)
		q.Share(2)
		if s := q.State(); s.Rate != 25 || s.Share != 50 {
			t.Errorf("state %+v", s)
		}
		q.Share(1)
		if s := q.State(); s.Rate != 50 || s.Share != 100 {
			t.Errorf("state %+v", s)
		}
	})
}

func TestQuotaThatIsNoneLetsEverybodyThrough(t *testing.T) {
	var q *key.Quota
	q.Share(3)
	q.Throttled(time.Hour)
	q.Succeeded()
	q.Answered(nil)
	q.GiveBack()
	if err := q.Wait(t.Context()); err != nil {
		t.Error(err)
	}
	if s := q.State(); !math.IsInf(s.Rate, 1) || s.Waiting != 0 {
		t.Errorf("state %+v", s)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := q.Wait(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestWatchTellsWaitingFromHanging(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := key.NewQuota(0.1) // one in 10 s
		ctx, watch := key.NewWatch(t.Context())
		for range 3 {
			done := make(chan struct{})
			go func() {
				defer close(done)
				q.Wait(ctx)
			}()
			time.Sleep(5 * time.Second)
			if idle := watch.Idle(); idle > 5*time.Second {
				t.Errorf("idle for %s while one waits or was let through", idle)
			}
			<-done
		}
		time.Sleep(time.Minute)
		if idle := watch.Idle(); idle < time.Minute {
			t.Errorf("idle for %s", idle)
		}
		if watch.Turns() != 3 {
			t.Errorf("%d turns", watch.Turns())
		}
	})
}

func TestLimitIsTakenApartAndCapabilitiesAreFound(t *testing.T) {
	c, quota := &maker{}, key.NewQuota(1)
	limited := key.Limit(c, quota)
	if b, q := key.Unlimit(limited); b != c || q != quota {
		t.Errorf("taken apart into %v and %v", b, q)
	}
	if b, q := key.Unlimit(c); b != c || q != nil {
		t.Errorf("a backend without quota is %v and %v", b, q)
	}
	if _, ok := key.Capability[key.Creator](limited); !ok {
		t.Error("the creator is not found")
	}
	if _, ok := key.Capability[key.Deleter](limited); ok {
		t.Error("found what is not there")
	}
}

type maker struct{ counter }

func (*maker) Create(context.Context, string, map[string]string) (key.Key, error) {
	return key.Key{}, nil
}

func TestLimitTellsItsQuotaWhatTheServiceSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		quota := key.NewQuota(10)
		b := key.Limit(&refuser{err: &key.ThrottledError{RetryAfter: time.Minute}}, quota)
		if _, err := b.SignDigest(t.Context(), "", [32]byte{}); err == nil {
			t.Fatal("signed")
		}
		if s := quota.State(); s.Paused != time.Minute || s.Throttled != 1 {
			t.Errorf("state %+v", s)
		}
	})
}

type refuser struct {
	key.Backend
	err error
}

func (r *refuser) SignDigest(context.Context, key.Ref, [32]byte) (key.Signature, error) {
	return key.Signature{}, r.err
}

// A listing of many keys and signatures share what a service allows.
func TestSignaturesGoBeforeADiscoveryWhichGoesOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := key.NewQuota(10)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		reading, watch := key.NewWatch(ctx)
		var readers sync.WaitGroup
		for range 16 {
			readers.Go(func() {
				for q.Wait(reading) == nil {
				}
			})
		}
		time.Sleep(10 * time.Second)
		if n := watch.Turns(); n < 99 || n > 101 {
			t.Errorf("%d keys were read in 10 s while nobody signed", n)
		}
		for range 20 { // now and then a signature
			begun := time.Now()
			if err := q.Wait(t.Context()); err != nil {
				t.Fatal(err)
			}
			if took := time.Since(begun); took > 100*time.Millisecond {
				t.Errorf("a signature waited for %s", took)
			}
			time.Sleep(777 * time.Millisecond)
		}
		before := watch.Turns()
		var signers sync.WaitGroup
		for range 90 { // more than there is room for
			signers.Go(func() { q.Wait(t.Context()) })
		}
		signers.Wait()
		if n := watch.Turns() - before; n < 8 || n > 12 {
			t.Errorf("%d keys were read beside 90 signatures, want every tenth", n)
		}
		cancel()
		readers.Wait()
	})
}
