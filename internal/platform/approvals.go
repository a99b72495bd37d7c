// SPDX-License-Identifier: Apache-2.0

package platform

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/signer/core/apitypes"

	"github.com/hsmsigner/hsmsigner/internal/approval"
	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

// Approvals are the requests that wait for people; *approval.Book has them.
type Approvals interface {
	List(ctx context.Context, f store.ApprovalFilter) ([]approval.View, error)
	Get(ctx context.Context, id string) (approval.View, error)
	Vote(ctx context.Context, v approval.Ballot) (approval.View, error)
	TypedData(a store.Approval, verdict approval.Verdict) (apitypes.TypedData, error)
}

// ApprovalMAC is the keyed hash over the rows of approvals and of votes. Who may
// write to the database and does not know the deployment's key cannot make one.
func ApprovalMAC(v Verifier) func([]byte) []byte {
	return func(row []byte) []byte { return v.Hash("approval-row", "", string(row)) }
}

// Approval is a request that waits, or waited, for people.
type Approval struct {
	ID          string          `json:"id"`
	Wallet      string          `json:"wallet"`
	State       string          `json:"state"`
	Principal   string          `json:"principal"`
	AskedBy     string          `json:"principal_name,omitempty"` // what people call who asked
	Action      string          `json:"action"`
	Address     string          `json:"address"`
	Fields      []ApprovalField `json:"fields"`         // all that approvers sign, but the verdict
	Data        string          `json:"data,omitempty"` // of a transaction, in hex
	RequestHash string          `json:"request_hash"`   // keccak256 of the request
	Rules       []ApprovalRule  `json:"rules"`
	Votes       []ApprovalVote  `json:"votes"`
	Result      string          `json:"result,omitempty"` // transaction id, or why it failed
	Waits       string          `json:"waits,omitempty"`  // why it is not sent yet although it is approved
	Created     time.Time       `json:"created_at"`
	Expires     time.Time       `json:"expires_at"`
	Decided     *time.Time      `json:"decided_at,omitempty"`
	// Request and TypedData are of one request only, not in lists.
	Request   any             `json:"request,omitempty"`
	TypedData *ApprovalToSign `json:"typed_data,omitempty"`
}

// ApprovalField is one field of what approvers sign.
type ApprovalField struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// ApprovalToSign is what an approver's wallet signs (eth_signTypedData_v4).
type ApprovalToSign struct {
	Approve any `json:"approve"`
	Reject  any `json:"reject"`
}

// ApprovalRule is one rule that asks.
type ApprovalRule struct {
	Rule      string    `json:"rule"`
	Needed    int       `json:"needed"`
	Approved  int       `json:"approved"`
	Approvers Approvers `json:"approvers"`
}

// Approvers are who may approve.
type Approvers struct {
	Principals []string `json:"principals"`
	Roles      []string `json:"roles"`
	Addresses  []string `json:"addresses"`
}

// ApprovalVote is what one approver said.
type ApprovalVote struct {
	Approver string    `json:"approver"`
	Name     string    `json:"approver_name,omitempty"` // what people call them
	Verdict  string    `json:"verdict"`
	Comment  string    `json:"comment,omitempty"`
	Signed   bool      `json:"signed"`
	Counts   bool      `json:"counts"`
	At       time.Time `json:"at"`
}

// ApprovalQuery narrows a list of requests. Zero fields do not filter.
type ApprovalQuery struct {
	States []string // words as in Approval.State
	Before string   // id: only older ones, for paging
	Limit  int      // default 50, at most 1000
}

// NewVote is what an approver says.
type NewVote struct {
	Comment   string
	Signature []byte // over Approval.TypedData, by a listed address; nil: the caller's own vote
}

// ApprovalStates are the words for where a request stands.
func ApprovalStates() []string {
	return []string{
		string(store.ApprovalPending), string(store.ApprovalApproved), string(store.ApprovalRejected),
		string(store.ApprovalExpired), string(store.ApprovalUsed), string(store.ApprovalFailed),
	}
}

func noApprovals() *Error { return unavailable("approvals are not available here") }

func noApproval() *Error {
	return &Error{Reason: NotFound, Msg: "the service has no such request for approval"}
}

// Approvals lists the requests of a service that wait, or waited, for people, the
// newest first.
func (p *Platform) Approvals(ctx context.Context, who auth.Access, at Path, q ApprovalQuery) ([]Approval, error) {
	r, err := p.service(ctx, who, auth.Auditor, at)
	if err != nil {
		return nil, err
	}
	if p.cfg.Approvals == nil {
		return nil, noApprovals()
	}
	if q.Limit < 0 || q.Limit > maxTransactions {
		return nil, invalid("limit", "want 1 to %d", maxTransactions)
	}
	filter := store.ApprovalFilter{Wallet: r.wallet(), Before: q.Before, Limit: q.Limit}
	for _, s := range q.States {
		if !slices.Contains(ApprovalStates(), s) {
			return nil, invalid("state", "is none of %s", strings.Join(ApprovalStates(), ", "))
		}
		filter.States = append(filter.States, store.ApprovalState(s))
	}
	list, err := p.cfg.Approvals.List(ctx, filter)
	if err != nil {
		return nil, err
	}
	out, names := make([]Approval, 0, len(list)), p.callNames()
	for _, v := range list {
		out = append(out, p.viewApproval(ctx, names, v, false))
	}
	return out, nil
}

// Approval shows a request with all that approvers need to see, and to sign.
func (p *Platform) Approval(ctx context.Context, who auth.Access, at Path, id string) (Approval, error) {
	_, v, err := p.approval(ctx, who, at, id)
	if err != nil {
		return Approval{}, err
	}
	return p.viewApproval(ctx, p.callNames(), v, true), nil
}

// approval finds a request of a service that the caller may see.
func (p *Platform) approval(ctx context.Context, who auth.Access, at Path, id string) (row, approval.View, error) {
	r, err := p.service(ctx, who, auth.Auditor, at)
	if err != nil {
		return row{}, approval.View{}, err
	}
	if p.cfg.Approvals == nil {
		return row{}, approval.View{}, noApprovals()
	}
	if !txID.MatchString(id) {
		return row{}, approval.View{}, noApproval()
	}
	v, err := p.cfg.Approvals.Get(ctx, id)
	if errors.Is(err, approval.ErrNotFound) || err == nil && v.Wallet != r.wallet() {
		return row{}, approval.View{}, noApproval()
	}
	return r, v, err
}

// ApproveRequest and RejectRequest vote on a request: in the caller's own name, or
// in that of the address that has signed.
func (p *Platform) ApproveRequest(ctx context.Context, who auth.Access, at Path, id string, n NewVote) (Approval, error) {
	return p.vote(ctx, who, at, id, approval.Approve, n)
}

// RejectRequest ends a request; see ApproveRequest.
func (p *Platform) RejectRequest(ctx context.Context, who auth.Access, at Path, id string, n NewVote) (Approval, error) {
	return p.vote(ctx, who, at, id, approval.Reject, n)
}

func (p *Platform) vote(ctx context.Context, who auth.Access, at Path, id string, verdict approval.Verdict, n NewVote) (Approval, error) {
	r, v, err := p.approval(ctx, who, at, id)
	if err != nil {
		return Approval{}, err
	}
	consortium, membership := r.owner()
	var roles []auth.Role
	for _, role := range auth.Roles() {
		if who.Can(role, consortium, membership) {
			roles = append(roles, role)
		}
	}
	names := p.callNames()
	v, err = p.cfg.Approvals.Vote(ctx, approval.Ballot{
		Approval: v.ID, Verdict: verdict, Comment: n.Comment, Who: who.Principal, Called: names.of(ctx, who.Principal.Name),
		Roles: roles, Signature: n.Signature,
	})
	var refused *approval.RefusedError
	switch {
	case errors.As(err, &refused) && refused.Forbidden:
		return Approval{}, &Error{Reason: Forbidden, Msg: refused.Msg}
	case errors.As(err, &refused):
		return Approval{}, conflict("%s", refused.Msg)
	case errors.Is(err, approval.ErrNotFound):
		return Approval{}, noApproval()
	case errors.Is(err, approval.ErrAltered):
		return Approval{}, conflict("%s", err)
	case err != nil:
		return Approval{}, err
	}
	return p.viewApproval(ctx, names, v, true), nil
}

// viewApproval shows a request; whole with what is too large for lists.
func (p *Platform) viewApproval(ctx context.Context, names names, v approval.View, whole bool) Approval {
	a := Approval{
		ID: v.ID, Wallet: v.Wallet, State: v.State, Principal: v.Principal, Action: v.Action, Address: v.Account.Hex(),
		Fields: []ApprovalField{}, RequestHash: v.RequestHash.Hex(), Rules: []ApprovalRule{}, Votes: []ApprovalVote{},
		AskedBy: names.of(ctx, v.Principal), Result: v.Result, Waits: v.Waits, Created: v.Created, Expires: v.Expires,
	}
	if !v.Decided.IsZero() {
		a.Decided = &v.Decided
	}
	for _, ask := range v.Asks {
		a.Rules = append(a.Rules, ApprovalRule{ask.Rule, ask.Needed, ask.Have, viewApprovers(ask)})
	}
	for _, vote := range v.Votes {
		a.Votes = append(a.Votes, ApprovalVote{vote.Approver, names.of(ctx, vote.Approver), vote.Verdict, vote.Comment, vote.Signed, vote.Counts, vote.At})
	}
	approve, err := p.cfg.Approvals.TypedData(v.Row, approval.Approve)
	if err != nil { // the row was altered
		return a
	}
	for _, f := range approve.Types[approve.PrimaryType] {
		if f.Name != "verdict" {
			a.Fields = append(a.Fields, ApprovalField{f.Name, fmt.Sprint(approve.Message[f.Name])})
		}
	}
	a.Data = calldata(v.Request)
	if !whole {
		return a
	}
	a.Request = v.Request
	if reject, err := p.cfg.Approvals.TypedData(v.Row, approval.Reject); err == nil && v.State == string(store.ApprovalPending) {
		a.TypedData = &ApprovalToSign{toSign(approve), toSign(reject)}
	}
	return a
}

// toSign is an EIP-712 document as wallets take it. go-ethereum's own JSON has
// fields of the domain that are not among its types, which some refuse.
func toSign(d apitypes.TypedData) map[string]any {
	return map[string]any{"types": d.Types, "primaryType": d.PrimaryType, "domain": d.Domain.Map(), "message": d.Message}
}

func viewApprovers(ask approval.AskView) Approvers {
	out := Approvers{Principals: append([]string{}, ask.Approvers.Names...), Roles: []string{}, Addresses: []string{}}
	for _, role := range ask.Approvers.Roles {
		out.Roles = append(out.Roles, string(role))
	}
	for _, address := range ask.Approvers.Addresses {
		out.Addresses = append(out.Addresses, address.Hex())
	}
	return out
}

// calldata is that of a transaction, which approvers sign by its hash only.
func calldata(request []byte) string {
	var q approval.Request
	if json.Unmarshal(request, &q) != nil || q.Transaction == nil {
		return ""
	}
	var t types.Transaction
	if t.UnmarshalBinary(q.Transaction.Payload) != nil || len(t.Data()) == 0 {
		return ""
	}
	return hexutil.Encode(t.Data())
}
