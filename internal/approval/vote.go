// SPDX-License-Identifier: Apache-2.0

package approval

import (
	"context"
	"crypto/hmac"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/policy"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

// Verdict is what an approver says.
type Verdict string

// The verdicts.
const (
	Approve Verdict = "approve"
	Reject  Verdict = "reject"
)

const maxComment = 1000 // bytes

// Ballot is one vote.
type Ballot struct {
	Approval string // id
	Verdict  Verdict
	Comment  string // for people; at most 1000 bytes
	// Who brings the vote, and the roles that he has where the request stands. It
	// is his own vote unless there is a Signature.
	Who    auth.Principal
	Called string // what people call him, for the audit trail; may be empty
	Roles  []auth.Role
	// Signature is one over [Book.TypedData]; the vote is then that of the address
	// which made it, whoever brings it. Nil: none.
	Signature []byte
}

// Errors of votes. Their texts are made for whoever votes.
var (
	ErrNotFound = errors.New("there is no such request for approval")
	ErrAltered  = errors.New("the request was changed outside of the signer and counts for nothing")
)

// RefusedError says that a vote does not count, and why. Nothing was stored.
type RefusedError struct {
	Msg string
	// Forbidden says that it is for who votes, and not for where the request
	// stands.
	Forbidden bool
}

func (e *RefusedError) Error() string { return e.Msg }

func refused(format string, args ...any) error {
	return &RefusedError{Msg: fmt.Sprintf(format, args...)}
}

func forbidden(format string, args ...any) error {
	return &RefusedError{Msg: fmt.Sprintf(format, args...), Forbidden: true}
}

// Vote counts a vote, decides the request if it is the last one that is needed,
// and returns it as it is then. The same vote again changes nothing and is no
// error; another vote of the same approver is refused.
func (b *Book) Vote(ctx context.Context, v Ballot) (View, error) {
	if err := v.check(); err != nil {
		return View{}, err
	}
	var after store.Approval
	var votes []store.ApprovalVote
	err := b.cfg.Store.Write(ctx, func(w *store.Writer) (err error) {
		after, votes, err = b.vote(w, v)
		return err
	})
	if err != nil {
		return View{}, err
	}
	b.notify()
	return b.view(after, votes), nil
}

func (v Ballot) check() error {
	switch {
	case v.Verdict != Approve && v.Verdict != Reject:
		return refused("the verdict is %q: want approve or reject", v.Verdict)
	case len(v.Comment) > maxComment || !utf8.ValidString(v.Comment):
		return refused("the comment: want at most %d bytes of text", maxComment)
	}
	return nil
}

// vote is one try of Vote.
func (b *Book) vote(w *store.Writer, v Ballot) (store.Approval, []store.ApprovalVote, error) {
	a, err := w.LockApproval(v.Approval)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return a, nil, ErrNotFound
	case err != nil:
		return a, nil, err
	case !b.genuine(a):
		return a, nil, ErrAltered
	}
	now := b.now()
	mine, err := b.ballot(a, v, now)
	if err != nil {
		return a, nil, err
	}
	votes, err := w.Votes(a.ID)
	if err != nil {
		return a, nil, err
	}
	for _, other := range votes {
		if other.Approver != mine.Approver || !b.counts(other) {
			continue
		}
		if other.Verdict != mine.Verdict {
			return a, nil, refused("%s has voted already, to %s: a vote cannot be taken back", mine.Approver, other.Verdict)
		}
		return a, votes, nil
	}
	if err := pendingAt(a, now); err != nil {
		return a, nil, err
	}
	stored, err := w.InsertVote(mine)
	if err != nil {
		return a, nil, err
	}
	if !stored { // by a row that is not ours
		return a, nil, ErrAltered
	}
	about := map[string]string{"verdict": string(v.Verdict), "comment": v.Comment, "brought_by": v.Who.Name}
	if v.Called != "" {
		about["brought_by_name"] = v.Called
	}
	detail, _ := json.Marshal(about)
	if err := w.AuditEvent(event(mine.Approver, "approval-vote", a, string(detail), now)); err != nil {
		return a, nil, err
	}
	votes = append(votes, mine)
	a, err = b.decide(w, a, votes, now)
	return a, votes, err
}

// pendingAt refuses votes on what is decided.
func pendingAt(a store.Approval, now time.Time) error {
	switch {
	case a.Restored:
		return refused("the request %s", restoredText)
	case a.State == store.ApprovalPending && !now.Before(a.Expires):
		return refused("the request expired at %s", a.Expires.Format(time.RFC3339))
	case a.State != store.ApprovalPending:
		return refused("the request is %s already", a.State)
	}
	return nil
}

// ballot makes the row of a vote, if who votes may.
func (b *Book) ballot(a store.Approval, v Ballot, now time.Time) (store.ApprovalVote, error) {
	asks, err := readAsks(a.Rules)
	if err != nil {
		return store.ApprovalVote{}, err
	}
	roles, err := json.Marshal(v.Roles)
	if err != nil {
		return store.ApprovalVote{}, err
	}
	row := store.ApprovalVote{
		Approval: a.ID, Approver: v.Who.Name, Verdict: string(v.Verdict), Roles: string(roles), Comment: v.Comment, At: now,
	}
	if v.Signature != nil {
		data, err := b.TypedData(a, v.Verdict)
		if err != nil {
			return row, err
		}
		address, err := signer(data, v.Signature)
		if err != nil {
			return row, &RefusedError{Msg: err.Error()}
		}
		row.Approver, row.Roles, row.Signature = approverOf(address), "[]", v.Signature
	}
	row.MAC = b.cfg.MAC(row.Bytes())
	if err := b.mayVote(a, row); err != nil {
		return row, err
	}
	for _, ask := range asks {
		if b.eligible(a, ask, row) {
			return row, nil
		}
	}
	if v.Signature != nil {
		return row, forbidden("the signature is by %s over these very fields, which no rule lists as an approver: it is another's, or was made over something else", row.Approver)
	}
	return row, forbidden("%s is not among those whom the rules %s name as approvers", v.Who.Name, rulesOf(asks))
}

// mayVote keeps the requester out, under whatever name.
func (b *Book) mayVote(a store.Approval, v store.ApprovalVote) error {
	address, isAddress := addressOf(v.Approver)
	switch {
	case v.Approver == a.Principal:
		return forbidden("%s has asked for it, and cannot approve it", a.Principal)
	case !isAddress && (v.Approver == "" || v.Approver == auth.Anonymous.Name || v.Approver == auth.System.Name):
		return forbidden("who approves must have signed in")
	case isAddress && (address == a.Address || b.cfg.Owns != nil && b.cfg.Owns(a.Wallet, address)):
		return forbidden("%s is an account of the wallet itself, and cannot approve what the wallet is to sign", address)
	}
	return nil
}

// counts reports whether a vote is as this deployment wrote it.
func (b *Book) counts(v store.ApprovalVote) bool { return hmac.Equal(v.MAC, b.cfg.MAC(v.Bytes())) }

const addressPrefix = "address:"

// approverOf is how an address stands in a vote.
func approverOf(a common.Address) string { return addressPrefix + a.Hex() }

func addressOf(approver string) (common.Address, bool) {
	text, ok := strings.CutPrefix(approver, addressPrefix)
	return common.HexToAddress(text), ok && common.IsHexAddress(text)
}

func rulesOf(asks []policy.Ask) string {
	names := make([]string, len(asks))
	for i, ask := range asks {
		names[i] = ask.Rule
	}
	return strings.Join(names, ", ")
}
