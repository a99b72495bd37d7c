// SPDX-License-Identifier: Apache-2.0

package wallet

import (
	"context"
	"fmt"
)

// Refresh runs a discovery and waits for it. Concurrent calls, and those of other
// wallets that share the [Discovery], share one. If
// the backend cannot be listed the last good snapshot stays and the error is
// a [*BackendError]; if only storing the snapshot fails, the new one is in use
// and the report is valid beside the error. Discovery goes on when ctx ends.
func (w *Wallet) Refresh(ctx context.Context) (Report, error) {
	joined := w.discovery.refresh.join()
	select {
	case <-joined.done:
		t, ok := joined.taken[w]
		if !ok {
			return Report{}, fmt.Errorf("wallet %s: refresh: %w", w.cfg.Name, ErrClosed)
		}
		return t.report, t.err
	case <-ctx.Done():
		return Report{}, fmt.Errorf("wallet %s: refresh: %w", w.cfg.Name, ctx.Err())
	case <-w.life.Done():
		return Report{}, fmt.Errorf("wallet %s: refresh: %w", w.cfg.Name, ErrClosed)
	}
}

// Reload takes over the accounts that another process has stored for this
// wallet: where several share a store, one discovery serves all of them.
func (w *Wallet) Reload(ctx context.Context) error {
	rows, err := w.cfg.Snapshots.Accounts(ctx, w.cfg.Name)
	if err != nil {
		return fmt.Errorf("wallet %s: load accounts: %w", w.cfg.Name, err)
	}
	accounts := make([]Account, 0, len(rows))
	for _, row := range rows {
		if a := fromRow(row); w.cfg.selected(a.Name, a.Address, a.Tags) {
			accounts = append(accounts, a)
		}
	}
	w.taking.Lock()
	defer w.taking.Unlock()
	w.publish(newSnapshot(accounts))
	w.stored = loaded(accounts, len(rows))
	if len(accounts) > 0 {
		w.ready.Store(true)
	}
	return nil
}
