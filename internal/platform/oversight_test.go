// SPDX-License-Identifier: Apache-2.0

package platform_test

import (
	"encoding/hex"
	"fmt"
	"math/big"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/platform"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

// again makes a second service over the configuration that the first one uses.
func (n club) again(r *rig, who auth.Access) platform.Path {
	r.t.Helper()
	all, err := r.p.List(r.t.Context(), who, platform.Configurations, n.place())
	if err != nil || len(all) != 1 {
		r.t.Fatal(len(all), err)
	}
	s := made[*platform.Service](r, who, platform.Services, n.place(), fmt.Sprintf(`{"name":"again","membership_id":%q,"service":"cloudhsm","details":{"cloudhsm_id":%q}}`,
		n.membership, all[0].(*platform.Configuration).ID))
	return at(n.place(), s.ID)
}

func TestAKeyThatIsDeletedDoesNotHideItsMaker(t *testing.T) {
	r := policyRig(t)
	n := r.club("c", 1)
	where := n.service(r)
	grant := fmt.Sprintf(`"grants":[{"consortium_id":%q,"role":"admin"}]`, n.consortium)
	key := func(who auth.Access, name string) auth.Access {
		k := made[*platform.APIKey](r, who, platform.APIKeys, platform.Path{}, `{"name":"`+name+`",`+grant+`}`)
		return auth.Access{Principal: auth.Principal{Name: "key:" + k.ID}, Grants: k.Grants}
	}
	first := key(root(), "first")
	child := key(first, "child")
	v, err := r.set(child, platform.Services, where, nothingGoes)
	if err != nil || v.State != platform.PolicyProposed {
		t.Fatal(v, err)
	}
	if _, err := r.p.Delete(t.Context(), first, platform.APIKeys, platform.Path{ID: strings.TrimPrefix(child.Principal.Name, "key:")}); err != nil {
		t.Fatal(err)
	}
	if v, err := r.p.ApprovePolicy(t.Context(), first, platform.Services, where, v.Version); reason(err) != "forbidden" {
		t.Errorf("one admin proposed by a key of his own, deleted it, and approved: %+v, %v", v, err)
	}
	if _, err := r.p.RejectPolicy(t.Context(), first, platform.Services, where, v.Version); err != nil {
		t.Error(err)
	}
	if _, err := r.set(first, platform.Services, where, nothingGoes); err != nil {
		t.Error(err)
	}
}

func TestRulesOfAMembershipBindEveryServiceOverItsKeys(t *testing.T) {
	r := policyRig(t)
	n := r.club("c", 0)
	where := n.service(r)
	if _, err := r.set(root(), platform.Memberships, n.member(), nothingGoes); err != nil {
		t.Fatal(err)
	}
	me := person("me", n.consortium, n.membership, auth.Admin)
	for _, at := range []platform.Path{where, n.again(r, me)} {
		v, err := r.p.TestPolicy(t.Context(), me, at, testSend("0x00000000000000000000000000000000000000bb"))
		if err != nil || v.Effect != "deny" {
			t.Errorf("%+v, %v", v, err)
		}
	}
}

func TestAFrozenAccountIsFrozenInEveryServiceOfTheMembership(t *testing.T) {
	r := policyRig(t)
	n, other := r.club("c", 0), r.club("other", 0)
	where, theirs := n.service(r), other.service(r)
	address := common.HexToAddress("0xf0")
	account := func(at platform.Path) platform.FreezeTarget {
		return platform.FreezeTarget{Kind: platform.Services, At: at, Account: &address}
	}
	above, me := person("above", n.consortium, "", auth.Admin), person("me", n.consortium, n.membership, auth.Admin)
	if s, err := r.p.Freeze(t.Context(), above, account(where), "stolen"); err != nil || !s.Frozen {
		t.Fatal(s, err)
	}
	second := account(n.again(r, me))
	s, err := r.p.FreezeState(t.Context(), me, second)
	if err != nil || !s.Frozen || len(s.By) != 1 || s.By[0].Scope != "account:"+where.ID+":"+strings.ToLower(address.Hex()) {
		t.Errorf("a second service over the same keys: %+v, %v", s, err)
	}
	if _, err := r.p.Release(t.Context(), me, second, ""); reason(err) != "conflict" {
		t.Errorf("released by the second service: %v", err)
	}
	if s, err := r.p.FreezeState(t.Context(), root(), account(theirs)); err != nil || s.Frozen {
		t.Errorf("an account of another membership: %+v, %v", s, err)
	}
	if s, err := r.p.Release(t.Context(), above, account(where), ""); err != nil || s.Frozen {
		t.Errorf("%+v, %v", s, err)
	}
	if s, err := r.p.FreezeState(t.Context(), me, second); err != nil || s.Frozen {
		t.Errorf("%+v, %v", s, err)
	}
}

func TestAuditorsOfAnotherConsortiumReadNoRulesOfACredential(t *testing.T) {
	r := policyRig(t)
	n := r.club("victim", 0)
	n.service(r)
	cred := made[*platform.AppCred](r, root(), platform.AppCreds, n.place(), fmt.Sprintf(`{"name":"x","membership_id":%q}`, n.membership))
	if _, err := r.set(root(), platform.AppCreds, at(n.place(), cred.ID), strings.Replace(sendsToOne, "only-one", "victims-secret-rule", 1)); err != nil {
		t.Fatal(err)
	}
	eve := person("eve", platform.DefaultConsortium, platform.DefaultMembership, auth.Auditor)
	var answers []string
	for _, id := range []string{cred.ID, "u0zzzzzzz0"} { // one that there is, and one that there is not
		test := testSend("0x00000000000000000000000000000000000000bb")
		test.Principal = "app:" + id
		v, err := r.p.TestPolicy(t.Context(), eve, at(home(), platform.DeclaredID("vaulted")), test)
		if reason(err) != "invalid" || strings.Contains(fmt.Sprintf("%+v", v), "victims-secret-rule") {
			t.Errorf("%s: %+v, %v", id, v, err)
		}
		answers = append(answers, fmt.Sprint(err))
	}
	if answers[0] != answers[1] {
		t.Errorf("the answer tells that there is one: %q", answers)
	}
}

func TestFreezesOfAccountsAreBoundedByService(t *testing.T) {
	r := policyRig(t)
	n := r.club("c", 0)
	where := n.service(r)
	who := person("op", n.consortium, n.membership, auth.Operates)
	target := func(i int64) platform.FreezeTarget {
		a := common.BigToAddress(big.NewInt(i))
		return platform.FreezeTarget{Kind: platform.Services, At: where, Account: &a}
	}
	for i := range int64(1000) {
		scope := fmt.Sprintf("account:%s:%s@%s", where.ID, strings.ToLower(common.BigToAddress(big.NewInt(i+1)).Hex()), n.membership)
		if err := r.db.Write(t.Context(), func(w *store.Writer) error {
			return w.PutFrozen(store.Frozen{Scope: scope, Reason: "x", Principal: "person:op", Authority: "membership:" + n.membership, At: time.Now()}, nil)
		}); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := r.p.Freeze(t.Context(), who, aWallet(where), "x"); err != nil { // which reads the others
		t.Fatal(err)
	}
	if _, err := r.p.Freeze(t.Context(), who, target(1001), "x"); reason(err) != "conflict" {
		t.Errorf("the 1001st: %v", err)
	}
	if _, err := r.p.Freeze(t.Context(), who, target(7), "another reason"); err != nil {
		t.Errorf("one that is frozen already: %v", err)
	}
	other := r.club("other", 0)
	began := time.Now()
	list, err := r.p.Freezes(t.Context(), person("eve", other.consortium, other.membership, auth.Auditor))
	if took := time.Since(began); err != nil || len(list) > 0 || took > 2*time.Second {
		t.Errorf("another's list: %d, %v, took %v", len(list), err, took)
	}
}

func TestOldVersionsOfRulesAreNotReadWhereOthersWait(t *testing.T) {
	r := policyRig(t)
	n := r.club("c", 0)
	where := n.service(r)
	scope, large := "service:"+where.ID, "# "+strings.Repeat("x", 250_000)
	const versions = 200
	for i := range versions {
		p := store.Policy{Scope: scope, Version: int64(i + 1), State: store.PolicyPast, Document: large, Author: "x", Created: time.Now(), Decided: time.Now(), MAC: []byte("x")}
		if err := r.db.Write(t.Context(), func(w *store.Writer) error { return w.InsertPolicy(p) }); err != nil {
			t.Fatal(err)
		}
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	v, err := r.set(root(), platform.Services, where, nothingGoes)
	runtime.ReadMemStats(&after)
	if read := after.TotalAlloc - before.TotalAlloc; err != nil || v.Version != versions+1 || read > versions*uint64(len(large))/4 {
		t.Errorf("version %d, %v, %d bytes were allocated", v.Version, err, read)
	}
	list, err := r.p.PolicyVersions(t.Context(), root(), platform.Services, where)
	if err != nil || len(list) != 100 || list[0].Version != versions+1 {
		t.Errorf("%d versions, %v", len(list), err)
	}
	if old, err := r.p.PolicyVersion(t.Context(), root(), platform.Services, where, 1); err != nil || old.Document != large {
		t.Errorf("the first one: %v", err)
	}
}

func TestOtherRulesAreTriedByAdminsAndCostlyOnesByNobody(t *testing.T) {
	r := policyRig(t)
	n := r.club("c", 0)
	where := n.service(r)
	test := func(role auth.Role, pattern string) error {
		_, err := r.p.TestPolicy(t.Context(), person("p", n.consortium, n.membership, role), where, platform.PolicyTest{
			Method:   "personal_sign",
			Document: "version: hsmsigner-policy-v1\nrules:\n  - {name: r, effect: allow, actions: [message], messages: {contains: '" + pattern + "'}}\n",
			Params:   []byte(`["0x` + hex.EncodeToString([]byte(strings.Repeat("x", 400_000))) + `","0x00000000000000000000000000000000000000f0"]`),
		})
		return err
	}
	began := time.Now()
	for _, c := range []struct {
		role          auth.Role
		pattern, want string
	}{
		{auth.Auditor, "x", "forbidden"},
		{auth.Operates, "x", "forbidden"},
		{auth.Admin, "(?:x|xx?){160}y", ""},
		{auth.Admin, "(?:x|xx?){400}y", "invalid"},
	} {
		if err := test(c.role, c.pattern); reason(err) != c.want {
			t.Errorf("%s, %s: %v", c.role, c.pattern, err)
		}
	}
	if took := time.Since(began); took > 5*time.Second {
		t.Errorf("took %v", took)
	}
}
