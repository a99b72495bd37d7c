// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"context"
	"errors"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

// settlePage is how many rows are read at once.
const settlePage = 200

// Run settles deployments that are final, until ctx ends: rows get their address,
// or are removed. One for each process is enough, and several processes do no harm.
func (b *Book) Run(ctx context.Context) {
	tick := time.NewTicker(b.cfg.Settle)
	defer tick.Stop()
	for {
		if err := b.Settle(ctx); err != nil && ctx.Err() == nil {
			b.cfg.Logger.Warn("deployments could not be looked at; they are later", "err", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// Settle is one round of Run.
func (b *Book) Settle(ctx context.Context) error {
	for after := ""; ; {
		rows, err := b.cfg.Store.AllOpenContracts(ctx, after, settlePage)
		if err != nil {
			return stored("look at deployments", err)
		}
		for _, r := range rows {
			after = r.ID
			err := b.settle(ctx, r)
			if err != nil && !errors.Is(err, store.ErrChanged) { // somebody else was faster
				return stored("settle a deployment", err)
			}
		}
		if len(rows) < settlePage {
			return nil
		}
	}
}

func (b *Book) settle(ctx context.Context, r store.Contract) error {
	t := r.Tx
	switch {
	case t == nil, gone(t):
		return b.cfg.Store.Write(ctx, func(w *store.Writer) error {
			row, err := w.Contract(r.ID)
			if errors.Is(err, store.ErrNotFound) || err == nil && row.Address != "" {
				return nil
			}
			if err != nil {
				return err
			}
			_, err = b.abandon(w, row, abandoned)
			return err
		})
	case t.State != store.Confirmed:
		return nil
	}
	addr, ok := creates(t)
	if t.Pruned {
		var failed bool
		if addr, ok, failed = b.prunedAddress(ctx, r); failed {
			return b.cfg.Store.Write(ctx, func(w *store.Writer) error { return w.DeleteContract(r) })
		}
	}
	if !ok {
		return nil
	}
	next := r
	next.Address, next.Detail = addressText(addr), note{Kind: noteOf(r).Kind}.text()
	at := Place{Environment: r.Environment, Membership: r.Membership}
	err := b.cfg.Store.Write(ctx, func(w *store.Writer) error {
		if err := w.UpdateContract(next, r); err != nil {
			return err
		}
		return w.AuditEvent(b.event(auth.Principal{Name: r.Principal}, at, "contract-deploy", r.Wallet, r.ID,
			map[string]any{"name": r.Name, "address": next.Address, "chain_id": r.Chain, "transaction": t.ID}))
	})
	var taken *store.TakenError
	if errors.As(err, &taken) {
		b.cfg.Logger.Warn("a deployed contract stays unsettled: its address is registered under another name", "contract", r.ID, "by", taken.By.ID)
		return nil
	}
	return err
}

// prunedAddress asks the node what a transaction has created of which there is no
// row any more but its hash. Neither is true if it cannot be known now.
func (b *Book) prunedAddress(ctx context.Context, r store.Contract) (addr common.Address, ok, failed bool) {
	if b.cfg.Node == nil || r.Tx.Hash == (common.Hash{}) {
		return addr, false, false
	}
	w := b.cfg.Node(r.Wallet)
	if w == nil {
		return addr, false, false
	}
	receipt, err := receiptOf(ctx, w, r.Tx.Hash)
	if err != nil || receipt == nil {
		return addr, false, false
	}
	if receipt.Status == 0 || receipt.Contract == nil {
		return addr, false, true
	}
	return *receipt.Contract, true, false
}
