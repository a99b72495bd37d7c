// SPDX-License-Identifier: Apache-2.0

package wallet

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/key"
)

const providerBody = "<html>tenant 42, token s.VeryS3cret</html>"

func TestEveryBackendErrorHasItsKindAndHidesItsBody(t *testing.T) {
	for _, c := range []struct {
		err  error
		kind string
	}{
		{key.ErrNotFound, KindNotFound},
		{key.ErrDisabled, KindDisabled},
		{key.ErrDenied, KindDenied},
		{key.ErrBadResponse, KindBadResponse},
		{errors.New("something new"), KindUnavailable},
	} {
		v, d := newVault(t, 1), newDisk(t)
		cause := fmt.Errorf("vault: sign: %w: %s", c.err, providerBody)
		v.sign = func(context.Context, key.Ref, [32]byte) (key.Signature, error) { return key.Signature{}, cause }
		w := openWallet(t, v, d, nil)
		_, err := w.SignMessage(t.Context(), alice, v.address("key-0"), nil)
		wantKind(t, err, c.kind)
		if !errors.Is(err, c.err) {
			t.Errorf("%v does not unwrap to its cause", err)
		}
		_, outcome := d.onlyOutcome(t)
		if strings.Contains(err.Error()+outcome.Error, "VeryS3cret") {
			t.Errorf("the provider's body is in %q or %q", err, outcome.Error)
		}
		if n := v.calls.Load(); n != 1 {
			t.Errorf("%s: a definite error was met with %d calls", c.kind, n)
		}
	}
}

func TestSignatureOutOfRangeIsABadResponse(t *testing.T) {
	v := newVault(t, 1)
	v.sign = func(context.Context, key.Ref, [32]byte) (key.Signature, error) { return key.Signature{}, nil }
	w := openWallet(t, v, newDisk(t), nil)
	_, err := w.SignMessage(t.Context(), alice, v.address("key-0"), nil)
	wantKind(t, err, KindBadResponse)
}

func TestPanickingBackendIsABadResponse(t *testing.T) {
	v := newVault(t, 1)
	v.sign = func(context.Context, key.Ref, [32]byte) (key.Signature, error) { panic("nil map") }
	w := openWallet(t, v, newDisk(t), nil)
	_, err := w.SignMessage(t.Context(), alice, v.address("key-0"), nil)
	wantKind(t, err, KindBadResponse)
	v.sign = nil
	if _, err := w.SignMessage(t.Context(), alice, v.address("key-0"), nil); err != nil {
		t.Errorf("afterwards: %v", err)
	}
}

func TestHungBackendFailsAtTheDeadlineAndFreesItsSlot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, d := newVault(t, 1), newDisk(t)
		var hang atomic.Bool
		hang.Store(true)
		v.sign = func(ctx context.Context, ref key.Ref, digest [32]byte) (key.Signature, error) {
			if hang.Load() {
				<-ctx.Done()
				return key.Signature{}, ctx.Err()
			}
			return v.honest(ref, digest)
		}
		w := openWallet(t, v, d, func(c *Config) { c.Concurrency = 1 })
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
		defer cancel()
		started := time.Now()
		_, err := w.SignMessage(ctx, alice, v.address("key-0"), nil)
		wantKind(t, err, KindTimeout)
		if took := time.Since(started); took != 5*time.Second {
			t.Errorf("took %s, want the deadline's 5s", took)
		}
		if _, outcome := d.onlyOutcome(t); outcome.Error == "" {
			t.Error("the outcome is not on record although the deadline has passed")
		}
		hang.Store(false)
		if _, err := w.SignMessage(t.Context(), alice, v.address("key-0"), nil); err != nil {
			t.Errorf("the slot is not free: %v", err)
		}
	})
}

func TestWithoutDeadlineAHungBackendStillFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVault(t, 1)
		v.sign = func(ctx context.Context, _ key.Ref, _ [32]byte) (key.Signature, error) {
			<-ctx.Done()
			return key.Signature{}, ctx.Err()
		}
		w := openWallet(t, v, newDisk(t), nil)
		started := time.Now()
		_, err := w.SignMessage(t.Context(), alice, v.address("key-0"), nil)
		wantKind(t, err, KindTimeout)
		if took := time.Since(started); took > 30*time.Second {
			t.Errorf("took %s", took)
		}
		if n := v.calls.Load(); n < 2 {
			t.Errorf("a hung call was tried %d times", n)
		}
	})
}

func TestBackendThatIgnoresItsContextDoesNotHoldTheCaller(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVault(t, 1)
		v.sign = func(_ context.Context, ref key.Ref, digest [32]byte) (key.Signature, error) {
			time.Sleep(time.Minute)
			return v.honest(ref, digest)
		}
		d := newDisk(t)
		w := openWallet(t, v, d, func(c *Config) { c.Concurrency = 1; c.SignTimeout = 2 * time.Minute })
		for range 2 { // the second does not get a slot, and is not asked beyond the limit
			ctx, cancel := context.WithTimeout(t.Context(), time.Second)
			started := time.Now()
			_, err := w.SignMessage(ctx, alice, v.address("key-0"), nil)
			cancel()
			wantKind(t, err, KindTimeout)
			if took := time.Since(started); took != time.Second {
				t.Errorf("took %s", took)
			}
		}
		if _, outcomes := d.rows(t); len(outcomes) != 2 || outcomes[0].Digest == (common.Hash{}) || outcomes[1].Digest != (common.Hash{}) {
			t.Errorf("outcomes %+v: only the first was put to the backend", outcomes)
		}
		if n := v.peak.Load(); n != 1 {
			t.Errorf("%d calls at once", n)
		}
	})
}

func TestCancelledCallerGetsItsErrorAndTheOutcomeIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, d := newVault(t, 1), newDisk(t)
		v.sign = func(ctx context.Context, _ key.Ref, _ [32]byte) (key.Signature, error) {
			<-ctx.Done()
			return key.Signature{}, ctx.Err()
		}
		w := openWallet(t, v, d, nil)
		ctx, cancel := context.WithCancel(t.Context())
		time.AfterFunc(time.Second, cancel)
		_, err := w.SignMessage(ctx, alice, v.address("key-0"), nil)
		wantKind(t, err, KindCancelled)
		if !errors.Is(err, context.Canceled) {
			t.Errorf("%v is no context.Canceled", err)
		}
		d.onlyOutcome(t)
		if v.calls.Load() != 1 {
			t.Error("asked again for a caller who has gone")
		}
	})
}

func TestThrottledCallIsRepeatedWhenTheBackendSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVault(t, 1)
		v.sign = func(_ context.Context, ref key.Ref, digest [32]byte) (key.Signature, error) {
			if v.calls.Load() <= 2 {
				return key.Signature{}, &key.ThrottledError{RetryAfter: 2 * time.Second}
			}
			return v.honest(ref, digest)
		}
		w := openWallet(t, v, newDisk(t), nil)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		started := time.Now()
		if _, err := w.SignMessage(ctx, alice, v.address("key-0"), nil); err != nil {
			t.Fatal(err)
		}
		if took := time.Since(started); took < 4*time.Second || took > 5*time.Second {
			t.Errorf("took %s, want a little over twice 2s", took)
		}
	})
}

func TestThrottledBeyondTheDeadlineFailsAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVault(t, 2)
		v.sign = func(context.Context, key.Ref, [32]byte) (key.Signature, error) {
			return key.Signature{}, &key.ThrottledError{RetryAfter: time.Minute}
		}
		w := openWallet(t, v, newDisk(t), nil)
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		started := time.Now()
		_, err := w.SignMessage(ctx, alice, v.address("key-0"), nil)
		wantKind(t, err, KindThrottled)
		// A quota is the vault's, not the key's: the other key waits as well.
		_, err = w.SignMessage(ctx, alice, v.address("key-1"), nil)
		wantKind(t, err, KindThrottled)
		if took := time.Since(started); took != 0 {
			t.Errorf("took %s", took)
		}
		if n := v.calls.Load(); n != 1 {
			t.Errorf("the throttled vault was called %d times", n)
		}
	})
}

// A vault that serves 40 calls a second gets 400 callers at once: all are
// served, with few calls wasted (research scenario 14).
func TestThrottledVaultServesAllCallersWithFewExtraCalls(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVault(t, 1)
		var mu sync.Mutex
		var window time.Time
		served := 0
		v.sign = func(_ context.Context, ref key.Ref, digest [32]byte) (key.Signature, error) {
			time.Sleep(20 * time.Millisecond)
			mu.Lock()
			defer mu.Unlock()
			if now := time.Now().Truncate(time.Second); now != window {
				window, served = now, 0
			}
			if served == 40 {
				return key.Signature{}, &key.ThrottledError{RetryAfter: time.Until(window.Add(time.Second))}
			}
			served++
			return v.honest(ref, digest)
		}
		w := openWallet(t, v, newDisk(t), func(c *Config) { c.Concurrency = 8 })
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		var callers sync.WaitGroup
		for range 400 {
			callers.Go(func() {
				if _, err := w.SignMessage(ctx, alice, v.address("key-0"), nil); err != nil {
					t.Error(err)
				}
			})
		}
		callers.Wait()
		if n := v.calls.Load(); n > 520 {
			t.Errorf("%d calls for 400 signatures, want at most 1.3 for each", n)
		}
	})
}

func TestUnavailableBackendIsAskedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVault(t, 1)
		v.sign = func(_ context.Context, ref key.Ref, digest [32]byte) (key.Signature, error) {
			if v.calls.Load() <= 3 {
				return key.Signature{}, key.ErrUnavailable
			}
			return v.honest(ref, digest)
		}
		w := openWallet(t, v, newDisk(t), nil)
		if _, err := w.SignMessage(t.Context(), alice, v.address("key-0"), nil); err != nil {
			t.Fatal(err)
		}
	})
}

func TestNoMoreCallsAtOnceThanConcurrency(t *testing.T) {
	for _, limit := range []int{1, 64} {
		synctest.Test(t, func(t *testing.T) {
			v := newVault(t, 3)
			v.sign = func(_ context.Context, ref key.Ref, digest [32]byte) (key.Signature, error) {
				time.Sleep(10 * time.Millisecond)
				return v.honest(ref, digest)
			}
			w := openWallet(t, v, newDisk(t), func(c *Config) { c.Concurrency = limit })
			addr := v.address("key-2")
			var callers sync.WaitGroup
			for range 300 {
				callers.Go(func() {
					if _, err := w.SignMessage(t.Context(), alice, addr, nil); err != nil {
						t.Error(err)
					}
				})
			}
			callers.Wait()
			if peak := v.peak.Load(); peak != int64(limit) {
				t.Errorf("%d calls at once, want %d", peak, limit)
			}
		})
	}
}

func TestCloseWaitsForTheCallInProgressAndRefusesTheNext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVault(t, 1)
		v.sign = func(_ context.Context, ref key.Ref, digest [32]byte) (key.Signature, error) {
			time.Sleep(time.Second)
			if v.closed.Load() {
				t.Error("the backend was closed under a call")
			}
			return v.honest(ref, digest)
		}
		w := openWallet(t, v, newDisk(t), nil)
		var caller sync.WaitGroup
		caller.Go(func() {
			if _, err := w.SignMessage(t.Context(), alice, v.address("key-0"), nil); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		if err := w.Close(); err != nil {
			t.Error(err)
		}
		caller.Wait()
		if !v.closed.Load() {
			t.Error("the backend is open")
		}
		if _, err := w.SignMessage(t.Context(), alice, v.address("key-0"), nil); !errors.Is(err, ErrClosed) {
			t.Errorf("signing after Close gives %v", err)
		}
		if _, err := w.Refresh(t.Context()); !errors.Is(err, ErrClosed) {
			t.Errorf("refreshing after Close gives %v", err)
		}
	})
}
