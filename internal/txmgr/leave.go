// SPDX-License-Identifier: Apache-2.0

package txmgr

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/store"
)

// A sender outlives the wallet through which it works if another wallet of its
// membership has the account: it reads its rows again, under a new epoch, and
// goes on through that one. So nothing of the first is left anywhere.

// errTurned has the rows read again through another wallet.
var errTurned = errors.New("its wallet was unbound")

// work runs what waits for a node, a backend or the store beside the sender's
// goroutine, whose end waits for it.
func (s *sender) work(f func()) {
	s.tasks.Add(1)
	s.m.wg.Go(func() {
		defer s.tasks.Done()
		f()
	})
}

// via is the wallet through which the sender works, for others than its own
// goroutine.
func (s *sender) via() *Wallet {
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	return s.w
}

// over is why the sender takes nothing any more.
func (s *sender) over() error {
	var unbound *UnboundError
	if errors.As(context.Cause(s.ctx), &unbound) && s.m.ctx.Err() == nil {
		return unbound
	}
	return errStopping
}

// turn has the sender go on through another wallet, or ends it if there is none.
// Which it is is decided together with who finds it in the manager, so a request
// through a wallet that is bound is never refused for one that was unbound.
func (s *sender) turn() bool {
	s.forget() // while it still knows the chain that watches for it
	s.free.Store(-1)
	s.m.mu.Lock()
	defer s.m.mu.Unlock()
	w, _ := s.m.walletOf(s.row)
	if w == nil {
		if k := (senderKey{s.id, s.membership}); s.m.senders[k] == s {
			delete(s.m.senders, k)
		}
		s.halt(&UnboundError{s.w.name})
		return false
	}
	s.log.Info("sender goes on through another wallet", "from", s.w.name, "to", w.name)
	s.w, s.chain = w, w.chain
	s.account.asked++ // what the other node still answers is void
	return true
}

// quit waits until nothing of the sender uses w, whose context has ended.
func (s *sender) quit(ctx context.Context, w *Wallet) error {
	for {
		free, err := ask(ctx, s, func() bool { return s.without(w) })
		switch {
		case errors.Is(err, errNotStored): // it reads its rows again
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil: // it ends
			select {
			case <-s.done:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		case free:
			return nil
		}
		if !sleep(ctx, 2*time.Millisecond) {
			return ctx.Err()
		}
	}
}

// without answers the callers of w, has the sender turn from it, and reports
// whether that is done.
func (s *sender) without(w *Wallet) bool {
	s.subs = slices.DeleteFunc(s.subs, func(sub *submission) bool {
		switch {
		case sub.w != w:
			return false
		case sub.offered:
			sub.w = s.w // its row is there, and whoever serves the sender takes it up
			return false
		}
		sub.finish(common.Hash{}, &UnboundError{w.name})
		return true
	})
	uses := s.w == w
	for id, subs := range s.waiters {
		for _, sub := range slices.Clone(subs) {
			if sub.w == w && !s.dismiss(id, sub) {
				return false // with the next commit; not before is anything forgotten
			}
		}
	}
	for sub := range s.offers {
		if sub.w == w {
			sub.finish(common.Hash{}, &PendingError{TxID: sub.row.ID})
		}
	}
	for _, e := range s.byTx {
		uses = uses || e.w == w
	}
	if uses && s.loadedOK {
		s.broken = errTurned
	}
	return !uses
}

// dismiss tells one who waits for a transaction, and whose wallet is gone, as
// much as is certain. It reports false if that comes with the next commit.
func (s *sender) dismiss(id string, sub *submission) bool {
	e := s.byTx[id]
	if e == nil || !e.left && (!e.ready() || e.row.State == store.Held) {
		s.leave(sub, common.Hash{}, &PendingError{TxID: id})
		return true
	}
	// Stored bytes: the hash is the answer, and shown, so it counts as sent.
	e.left = true
	hash := e.hash()
	s.then(func() { s.leave(sub, hash, nil) })
	s.fillHoles(0)
	return false
}
