// SPDX-License-Identifier: Apache-2.0

package key

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ethereum/go-ethereum/core/types"
	"go.uber.org/goleak"

	"github.com/hsmsigner/hsmsigner/internal/secp"
)

// service plays a provider that knows who may come in.
type service struct {
	valid   atomic.Int64 // the newest credential that it takes
	oldest  atomic.Int64 // the oldest
	hang    atomic.Bool
	backend atomic.Int64 // that are open
}

// session is a backend that comes with a credential.
type session struct {
	s          *service
	credential int64
	closed     atomic.Bool
	changed    chan struct{}
	busy       atomic.Int64
	t          *testing.T
}

func (s *service) open(t *testing.T, credential int64) *session {
	s.backend.Add(1)
	return &session{s: s, credential: credential, changed: make(chan struct{}, 1), t: t}
}

func (b *session) ask(ctx context.Context) error {
	b.busy.Add(1)
	defer b.busy.Add(-1)
	if b.closed.Load() {
		b.t.Error("a closed backend was asked")
	}
	if b.s.hang.Load() {
		<-ctx.Done()
		return ctx.Err()
	}
	if b.credential < b.s.oldest.Load() || b.credential > b.s.valid.Load() {
		return fmt.Errorf("credential %d: %w", b.credential, ErrDenied)
	}
	return nil
}

func (b *session) Keys(ctx context.Context, _ string) (Page, error) {
	return Page{Keys: []Key{{Name: fmt.Sprint(b.credential)}}}, b.ask(ctx)
}

func (b *session) PublicKey(ctx context.Context, _ Ref) (secp.PublicKey, error) {
	return secp.PublicKey{}, b.ask(ctx)
}

func (b *session) SignDigest(ctx context.Context, _ Ref, digest [32]byte) (Signature, error) {
	return Signature{R: digest}, b.ask(ctx)
}

func (b *session) Health(ctx context.Context) error { return b.ask(ctx) }
func (b *session) Changed() <-chan struct{}         { return b.changed }
func (b *session) Close() error {
	if b.closed.Swap(true) {
		b.t.Error("closed twice")
	}
	if b.busy.Load() != 0 && !b.s.hang.Load() {
		b.t.Error("closed under a call")
	}
	b.s.backend.Add(-1)
	return nil
}

func hold(t *testing.T, s *Shared) Backend {
	t.Helper()
	b, err := s.Hold()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestHundredRotationsUnderLoadFailNoSignature(t *testing.T) {
	defer goleak.VerifyNone(t)
	provider := &service{}
	shared := NewShared(provider.open(t, 0), time.Minute)
	holders := make([]Backend, 8)
	for i := range holders {
		holders[i] = hold(t, shared)
	}
	var signed, failed atomic.Int64
	stop := make(chan struct{})
	var signers sync.WaitGroup
	for i := range 64 {
		signers.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
				}
				if _, err := holders[i%8].SignDigest(t.Context(), "k", [32]byte{1}); err != nil {
					failed.Add(1)
					t.Error(err)
				}
				signed.Add(1)
			}
		})
	}
	for n := range int64(100) {
		before := signed.Load()
		provider.valid.Store(n + 1)
		if err := shared.Replace(t.Context(), provider.open(t, n+1)); err != nil {
			t.Fatal(err)
		}
		provider.oldest.Store(n + 1) // revoked at once
		for signed.Load() < before+64 {
			time.Sleep(time.Millisecond)
		}
	}
	close(stop)
	signers.Wait()
	if failed.Load() != 0 {
		t.Errorf("%d of %d signatures failed", failed.Load(), signed.Load())
	}
	for _, h := range holders {
		if err := h.Close(); err != nil {
			t.Error(err)
		}
	}
	if n := provider.backend.Load(); n != 0 {
		t.Errorf("%d backends are still open", n)
	}
}

func TestBackendThatDoesNotWorkDoesNotTakeOver(t *testing.T) {
	provider := &service{}
	shared := NewShared(provider.open(t, 0), time.Minute)
	h := hold(t, shared)
	next := provider.open(t, 7)
	if err := shared.Replace(t.Context(), next); !errors.Is(err, ErrDenied) {
		t.Fatalf("got %v", err)
	}
	if next.closed.Load() {
		t.Error("it is the caller's, and was closed")
	}
	if _, err := h.SignDigest(t.Context(), "k", [32]byte{}); err != nil {
		t.Errorf("the old one does not sign any more: %v", err)
	}
	_, _ = next.Close(), h.Close()
}

func TestBackendIsClosedWithItsLastHolder(t *testing.T) {
	provider := &service{}
	shared := NewShared(provider.open(t, 0), time.Minute)
	a, b := hold(t, shared), hold(t, shared)
	_, _ = a.Close(), a.Close() // the second time is nobody else's hold
	if _, err := a.SignDigest(t.Context(), "k", [32]byte{}); !errors.Is(err, ErrUnavailable) {
		t.Errorf("who let go still signs: %v", err)
	}
	if provider.backend.Load() != 1 {
		t.Fatal("closed under b")
	}
	if _, err := b.SignDigest(t.Context(), "k", [32]byte{}); err != nil {
		t.Error(err)
	}
	_ = b.Close()
	if provider.backend.Load() != 0 {
		t.Error("still open")
	}
	if _, err := shared.Hold(); !errors.Is(err, ErrUnavailable) {
		t.Errorf("held after the end: %v", err)
	}
	next := provider.open(t, 0)
	if err := shared.Replace(t.Context(), next); !errors.Is(err, ErrUnavailable) {
		t.Errorf("replaced after the end: %v", err)
	}
	_ = next.Close()
}

func TestHungCallsOfAReplacedBackendAreCutOffInTheEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		provider := &service{}
		old := provider.open(t, 0)
		shared := NewShared(old, time.Minute)
		h := hold(t, shared)
		provider.hang.Store(true)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			_, _ = h.SignDigest(ctx, "k", [32]byte{})
		}()
		synctest.Wait()
		next := provider.open(t, 0)
		asking, done := context.WithTimeout(t.Context(), time.Second)
		defer done()
		if err := shared.Replace(asking, next); !errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("one that hangs has taken over: %v", err)
		}
		provider.hang.Store(false)
		if err := shared.Replace(t.Context(), next); err != nil {
			t.Fatal(err)
		}
		provider.hang.Store(true) // lest Close complains of the call
		time.Sleep(time.Minute - time.Second)
		if old.closed.Load() {
			t.Error("closed under a call before its time was up")
		}
		time.Sleep(2 * time.Second)
		if !old.closed.Load() {
			t.Error("not closed")
		}
		cancel()
		<-ended
		provider.hang.Store(false)
		_ = h.Close()
	})
}

func TestEveryHolderHearsOfChanges(t *testing.T) {
	provider := &service{}
	first := provider.open(t, 0)
	shared := NewShared(first, time.Minute)
	type changer interface{ Changed() <-chan struct{} }
	a, b := hold(t, shared), hold(t, shared)
	heard := func(what string) {
		t.Helper()
		for _, h := range []Backend{a, b} {
			select {
			case <-h.(changer).Changed():
			case <-time.After(time.Minute):
				t.Fatalf("a holder did not hear of %s", what)
			}
		}
	}
	first.changed <- struct{}{}
	heard("new keys")
	if err := shared.Replace(t.Context(), provider.open(t, 0)); err != nil {
		t.Fatal(err)
	}
	heard("another backend")
	_, _ = a.Close(), b.Close()
}

// signerOfAll signs whole transactions.
type signerOfAll struct{ *session }

func (signerOfAll) Signable(*types.Transaction) error { return nil }

func (b signerOfAll) SignTransaction(ctx context.Context, _ Ref, _ *big.Int, _ *types.Transaction) (RawTransaction, error) {
	return RawTransaction{RequestID: "7"}, b.ask(ctx)
}

func TestSharedSignerOfTransactionsStaysOne(t *testing.T) {
	provider := &service{}
	shared := NewShared(signerOfAll{provider.open(t, 0)}, time.Minute)
	h := hold(t, shared)
	whole, ok := h.(TransactionSigner)
	if !ok {
		t.Fatal("it signs no transactions any more")
	}
	if raw, err := whole.SignTransaction(t.Context(), "k", nil, nil); err != nil || raw.RequestID != "7" || whole.Signable(nil) != nil {
		t.Errorf("%+v, %v", raw, err)
	}
	next := provider.open(t, 0)
	if err := shared.Replace(t.Context(), next); err == nil {
		t.Error("one that signs digests has taken over")
	}
	_, _ = next.Close(), h.Close()
	h = hold(t, NewShared(provider.open(t, 0), time.Minute))
	if _, ok := h.(TransactionSigner); ok {
		t.Error("a signer of digests says that it signs transactions")
	}
	_ = h.Close()
}

// The owner has revoked the old credential when he was told that the new one is
// known, which the backend has yet to be asked about.
func TestDeniedCallWaitsForWhoIsExpected(t *testing.T) {
	for name, works := range map[string]bool{"and takes over": true, "and does not work": false} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := &service{}
				s.valid.Store(1)
				shared := NewShared(s.open(t, 0), time.Second)
				held := hold(t, shared)
				settled := shared.Expect()
				s.oldest.Store(1)
				answer := make(chan error, 1)
				go func() {
					_, err := held.SignDigest(t.Context(), "k", [32]byte{1})
					answer <- err
				}()
				synctest.Wait()
				select {
				case err := <-answer:
					t.Fatalf("answered %v although another is expected", err)
				default:
				}
				if next := s.open(t, 1); works {
					if err := shared.Replace(t.Context(), next); err != nil {
						t.Fatal(err)
					}
				} else if err := next.Close(); err != nil {
					t.Fatal(err)
				}
				settled()
				settled()
				if err := <-answer; works != (err == nil) || err != nil && !errors.Is(err, ErrDenied) {
					t.Errorf("got %v", err)
				}
				if err := held.Close(); err != nil {
					t.Error(err)
				}
			})
		})
	}
}
