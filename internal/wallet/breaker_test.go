// SPDX-License-Identifier: Apache-2.0

package wallet

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/audit"
	"github.com/hsmsigner/hsmsigner/internal/key"
)

// The ways in which a vault is away.
func hung(ctx context.Context) (key.Signature, error) {
	select {
	case <-ctx.Done():
		return key.Signature{}, ctx.Err()
	case <-time.After(time.Minute):
		return key.Signature{}, key.ErrUnavailable
	}
}

func dead(context.Context) (key.Signature, error) {
	return key.Signature{}, &key.CallError{Op: "sign", Kind: key.ErrUnavailable, Why: "connection refused", RequestID: "another's"}
}

var outages = map[string]func(context.Context) (key.Signature, error){"hung": hung, "dead": dead}

// failing makes a vault that fails as long as *away, and takes 20 ms otherwise.
func failing(t *testing.T, fail func(context.Context) (key.Signature, error)) (v *vault, away *atomic.Bool) {
	t.Helper()
	v, away = newVault(t, 1), &atomic.Bool{}
	v.sign = func(ctx context.Context, ref key.Ref, digest [32]byte) (key.Signature, error) {
		if away.Load() {
			return fail(ctx)
		}
		time.Sleep(20 * time.Millisecond)
		return v.honest(ref, digest)
	}
	return v, away
}

// accepted has a transaction signed as the transaction manager does.
func accepted(t *testing.T, w *Wallet, v *vault, deadline time.Duration) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), deadline)
	defer cancel()
	_, _, err := w.SignAccepted(ctx, acceptedTx(alice, "intent", audit.SendTransaction, v.address("key-0"), transfer(1)))
	return err
}

func TestCallersOfABackendThatIsAwayFailFast(t *testing.T) {
	for name, fail := range outages {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v, away := failing(t, fail)
				log := &logbook{}
				w := openWallet(t, v, newDisk(t), func(c *Config) { c.Logger = log.logger() })
				away.Store(true)
				var burst sync.WaitGroup
				for range 100 {
					burst.Go(func() {
						if err := accepted(t, w, v, 25*time.Second); err == nil {
							t.Error("signed")
						}
					})
				}
				time.Sleep(12 * time.Second)
				if s := w.Status(); s.Breaker == BreakerClosed {
					t.Fatalf("the breaker is closed: %+v", s)
				}
				calls, slow := v.calls.Load(), 0
				for range 50 {
					started := time.Now()
					_, err := w.SignMessage(t.Context(), alice, v.address("key-0"), nil)
					var failure *BackendError
					if !errors.As(err, &failure) || !failure.Transient() || !errors.Is(err, key.ErrUnavailable) && failure.Kind != KindTimeout {
						t.Fatalf("got %v", err)
					}
					if time.Since(started) > 0 {
						slow++ // it was let through, to see whether the vault is back
					}
				}
				if slow > 1 || v.calls.Load()-calls > 1 {
					t.Errorf("%d of 50 callers waited, %d calls were made", slow, v.calls.Load()-calls)
				}
				burst.Wait()
				if n := strings.Count(log.String(), "the key backend is away"); n != 1 {
					t.Errorf("logged %d times", n)
				}
			})
		})
	}
}

func TestRefusalOfAnOpenBreakerCarriesNoForeignRequestID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, away := failing(t, dead)
		d := newDisk(t)
		w := openWallet(t, v, d, nil)
		away.Store(true)
		accepted(t, w, v, 10*time.Second)
		w.breaker.mu.Lock()
		w.breaker.probe = time.Now().Add(time.Hour)
		w.breaker.mu.Unlock()
		_, err := w.SignMessage(t.Context(), alice, v.address("key-0"), nil)
		wantKind(t, err, KindUnavailable)
		if _, o := d.onlyOutcome(t); o.RequestID != "" || o.Digest != [32]byte{} || o.Error == "" {
			t.Errorf("outcome %+v of a call that was not made", o)
		}
	})
}

func TestTransactionsWaitForABackendThatIsAwayAndSurviveIt(t *testing.T) {
	for name, fail := range outages {
		for _, quota := range []*key.Quota{nil, key.NewQuota(190)} {
			t.Run(fmt.Sprintf("%s, quota %t", name, quota != nil), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					v, away := failing(t, fail)
					var b key.Backend = v
					if quota != nil {
						b = key.Limit(v, key.NewQuota(190))
					}
					w := openWallet(t, b, newDisk(t), nil)
					away.Store(true)
					var back time.Time
					time.AfterFunc(47*time.Second, func() {
						back = time.Now()
						away.Store(false)
					})
					var first atomic.Int64
					var callers sync.WaitGroup
					for i := range 300 {
						callers.Go(func() {
							time.Sleep(time.Duration(i) * 100 * time.Millisecond)
							if err := accepted(t, w, v, 90*time.Second); err != nil {
								t.Error(err)
							}
							first.CompareAndSwap(0, time.Now().UnixNano())
						})
					}
					callers.Wait()
					if took := time.Unix(0, first.Load()).Sub(back); took > 3*time.Second {
						t.Errorf("the first signature came %s after the vault was back", took)
					}
					if took := time.Since(back); took > 5*time.Second {
						t.Errorf("the last signature came %s after the vault was back", took)
					}
					if s := w.Status(); s.Breaker != BreakerClosed {
						t.Errorf("the breaker is %s", s.Breaker)
					}
					// 47 s of outage with a call every two seconds, and what was under way.
					if wasted := v.calls.Load() - 300; wasted > 64+64+5*30 {
						t.Errorf("%d calls were made in vain", wasted)
					}
				})
			})
		}
	}
}

func TestTransactionsOfABackendThatStaysAwayFailAtTheirDeadline(t *testing.T) {
	for name, fail := range outages {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				v, away := failing(t, fail)
				w := openWallet(t, v, newDisk(t), nil)
				away.Store(true)
				var callers sync.WaitGroup
				for i := range 50 {
					callers.Go(func() {
						started := time.Now()
						err := accepted(t, w, v, time.Minute)
						var failure *BackendError
						if !errors.As(err, &failure) || failure.Kind != KindUnavailable && failure.Kind != KindTimeout {
							t.Errorf("caller %d: got %v", i, err)
						}
						// A last wait that would end behind the deadline is not begun.
						if took := time.Since(started); took < 57*time.Second || took > time.Minute {
							t.Errorf("caller %d: failed after %s", i, took)
						}
					})
				}
				callers.Wait()
			})
		})
	}
}

func TestAnswersNeverOpenTheBreaker(t *testing.T) {
	for _, answer := range []error{
		key.ErrNotFound, key.ErrDisabled, key.ErrDenied, key.ErrBadResponse, key.ErrUnsupported,
		&key.ThrottledError{}, errors.New("something new"),
	} {
		synctest.Test(t, func(t *testing.T) {
			v, away := failing(t, func(context.Context) (key.Signature, error) {
				time.Sleep(time.Second)
				return key.Signature{}, fmt.Errorf("sign: %w", answer)
			})
			w := openWallet(t, v, newDisk(t), nil)
			away.Store(true)
			for range 20 {
				accepted(t, w, v, 5*time.Second)
			}
			if s := w.Status(); s.Breaker != BreakerClosed {
				t.Errorf("%v has opened the breaker", answer)
			}
		})
	}
}

func TestBreakerIgnoresWhatShowsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, away := failing(t, hung)
		w := openWallet(t, v, newDisk(t), nil)
		away.Store(true)
		for range 50 { // callers in a hurry
			accepted(t, w, v, time.Second)
		}
		for range 50 { // callers who leave
			ctx, cancel := context.WithCancel(t.Context())
			time.AfterFunc(3*time.Second, cancel)
			w.SignMessage(ctx, alice, v.address("key-0"), nil)
		}
		if s := w.Status(); s.Breaker != BreakerClosed {
			t.Errorf("the breaker is %s", s.Breaker)
		}
	})
}

// A connection that breaks takes all calls with it that were under way; the next
// ones are well.
func TestCutConnectionDoesNotOpenTheBreaker(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, away := failing(t, func(ctx context.Context) (key.Signature, error) {
			time.Sleep(5 * time.Millisecond)
			return dead(ctx)
		})
		w := openWallet(t, v, newDisk(t), nil)
		away.Store(true)
		time.AfterFunc(time.Millisecond, func() { away.Store(false) })
		var callers sync.WaitGroup
		for range 64 {
			callers.Go(func() {
				if _, err := w.SignMessage(t.Context(), alice, v.address("key-0"), nil); err != nil {
					t.Error(err)
				}
			})
		}
		callers.Wait()
	})
}

func TestBackendThatAnswersNowAndThenIsNotAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVault(t, 1)
		v.sign = func(ctx context.Context, ref key.Ref, digest [32]byte) (key.Signature, error) {
			if v.calls.Load()%3 != 0 {
				return dead(ctx)
			}
			return v.honest(ref, digest)
		}
		w := openWallet(t, v, newDisk(t), nil)
		for range 40 {
			if _, err := w.SignMessage(t.Context(), alice, v.address("key-0"), nil); err != nil {
				t.Error(err)
			}
		}
	})
}

func TestHealthThatIsBackLetsTheNextCallerThrough(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, away := failing(t, dead)
		w := openWallet(t, v, newDisk(t), nil)
		away.Store(true)
		accepted(t, w, v, 10*time.Second)
		away.Store(false)
		if err := w.Health(t.Context()); err != nil {
			t.Fatal(err)
		}
		if s := w.Status(); s.Breaker != BreakerHalfOpen || s.Checked.IsZero() || s.CheckError != nil {
			t.Errorf("status %+v", s)
		}
		if _, err := w.SignMessage(t.Context(), alice, v.address("key-0"), nil); err != nil {
			t.Error(err)
		}
	})
}

func TestClosingEndsEveryWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, away := failing(t, dead)
		w := openWallet(t, key.Limit(v, key.NewQuota(1)), newDisk(t), nil)
		away.Store(true)
		var callers sync.WaitGroup
		for range 20 { // some wait for the quota, some for the vault
			callers.Go(func() {
				if err := accepted(t, w, v, time.Hour); !errors.Is(err, ErrClosed) && !errors.Is(err, key.ErrUnavailable) {
					t.Errorf("got %v", err)
				}
			})
		}
		time.Sleep(30 * time.Second)
		started := time.Now()
		if err := w.Close(); err != nil {
			t.Error(err)
		}
		callers.Wait()
		if took := time.Since(started); took > 3*time.Second {
			t.Errorf("the last caller left after %s", took)
		}
	})
}

// Two wallets with a vault each; one of the vaults hangs for a minute.
func TestHungVaultDoesNotSlowAnotherWallet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		d := newDisk(t)
		bad, away := failing(t, hung)
		good, _ := failing(t, hung)
		other := openWallet(t, bad, d, func(c *Config) { c.Name = "other" })
		w := openWallet(t, good, d, nil)
		measure := func() time.Duration {
			var mu sync.Mutex
			var took []time.Duration
			var callers sync.WaitGroup
			for i := range 1000 { // for a minute
				time.Sleep(60 * time.Millisecond)
				callers.Go(func() { accepted(t, other, bad, 30*time.Second) })
				callers.Go(func() {
					started := time.Now()
					var err error
					if i%10 == 0 {
						_, err = w.SignMessage(t.Context(), alice, good.address("key-0"), nil)
					} else {
						err = accepted(t, w, good, 30*time.Second)
					}
					if err != nil {
						t.Error(err)
					}
					mu.Lock()
					defer mu.Unlock()
					took = append(took, time.Since(started))
				})
			}
			callers.Wait()
			slices.Sort(took)
			return took[len(took)*99/100]
		}
		before := measure()
		away.Store(true)
		during := measure()
		if during > before+before/10 {
			t.Errorf("p99 went from %s to %s", before, during)
		}
		t.Logf("p99 %s before, %s during the hang", before, during)
	})
}

// One connection died without a word: its call must not wait for its timeout
// while others are answered.
func TestCallThatHangsAloneIsMadeAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVault(t, 1)
		v.sign = func(ctx context.Context, ref key.Ref, digest [32]byte) (key.Signature, error) {
			if v.calls.Load() == 1 {
				return hung(ctx)
			}
			time.Sleep(20 * time.Millisecond)
			return v.honest(ref, digest)
		}
		w := openWallet(t, v, newDisk(t), nil)
		var callers sync.WaitGroup
		for i := range 40 {
			callers.Go(func() {
				time.Sleep(time.Duration(i) * 100 * time.Millisecond)
				started := time.Now()
				if _, err := w.SignMessage(t.Context(), alice, v.address("key-0"), nil); err != nil {
					t.Error(err)
				}
				if took := time.Since(started); took > 2500*time.Millisecond {
					t.Errorf("took %s", took)
				}
			})
		}
		callers.Wait()
		if n := v.calls.Load(); n != 41 {
			t.Errorf("%d calls for 40 signatures, one of which hung", n)
		}
	})
}

func TestSlowBackendIsNotTakenForAHungOne(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVault(t, 1)
		v.sign = func(_ context.Context, ref key.Ref, digest [32]byte) (key.Signature, error) {
			time.Sleep(time.Duration(1000+v.calls.Load()%7*300) * time.Millisecond)
			return v.honest(ref, digest)
		}
		w := openWallet(t, v, newDisk(t), nil)
		var callers sync.WaitGroup
		for i := range 100 {
			callers.Go(func() {
				time.Sleep(time.Duration(i) * 100 * time.Millisecond)
				if err := accepted(t, w, v, time.Minute); err != nil {
					t.Error(err)
				}
			})
		}
		callers.Wait()
		// Before there is an average, a few may be asked twice.
		if n := v.calls.Load(); n > 110 {
			t.Errorf("%d calls for 100 signatures", n)
		}
	})
}

func TestRefusalShowsThatTheBackendIsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, away := failing(t, dead)
		w := openWallet(t, v, newDisk(t), nil)
		away.Store(true)
		accepted(t, w, v, 10*time.Second)
		if s := w.Status(); s.Breaker == BreakerClosed {
			t.Fatal("the breaker is closed")
		}
		v.sign = func(context.Context, key.Ref, [32]byte) (key.Signature, error) { return key.Signature{}, key.ErrDenied }
		wantKind(t, accepted(t, w, v, 10*time.Second), KindDenied)
		if s := w.Status(); s.Breaker != BreakerClosed {
			t.Errorf("the breaker is %s", s.Breaker)
		}
	})
}

func TestFailuresOlderThanAnAnswerCountForNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := &breaker{opened: func(error, int) { t.Error("it opened") }, closed: func(error, int) {}}
		begun := time.Now()
		time.Sleep(5 * time.Second)
		b.answered(time.Now())
		for range 20 {
			b.failed(begun, true, key.ErrUnavailable)
		}
	})
}

// Many wait at a small quota when the vault goes away: none of them may spend
// his turn on it.
func TestThoseWhoWaitAtTheQuotaAskNoBackendThatIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, away := failing(t, dead)
		w := openWallet(t, key.Limit(v, key.NewQuota(5)), newDisk(t), nil)
		away.Store(true)
		var callers sync.WaitGroup
		for range 200 {
			callers.Go(func() {
				if err := accepted(t, w, v, 2*time.Minute); err != nil {
					t.Error(err)
				}
			})
		}
		time.Sleep(10 * time.Second)
		calls := v.calls.Load()
		time.Sleep(20 * time.Second)
		if n := v.calls.Load() - calls; n < 9 || n > 11 {
			t.Errorf("%d calls in 20 s, want one every two", n)
		}
		away.Store(false)
		callers.Wait()
	})
}
