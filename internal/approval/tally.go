// SPDX-License-Identifier: Apache-2.0

package approval

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/policy"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

// writeAsks and readAsks are how what rules ask for is stored.
func writeAsks(asks []policy.Ask) (string, error) {
	b, err := json.Marshal(asks)
	if err != nil {
		return "", fmt.Errorf("approval: encode what is asked for: %w", err)
	}
	return string(b), nil
}

func readAsks(text string) (asks []policy.Ask, err error) {
	if err := json.Unmarshal([]byte(text), &asks); err != nil {
		return nil, fmt.Errorf("approval: read what is asked for: %w", err)
	}
	return asks, nil
}

// eligible reports whether a vote is of one whom the rule lets approve. A
// signature is verified anew each time.
func (b *Book) eligible(a store.Approval, ask policy.Ask, v store.ApprovalVote) bool {
	if b.mayVote(a, v) != nil {
		return false
	}
	if address, ok := addressOf(v.Approver); ok {
		if !slices.Contains(ask.Approvers.Addresses, address) {
			return false
		}
		data, err := b.TypedData(a, Verdict(v.Verdict))
		if err != nil {
			return false
		}
		by, err := signer(data, v.Signature)
		return err == nil && by == address
	}
	if slices.Contains(ask.Approvers.Names, v.Approver) {
		return true
	}
	var roles []auth.Role
	if json.Unmarshal([]byte(v.Roles), &roles) != nil {
		return false
	}
	return slices.ContainsFunc(ask.Approvers.Roles, func(r auth.Role) bool { return slices.Contains(roles, r) })
}

// tally is how far the votes on a request are.
type tally struct {
	rejected string     // by whom; empty: by nobody
	lacks    policy.Ask // the first rule that wants more, if Have < Needed
	have     int        // approvals that lacks has; needed ones if none lacks any
	need     int
}

func (t tally) approved() bool { return t.rejected == "" && t.have >= t.need }

// tally counts the votes that count: whose rows are ours, of whom a rule names, one
// for each approver (the table's key sees to that).
func (b *Book) tally(a store.Approval, asks []policy.Ask, votes []store.ApprovalVote) tally {
	var t tally
	seen := map[string]bool{}
	genuine := slices.DeleteFunc(slices.Clone(votes), func(v store.ApprovalVote) bool {
		again := seen[v.Approver]
		seen[v.Approver] = true
		return again || v.Approval != a.ID || !b.counts(v)
	})
	for i, ask := range asks {
		have := 0
		for _, v := range genuine {
			if !b.eligible(a, ask, v) {
				continue
			}
			switch Verdict(v.Verdict) {
			case Reject:
				t.rejected = v.Approver
			case Approve:
				have++
			}
		}
		need := max(ask.Needed, 1)
		if i == 0 || t.have >= t.need && have < need {
			t.lacks, t.have, t.need = ask, have, need
		}
	}
	if len(asks) == 0 { // nothing is approved that nobody was asked for
		t.need = 1
	}
	t.have = min(t.have, t.need)
	return t
}

// decide gives a pending request the state that its votes amount to.
func (b *Book) decide(w *store.Writer, a store.Approval, votes []store.ApprovalVote, now time.Time) (store.Approval, error) {
	if a.State != store.ApprovalPending {
		return a, nil
	}
	asks, err := readAsks(a.Rules)
	if err != nil {
		return a, err
	}
	t := b.tally(a, asks, votes)
	switch {
	case t.rejected != "":
		return b.move(w, a, store.ApprovalRejected, "rejected by "+t.rejected, t.rejected, now)
	case t.approved():
		return b.move(w, a, store.ApprovalApproved, "", auth.System.Name, now)
	}
	return a, nil
}

// move gives a request another state, with its audit event, and reports the row as
// it is then. Another who was faster is an error.
func (b *Book) move(w *store.Writer, a store.Approval, to store.ApprovalState, result, who string, now time.Time) (store.Approval, error) {
	from, was := a.State, a.MAC
	a, detail, err := b.moved(a, to, result, now)
	if err != nil {
		return a, err
	}
	done, err := w.SetApproval(a, from, was)
	switch {
	case err != nil:
		return a, err
	case !done:
		return a, errFaster
	}
	return a, w.AuditEvent(event(who, "approval-"+string(to), a, detail, now))
}

// moved is a request in another state, and what its audit event says of it.
func (b *Book) moved(a store.Approval, to store.ApprovalState, result string, now time.Time) (store.Approval, string, error) {
	a.State, a.Result = to, result
	if a.Decided.IsZero() {
		a.Decided = now
	}
	b.seal(&a)
	detail, err := json.Marshal(map[string]string{"state": string(to), "result": result})
	return a, string(detail), err
}
