// SPDX-License-Identifier: Apache-2.0

package approval_test

import (
	"errors"
	"math/big"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/rlp"
	"github.com/ethereum/go-ethereum/signer/core/apitypes"

	"github.com/hsmsigner/hsmsigner/internal/approval"
	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/policy"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

func TestTwoApproversApprove(t *testing.T) {
	r := newRig(t)
	p := r.ask(payment(1), twoOf())
	if p.Have != 0 || p.Need != 2 || p.Rule != "service:u0service0/large" {
		t.Fatalf("got %+v", p)
	}
	v, err := r.vote(p.ID, alice, approval.Approve)
	must(t, err)
	if v.State != "pending" || v.Asks[0].Have != 1 {
		t.Fatalf("after one: %+v", v)
	}
	if again := r.ask(payment(1), twoOf()); again.ID != p.ID || again.Have != 1 {
		t.Fatalf("the same request again got %+v", again)
	}
	v, err = r.vote(p.ID, bob, approval.Approve)
	must(t, err)
	if v.State != "approved" {
		t.Fatalf("after two: %s", v.State)
	}
}

func TestAVoteTwiceCountsOnce(t *testing.T) {
	r := newRig(t)
	p := r.ask(payment(1), twoOf())
	for range 3 {
		v, err := r.vote(p.ID, alice, approval.Approve)
		must(t, err)
		if v.State != "pending" || v.Asks[0].Have != 1 || len(v.Votes) != 1 {
			t.Fatalf("got %s with %d of 2 and %d votes", v.State, v.Asks[0].Have, len(v.Votes))
		}
	}
	if _, err := r.vote(p.ID, alice, approval.Reject); err == nil {
		t.Error("a vote was taken back")
	}
	for range 2 {
		v, err := r.signed(p.ID, 7, approval.Approve, nil)
		must(t, err)
		if v.State != "approved" || len(v.Votes) != 2 {
			t.Fatalf("got %s and %d votes", v.State, len(v.Votes))
		}
	}
}

func TestManyVotesOfOneAtATimeCountOnce(t *testing.T) {
	r := newRig(t)
	p := r.ask(payment(1), twoOf())
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() { _, _ = r.vote(p.ID, alice, approval.Approve) })
	}
	wg.Wait()
	v, err := r.book.Get(t.Context(), p.ID)
	must(t, err)
	if v.State != "pending" || v.Asks[0].Have != 1 {
		t.Errorf("got %s with %d", v.State, v.Asks[0].Have)
	}
}

func TestTheRequesterCannotApprove(t *testing.T) {
	r := newRig(t)
	p := r.ask(payment(1), twoOf()) // which lists him, and all admins
	var refused *approval.RefusedError
	if _, err := r.vote(p.ID, app, approval.Approve, auth.Roles()...); !errors.As(err, &refused) || !refused.Forbidden {
		t.Errorf("got %v", err)
	}
	asks := twoOf()
	asks[0].Approvers.Addresses = append(asks[0].Approvers.Addresses, signerAddress(0))
	own := r.ask(message("with the account itself among the approvers"), asks)
	if _, err := r.signed(own.ID, 0, approval.Approve, nil); !errors.As(err, &refused) || !refused.Forbidden {
		t.Errorf("the account that is to sign approved: %v", err)
	}
}

func TestAnAccountOfTheWalletCannotApprove(t *testing.T) {
	r := newRig(t, func(c *approval.Config) {
		c.Owns = func(wallet string, a common.Address) bool { return wallet == "main" && a == signerAddress(7) }
	})
	p := r.ask(payment(1), twoOf())
	if _, err := r.signed(p.ID, 7, approval.Approve, nil); err == nil {
		t.Error("it did")
	}
	if _, err := r.signed(p.ID, 8, approval.Approve, nil); err != nil {
		t.Error(err)
	}
}

func TestOnlyThoseWhomTheRuleNamesVote(t *testing.T) {
	r := newRig(t)
	p := r.ask(payment(1), twoOf())
	for name, vote := range map[string]func() (approval.View, error){
		"another": func() (approval.View, error) { return r.vote(p.ID, carol, approval.Approve) },
		"an auditor": func() (approval.View, error) {
			return r.vote(p.ID, carol, approval.Approve, auth.Auditor, auth.Operates)
		},
		"nobody":                        func() (approval.View, error) { return r.vote(p.ID, auth.Principal{}, approval.Approve, auth.Admin) },
		"anonymous":                     func() (approval.View, error) { return r.vote(p.ID, auth.Anonymous, approval.Approve, auth.Admin) },
		"an address that is not listed": func() (approval.View, error) { return r.signed(p.ID, 9, approval.Approve, nil) },
		"who says that he is an address": func() (approval.View, error) {
			return r.vote(p.ID, auth.Principal{Name: "address:" + signerAddress(7).Hex()}, approval.Approve)
		},
		"a rejection by another": func() (approval.View, error) { return r.vote(p.ID, carol, approval.Reject) },
	} {
		if _, err := vote(); err == nil {
			t.Errorf("%s voted", name)
		}
	}
	if _, err := r.vote(p.ID, carol, approval.Approve, auth.Auditor, auth.Operates, auth.Admin); err != nil {
		t.Errorf("an admin may not: %v", err)
	}
	if v, _ := r.book.Get(t.Context(), p.ID); v.Asks[0].Have != 1 {
		t.Errorf("%d votes count", v.Asks[0].Have)
	}
}

func TestARejectionWins(t *testing.T) {
	r := newRig(t)
	req := payment(1)
	p := r.ask(req, twoOf())
	_, err := r.vote(p.ID, alice, approval.Approve)
	must(t, err)
	v, err := r.signed(p.ID, 8, approval.Reject, nil)
	must(t, err)
	if v.State != "rejected" {
		t.Fatalf("got %s", v.State)
	}
	if _, err := r.vote(p.ID, bob, approval.Approve); err == nil {
		t.Error("somebody voted after it")
	}
	if why := r.denied(req, twoOf()); !strings.Contains(why, "rejected by address:"+signerAddress(8).Hex()) {
		t.Errorf("the caller is told %q", why)
	}
	if next := r.ask(req, twoOf()); next.ID == p.ID {
		t.Error("a caller who was told and asks again gets no new request")
	}
}

func TestARequestExpires(t *testing.T) {
	r := newRig(t)
	req := payment(1)
	p := r.ask(req, twoOf())
	if want := r.clock.now().Add(time.Hour); p.Expires.Sub(want).Abs() > time.Second {
		t.Errorf("expires at %s, want %s", p.Expires, want)
	}
	_, err := r.vote(p.ID, alice, approval.Approve)
	must(t, err)
	r.clock.add(time.Hour)
	if _, err := r.vote(p.ID, bob, approval.Approve); err == nil || !strings.Contains(err.Error(), "expired") {
		t.Errorf("got %v", err)
	}
	if why := r.denied(req, twoOf()); !strings.Contains(why, "not approved before") {
		t.Errorf("the caller is told %q", why)
	}
	if r.state(p.ID) != store.ApprovalExpired {
		t.Errorf("the row is %s", r.state(p.ID))
	}
}

// A signature over anything but exactly what is asked for is somebody else's.
func TestASignatureOverAnyOtherFieldCountsForNothing(t *testing.T) {
	r := newRig(t)
	for name, req := range everyKind() {
		t.Run(name, func(t *testing.T) {
			p := r.ask(req, twoOf())
			row, err := r.db.Approval(t.Context(), p.ID)
			must(t, err)
			data, err := r.book.TypedData(row, approval.Approve)
			must(t, err)
			for _, f := range data.Types[data.PrimaryType] {
				_, err := r.signed(p.ID, 7, approval.Approve, func(d *apitypes.TypedData) { d.Message[f.Name] = other(d.Message[f.Name], f.Type) })
				if err == nil {
					t.Errorf("with another %s it counts", f.Name)
				}
			}
			for what, change := range map[string]func(*apitypes.TypedData){
				"name":    func(d *apitypes.TypedData) { d.Domain.Name += "." },
				"version": func(d *apitypes.TypedData) { d.Domain.Version = "2" },
				"type": func(d *apitypes.TypedData) {
					d.Types["Other"], d.PrimaryType = d.Types[d.PrimaryType], "Other"
				},
			} {
				if _, err := r.signed(p.ID, 7, approval.Approve, change); err == nil {
					t.Errorf("with another %s it counts", what)
				}
			}
			if v, err := r.signed(p.ID, 7, approval.Approve, nil); err != nil || v.Asks[0].Have != 1 {
				t.Errorf("unchanged: %v", err)
			}
		})
	}
}

// other is another value of a type of EIP-712.
func other(v any, kind string) any {
	switch kind {
	case "bool":
		return !v.(bool)
	case "address":
		return common.BigToAddress(new(big.Int).Add(common.HexToAddress(v.(string)).Big(), big.NewInt(1))).Hex()
	case "bytes32":
		h := common.HexToHash(v.(string))
		h[31] ^= 1
		return h.Hex()
	case "string":
		return v.(string) + "x"
	}
	n, _ := new(big.Int).SetString(v.(string), 10)
	return new(big.Int).Xor(n, big.NewInt(1)).String()
}

// Another request's signature does not count for this one, not even of equal
// content.
func TestASignatureCountsForOneRequest(t *testing.T) {
	r := newRig(t)
	first := r.ask(payment(1), twoOf())
	second := r.ask(payment(2), twoOf())
	row, err := r.db.Approval(t.Context(), first.ID)
	must(t, err)
	data, err := r.book.TypedData(row, approval.Approve)
	must(t, err)
	if _, err := r.signed(second.ID, 7, approval.Approve, func(d *apitypes.TypedData) { *d = data }); err == nil {
		t.Error("it does")
	}
	other := newRig(t, func(c *approval.Config) { c.Deployment = "another" })
	if d, err := other.book.TypedData(row, approval.Approve); err != nil || d.Message["deployment"] == data.Message["deployment"] {
		t.Error("the deployment is not part of it")
	}
}

func TestMalformedSignaturesAreRefused(t *testing.T) {
	r := newRig(t)
	p := r.ask(payment(1), twoOf())
	for _, sig := range [][]byte{{}, {1, 2, 3}, make([]byte, 64), make([]byte, 65), append(make([]byte, 64), 29), make([]byte, 66)} {
		_, err := r.book.Vote(t.Context(), approval.Ballot{Approval: p.ID, Who: alice, Verdict: approval.Approve, Signature: sig})
		if err == nil {
			t.Errorf("%x counts", sig)
		}
	}
	if v, _ := r.book.Get(t.Context(), p.ID); len(v.Votes) != 0 {
		t.Error("a vote is stored")
	}
}

func TestEachRuleWantsItsOwnApprovers(t *testing.T) {
	r := newRig(t)
	asks := append(twoOf(), policy.Ask{Rule: "consortium:x/all", Needed: 1, Approvers: policy.Approvers{Names: []string{carol.Name}}})
	p := r.ask(payment(1), asks)
	for _, who := range []auth.Principal{alice, bob} {
		_, err := r.vote(p.ID, who, approval.Approve)
		must(t, err)
	}
	if again := r.ask(payment(1), asks); again.Rule != "consortium:x/all" || again.Have != 0 || again.Need != 1 {
		t.Errorf("got %+v", again)
	}
	v, err := r.vote(p.ID, carol, approval.Approve)
	must(t, err)
	if v.State != "approved" {
		t.Errorf("got %s", v.State)
	}
}

// What approvers are shown is what is asked for.
func TestWhatIsSignedSaysWhatIsAskedFor(t *testing.T) {
	r := newRig(t)
	req := payment(9)
	p := r.ask(req, twoOf())
	row, err := r.db.Approval(t.Context(), p.ID)
	must(t, err)
	data, err := r.book.TypedData(row, approval.Reject)
	must(t, err)
	list, err := rlp.EncodeToBytes(req.Transaction.AccessList())
	must(t, err)
	for name, want := range map[string]any{
		"verdict": "reject", "id": p.ID, "deployment": "test", "wallet": "main", "principal": app.Name, "action": "send-transaction",
		"account": signerAddress(0).Hex(), "chainId": "1337", "transactionType": "2", "createsContract": false, "to": req.Transaction.To().Hex(),
		"value": "9", "dataHash": crypto.Keccak256Hash([]byte{1, 2, 3}).Hex(), "gas": "50000", "maxFeePerGas": "6000000000",
		"maxPriorityFeePerGas": "6000000000", "maxFeePerBlobGas": "0", "nonce": "next", "accessListHash": crypto.Keccak256Hash(list).Hex(),
		"authorizationListHash": crypto.Keccak256Hash([]byte{0xc0}).Hex(), "blobsHash": crypto.Keccak256Hash([]byte{0xc0}).Hex(),
		"requestHash": crypto.Keccak256Hash([]byte(row.Request)).Hex(), "expires": strconv.FormatInt(p.Expires.Unix(), 10),
	} {
		if data.Message[name] != want {
			t.Errorf("%s is %v, want %v", name, data.Message[name], want)
		}
	}
}
