// SPDX-License-Identifier: Apache-2.0

package wallet

import (
	"context"
	"errors"
	"fmt"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/policy"
)

// Owner is where the wallet stands.
func (w *Wallet) Owner() policy.Owner { return w.cfg.Owner }

// Frozen is a [*freeze.FrozenError] if the account may not sign or send now, by
// this wallet; else nil.
func (w *Wallet) Frozen(addr common.Address) error {
	return w.cfg.Freeze.Check(w.cfg.Owner, addr)
}

// Judge asks the policy about something that is to be signed later. A refusal
// is a [*policy.DeniedError], no verdict a [*policy.UndecidedError]; that
// people are asked first is a [*policy.PendingError]. A transaction that the
// backend could not sign is a [*RequestError], and what is frozen is refused with
// a [*freeze.FrozenError] before the policy hears of it.
// Nothing is recorded: the caller writes the intent, with this verdict, in the
// commit that it belongs to, and tells [Wallet.Settle] what becomes of the
// clearance.
func (w *Wallet) Judge(ctx context.Context, r policy.Request) (policy.Verdict, error) {
	return w.judgeFor(ctx, w.cfg.Owner, r)
}

// judgeAgain judges what was accepted, and keeps what it was cleared by in the
// job's request. What came by another wallet is judged by that one's rules first, as
// far as there still are any, and then by this one's.
func (w *Wallet) judgeAgain(ctx context.Context, j job) error {
	owners := []policy.Owner{w.cfg.Owner}
	if j.cameBy != "" && j.cameBy != w.cfg.Owner.Wallet {
		gone := w.cfg.Owner // of the same membership, or it could not stand in
		gone.Wallet, gone.Service = j.cameBy, j.cameBy
		owners = []policy.Owner{gone, w.cfg.Owner}
	}
	for _, owner := range owners {
		v, err := w.judgeFor(ctx, owner, *j.request)
		if err != nil {
			return err
		}
		j.request.Clearance = v.Clearance
	}
	return nil
}

// judgeFor is Judge for a request that came in where owner says.
func (w *Wallet) judgeFor(ctx context.Context, owner policy.Owner, r policy.Request) (policy.Verdict, error) {
	r.Owner, r.ChainID = owner, w.cfg.ChainID
	if err := w.Frozen(r.Account); err != nil {
		return policy.Verdict{}, err
	}
	if r.Transaction != nil {
		if err := w.signable(r.Transaction); err != nil {
			return policy.Verdict{}, err
		}
	}
	v, err := w.cfg.Policy.Judge(ctx, r)
	var pending *policy.PendingError
	var denied *policy.DeniedError
	switch {
	case errors.As(err, &denied):
		return denied.Verdict, denied
	case errors.As(err, &pending) && !r.Signing:
		return policy.Verdict{}, pending
	case errors.As(err, &pending):
		// It was accepted, and nobody asks for it again.
		v = policy.Verdict{Rule: pending.Rule, Reason: "it asks for an approval that was not needed when the transaction was accepted"}
		return v, &policy.DeniedError{Verdict: v}
	case err != nil && ctx.Err() != nil:
		return policy.Verdict{}, fmt.Errorf("wallet %s: judge: %w", w.cfg.Name, ctx.Err())
	case err != nil:
		w.cfg.Logger.Error("the policy reached no verdict, so nothing is signed",
			"address", r.Account.Hex(), "action", string(r.Action), "err", err)
		if !r.Signing { // the caller may ask again
			return policy.Verdict{}, &policy.UndecidedError{Why: "the policy could not be evaluated"}
		}
		v = policy.Verdict{Rule: "no verdict", Reason: "the policy could not be evaluated"}
		return v, &policy.DeniedError{Verdict: v}
	case !v.Allow:
		return v, &policy.DeniedError{Verdict: v}
	}
	return v, nil
}

// Settle tells the policy what became of a clearance, if there is one.
func (w *Wallet) Settle(id, clearance string, use policy.Use) {
	if clearance != "" {
		w.cfg.Policy.Settle(id, clearance, use)
	}
}

// Verdict is how an error of [Wallet.Judge] stands in the audit row; refused is
// false if it is no verdict of the policy.
func Verdict(err error) (text string, refused bool) {
	var denied *policy.DeniedError
	var pending *policy.PendingError
	switch {
	case errors.As(err, &denied):
		return denied.Verdict.String(), true
	case errors.As(err, &pending):
		return "ask: " + pending.Rule, true
	}
	return "", false
}
