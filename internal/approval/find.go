// SPDX-License-Identifier: Apache-2.0

package approval

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/audit"
	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/judge"
	"github.com/hsmsigner/hsmsigner/internal/policy"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

// KeyPrefix with the id of an approval behind it is the idempotency key under
// which an approved transaction is sent whose caller gave none.
const KeyPrefix = "approval:"

// errFaster says that another changed a row first.
var errFaster = errors.New("approval: the request was changed by another at the same time")

const maxTurns = 5 // of those who race for one row

// Find is judge.Approvals: it looks for an approval of r, makes a request for one if
// there is none, and says what has become of one that r repeats.
func (b *Book) Find(ctx context.Context, r policy.Request, asks []policy.Ask) (*judge.Grant, *policy.PendingError, error) {
	switch {
	case len(asks) == 0:
		return nil, nil, errors.New("approval: no rule asks for an approval")
	case r.Approval != "":
		grant, err := b.brought(ctx, r, asks)
		return grant, nil, err
	case r.Signing && r.Action == audit.SendTransaction && !r.Presigned:
		// It was accepted without, and a request made now would send it once more.
		return nil, nil, denied(asks, "the rules ask for an approval since it was accepted")
	}
	b.met(r)
	q, err := requestOf(r)
	if err != nil {
		return nil, nil, err
	}
	text, err := q.text()
	if errors.Is(err, errUnfit) {
		return nil, nil, denied(asks, "%s", err)
	}
	if err != nil {
		return nil, nil, err
	}
	for range maxTurns {
		grant, pending, err := b.find(ctx, r, q, text, asks)
		if errors.Is(err, errFaster) {
			continue
		}
		return grant, pending, err
	}
	return nil, nil, errFaster
}

// find is one try of Find.
func (b *Book) find(ctx context.Context, r policy.Request, q Request, text string, asks []policy.Ask) (*judge.Grant, *policy.PendingError, error) {
	a, err := b.last(ctx, q)
	switch {
	case errors.Is(err, store.ErrNotFound):
		pending, err := b.create(ctx, q, text, asks, "")
		return nil, pending, err
	case err != nil:
		return nil, nil, err
	case !b.genuine(a):
		b.cfg.Logger.Error("a request for approval was changed outside of the signer; it counts for nothing", "approval", a.ID)
		pending, err := b.create(ctx, q, text, asks, a.ID)
		return nil, pending, err
	}
	had, err := readRequest(a.Request)
	if err != nil {
		return nil, nil, err
	}
	if q.sends() && had.Transaction != nil && had.Transaction.Asked != q.Transaction.Asked {
		return nil, nil, denied(asks, "the idempotency key was used for another request, %s: use a new key, or send that request again unchanged", a.ID)
	}
	if a.Restored {
		if err := b.end(ctx, a, store.ApprovalExpired, restoredText); err != nil {
			return nil, nil, err
		}
		return nil, nil, errFaster // once more, as it is now
	}
	if a.State.Open() && !b.now().Before(a.Expires) && !(a.State == store.ApprovalApproved && had.sends()) {
		if err := b.end(ctx, a, store.ApprovalExpired, expiredText(a)); err != nil {
			return nil, nil, err
		}
		return nil, nil, errFaster // once more, as it is now
	}
	if !a.State.Open() {
		return b.ended(ctx, q, text, asks, a)
	}
	return b.open(ctx, r, had, asks, a)
}

// last is the request that q repeats.
func (b *Book) last(ctx context.Context, q Request) (store.Approval, error) {
	if q.sends() {
		if id, ok := strings.CutPrefix(q.Transaction.IdempotencyKey, KeyPrefix); ok {
			a, err := b.cfg.Store.Approval(ctx, id)
			if err != nil || a.Wallet == q.Owner.Wallet && a.Principal == q.Principal.Name {
				return a, err
			}
			return a, fmt.Errorf("%w: approval %s", store.ErrNotFound, id)
		}
	}
	return b.cfg.Store.LastApproval(ctx, q.Owner.Wallet, q.identity())
}

// open answers with a request that is not decided, or not used.
func (b *Book) open(ctx context.Context, r policy.Request, had Request, asks []policy.Ask, a store.Approval) (*judge.Grant, *policy.PendingError, error) {
	votes, err := b.cfg.Store.Votes(ctx, a.ID)
	if err != nil {
		return nil, nil, err
	}
	t := b.tally(a, asks, votes)
	rules, err := writeAsks(asks)
	switch {
	case err != nil:
		return nil, nil, err
	case rules != a.Rules, (a.State == store.ApprovalApproved) != t.approved():
		// The rules ask for something else by now, of people who may have voted.
		if err := b.ask(ctx, a, rules); err != nil {
			return nil, nil, err
		}
		return nil, nil, errFaster
	case a.State == store.ApprovalPending, had.sends():
		pending := pendingError(a, t)
		pending.Waits = b.waits(a.ID)
		return nil, pending, nil
	}
	if err := had.covers(r); err != nil {
		return nil, nil, denied(asks, "request %s is approved, but %s", a.ID, err)
	}
	return &judge.Grant{ID: a.ID}, nil, nil
}

// ended answers with what became of a request, or makes a new one: where it is
// told already, or long ago, its caller asks for the same thing once more.
func (b *Book) ended(ctx context.Context, q Request, text string, asks []policy.Ask, a store.Approval) (*judge.Grant, *policy.PendingError, error) {
	if !q.keyed() {
		if a.Told || b.now().Sub(a.Decided) > tellFor {
			pending, err := b.create(ctx, q, text, asks, "")
			return nil, pending, err
		}
		if mine, err := b.tell(ctx, a.ID); err != nil || !mine {
			return nil, nil, errors.Join(err, errFaster)
		}
	}
	if a.State == store.ApprovalUsed {
		return nil, pendingError(a, tally{have: 1, need: 1}), nil
	}
	return nil, nil, denied(asks, "request %s %s", a.ID, outcomeText(a))
}

// outcomeText says what became of a request that comes to nothing.
func outcomeText(a store.Approval) string {
	switch a.State {
	case store.ApprovalRejected:
		return "was " + a.Result
	case store.ApprovalExpired:
		return a.Result
	}
	return "was approved and then failed: " + a.Result
}

func expiredText(a store.Approval) string {
	if a.State == store.ApprovalApproved {
		return "was approved and not used before " + a.Expires.Format(time.RFC3339)
	}
	return "was not approved before " + a.Expires.Format(time.RFC3339)
}

// restoredText is why a request ends that a restored backup has as open: what has
// become of it since the copy is not known.
const restoredText = "was open in a backup that was restored: it may have been sent since, ask for it anew if it was not"

// row reads an approval that somebody names.
func (b *Book) row(ctx context.Context, id string, asks []policy.Ask) (store.Approval, error) {
	a, err := b.cfg.Store.Approval(ctx, id)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return a, denied(asks, "there is no request for approval %s", id)
	case err != nil:
		return a, err
	case !b.genuine(a):
		return a, denied(asks, "request %s was changed outside of the signer", a.ID)
	case a.Restored:
		return a, denied(asks, "request %s %s", a.ID, restoredText)
	}
	return a, nil
}

// brought looks at an approval that a request names: the executor's, at acceptance
// and again at signing.
func (b *Book) brought(ctx context.Context, r policy.Request, asks []policy.Ask) (*judge.Grant, error) {
	a, err := b.brings(ctx, r, asks)
	if err == nil {
		err = b.enough(ctx, a, asks)
	}
	if err != nil {
		return nil, err
	}
	return &judge.Grant{ID: a.ID}, nil
}

// brings is the approval that a request names, if it may be used for it.
func (b *Book) brings(ctx context.Context, r policy.Request, asks []policy.Ask) (store.Approval, error) {
	a, err := b.row(ctx, r.Approval, asks)
	if err != nil {
		return a, err
	}
	usedBy := a.State == store.ApprovalUsed && r.ID != "" && a.Result == r.ID
	switch {
	case a.State != store.ApprovalApproved && !usedBy:
		return a, denied(asks, "request %s is %s", a.ID, a.State)
	case !r.Signing && !b.now().Before(a.Expires):
		return a, denied(asks, "request %s %s", a.ID, expiredText(a))
	}
	q, err := readRequest(a.Request)
	if err != nil {
		return a, err
	}
	if err := q.covers(r); err != nil {
		return a, denied(asks, "request %s is approved, but %s", a.ID, err)
	}
	return a, nil
}

// enough compares the votes on a request with what rules ask for now.
func (b *Book) enough(ctx context.Context, a store.Approval, asks []policy.Ask) error {
	votes, err := b.cfg.Store.Votes(ctx, a.ID)
	if err != nil {
		return err
	}
	if t := b.tally(a, asks, votes); !t.approved() {
		return denied([]policy.Ask{t.lacks}, "request %s has %d of the %d approvals that the rules ask for by now", a.ID, t.have, t.need)
	}
	return nil
}

// Holds is judge.Approvals.
func (b *Book) Holds(ctx context.Context, id, used string, asks []policy.Ask) error {
	a, err := b.row(ctx, id, asks)
	if err != nil {
		return err
	}
	if a.State != store.ApprovalUsed || used == "" || a.Result != used {
		return denied(asks, "request %s is %s, and not by this", a.ID, a.State)
	}
	return b.enough(ctx, a, asks)
}

// Waits is judge.Approvals. A caller who asks again until he has an answer means
// the same payment: once no rule asks any more it is sent in place of what waits,
// and ends that in the commit of its row.
func (b *Book) Waits(ctx context.Context, r policy.Request) (*judge.Grant, error) {
	if r.Action != audit.SendTransaction || r.Presigned || r.Signing || r.Transaction == nil {
		return nil, nil
	}
	if r.Approval != "" {
		a, err := b.brings(ctx, r, noAsk)
		if err != nil {
			return nil, err
		}
		return &judge.Grant{ID: a.ID}, nil
	}
	if !b.cfg.Store.MayWait(ctx, r.Owner.Wallet, nil) {
		return nil, nil // this is on the way of every transaction
	}
	q, err := requestOf(r)
	if err != nil {
		return nil, err
	}
	if hash := q.identity(); !strings.HasPrefix(q.Transaction.IdempotencyKey, KeyPrefix) && !b.cfg.Store.MayWait(ctx, r.Owner.Wallet, &hash) {
		return nil, nil
	}
	a, err := b.last(ctx, q)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return nil, nil
	case err != nil:
		return nil, err
	case !a.State.Open() || a.Restored || !b.genuine(a):
		return nil, nil
	}
	had, err := readRequest(a.Request)
	if err != nil {
		return nil, err
	}
	if !had.sends() || had.Transaction.Asked != q.Transaction.Asked {
		return nil, nil // other content under the same idempotency key, which is taken once
	}
	return &judge.Grant{ID: a.ID, Ceased: true}, nil
}

// noAsk words a refusal where no rule asks.
var noAsk = []policy.Ask{{Rule: "approval"}}

// Use is judge.Approvals. For a transaction that is to be sent nothing is written
// here: its approval is used, by whichever replica, in the commit of its row.
func (b *Book) Use(ctx context.Context, grant *judge.Grant, id string) (bool, error) {
	a, err := b.cfg.Store.Approval(ctx, grant.ID)
	if errors.Is(err, store.ErrNotFound) || err == nil && (!b.genuine(a) || a.Restored) {
		return false, nil
	}
	if err != nil {
		return false, err
	}
	q, err := readRequest(a.Request)
	if err != nil {
		return false, err
	}
	if q.sends() {
		return b.useWithRow(a, grant, id)
	}
	var used bool
	err = b.cfg.Store.Write(ctx, func(w *store.Writer) error {
		used = false
		a, err := w.LockApproval(grant.ID)
		if errors.Is(err, store.ErrNotFound) || err == nil && (!b.genuine(a) || a.Restored) {
			return nil
		}
		if err != nil {
			return err
		}
		if a.State == store.ApprovalUsed {
			used = id != "" && a.Result == id
			return nil
		}
		if used = a.State == store.ApprovalApproved && b.now().Before(a.Expires); !used {
			return nil
		}
		if _, err := b.move(w, a, store.ApprovalUsed, id, a.Principal, b.now()); err != nil {
			return err
		}
		_, err = w.TellApproval(a.ID)
		return err
	})
	if errors.Is(err, errFaster) {
		return false, nil
	}
	if err == nil && used {
		b.notify()
	}
	return used && err == nil, err
}

// useWithRow says in grant how a is used in the commit of the row with that id.
// That commit looks again at all of it.
func (b *Book) useWithRow(a store.Approval, grant *judge.Grant, id string) (bool, error) {
	now := b.now()
	u := store.ApprovalUse{ID: a.ID, From: a.State, Was: a.MAC, Result: id, Told: grant.Ceased}
	switch {
	case id == "":
		return false, nil
	case grant.Ceased && a.State.Open():
	case a.State != store.ApprovalApproved, !now.Before(a.Expires):
		return false, nil
	default:
		u.Expires = a.Expires
	}
	a, detail, err := b.moved(a, store.ApprovalUsed, id, now)
	if err != nil {
		return false, err
	}
	u.Decided, u.MAC = a.Decided, a.MAC
	who := auth.System.Name
	if grant.Ceased {
		who = a.Principal
	}
	u.Event = event(who, "approval-used", a, detail, now)
	grant.Uses = u.String()
	return true, nil
}

func pendingError(a store.Approval, t tally) *policy.PendingError {
	e := &policy.PendingError{ID: a.ID, Rule: t.lacks.Rule, Have: t.have, Need: t.need, Expires: a.Expires}
	if q, err := readRequest(a.Request); err == nil && q.sends() {
		e.Key = q.Transaction.IdempotencyKey
	}
	return e
}

// denied is the refusal of what people have not approved.
func denied(asks []policy.Ask, format string, args ...any) *policy.DeniedError {
	return &policy.DeniedError{Verdict: policy.Verdict{Rule: asks[0].Rule, Reason: fmt.Sprintf(format, args...)}}
}
