// SPDX-License-Identifier: Apache-2.0

package key

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"sync"
	"time"

	"github.com/ethereum/go-ethereum/core/types"

	"github.com/hsmsigner/hsmsigner/internal/secp"
)

// Shared is one backend that several wallets hold, and that another one with a
// new credential can take the place of without a call being lost. It is safe for
// concurrent use.
type Shared struct {
	patience time.Duration
	whole    bool // it signs transactions and no digests

	mu      sync.Mutex
	now     *tenure       // nil: closed
	coming  chan struct{} // closed when it is known what became of who was expected; nil: nobody is
	holders map[*held]struct{}
	leaving sync.WaitGroup // tenures that end
	err     error          // of those
}

// tenure is the time in which one backend is the one that is asked.
type tenure struct {
	Backend
	calls int           // under way; guarded by Shared.mu
	over  chan struct{} // closed when the next one has taken over
	idle  chan struct{} // closed when the last call has ended, after over
}

// abandoned is how long calls may still take for which nobody waits any more.
const abandoned = time.Second

// errReleased is a call of who has given his hold back.
var errReleased = fmt.Errorf("the backend was closed: %w", ErrUnavailable)

// NewShared takes a backend over: it is closed when the last holder has let go.
// patience is how long calls under way on a backend that was replaced may still
// take before it is closed under them.
func NewShared(b Backend, patience time.Duration) *Shared {
	s := &Shared{patience: patience, holders: map[*held]struct{}{}}
	_, s.whole = b.(TransactionSigner)
	s.now = s.begin(b)
	return s
}

// begin starts a tenure. A backend that notices changes of its keys is listened
// to for all holders.
func (s *Shared) begin(b Backend) *tenure {
	t := &tenure{Backend: b, over: make(chan struct{}), idle: make(chan struct{})}
	c, ok := b.(interface{ Changed() <-chan struct{} })
	if !ok {
		return t
	}
	changed := c.Changed()
	s.leaving.Go(func() {
		for {
			select {
			case <-t.over:
				return
			case _, open := <-changed:
				if !open {
					return
				}
				s.notify()
			}
		}
	})
	return t
}

// Hold gives a backend to a wallet, which closes it. ErrUnavailable if the last
// holder has let go already.
func (s *Shared) Hold() (Backend, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.now == nil {
		return nil, errReleased
	}
	h := &held{shared: s, changed: make(chan struct{}, 1)}
	s.holders[h] = struct{}{}
	if s.whole {
		return &heldWhole{h}, nil
	}
	return h, nil
}

// Replace asks next whether it would work and, if so, lets it take over: every
// call that begins from then on goes to it. Calls under way on the old one end
// there; then it is closed, which Replace does not wait for. On an error
// everything is as before, and next is still the caller's.
func (s *Shared) Replace(ctx context.Context, next Backend) error {
	if _, whole := next.(TransactionSigner); whole != s.whole {
		return errors.New("replace a key backend: one signs whole transactions and the other digests")
	}
	if err := next.Health(ctx); err != nil {
		return err
	}
	s.mu.Lock()
	if s.now == nil {
		s.mu.Unlock()
		return errReleased
	}
	old := s.now
	s.now = s.begin(next)
	s.retire(old, s.patience)
	s.mu.Unlock()
	s.notify() // the new credential may see other keys
	return nil
}

// Expect says that Replace is about to be called. The owner of the credentials may
// have revoked the old one by then, so until settled is called, calls that are
// denied wait for what becomes of it. settled may be called more than once.
func (s *Shared) Expect() (settled func()) {
	coming := make(chan struct{})
	s.mu.Lock()
	s.coming = coming
	s.mu.Unlock()
	return sync.OnceFunc(func() {
		s.mu.Lock()
		if s.coming == coming {
			s.coming = nil
		}
		s.mu.Unlock()
		close(coming)
	})
}

// succeeded reports whether another backend has taken over from t, and waits for
// one that is expected.
func (s *Shared) succeeded(ctx context.Context, t *tenure) bool {
	for {
		s.mu.Lock()
		coming := s.coming
		s.mu.Unlock()
		select {
		case <-t.over:
			return true
		default:
		}
		if coming == nil {
			return false
		}
		select {
		case <-t.over:
			return true
		case <-coming:
		case <-ctx.Done():
			return false
		}
	}
}

// retire ends a tenure, and closes its backend once it is idle, but not later than
// after patience. The caller holds mu.
func (s *Shared) retire(t *tenure, patience time.Duration) {
	close(t.over)
	if t.calls == 0 {
		close(t.idle)
	}
	s.leaving.Go(func() {
		late := time.NewTimer(patience)
		defer late.Stop()
		select {
		case <-t.idle:
		case <-late.C:
		}
		err := t.Close()
		s.mu.Lock()
		s.err = errors.Join(s.err, err)
		s.mu.Unlock()
	})
}

// Use makes a call of the backend's optional capabilities, which has to end
// before the backend is closed.
func (s *Shared) Use(call func(Backend) error) error {
	t, err := s.enter()
	if err != nil {
		return err
	}
	defer s.leave(t)
	return call(t.Backend)
}

func (s *Shared) enter() (*tenure, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.now == nil {
		return nil, errReleased
	}
	s.now.calls++
	return s.now, nil
}

func (s *Shared) leave(t *tenure) {
	s.mu.Lock()
	defer s.mu.Unlock()
	t.calls--
	if t.calls > 0 {
		return
	}
	select {
	case <-t.over:
		close(t.idle)
	default:
	}
}

// notify tells all holders that keys may have changed.
func (s *Shared) notify() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for h := range s.holders {
		select {
		case h.changed <- struct{}{}:
		default:
		}
	}
}

// release lets a holder go; with the last one the backend is closed. It returns
// what closing gave.
func (s *Shared) release(h *held) error {
	s.mu.Lock()
	delete(s.holders, h)
	if len(s.holders) > 0 || s.now == nil {
		s.mu.Unlock()
		return nil
	}
	s.retire(s.now, min(s.patience, abandoned))
	s.now = nil
	s.mu.Unlock()
	s.leaving.Wait()
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// held is a wallet's hold on a shared backend.
type held struct {
	shared  *Shared
	changed chan struct{}

	mu   sync.Mutex
	gone bool
}

// on makes a call to the backend that is in use when it begins. Once a credential
// was replaced its owner may revoke the old one, so a call that is denied just
// then is made again with the new one.
func on[T any](ctx context.Context, h *held, call func(Backend) (T, error)) (T, error) {
	for {
		answer, t, err := once(h, call)
		if !errors.Is(err, ErrDenied) || !h.shared.succeeded(ctx, t) {
			return answer, err
		}
	}
}

// once makes one call, in the tenure that it returns.
func once[T any](h *held, call func(Backend) (T, error)) (answer T, t *tenure, err error) {
	h.mu.Lock()
	gone := h.gone
	h.mu.Unlock()
	if gone {
		return answer, nil, errReleased
	}
	if t, err = h.shared.enter(); err != nil {
		return answer, nil, err
	}
	defer h.shared.leave(t)
	answer, err = call(t.Backend)
	return answer, t, err
}

// Keys implements [Backend].
func (h *held) Keys(ctx context.Context, cursor string) (Page, error) {
	return on(ctx, h, func(b Backend) (Page, error) { return b.Keys(ctx, cursor) })
}

// PublicKey implements [Backend].
func (h *held) PublicKey(ctx context.Context, ref Ref) (secp.PublicKey, error) {
	return on(ctx, h, func(b Backend) (secp.PublicKey, error) { return b.PublicKey(ctx, ref) })
}

// SignDigest implements [Backend].
func (h *held) SignDigest(ctx context.Context, ref Ref, digest [32]byte) (Signature, error) {
	return on(ctx, h, func(b Backend) (Signature, error) { return b.SignDigest(ctx, ref, digest) })
}

// Health implements [Backend].
func (h *held) Health(ctx context.Context) error {
	_, err := on(ctx, h, func(b Backend) (struct{}, error) { return struct{}{}, b.Health(ctx) })
	return err
}

// Changed yields a value after keys were added, removed or altered, and after
// another backend has taken over.
func (h *held) Changed() <-chan struct{} { return h.changed }

// Close lets the backend go. Calls under way end. Further calls of Close do
// nothing.
func (h *held) Close() error {
	h.mu.Lock()
	gone := h.gone
	h.gone = true
	h.mu.Unlock()
	if gone {
		return nil
	}
	return h.shared.release(h)
}

// heldWhole is a hold on a backend that signs whole transactions.
type heldWhole struct{ *held }

// Signable implements [TransactionSigner].
func (h *heldWhole) Signable(unsigned *types.Transaction) error {
	_, err := on(context.Background(), h.held, func(b Backend) (struct{}, error) {
		return struct{}{}, b.(TransactionSigner).Signable(unsigned)
	})
	return err
}

// SignTransaction implements [TransactionSigner].
func (h *heldWhole) SignTransaction(ctx context.Context, ref Ref, chainID *big.Int, unsigned *types.Transaction) (RawTransaction, error) {
	return on(ctx, h.held, func(b Backend) (RawTransaction, error) {
		return b.(TransactionSigner).SignTransaction(ctx, ref, chainID, unsigned)
	})
}
