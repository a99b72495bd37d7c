// SPDX-License-Identifier: Apache-2.0

package approval_test

import (
	"encoding/json"
	"math/big"
	"strings"
	"testing"

	"github.com/hsmsigner/hsmsigner/internal/approval"
	"github.com/hsmsigner/hsmsigner/internal/judge"
	"github.com/hsmsigner/hsmsigner/internal/policy"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

// Whoever can write to the database, but does not know the key of the macs.
func TestARowThatWasAlteredCountsForNothing(t *testing.T) {
	for column, value := range map[string]any{
		"state": "approved", "principal": "app:another", "action": "sign-document", "address": make([]byte, 20), "wallet": "main ",
		"request": `{}`, "rules": `[]`, "result": "x", "created": int64(1), "expires": int64(1) << 60, "decided": int64(5),
		"consortium": "u0another0", "environment": "u0another0", "membership": "u0another0", "mac": []byte("x"), "id": strings.Repeat("0", 32),
	} {
		t.Run(column, func(t *testing.T) {
			r := newRig(t)
			req := message("pay everything to me")
			p := r.ask(req, twoOf())
			r.sql(`UPDATE approval SET `+column+` = ? WHERE id = ?`, value, p.ID)
			id := p.ID
			if column == "id" {
				id = value.(string)
			}
			if _, err := r.vote(id, alice, approval.Approve); err == nil {
				t.Error("it takes votes")
			}
			if ok, err := r.book.Use(t.Context(), &judge.Grant{ID: id}, "x"); ok || err != nil {
				t.Errorf("it can be used: %v", err)
			}
			if v, err := r.book.Get(t.Context(), id); err != nil || v.State != approval.StateAltered {
				t.Errorf("it is shown as %q: %v", v.State, err)
			}
			if _, err := r.book.Await(t.Context(), id); err == nil {
				t.Error("it has an outcome")
			}
			if again := r.ask(req, twoOf()); again.ID == id {
				t.Error("a caller is told to wait for it")
			}
			brought := req
			brought.Approval = id
			r.denied(brought, twoOf())
		})
	}
}

func TestAVoteThatWasAlteredOrMadeUpCountsForNothing(t *testing.T) {
	r := newRig(t)
	asks := twoOf()
	req := message("pay everything to me")
	p := r.ask(req, asks)
	_, err := r.vote(p.ID, alice, approval.Approve)
	must(t, err)
	have := func() int {
		v, err := r.book.Get(t.Context(), p.ID)
		must(t, err)
		return v.Asks[0].Have
	}
	r.sql(`INSERT INTO approval_vote SELECT approval, 'key:u0bob00000', verdict, roles, comment, signature, at, mac FROM approval_vote`)
	if have() != 1 {
		t.Error("a copy in another's name counts")
	}
	if _, err := r.vote(p.ID, bob, approval.Approve); err == nil {
		t.Error("a vote took the place of one that is not ours")
	}
	r.sql(`DELETE FROM approval_vote WHERE approver = 'key:u0bob00000'`)
	for column, value := range map[string]any{"verdict": "reject", "roles": `["admin"]`, "comment": "x", "at": int64(1), "mac": []byte("x"), "approver": bob.Name} {
		r.sql(`UPDATE approval_vote SET `+column+` = ?`, value)
		if have() != 0 {
			t.Errorf("with another %s it counts", column)
		}
		r.sql(`DELETE FROM approval_vote`)
		_, err := r.vote(p.ID, alice, approval.Approve)
		must(t, err)
		if have() != 1 {
			t.Fatal("a new vote does not count")
		}
	}
	// The vote of another request.
	q := r.ask(message("another"), asks)
	_, err = r.vote(q.ID, bob, approval.Approve)
	must(t, err)
	r.sql(`UPDATE approval_vote SET approval = ? WHERE approval = ?`, p.ID, q.ID)
	if have() != 1 {
		t.Error("a vote on another request counts")
	}
}

// A signature is verified at each look, not only when it comes: even in a row with the
// right hash one over something else counts for nothing.
func TestAStoredSignatureOverSomethingElseCountsForNothing(t *testing.T) {
	r := newRig(t)
	asks := twoOf()
	p, q := r.ask(message("pay everything to me"), asks), r.ask(message("another"), asks)
	if _, err := r.signed(q.ID, 7, approval.Approve, nil); err != nil {
		t.Fatal(err)
	}
	votes, err := r.db.Votes(t.Context(), q.ID)
	must(t, err)
	taken := votes[0]
	taken.Approval = p.ID
	taken.MAC = mac(taken.Bytes())
	must(t, r.db.Write(t.Context(), func(w *store.Writer) error {
		_, err := w.InsertVote(taken)
		return err
	}))
	v, err := r.book.Get(t.Context(), p.ID)
	must(t, err)
	if len(v.Votes) != 1 || v.Votes[0].Counts || v.Asks[0].Have != 0 {
		t.Errorf("it counts: %+v", v.Votes)
	}
}

// Votes that were removed after they had decided do not count any more either.
func TestWhatIsApprovedWithoutItsVotesIsNot(t *testing.T) {
	r := newRig(t)
	req := message("hello")
	p := r.ask(req, twoOf())
	r.approve(p.ID)
	r.sql(`DELETE FROM approval_vote WHERE approver = ?`, bob.Name)
	if again := r.ask(req, twoOf()); again.ID != p.ID || again.Have != 1 {
		t.Errorf("got %+v", again)
	}
	if r.state(p.ID) != store.ApprovalPending {
		t.Errorf("the row is %s", r.state(p.ID))
	}
}

// What approvers were shown is what is used: each field in turn is another when
// the caller comes to use it.
func TestARequesterCannotSwapTheContent(t *testing.T) {
	r := newRig(t)
	for name, req := range everyKind() {
		asks := twoOf()
		p := r.ask(req, asks)
		r.approve(p.ID)
		for field, swapped := range swaps(t, req) {
			swapped.Approval = p.ID
			if why := r.denied(swapped, asks); !strings.Contains(why, "not what was approved") && !strings.Contains(why, "are approved") && !strings.Contains(why, "were approved") {
				t.Errorf("%s, %s: %s", name, field, why)
			}
			swapped.Approval = ""
			if grant, _, _ := r.book.Find(t.Context(), swapped, asks); grant != nil {
				t.Errorf("%s with another %s is granted", name, field)
			}
		}
		req.Approval = p.ID
		if grant, _, err := r.book.Find(t.Context(), req, asks); grant == nil || err != nil {
			t.Errorf("%s, unchanged: %v", name, err)
		}
	}
}

// approve has two approvers approve.
func (r *rig) approve(id string) {
	r.Helper()
	_, err := r.vote(id, alice, approval.Approve)
	must(r.T, err)
	_, err = r.vote(id, bob, approval.Approve)
	must(r.T, err)
}

// swaps are a request with one thing about it another, by that thing.
func swaps(t *testing.T, req policy.Request) map[string]policy.Request {
	out := map[string]policy.Request{}
	add := func(what string, change func(*policy.Request)) {
		other := req
		change(&other)
		out[what] = other
	}
	add("principal", func(r *policy.Request) { r.Principal.Name = "app:another" })
	add("membership", func(r *policy.Request) { r.Principal.Membership = "u0another0" })
	add("wallet", func(r *policy.Request) { r.Owner.Wallet = "another" })
	add("account", func(r *policy.Request) { r.Account = signerAddress(5) })
	add("chain", func(r *policy.Request) { r.ChainID = big.NewInt(1) })
	switch {
	case req.Transaction != nil:
		for what, other := range altered(t, req) {
			out[what] = other
		}
	case req.TypedData != nil:
		add("value", func(r *policy.Request) {
			d := permit()
			d.Message["value"] = "1"
			r.TypedData = d
		})
	case req.Document != nil:
		for what, change := range map[string]func(*policy.Document){
			"digest": func(d *policy.Document) { d.SHA256[0]++ }, "size": func(d *policy.Document) { d.Size++ },
			"name": func(d *policy.Document) { d.Name += "x" }, "type": func(d *policy.Document) { d.MediaType += "x" },
		} {
			d := *req.Document
			change(&d)
			add(what, func(r *policy.Request) { r.Document = &d })
		}
	default:
		add("text", func(r *policy.Request) { r.Message = append([]byte("x"), r.Message...) })
	}
	return out
}

// altered are a transaction with one field another, through its JSON.
func altered(t *testing.T, req policy.Request) map[string]policy.Request {
	t.Helper()
	raw, err := json.Marshal(req.Transaction)
	must(t, err)
	out := map[string]policy.Request{}
	for field, value := range map[string]any{
		"to": "0x00000000000000000000000000000000000000cc", "value": "0x99", "input": "0x77", "gas": "0xfffff",
		"accessList":   []any{map[string]any{"address": "0x00000000000000000000000000000000000000cc", "storageKeys": []string{}}},
		"maxFeePerGas": "0xffffffffffff", "maxPriorityFeePerGas": "0xffffffffffff", "gasPrice": "0xffffffffffff", "maxFeePerBlobGas": "0xffffffff",
		"authorizationList":   []any{},
		"blobVersionedHashes": []string{"0x0100000000000000000000000000000000000000000000000000000000000001"},
	} {
		var fields map[string]any
		must(t, json.Unmarshal(raw, &fields))
		if had, there := fields[field]; !there || had == nil && field != "to" {
			continue
		}
		fields[field] = value
		other := req
		changed, err := json.Marshal(fields)
		must(t, err)
		other.Transaction = unmarshal(t, changed)
		if other.Transaction.Hash() == req.Transaction.Hash() {
			t.Fatalf("%s is the same", field)
		}
		out[field] = other
	}
	if req.Action == "send-transaction" {
		nonce := uint64(3)
		other := req
		other.Asked.Nonce = &nonce
		out["chosen nonce"] = other
		other = req
		other.FeeCeiling = new(big.Int).Lsh(big.NewInt(1), 70)
		out["fee ceiling"] = other
	}
	return out
}
