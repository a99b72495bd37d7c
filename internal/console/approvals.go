// SPDX-License-Identifier: Apache-2.0

package console

import (
	"cmp"
	"context"
	"encoding/json"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/ethereum/go-ethereum/common/hexutil"

	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/platform"
)

func approvalRoutes(get, post func(path string, serve handler)) {
	get("/approvals", listApprovals)
	get("/approvals/{id}/{approval}", showApproval)
	post("/approvals/{id}/{approval}/approve", approveRequest)
	post("/approvals/{id}/{approval}/reject", rejectRequest)
}

// pastShown is how many requests that are decided the page shows.
const pastShown = 30

// statePending is the state of a request that waits.
const statePending = "pending"

// approvalRow is a request with what people want to know of it first.
type approvalRow struct {
	platform.Approval
	Service  string // id
	Wallet   string // name
	Verb     string // what is wanted: "send a transaction"
	What     map[string]string
	Call     *call
	MostFees string // wei, in decimal; empty: no transaction
	Left     string // until it expires
	Own      bool   // the person asked for it
	Voted    bool   // the person has voted
	MayVote  bool   // in the person's own name
}

// approvalsPage is the data of the list.
type approvalsPage struct {
	Waiting, Past []approvalRow
	Names         map[string]string
}

func listApprovals(ctx context.Context, v *visit) (view, error) {
	services, err := list[platform.Service](ctx, v, platform.Services)
	if err != nil {
		return view{}, err
	}
	data := approvalsPage{Names: v.people(ctx)}
	past := slices.DeleteFunc(platform.ApprovalStates(), func(s string) bool { return s == statePending })
	for _, s := range services {
		at := v.at
		at.ID = s.ID
		for states, rows := range map[string]*[]approvalRow{statePending: &data.Waiting, strings.Join(past, " "): &data.Past} {
			q := platform.ApprovalQuery{States: strings.Fields(states)}
			if rows == &data.Past {
				q.Limit = pastShown
			}
			all, err := v.c.cfg.Platform.Approvals(ctx, v.who, at, q)
			if err != nil {
				return view{}, err
			}
			for _, a := range all {
				introduce(data.Names, a)
				*rows = append(*rows, v.approvalRow(a, s))
			}
		}
	}
	// What ends first is to be looked at first.
	slices.SortFunc(data.Waiting, func(a, b approvalRow) int { return cmp.Or(a.Expires.Compare(b.Expires), strings.Compare(a.ID, b.ID)) })
	slices.SortFunc(data.Past, func(a, b approvalRow) int { return strings.Compare(b.ID, a.ID) })
	data.Past = data.Past[:min(len(data.Past), pastShown)]
	return view{page: "approvals", title: "Approvals", section: "approvals", data: data, fragment: v.wantsFragment()}, nil
}

func (v *visit) approvalRow(a platform.Approval, s *platform.Service) approvalRow {
	r := approvalRow{Approval: a, Service: s.ID, Wallet: s.Name, Verb: verbOf(a.Action), What: map[string]string{}, Call: callOf(a.Data)}
	for _, f := range a.Fields {
		r.What[f.Name] = f.Value
	}
	if gas, err := strconv.ParseUint(r.What["gas"], 10, 64); err == nil {
		r.MostFees = times(gas, r.What["maxFeePerGas"])
	}
	if left := time.Until(a.Expires); left > 0 && a.State == statePending {
		r.Left = durationText(left.Truncate(time.Second))
	}
	r.Own = a.Principal == v.who.Principal.Name
	r.Voted = slices.ContainsFunc(a.Votes, func(vote platform.ApprovalVote) bool { return vote.Approver == v.who.Principal.Name })
	r.MayVote = !r.Own && !r.Voted && a.State == statePending && slices.ContainsFunc(a.Rules, func(rule platform.ApprovalRule) bool {
		return slices.Contains(rule.Approvers.Principals, v.who.Principal.Name) ||
			slices.ContainsFunc(rule.Approvers.Roles, func(role string) bool { return v.can(auth.Role(role), s.MembershipID) })
	})
	return r
}

// introduce adds what people call those who have asked and voted: people are in no
// list of ours.
func introduce(names map[string]string, a platform.Approval) {
	if a.AskedBy != "" {
		names[a.Principal] = a.AskedBy
	}
	for _, vote := range a.Votes {
		if vote.Name != "" {
			names[vote.Approver] = vote.Name
		}
	}
}

// verbOf says what an action is, behind "wants to".
func verbOf(action string) string {
	verbs := map[string]string{
		"send-transaction": "send a transaction", "sign-transaction": "have a transaction signed", "sign-message": "have a message signed",
		"sign-typed-data": "have typed data signed", "sign-document": "have a document signed",
	}
	if verb := verbs[action]; verb != "" {
		return verb
	}
	return "do " + action
}

// approvalPage is the data of the page of one request.
type approvalPage struct {
	form
	approvalRow
	Names   map[string]string
	Approve string // what a wallet signs, JSON; empty: nothing any more
	Reject  string
}

func showApproval(ctx context.Context, v *visit) (view, error) {
	return v.approval(ctx, form{Values: v.form})
}

func (v *visit) approval(ctx context.Context, f form) (view, error) {
	s, err := get[platform.Service](ctx, v, platform.Services, v.here())
	if err != nil {
		return view{}, err
	}
	a, err := v.c.cfg.Platform.Approval(ctx, v.who, v.here(), v.r.PathValue("approval"))
	if err != nil {
		return view{}, err
	}
	data := approvalPage{form: f, approvalRow: v.approvalRow(a, s), Names: v.people(ctx)}
	introduce(data.Names, a)
	if t := a.TypedData; t != nil {
		if data.Approve, err = indented(t.Approve); err != nil {
			return view{}, err
		}
		if data.Reject, err = indented(t.Reject); err != nil {
			return view{}, err
		}
	}
	return formView(view{page: "approval", title: "Approval " + short(a.ID), section: "approvals", data: data, fragment: v.wantsFragment()}, f), nil
}

func indented(is any) (string, error) {
	b, err := json.MarshalIndent(is, "", "  ")
	return string(b), err
}

func approveRequest(ctx context.Context, v *visit) (view, error) {
	return v.vote(ctx, v.c.cfg.Platform.ApproveRequest, "request-approved")
}

func rejectRequest(ctx context.Context, v *visit) (view, error) {
	return v.vote(ctx, v.c.cfg.Platform.RejectRequest, "request-rejected")
}

func (v *visit) vote(
	ctx context.Context, act func(context.Context, auth.Access, platform.Path, string, platform.NewVote) (platform.Approval, error), done string,
) (view, error) {
	n, id := platform.NewVote{Comment: v.text("comment")}, v.r.PathValue("approval")
	var err error
	if text := v.text("signature"); text != "" {
		if n.Signature, err = hexutil.Decode(text); err != nil {
			err = &platform.Error{Reason: platform.Invalid, Field: "signature", Msg: "want 0x and the 130 hex digits that the wallet gave"}
		}
	}
	if err == nil {
		_, err = act(ctx, v.who, v.here(), id, n)
	}
	if f, ok := v.refused(err, "comment", "signature"); ok {
		return v.approval(ctx, f)
	}
	if err != nil {
		return view{}, err
	}
	return v.done(done, "approvals", v.r.PathValue("id"), id), nil
}

// Marks are as many as a rule needs approvals, for drawing them.
func (r approvalRow) Marks(n int) []struct{} { return make([]struct{}, min(max(n, 0), 20)) }

// DecidedAt is when the request was decided; zero if it is not.
func (r approvalRow) DecidedAt() time.Time {
	if r.Decided == nil {
		return time.Time{}
	}
	return *r.Decided
}
