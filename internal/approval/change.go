// SPDX-License-Identifier: Apache-2.0

package approval

import (
	"context"
	"encoding/json"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/policy"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

// create stores a new request. altered is an open one that is not as it was
// written, and is put out of the way; empty for none.
func (b *Book) create(ctx context.Context, q Request, text string, asks []policy.Ask, altered string) (*policy.PendingError, error) {
	rules, err := writeAsks(asks)
	if err != nil {
		return nil, err
	}
	now := b.now()
	a := store.Approval{
		ID: store.NewID(), Consortium: q.Owner.Consortium, Environment: q.Owner.Environment, Membership: q.Owner.Membership,
		Wallet: q.Owner.Wallet, Principal: q.Principal.Name, Action: string(q.Action), Address: q.Account, RequestHash: q.identity(),
		Request: text, Rules: rules, State: store.ApprovalPending, Created: now, Expires: now.Add(b.expires(asks)),
	}
	b.seal(&a)
	detail, err := json.Marshal(map[string]string{"request_hash": hashOf(text).Hex(), "rules": rulesOf(asks), "action": string(q.Action)})
	if err != nil {
		return nil, err
	}
	err = b.cfg.Store.Write(ctx, func(w *store.Writer) error {
		if altered != "" {
			if err := w.CloseApproval(altered); err != nil {
				return err
			}
		}
		n, size, err := w.OpenApprovalsOf(a.Wallet, a.Principal)
		if err != nil {
			return err
		}
		if n >= int64(b.cfg.MaxPending) || size+int64(len(text)) > maxBytes {
			return denied(asks, "%d requests of this caller wait for approval already: no more are taken until some of them are decided or expire", n)
		}
		stored, err := w.InsertApproval(a)
		switch {
		case err != nil:
			return err
		case !stored:
			return errFaster
		}
		return w.AuditEvent(event(a.Principal, "approval-create", a, string(detail), now))
	})
	if err != nil {
		return nil, err
	}
	b.notify()
	return pendingError(a, b.tally(a, asks, nil)), nil
}

// expires is how long a request may wait: as long as the rule that gives the least
// time.
func (b *Book) expires(asks []policy.Ask) time.Duration {
	least := time.Duration(0)
	for _, ask := range asks {
		if ask.Expires > 0 && (least == 0 || ask.Expires < least) {
			least = ask.Expires
		}
	}
	if least == 0 {
		return b.cfg.Expires
	}
	return least
}

// ask gives an open request the rules that ask for it now, and the state that its
// votes then amount to.
func (b *Book) ask(ctx context.Context, a store.Approval, rules string) error {
	err := b.cfg.Store.Write(ctx, func(w *store.Writer) error {
		a, err := b.lock(w, a)
		if err != nil {
			return err
		}
		votes, err := w.Votes(a.ID)
		if err != nil {
			return err
		}
		from, was, now := a.State, a.MAC, b.now()
		if a.Rules != rules || from != store.ApprovalPending {
			a.Rules, a.State, a.Decided = rules, store.ApprovalPending, time.Time{}
			b.seal(&a)
			if done, err := w.SetApproval(a, from, was); err != nil || !done {
				return orFaster(err)
			}
			detail, err := json.Marshal(map[string]string{"rules": rules})
			if err != nil {
				return err
			}
			if err := w.AuditEvent(event(auth.System.Name, "approval-rules", a, string(detail), now)); err != nil {
				return err
			}
		}
		_, err = b.decide(w, a, votes, now)
		return err
	})
	if err == nil {
		b.notify()
	}
	return err
}

// end gives a request its last state, unless another has changed it.
func (b *Book) end(ctx context.Context, a store.Approval, to store.ApprovalState, result string) error {
	err := b.cfg.Store.Write(ctx, func(w *store.Writer) error {
		a, err := b.lock(w, a)
		if err != nil {
			return err
		}
		_, err = b.move(w, a, to, result, auth.System.Name, b.now())
		return err
	})
	if err == nil {
		b.notify()
	}
	return err
}

// lock reads a request again, which must be as it was.
func (b *Book) lock(w *store.Writer, a store.Approval) (store.Approval, error) {
	now, err := w.LockApproval(a.ID)
	if err == nil && (now.State != a.State || now.Restored != a.Restored || !b.genuine(now)) {
		err = errFaster
	}
	return now, err
}

// tell notes that the caller of a request has its outcome, and reports whether
// nobody had it before.
func (b *Book) tell(ctx context.Context, id string) (first bool, err error) {
	err = b.cfg.Store.Write(ctx, func(w *store.Writer) (err error) {
		first, err = w.TellApproval(id)
		return err
	})
	return first && err == nil, err
}

func orFaster(err error) error {
	if err == nil {
		return errFaster
	}
	return err
}
