// SPDX-License-Identifier: Apache-2.0

package approval

import (
	"context"
	"errors"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/store"
)

// Outcome is what has become of a request.
type Outcome struct {
	State      store.ApprovalState
	Have, Need int    // approvals, of the rule that lacks some
	Sends      bool   // it is a transaction, which the daemon sends
	Text       string // why nothing comes of it; empty if something does
	Waits      string // why it is not sent yet although it is approved
}

// Settled reports whether its caller need not wait any longer: it has ended, or is
// his to use.
func (o Outcome) Settled() bool {
	return o.State != store.ApprovalPending && !(o.State == store.ApprovalApproved && o.Sends)
}

// Await returns what has become of a request as soon as it is settled, or how it
// stands when ctx ends. Its caller is then taken to know the outcome. ErrNotFound,
// ErrAltered.
func (b *Book) Await(ctx context.Context, id string) (Outcome, error) {
	for {
		b.mu.Lock()
		changed := b.changed
		b.mu.Unlock()
		o, a, err := b.outcome(context.WithoutCancel(ctx), id)
		if err != nil {
			return o, err
		}
		if o.Settled() {
			if a.State != store.ApprovalApproved {
				_, err = b.tell(context.WithoutCancel(ctx), id)
			}
			return o, err
		}
		poll := time.NewTimer(b.cfg.Poll)
		select {
		case <-ctx.Done():
			poll.Stop()
			return o, nil
		case <-changed:
			poll.Stop()
		case <-poll.C:
		}
	}
}

func (b *Book) outcome(ctx context.Context, id string) (o Outcome, a store.Approval, err error) {
	a, votes, err := b.read(ctx, id)
	if err != nil {
		return o, a, err
	}
	if !b.genuine(a) {
		return o, a, ErrAltered
	}
	q, err := readRequest(a.Request)
	if err != nil {
		return o, a, err
	}
	asks, err := readAsks(a.Rules)
	if err != nil {
		return o, a, err
	}
	t := b.tally(a, asks, votes)
	o = Outcome{State: a.State, Have: t.have, Need: t.need, Sends: q.sends()}
	if a.State == store.ApprovalApproved {
		o.Waits = b.waits(id)
	}
	if !a.State.Open() && a.State != store.ApprovalUsed {
		o.Text = "request " + a.ID + " " + outcomeText(a)
	}
	return o, a, nil
}

// read finds a request with its votes.
func (b *Book) read(ctx context.Context, id string) (store.Approval, []store.ApprovalVote, error) {
	a, err := b.cfg.Store.Approval(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		err = ErrNotFound
	}
	if err != nil {
		return a, nil, err
	}
	votes, err := b.cfg.Store.Votes(ctx, id)
	return a, votes, err
}
