// SPDX-License-Identifier: Apache-2.0

package txmgr

import (
	"errors"
	"testing"

	"github.com/hsmsigner/hsmsigner/internal/node/nodetest"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

func TestTransactionIsCancelledThroughItsOwnWalletOnly(t *testing.T) {
	r := newRig(t, nodetest.Options{}, fast())
	args := transfer(0, 1)
	args.MaxFeePerGas, args.MaxPriorityFeePerGas = nil, nil // so its fees may be raised
	hash, err := r.send(args)
	r.must(err)
	row, err := r.db.TxByHash(t.Context(), hash)
	r.must(err)
	other := r.bindTo("other", "theirs", newHSM(3))
	_, err = other.Operate(t.Context(), row.ID, Operation{Action: Cancel})
	_, missing := other.Operate(t.Context(), store.NewID(), Operation{Action: Cancel})
	if !errors.Is(err, store.ErrNotFound) || !errors.Is(missing, store.ErrNotFound) {
		t.Errorf("another's transaction: %v; none: %v", err, missing)
	}
	for _, action := range []Action{Adopt, Release, Explain, ""} {
		if _, err := r.w.Operate(t.Context(), row.ID, Operation{Action: action}); err == nil {
			t.Errorf("action %q was done", action)
		}
	}
	_, err = r.w.Operate(t.Context(), row.ID, Operation{Action: SpeedUp})
	r.must(err)
	r.waitFor("two hashes", func() bool {
		_, attempts, err := r.db.LoadSender(t.Context(), r.senderID(0), 0)
		return err == nil && len(attempts[row.ID]) == 2
	})
	r.waitFor("cancelled", func() bool {
		_, err := r.w.Operate(t.Context(), row.ID, Operation{Action: Cancel})
		return err == nil
	})
	r.waitFor("the node has the cancel", func() bool {
		s := r.mgr.at(t.Context(), r.senderID(0))
		has, err := ask(t.Context(), s, func() bool {
			e := s.byTx[row.ID]
			return e != nil && len(e.attempts) == 3 && e.acked
		})
		return err == nil && has
	})
	r.waitFor("failed", func() bool {
		r.chain.Mine()
		got, err := r.db.Tx(t.Context(), row.ID)
		return err == nil && got.State == store.Failed
	})
}
