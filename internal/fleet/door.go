// SPDX-License-Identifier: Apache-2.0

package fleet

import (
	"context"

	"github.com/hsmsigner/hsmsigner/internal/node"
	keywallet "github.com/hsmsigner/hsmsigner/internal/wallet"
)

// show has the door take requests for the wallet. What draws no difference at the
// door is not shown again.
func (w *Wallet) show() error {
	w.fleet.mu.Lock()
	opened := w.fleet.opened
	w.fleet.mu.Unlock()
	b := w.live.Load()
	if opened == nil || b == nil || b.spec.Draining {
		return nil
	}
	w.shown = true
	return opened(w)
}

// hide has the door take none, and returns when it has none under way, or ctx is
// done.
func (w *Wallet) hide(ctx context.Context) {
	w.fleet.mu.Lock()
	closed := w.fleet.closed
	w.fleet.mu.Unlock()
	if closed == nil || !w.shown {
		return
	}
	w.shown = false
	idle := closed(w)
	if idle == nil {
		return
	}
	select {
	case <-idle:
	case <-ctx.Done():
	}
}

// looksOther reports whether the door has to be shown the wallet again.
func looksOther(a, b Spec) bool {
	return a.Environment != b.Environment || a.Draining != b.Draining ||
		a.Wallet.Node.ChainID != b.Wallet.Node.ChainID || a.Wallet.SignTransaction != b.Wallet.SignTransaction
}

// watch has the metrics show the wallet.
func (w *Wallet) watch() {
	m := w.fleet.cfg.Metrics
	if m == nil {
		return
	}
	m.WatchBackend(w.name, func() (s keywallet.Status) {
		if b := w.live.Load(); b != nil {
			s = b.keys.Status()
		}
		return s
	})
	m.WatchNode(w.name, func() (s node.Stats) {
		if b := w.live.Load(); b != nil {
			s = b.link.client.Stats()
		}
		return s
	})
	m.WatchEndpoints(w.name, func() []node.EndpointStatus {
		if b := w.live.Load(); b != nil {
			return b.link.client.Endpoints()
		}
		return nil
	})
}

func (w *Wallet) unwatch() {
	if m := w.fleet.cfg.Metrics; m != nil {
		m.Forget(w.name)
	}
}
