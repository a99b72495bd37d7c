// SPDX-License-Identifier: Apache-2.0

package txmgr

import (
	"context"
	"fmt"

	"github.com/hsmsigner/hsmsigner/internal/store"
)

// Live counts the wallet's unfinished transactions: those that are not final. It
// may be asked of a wallet that was unbound.
func (w *Wallet) Live(ctx context.Context) (int, error) { return w.m.db.Unfinished(ctx, w.name) }

// Operate cancels a transaction of this wallet or speeds it up, as [Manager.Operate]
// does, and reports how its sender stands then. store.ErrNotFound if the wallet has
// no such transaction, whoever else has it.
func (w *Wallet) Operate(ctx context.Context, txID string, op Operation) (Report, error) {
	ctx, leave, err := w.enter(ctx)
	if err != nil {
		return Report{}, err
	}
	defer leave()
	if op.Action != Cancel && op.Action != SpeedUp {
		return Report{}, fmt.Errorf("txmgr: action %q is not one on a transaction: want %q or %q", op.Action, Cancel, SpeedUp)
	}
	t, err := w.m.db.Tx(ctx, txID)
	if err != nil {
		return Report{}, err
	}
	if t.Wallet != w.name {
		return Report{}, fmt.Errorf("%w: transaction %s", store.ErrNotFound, txID)
	}
	op.Tx = txID
	return w.m.Operate(ctx, t.Sender, op)
}
