// SPDX-License-Identifier: Apache-2.0

package approval

import (
	"context"
	"encoding/json"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/policy"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

// StateAltered is how a request is shown whose row was changed outside of the
// signer.
const StateAltered = "altered"

// View is a request as people see it.
type View struct {
	ID          string
	Wallet      string
	State       string // as in store, or StateAltered
	Principal   string
	Action      string
	Account     common.Address
	Request     json.RawMessage // all of it
	RequestHash common.Hash     // that approvers sign
	Result      string
	Waits       string // why it is not sent yet although it is approved, as far as this process has tried
	Asks        []AskView
	Votes       []VoteView
	Created     time.Time
	Expires     time.Time
	Decided     time.Time // zero: not yet
	Row         store.Approval
}

// AskView is one rule that asks, and how far it is.
type AskView struct {
	Rule      string
	Needed    int
	Have      int
	Approvers policy.Approvers
}

// VoteView is one vote.
type VoteView struct {
	Approver string
	Verdict  string
	Comment  string
	Signed   bool // by a signature of an address
	Counts   bool // for a rule; not if its row was changed
	At       time.Time
}

// view shows a row.
func (b *Book) view(a store.Approval, votes []store.ApprovalVote) View {
	v := View{
		ID: a.ID, Wallet: a.Wallet, State: string(a.State), Principal: a.Principal, Action: a.Action, Account: a.Address,
		Request: json.RawMessage(a.Request), RequestHash: hashOf(a.Request), Result: a.Result,
		Created: a.Created, Expires: a.Expires, Decided: a.Decided, Row: a,
	}
	if a.State == store.ApprovalApproved {
		v.Waits = b.waits(a.ID)
	}
	if !b.genuine(a) {
		v.State = StateAltered
	}
	if !json.Valid(v.Request) { // only by somebody who writes to the database
		v.Request = json.RawMessage("null")
	}
	asks, err := readAsks(a.Rules)
	if err != nil {
		v.State = StateAltered
	}
	counting := map[string]bool{}
	for _, ask := range asks {
		shown := AskView{Rule: ask.Rule, Needed: max(ask.Needed, 1), Approvers: ask.Approvers}
		for _, vote := range votes {
			if vote.Approval != a.ID || !b.counts(vote) || !b.eligible(a, ask, vote) {
				continue
			}
			counting[vote.Approver] = true
			if Verdict(vote.Verdict) == Approve {
				shown.Have++
			}
		}
		v.Asks = append(v.Asks, shown)
	}
	for _, vote := range votes {
		v.Votes = append(v.Votes, VoteView{vote.Approver, vote.Verdict, vote.Comment, vote.Signature != nil, counting[vote.Approver], vote.At})
	}
	return v
}

// Get shows a request. ErrNotFound.
func (b *Book) Get(ctx context.Context, id string) (View, error) {
	a, votes, err := b.read(ctx, id)
	if err != nil {
		return View{}, err
	}
	return b.view(a, votes), nil
}

// List shows requests of a wallet, the newest first.
func (b *Book) List(ctx context.Context, f store.ApprovalFilter) ([]View, error) {
	rows, err := b.cfg.Store.Approvals(ctx, f)
	if err != nil {
		return nil, err
	}
	out := make([]View, 0, len(rows))
	for _, a := range rows {
		votes, err := b.cfg.Store.Votes(ctx, a.ID)
		if err != nil {
			return nil, err
		}
		out = append(out, b.view(a, votes))
	}
	return out, nil
}
