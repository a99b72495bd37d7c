// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"net/http"

	"github.com/hsmsigner/hsmsigner/internal/control"
	"github.com/hsmsigner/hsmsigner/internal/fleet"
	"github.com/hsmsigner/hsmsigner/internal/node"
	"github.com/hsmsigner/hsmsigner/internal/store"
	"github.com/hsmsigner/hsmsigner/internal/txmgr"
	keywallet "github.com/hsmsigner/hsmsigner/internal/wallet"
)

// controlDesk is the running daemon as the control socket shows it.
type controlDesk struct {
	manager  *txmgr.Manager
	wallets  *fleet.Fleet
	operator http.Handler // the management API for the operator; nil: there is none
}

// Management is what the operator's commands about policies and freezes go to.
func (d *controlDesk) Management() http.Handler { return d.operator }

// Repair examines or mends a sender.
func (d *controlDesk) Repair(ctx context.Context, sender string, action control.RepairAction) (control.Report, error) {
	op, err := operation(action)
	if err != nil {
		return control.Report{}, fmt.Errorf("%w: %w", control.ErrRefused, err)
	}
	r, err := d.manager.Operate(ctx, sender, op)
	done := map[txmgr.Action]string{
		txmgr.Adopt:   "the chain's count was taken over",
		txmgr.Release: "the sender was released",
		txmgr.Cancel:  "transaction " + action.Tx + " is being cancelled; it fails only when the cancel is mined and confirmed",
		txmgr.SpeedUp: "transaction " + action.Tx + " is being signed again with higher fees; whichever is mined counts",
	}[op.Action]
	switch {
	case errors.Is(err, txmgr.ErrNoSender):
		return control.Report{}, fmt.Errorf("%w: no sender %s is at work; hsmsigner tx repair lists them", control.ErrNotFound, sender)
	case errors.Is(err, store.ErrNotFound):
		return control.Report{}, fmt.Errorf("%w: there is no transaction %s", control.ErrNotFound, action.Tx)
	case err != nil:
		return control.Report{}, fmt.Errorf("%w: %w", control.ErrRefused, err)
	}
	return report(r, done), nil
}

// operation reads an order of the command line. The action's names are the same.
func operation(action control.RepairAction) (txmgr.Operation, error) {
	op := txmgr.Operation{Action: txmgr.Action(action.Action), Tx: action.Tx}
	var err error
	if op.Fee, err = wei(action.Fee); err == nil {
		op.Tip, err = wei(action.Tip)
	}
	return op, err
}

func wei(s string) (*big.Int, error) {
	if s == "" {
		return nil, nil //nolint:nilnil // nothing was said
	}
	n, ok := new(big.Int).SetString(s, 10)
	if !ok || n.Sign() <= 0 {
		return nil, fmt.Errorf("%q is not a number of wei", s)
	}
	return n, nil
}

// report words the manager's report for the command line.
func report(r txmgr.Report, done string) control.Report {
	out := control.Report{
		Sender: r.Sender, Parked: r.Parked, Latest: r.NodeLatest, Next: r.NextFree, Queued: r.Queued,
		InFlight: len(r.Waiting), Advice: []string{r.Advice}, Done: done,
	}
	out.Findings = append(out.Findings, fmt.Sprintf("account %s of wallet %s on chain %d", r.Address, r.Wallet, r.ChainID))
	if r.BalanceWei != "" {
		out.Findings = append(out.Findings, fmt.Sprintf("the balance is %s wei", r.BalanceWei))
	}
	if r.NodePool > r.NodeLatest {
		out.Findings = append(out.Findings, fmt.Sprintf("the node has %d of its transactions in the pool", r.NodePool-r.NodeLatest))
	}
	for _, w := range r.Waiting {
		line := fmt.Sprintf("nonce %d is %s, transaction %s", w.Nonce, w.State, w.TxID)
		if w.Reason != "" {
			line += ": " + w.Reason
		}
		out.Findings = append(out.Findings, line)
	}
	return out
}

// Refresh looks for a wallet's keys now.
func (d *controlDesk) Refresh(ctx context.Context, name string) error {
	w := d.wallets.Wallet(name)
	if w == nil {
		return fmt.Errorf("%w: there is no wallet %q", control.ErrNotFound, name)
	}
	_, err := w.Refresh(ctx)
	return err
}

// explain words an error of a health check for whoever reads /readyz: the
// kind, never a URL, a host or what a provider wrote.
func explain(err error) string {
	var mismatch *node.ChainMismatchError
	var backend *keywallet.BackendError
	switch {
	case errors.As(err, &mismatch):
		return mismatch.Error()
	case errors.As(err, &backend):
		return backend.Error()
	case errors.Is(err, node.ErrTimeout), errors.Is(err, context.DeadlineExceeded):
		return "no answer in time"
	case errors.Is(err, node.ErrUnavailable):
		return "not reachable"
	case errors.Is(err, node.ErrBadResponse), errors.Is(err, node.ErrTooLarge):
		return "gave an answer that makes no sense"
	case errors.Is(err, fleet.ErrDiscovering), errors.Is(err, fleet.ErrNoKeys):
		return err.Error()
	}
	return "failed; the log says why"
}
