// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"reflect"
	"sync"
	"sync/atomic"
	"time"
)

// Wallet is one wallet of the fleet as its callers see it, whatever is changed
// behind it. It is safe for concurrent use.
type Wallet struct {
	fleet *Fleet
	name  string
	id    string
	log   *slog.Logger

	op    sync.Mutex // held by whoever opens, changes or closes it
	gone  bool       // closed for good; guarded by op
	shown bool       // the door has it; guarded by op

	live  atomic.Pointer[binding] // nil: not open
	later atomic.Pointer[binding] // takes over when its node and backend have shown themselves; nil: none waits
}

const (
	// finishTime is how long those may take who are under way when a wallet is
	// changed, drained or closed.
	finishTime = 30 * time.Second
	// drainTime is how long Open waits for them when a wallet begins to drain.
	drainTime = 5 * time.Second
)

// Name is the wallet's name in store, txmgr, audit and metrics.
func (w *Wallet) Name() string { return w.name }

// ID is the id of the service.
func (w *Wallet) ID() string { return w.id }

// Spec is what the wallet was last opened by; its zero value if it is closed.
func (w *Wallet) Spec() Spec {
	if b := w.live.Load(); b != nil {
		return b.spec
	}
	return Spec{}
}

// ChainID is the chain that the wallet is pinned to.
func (w *Wallet) ChainID() *big.Int { return new(big.Int).SetUint64(w.Spec().Wallet.Node.ChainID) }

// open makes the wallet as spec says. again is true if it was closed meanwhile, so
// that another one has to be made.
func (w *Wallet) open(ctx context.Context, spec Spec) (again bool, err error) {
	w.op.Lock()
	defer w.op.Unlock()
	if w.gone {
		return true, nil
	}
	old, was := w.live.Load(), w.wanted()
	if was != nil && same(was.spec, spec) {
		return false, nil
	}
	next, err := w.prepare(ctx, was, spec)
	if err != nil {
		if old == nil {
			w.gone = true
			w.fleet.forget(w)
		}
		return false, fmt.Errorf("wallet %s: %w", w.name, err)
	}
	w.giveUp(w.later.Swap(nil))
	if old != nil && !spec.Draining && next.unproven(old) {
		w.await(old, next)
		return false, nil
	}
	if err := w.install(ctx, next); err != nil {
		return false, fmt.Errorf("wallet %s: %w", w.name, err)
	}
	return false, nil
}

// wanted is the binding of the spec that was opened last; nil: none was.
func (w *Wallet) wanted() *binding {
	if b := w.later.Load(); b != nil {
		return b
	}
	return w.live.Load()
}

// same reports whether two specs ask for the same.
func same(a, b Spec) bool {
	a.Dial, b.Dial = nil, nil // it goes with the membership
	return reflect.DeepEqual(a, b)
}

// prepare opens what spec needs and the binding before it does not have.
func (w *Wallet) prepare(ctx context.Context, was *binding, spec Spec) (*binding, error) {
	b := &binding{spec: spec}
	if was != nil && spec.Membership != was.spec.Membership {
		return nil, errors.New("a wallet cannot go over to another membership")
	}
	anew := was != nil && spec.Resets != was.spec.Resets
	if err := w.linkTo(b, was, anew); err != nil {
		return nil, err
	}
	if err := w.draw(ctx, b, was, anew); err != nil {
		w.fleet.releaseLink(b.link)
		return nil, err
	}
	return b, nil
}

// unproven reports whether a binding has a node or a backend that the one before
// had not, and that has not shown itself yet.
func (b *binding) unproven(old *binding) bool {
	return b.link != old.link && !b.link.shown() || b.source != old.source && !b.source.shown()
}

// await lets next take over when its node has shown that it is on the pinned
// chain, and its backend that it would work. Until then the wallet works as
// before.
func (w *Wallet) await(old, next *binding) {
	w.later.Store(next)
	works := next.link.known
	if next.source != old.source {
		works = next.source.proven
		next.source.show()
	}
	w.fleet.wg.Go(func() {
		for _, shown := range []<-chan struct{}{next.link.known, works} {
			select {
			case <-shown:
			case <-next.link.ctx.Done():
				return
			case <-next.source.closed:
				return
			}
		}
		w.op.Lock()
		defer w.op.Unlock()
		if w.later.Load() != next {
			return
		}
		err := w.install(w.fleet.ctx, next)
		w.later.Store(nil)
		if err != nil {
			w.log.Error("a wallet could not be changed; it works as before", "err", err)
		}
	})
}

// giveUp gives back what a binding has that never became live.
func (w *Wallet) giveUp(b *binding) {
	if b != nil {
		w.fleet.releaseLink(b.link)
		w.fleet.releaseSource(b.source)
	}
}

// install makes next what the wallet works with.
func (w *Wallet) install(ctx context.Context, next *binding) (err error) {
	old := w.live.Load()
	if old != nil && old.source == next.source && sameKeys(old.spec, next.spec) {
		next.keys = old.keys
	} else if next.keys, err = w.openKeys(ctx, next); err != nil {
		w.giveUp(next)
		if old == nil {
			w.gone = true
			w.fleet.forget(w)
		}
		return err
	}
	if old != nil && next.keys == old.keys && next.link == old.link && next.spec.Draining == old.spec.Draining && sameSettings(old.spec, next.spec) {
		next.bound = old.bound
	} else {
		next.bound = w.fleet.cfg.Manager.Bind(w.binding(next))
	}
	w.live.Store(next)
	if old == nil {
		w.watch()
	}
	if old == nil || looksOther(old.spec, next.spec) {
		err = w.show()
	}
	if old != nil {
		w.replaced(ctx, old, next)
	}
	return err
}

// replaced ends what of the old binding the next one has not kept. A wallet that
// drains from now on waits for those who are being taken in.
func (w *Wallet) replaced(ctx context.Context, old, next *binding) {
	if next.bound == old.bound {
		w.leave(old, next)
		return
	}
	draining := next.spec.Draining && !old.spec.Draining
	if draining {
		gone, cancel := context.WithCancel(ctx)
		cancel()
		w.hide(gone) // who is under way is waited for below
	}
	ended := make(chan struct{})
	w.fleet.wg.Go(func() {
		defer close(ended)
		finishing, cancel := context.WithTimeout(w.fleet.ctx, finishTime)
		defer cancel()
		w.unbind(finishing, old)
		w.leave(old, next)
	})
	if !draining {
		return
	}
	late := time.NewTimer(drainTime)
	defer late.Stop()
	select {
	case <-ended:
	case <-late.C:
	case <-ctx.Done():
	}
}

func (w *Wallet) unbind(ctx context.Context, b *binding) {
	if err := b.bound.Unbind(ctx); err != nil {
		w.log.Warn("not all is finished of what a wallet was doing; it goes on from the rows", "err", err)
	}
}

// leave gives back what next, which may be nil, has not taken over.
func (w *Wallet) leave(b, next *binding) {
	if next == nil || b.keys != next.keys {
		if err := b.keys.Close(); err != nil {
			w.log.Warn("cannot close a wallet's key backend", "err", err)
		}
	}
	w.fleet.releaseLink(b.link)
	w.fleet.releaseSource(b.source)
}

// close ends the wallet while others serve.
func (w *Wallet) close(ctx context.Context) error {
	w.op.Lock()
	defer w.op.Unlock()
	b := w.live.Load()
	if b == nil {
		return fmt.Errorf("%s: %w", w.name, ErrNotRunning)
	}
	finishing, cancel := context.WithTimeout(ctx, finishTime)
	defer cancel()
	w.hide(finishing)
	w.retire()
	w.unbind(finishing, b)
	w.leave(b, nil)
	return nil
}

// drop ends the wallet when the manager has stopped.
func (w *Wallet) drop() error {
	w.op.Lock()
	defer w.op.Unlock()
	b := w.retire()
	if b == nil {
		return nil
	}
	err := b.keys.Close()
	w.fleet.releaseLink(b.link)
	w.fleet.releaseSource(b.source)
	return err
}

// retire takes the wallet from the lists.
func (w *Wallet) retire() *binding {
	b := w.live.Swap(nil)
	if b == nil {
		return nil
	}
	w.gone = true
	w.giveUp(w.later.Swap(nil))
	w.unwatch()
	w.fleet.forget(w)
	return b
}
