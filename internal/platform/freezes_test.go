// SPDX-License-Identifier: Apache-2.0

package platform_test

import (
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/platform"
)

func everything() platform.FreezeTarget { return platform.FreezeTarget{} }

func aWallet(at platform.Path) platform.FreezeTarget {
	return platform.FreezeTarget{Kind: platform.Services, At: at}
}

func (n club) all() platform.FreezeTarget {
	return platform.FreezeTarget{Kind: platform.Memberships, At: n.member()}
}

func TestWhoMayFreezeAndRelease(t *testing.T) {
	r := policyRig(t)
	mine, other := r.club("mine", 0), r.club("other", 0)
	where, theirs := mine.service(r), other.service(r)
	auditor := person("u", mine.consortium, mine.membership, auth.Auditor)
	operator := person("o", mine.consortium, mine.membership, auth.Operates)
	admin := person("a", mine.consortium, mine.membership, auth.Admin)
	night := person("n", "", "", auth.Operates)
	for _, c := range []struct {
		name                  string
		who                   auth.Access
		target                platform.FreezeTarget
		see, freeze, released string
	}{
		{"auditor", auditor, aWallet(where), "", "forbidden", "forbidden"},
		{"operator", operator, aWallet(where), "", "", "forbidden"},
		{"operator, the membership", operator, mine.all(), "", "", "forbidden"},
		{"admin", admin, aWallet(where), "", "", ""},
		{"admin, the membership", admin, mine.all(), "", "", ""},
		{"admin, everything", admin, everything(), "forbidden", "forbidden", "forbidden"},
		{"admin, another's", admin, aWallet(theirs), "not_found", "not_found", "not_found"},
		{"admin, another membership", admin, other.all(), "not_found", "not_found", "not_found"},
		{"operator of the deployment", night, everything(), "", "", "forbidden"},
		{"operator of the deployment, a wallet", night, aWallet(theirs), "", "", "forbidden"},
		{"nobody", auth.Access{}, aWallet(where), "not_found", "not_found", "not_found"},
		{"a node", root(), platform.FreezeTarget{Kind: platform.Nodes, At: where}, "not_found", "not_found", "not_found"},
	} {
		_, see := r.p.FreezeState(t.Context(), c.who, c.target)
		_, freeze := r.p.Freeze(t.Context(), c.who, c.target, "because")
		_, release := r.p.Release(t.Context(), c.who, c.target, "")
		if got := [3]string{reason(see), reason(freeze), reason(release)}; got != [3]string{c.see, c.freeze, c.released} {
			t.Errorf("%s: see %q, freeze %q, release %q", c.name, got[0], got[1], got[2])
		}
		if c.freeze == "" && c.released != "" {
			if _, err := r.p.Release(t.Context(), root(), c.target, ""); err != nil {
				t.Error(c.name, err)
			}
		}
	}
	if all, err := r.p.Freezes(t.Context(), root()); err != nil || len(all) > 0 {
		t.Errorf("%+v, %v", all, err)
	}
	if _, err := r.p.Release(t.Context(), root(), everything(), ""); reason(err) != "conflict" {
		t.Errorf("what is not frozen is released: %v", err)
	}
	if _, err := r.p.Freeze(t.Context(), root(), everything(), ""); reason(err) != "invalid" {
		t.Errorf("without a reason: %v", err)
	}
}

func TestWhatSomebodyAboveHasFrozenStaysSo(t *testing.T) {
	r := policyRig(t)
	n := r.club("c", 0)
	where := n.service(r)
	admin := person("a", n.consortium, n.membership, auth.Admin)
	whole := person("w", n.consortium, "", auth.Admin)
	if _, err := r.p.Freeze(t.Context(), admin, aWallet(where), "mine"); err != nil {
		t.Fatal(err)
	}
	if _, err := r.p.Freeze(t.Context(), root(), aWallet(where), "theirs"); err != nil {
		t.Fatal(err)
	}
	for _, who := range []auth.Access{admin, whole} {
		if _, err := r.p.Freeze(t.Context(), who, aWallet(where), "mine again"); reason(err) != "conflict" {
			t.Errorf("%s takes it over: %v", who.Principal.Name, err)
		}
		if _, err := r.p.Release(t.Context(), who, aWallet(where), ""); reason(err) != "forbidden" {
			t.Errorf("%s releases it: %v", who.Principal.Name, err)
		}
	}
	s, err := r.p.FreezeState(t.Context(), admin, aWallet(where))
	if err != nil || !s.Frozen || len(s.By) != 1 || s.By[0].Reason != "theirs" || s.By[0].By != "" || !s.By[0].Above || s.By[0].Service != where.ID {
		t.Errorf("%+v, %v", s, err)
	}
	if s, err = r.p.Release(t.Context(), root(), aWallet(where), "done"); err != nil || s.Frozen {
		t.Errorf("%+v, %v", s, err)
	}
	events := r.events("release")
	if len(events) != 1 || events[0].Principal != "key:root" || events[0].Membership != n.membership || events[0].Wallet != where.ID || !strings.Contains(events[0].Detail, "done") {
		t.Errorf("%+v", events)
	}
	if got := len(r.events("freeze")); got != 2 {
		t.Errorf("%d events of freezing", got)
	}
}

func TestAFreezeIsShownToThoseWhomItConcerns(t *testing.T) {
	r := policyRig(t)
	mine, other := r.club("mine", 0), r.club("other", 0)
	where, theirs := mine.service(r), other.service(r)
	account := common.HexToAddress("0xf0")
	target := aWallet(where)
	target.Account = &account
	declared := at(home(), platform.DeclaredID("vaulted"))
	for _, at := range []platform.FreezeTarget{target, aWallet(theirs), other.all(), aWallet(declared)} {
		if _, err := r.p.Freeze(t.Context(), root(), at, "x"); err != nil {
			t.Fatal(err)
		}
	}
	see := func(who auth.Access) string {
		t.Helper()
		all, err := r.p.Freezes(t.Context(), who)
		if err != nil {
			t.Fatal(err)
		}
		var scopes []string
		for _, f := range all {
			scopes = append(scopes, f.Scope)
		}
		return strings.Join(scopes, " ")
	}
	mineOnly := "account:" + where.ID + ":" + strings.ToLower(account.Hex())
	if got := see(person("a", mine.consortium, mine.membership, auth.Auditor)); got != mineOnly {
		t.Error(got)
	}
	if got := see(person("b", other.consortium, "", auth.Auditor)); got != "membership:"+other.membership+" wallet:"+theirs.ID {
		t.Error(got)
	}
	if got := len(strings.Fields(see(root()))); got != 4 {
		t.Error(got)
	}
	whole, err := r.p.FreezeState(t.Context(), root(), aWallet(where))
	if err != nil || whole.Frozen {
		t.Errorf("an account's freeze is taken for the wallet's: %+v, %v", whole, err)
	}
	one, err := r.p.FreezeState(t.Context(), root(), target)
	if err != nil || !one.Frozen || one.By[0].Address != account.Hex() {
		t.Errorf("%+v, %v", one, err)
	}
	file, err := r.p.FreezeState(t.Context(), root(), aWallet(declared))
	if err != nil || !file.Frozen || file.By[0].Scope != "wallet:vaulted" || file.By[0].Service != declared.ID {
		t.Errorf("%+v, %v", file, err)
	}
	if _, err := r.p.Freeze(t.Context(), root(), everything(), "all of it"); err != nil {
		t.Fatal(err)
	}
	if got := see(person("a", mine.consortium, mine.membership, auth.Auditor)); got != mineOnly+" everything" {
		t.Error(got)
	}
}
