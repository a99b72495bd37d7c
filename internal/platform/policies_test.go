// SPDX-License-Identifier: Apache-2.0

package platform_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/hsmsigner/hsmsigner/internal/allowance"
	"github.com/hsmsigner/hsmsigner/internal/audit"
	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/config"
	"github.com/hsmsigner/hsmsigner/internal/freeze"
	"github.com/hsmsigner/hsmsigner/internal/judge"
	"github.com/hsmsigner/hsmsigner/internal/platform"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

const (
	sendsToOne = `version: hsmsigner-policy-v1
rules:
  - name: only-one
    effect: allow
    actions: [transaction]
    to: ["0x00000000000000000000000000000000000000aa"]
`
	nothingGoes = `version: hsmsigner-policy-v1
rules:
  - name: closed
    effect: deny
`
)

// policyRig is a rig whose platform judges and can be frozen.
func policyRig(t *testing.T, change ...func(*platform.Config)) *rig {
	t.Helper()
	return newRig(t, append([]func(*platform.Config){func(c *platform.Config) {
		c.PolicyMAC = platform.PolicyMAC(c.Verifier)
		c.Judge = judge.New(judge.Config{Rows: c.Store, Limits: allowance.New(allowance.Config{Store: c.Store}), MAC: c.PolicyMAC})
		stop := freeze.New(freeze.Config{Store: c.Store})
		if err := stop.Load(t.Context()); err != nil {
			t.Fatal(err)
		}
		c.Freeze = stop
		c.Declared = []config.Wallet{{
			Name: "vaulted", Node: config.Node{ChainID: 1337}, Policy: config.Policy{File: "config.yaml", Text: []byte("\n\n" + nothingGoes)},
		}}
	}}, change...)...)
}

// person is somebody with a role in the consortium, or one of its memberships.
func person(name, consortium, membership string, role auth.Role) auth.Access {
	return auth.Access{Principal: auth.Principal{Name: "person:" + name}, Grants: []auth.Grant{{Consortium: consortium, Membership: membership, Role: role}}}
}

// club is a consortium of its own with a membership and an environment.
type club struct {
	consortium, membership, environment string
}

func (r *rig) club(name string, approvals int) club {
	r.t.Helper()
	c := must[*platform.Consortium](r, platform.Consortia, platform.Path{}, fmt.Sprintf(`{"name":%q,"policy_approvals":%d}`, name, approvals))
	m := must[*platform.Membership](r, platform.Memberships, platform.Path{Consortium: c.ID}, `{"org_name":"org"}`)
	e := must[*platform.Environment](r, platform.Environments, platform.Path{Consortium: c.ID}, `{"name":"prod"}`)
	return club{c.ID, m.ID, e.ID}
}

func (n club) place() platform.Path {
	return platform.Path{Consortium: n.consortium, Environment: n.environment}
}

// service makes a whole service of a tenant.
func (n club) service(r *rig) platform.Path {
	r.t.Helper()
	c := must[*platform.Configuration](r, platform.Configurations, n.place(), strings.ReplaceAll(vaultBody(""), platform.DefaultMembership, n.membership))
	must[*platform.Node](r, platform.Nodes, n.place(), strings.ReplaceAll(nodeBody(""), platform.DefaultMembership, n.membership))
	s := must[*platform.Service](r, platform.Services, n.place(), fmt.Sprintf(
		`{"name":"pay","membership_id":%q,"service":"cloudhsm","details":{"cloudhsm_id":%q}}`, n.membership, c.ID))
	return at(n.place(), s.ID)
}

func (n club) member() platform.Path {
	return platform.Path{Consortium: n.consortium, ID: n.membership}
}

// events reads the audit trail's events of a kind, oldest first.
func (r *rig) events(kind string) []audit.Event {
	r.t.Helper()
	ids, err := r.db.AuditEventsOf(r.t.Context(), kind, 100)
	if err != nil {
		r.t.Fatal(err)
	}
	var out []audit.Event
	for _, id := range slices.Backward(ids) {
		one, err := r.db.AuditRecord(r.t.Context(), id)
		if err != nil {
			r.t.Fatal(err)
		}
		out = append(out, *one.Event)
	}
	return out
}

// forge changes a version as somebody could who may write the database.
func (r *rig) forge(scope string, version int64) {
	r.t.Helper()
	all, err := r.db.Policies(r.t.Context(), scope)
	if err != nil {
		r.t.Fatal(err)
	}
	for _, row := range all {
		if row.Version != version {
			continue
		}
		row.Comment = "forged"
		if err := r.db.Write(r.t.Context(), func(w *store.Writer) error { return w.DecidePolicy(row, row.State) }); err != nil {
			r.t.Fatal(err)
		}
	}
}

func (r *rig) set(who auth.Access, kind platform.Kind, at platform.Path, document string) (platform.PolicyVersion, error) {
	return r.p.SetPolicy(r.t.Context(), who, kind, at, platform.NewPolicy{Document: document})
}

func TestPolicyCountsAtOnceAndIsOnRecord(t *testing.T) {
	r := policyRig(t)
	n := r.club("a", 0)
	where := n.service(r)
	who := person("admin", n.consortium, n.membership, auth.Admin)
	v, err := r.set(who, platform.Services, where, sendsToOne)
	if err != nil || v.State != "active" || v.Version != 1 || v.Author != "person:admin" {
		t.Fatalf("%+v, %v", v, err)
	}
	again, err := r.set(who, platform.Services, where, sendsToOne)
	if err != nil || again.Version != 1 {
		t.Errorf("what counts already is set again: %+v, %v", again, err)
	}
	second, err := r.set(who, platform.Services, where, nothingGoes)
	if err != nil || second.Version != 2 || second.State != "active" {
		t.Fatalf("%+v, %v", second, err)
	}
	all, err := r.p.PolicyVersions(t.Context(), who, platform.Services, where)
	if err != nil || len(all) != 2 || all[0].State != "active" || all[1].State != "past" || all[0].Document != "" || all[0].Problem != "" || all[1].Problem != "" {
		t.Fatalf("%+v, %v", all, err)
	}
	one := int64(1)
	_, err = r.p.SetPolicy(t.Context(), who, platform.Services, where, platform.NewPolicy{Document: sendsToOne, Replaces: &one})
	if got := refused(t, err); !strings.HasPrefix(got, "conflict: the rules were changed meanwhile: version 2") {
		t.Error(got)
	}
	events := r.events("policy-set")
	if len(events) != 2 {
		t.Fatalf("%d events", len(events))
	}
	e := events[1]
	var said struct {
		Version int64  `json:"version"`
		SHA256  string `json:"document_sha256"`
	}
	if err := json.Unmarshal([]byte(e.Detail), &said); err != nil || said.Version != 2 || said.SHA256 != second.SHA256 {
		t.Errorf("%s, %v", e.Detail, err)
	}
	if e.Principal != "person:admin" || e.Subject != "service:"+where.ID || e.Membership != n.membership || e.Wallet != where.ID || e.Consortium != n.consortium || e.Environment != n.environment {
		t.Errorf("%+v", e)
	}
}

func TestAVersionWithoutADocumentEndsTheRules(t *testing.T) {
	r := policyRig(t)
	n := r.club("c", 0)
	where := n.service(r)
	if _, err := r.set(root(), platform.Services, where, ""); reason(err) != "conflict" {
		t.Errorf("rules that are not there are ended: %v", err)
	}
	counting := func() int {
		t.Helper()
		all, err := r.db.ActivePolicies(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		n := 0
		for _, one := range all {
			if one.Document != "" {
				n++
			}
		}
		return n
	}
	closed := func() bool {
		t.Helper()
		v, err := r.p.TestPolicy(t.Context(), root(), where, testSend("0x00000000000000000000000000000000000000bb"))
		if err != nil {
			t.Fatal(err)
		}
		return v.Effect == "deny"
	}
	if _, err := r.set(root(), platform.Services, where, nothingGoes); err != nil || counting() != 1 || !closed() {
		t.Fatal(err)
	}
	v, err := r.set(root(), platform.Services, where, "")
	if err != nil || v.State != "active" || v.Version != 2 || counting() != 0 || closed() {
		t.Fatalf("%+v, %v", v, err)
	}
	// With two who have to agree they end when the second has.
	patched[*platform.Consortium](r, platform.Consortia, platform.Path{ID: n.consortium}, `{"policy_approvals":1}`)
	author, other := person("x", n.consortium, "", auth.Admin), person("y", n.consortium, "", auth.Admin)
	for i, document := range []string{sendsToOne, ""} {
		if v, err = r.set(author, platform.Services, where, document); err != nil || v.State != "proposed" {
			t.Fatalf("%+v, %v", v, err)
		}
		if counting() != i {
			t.Errorf("what is proposed counts")
		}
		if v, err = r.p.ApprovePolicy(t.Context(), other, platform.Services, where, v.Version); err != nil || v.Problem != "" {
			t.Fatalf("%+v, %v", v, err)
		}
		if counting() != 1-i || closed() != (i == 0) {
			t.Errorf("what is approved does not count")
		}
	}
}

func TestWrongRulesAreRefusedWithTheirLines(t *testing.T) {
	r := policyRig(t)
	_, err := r.set(root(), "", platform.Path{}, "version: hsmsigner-policy-v1\nrules:\n  - name: x\n    effekt: allow\n")
	if got := refused(t, err); !strings.HasPrefix(got, "invalid: document: ") || !strings.Contains(got, "policy:4") || !strings.Contains(got, "effekt") {
		t.Error(got)
	}
	if _, err := r.set(root(), "", platform.Path{}, "  "); refused(t, err) == "" {
		t.Error("nothing is taken for rules")
	}
	if all, err := r.db.Policies(t.Context(), "deployment"); err != nil || len(all) > 0 {
		t.Errorf("%v, %v", all, err)
	}
}

func TestWhoMayReadAndChangeRules(t *testing.T) {
	r := policyRig(t)
	mine, other := r.club("mine", 0), r.club("other", 0)
	where, theirs := mine.service(r), other.service(r)
	cred := must[*platform.AppCred](r, platform.AppCreds, mine.place(), fmt.Sprintf(`{"membership_id":%q}`, mine.membership))
	admin := person("a", mine.consortium, mine.membership, auth.Admin)
	operator := person("o", mine.consortium, mine.membership, auth.Operates)
	auditor := person("u", mine.consortium, mine.membership, auth.Auditor)
	whole := person("w", mine.consortium, "", auth.Admin)
	const none, no, yes = "not_found", "forbidden", ""
	for _, c := range []struct {
		name      string
		who       auth.Access
		kind      platform.Kind
		at        platform.Path
		read, set string
	}{
		{"admin of the service", admin, platform.Services, where, yes, yes},
		{"operator of the service", operator, platform.Services, where, yes, no},
		{"auditor of the service", auditor, platform.Services, where, yes, no},
		{"admin of the membership", admin, platform.Memberships, mine.member(), yes, yes},
		{"admin of the credential", admin, platform.AppCreds, at(mine.place(), cred.ID), yes, yes},
		{"member at the consortium", admin, platform.Consortia, platform.Path{ID: mine.consortium}, no, no},
		{"member at the deployment", admin, "", platform.Path{}, no, no},
		{"admin of the consortium", whole, platform.Consortia, platform.Path{ID: mine.consortium}, yes, yes},
		{"admin of the consortium at a service", whole, platform.Services, where, yes, yes},
		{"another tenant's service", admin, platform.Services, theirs, none, none},
		{"another tenant's service, here", admin, platform.Services, platform.Path{Consortium: where.Consortium, Environment: where.Environment, ID: theirs.ID}, none, none},
		{"another tenant's membership", admin, platform.Memberships, other.member(), none, none},
		{"another consortium", whole, platform.Consortia, platform.Path{ID: other.consortium}, none, none},
		{"a node has no rules", root(), platform.Nodes, where, none, none},
		{"nobody", auth.Access{}, platform.Services, where, none, none},
		{"root at the deployment", root(), "", platform.Path{}, yes, yes},
	} {
		_, read := r.p.Policy(t.Context(), c.who, c.kind, c.at)
		_, versions := r.p.PolicyVersions(t.Context(), c.who, c.kind, c.at)
		_, one := r.p.PolicyVersion(t.Context(), c.who, c.kind, c.at, 99)
		_, usage := r.p.PolicyUsage(t.Context(), c.who, c.kind, c.at)
		_, set := r.set(c.who, c.kind, c.at, sendsToOne)
		_, approve := r.p.ApprovePolicy(t.Context(), c.who, c.kind, c.at, 99)
		_, reject := r.p.RejectPolicy(t.Context(), c.who, c.kind, c.at, 99)
		for what, got := range map[string]string{"read": reason(read), "versions": reason(versions), "usage": reason(usage)} {
			if got != c.read {
				t.Errorf("%s: %s: %q, not %q", c.name, what, got, c.read)
			}
		}
		if got := reason(set); got != c.set {
			t.Errorf("%s: set: %q, not %q", c.name, got, c.set)
		}
		// There is no version 99 anywhere.
		for what, got := range map[string]string{"approve": reason(approve), "reject": reason(reject)} {
			if want := map[bool]string{true: none, false: c.set}[c.set == yes]; got != want {
				t.Errorf("%s: %s: %q, not %q", c.name, what, got, want)
			}
		}
		if want := map[bool]string{true: none, false: c.read}[c.read == yes]; reason(one) != want {
			t.Errorf("%s: one version: %q", c.name, reason(one))
		}
	}
}

// reason is the sort of a refusal; empty for none.
func reason(err error) string {
	var e *platform.Error
	switch {
	case err == nil:
		return ""
	case errors.As(err, &e):
		return string(e.Reason)
	}
	return err.Error()
}

func TestDeclaredWalletsHaveTheirRulesInTheConfigFile(t *testing.T) {
	r := policyRig(t)
	where := at(home(), platform.DeclaredID("vaulted"))
	_, err := r.set(root(), platform.Services, where, sendsToOne)
	if got := refused(t, err); !strings.HasPrefix(got, "conflict: the service stands in the operator's config file") {
		t.Error(got)
	}
	p, err := r.p.Policy(t.Context(), root(), platform.Services, where)
	if err != nil || p.Declared == nil || p.Declared.Document != nothingGoes || p.Active != nil {
		t.Errorf("%+v, %v", p, err)
	}
}

func TestTwoAdminsWhereTheConsortiumSaysSo(t *testing.T) {
	r := policyRig(t)
	n := r.club("careful", 1)
	where := n.service(r)
	author, other := person("author", n.consortium, "", auth.Admin), person("other", n.consortium, n.membership, auth.Admin)
	v, err := r.set(author, platform.Services, where, sendsToOne)
	if err != nil || v.State != "proposed" || v.Decided != nil {
		t.Fatalf("%+v, %v", v, err)
	}
	if counting, err := r.db.ActivePolicies(t.Context()); err != nil || len(counting) > 0 {
		t.Fatalf("it counts before it is approved: %v, %v", counting, err)
	}
	_, err = r.set(other, platform.Services, where, nothingGoes)
	if got := refused(t, err); !strings.Contains(got, "version 1 is proposed") {
		t.Error(got)
	}
	_, err = r.p.ApprovePolicy(t.Context(), author, platform.Services, where, 1)
	if got := refused(t, err); !strings.HasPrefix(got, "forbidden: ") {
		t.Error(got)
	}
	v, err = r.p.ApprovePolicy(t.Context(), other, platform.Services, where, 1)
	if err != nil || v.State != "active" || v.Approver != "person:other" || v.Author != "person:author" || v.Problem != "" {
		t.Fatalf("%+v, %v", v, err)
	}
	_, err = r.p.RejectPolicy(t.Context(), other, platform.Services, where, 1)
	if got := refused(t, err); !strings.Contains(got, "version 1 is active") {
		t.Error(got)
	}
	// The author may take his own proposal back.
	if v, err = r.set(author, platform.Services, where, nothingGoes); err != nil || v.Version != 2 || v.State != "proposed" {
		t.Fatalf("%+v, %v", v, err)
	}
	if v, err = r.p.RejectPolicy(t.Context(), author, platform.Services, where, 2); err != nil || v.State != "rejected" {
		t.Fatalf("%+v, %v", v, err)
	}
	if v, err = r.set(other, platform.Services, where, nothingGoes); err != nil || v.Version != 3 {
		t.Fatalf("%+v, %v", v, err)
	}
	if v, err = r.p.ApprovePolicy(t.Context(), author, platform.Services, where, 3); err != nil || v.State != "active" {
		t.Fatalf("%+v, %v", v, err)
	}
	if counting, err := r.db.ActivePolicies(t.Context()); err != nil || len(counting) != 1 || counting[0].Version != 3 {
		t.Errorf("%+v, %v", counting, err)
	}
	if got := [3]int{len(r.events("policy-propose")), len(r.events("policy-approve")), len(r.events("policy-reject"))}; got != [3]int{3, 2, 1} {
		t.Error(got)
	}
}

func TestOnlyTheDeploymentLowersApprovals(t *testing.T) {
	r := policyRig(t)
	n := r.club("c", 0)
	where := platform.Path{ID: n.consortium}
	admin := person("a", n.consortium, "", auth.Admin)
	if _, err := r.p.Update(t.Context(), admin, platform.Consortia, where, []byte(`{"policy_approvals":1}`)); err != nil {
		t.Fatal(err)
	}
	_, err := r.p.Update(t.Context(), admin, platform.Consortia, where, []byte(`{"policy_approvals":0}`))
	if got := refused(t, err); !strings.HasPrefix(got, "forbidden: policy_approvals: ") {
		t.Error(got)
	}
	if c := got[*platform.Consortium](r, platform.Consortia, where); c.PolicyApprovals != 1 {
		t.Errorf("%+v", c)
	}
	if c := patched[*platform.Consortium](r, platform.Consortia, where, `{"policy_approvals":0}`); c.PolicyApprovals != 0 {
		t.Errorf("%+v", c)
	}
}

func TestAnAdminDoesNotAgreeWithHimselfByAnotherKey(t *testing.T) {
	r := policyRig(t)
	n := r.club("c", 1)
	where := n.service(r)
	grant := fmt.Sprintf(`"grants":[{"consortium_id":%q,"role":"admin"}]`, n.consortium)
	key := func(who auth.Access, name string) auth.Access {
		k := made[*platform.APIKey](r, who, platform.APIKeys, platform.Path{}, `{"name":"`+name+`",`+grant+`}`)
		return auth.Access{Principal: auth.Principal{Name: "key:" + k.ID}, Grants: k.Grants}
	}
	first, second := key(root(), "first"), key(root(), "second") // handed out by the operator
	child := key(first, "child")
	grandchild := key(child, "grandchild")
	sister := key(first, "sister")
	gone := key(first, "gone")
	orphan := key(gone, "orphan")
	if _, err := r.p.Delete(t.Context(), root(), platform.APIKeys, platform.Path{ID: strings.TrimPrefix(gone.Principal.Name, "key:")}); err != nil {
		t.Fatal(err)
	}
	someone := person("p", n.consortium, "", auth.Admin)
	theirs := key(someone, "theirs")
	for _, c := range []struct {
		name             string
		author, approver auth.Access
		want             string
	}{
		{"himself", first, first, "forbidden"},
		{"a key he has made", first, child, "forbidden"},
		{"a key of a key he has made", first, grandchild, "forbidden"},
		{"by a key, approved by its maker", grandchild, first, "forbidden"},
		{"two keys of one admin", child, sister, "forbidden"},
		{"a key of a key that is gone", first, orphan, "forbidden"},
		{"a person's key", someone, theirs, "forbidden"},
		{"keys that the operator has handed out", first, second, ""},
		{"another's key", child, second, ""},
		{"a person", child, someone, ""},
	} {
		v, err := r.set(c.author, platform.Services, where, nothingGoes+"# "+c.name+"\n")
		if err != nil {
			t.Fatal(c.name, err)
		}
		_, err = r.p.ApprovePolicy(t.Context(), c.approver, platform.Services, where, v.Version)
		if got := reason(err); got != c.want {
			t.Errorf("%s: %q, not %q", c.name, got, c.want)
		}
		if err != nil {
			if _, err := r.p.RejectPolicy(t.Context(), c.author, platform.Services, where, v.Version); err != nil {
				t.Fatal(c.name, err)
			}
		}
	}
}

func TestOfManyWhoSetRulesOneCountsAtATime(t *testing.T) {
	r := policyRig(t)
	n := r.club("c", 0)
	where := n.service(r)
	var wg sync.WaitGroup
	const writers = 12
	for i := range writers {
		wg.Go(func() {
			if _, err := r.set(root(), platform.Services, where, fmt.Sprintf("%s# %d\n", sendsToOne, i)); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	all, err := r.db.Policies(t.Context(), "service:"+where.ID)
	if err != nil || len(all) != writers {
		t.Fatalf("%d versions, %v", len(all), err)
	}
	for i, v := range all {
		if want := map[bool]store.PolicyState{true: store.PolicyActive, false: store.PolicyPast}[i == 0]; v.State != want || v.Version != int64(writers-i) {
			t.Errorf("%d is %s", v.Version, v.State)
		}
	}
	if got := len(r.events("policy-set")); got != writers {
		t.Errorf("%d events", got)
	}
}

func TestARowThatWasChangedOutsideIsShownAsSuchAndNeverMadeGood(t *testing.T) {
	r := policyRig(t)
	n := r.club("c", 1)
	where := n.service(r)
	author, other := person("x", n.consortium, "", auth.Admin), person("y", n.consortium, "", auth.Admin)
	if _, err := r.set(author, platform.Services, where, nothingGoes); err != nil {
		t.Fatal(err)
	}
	r.forge("service:"+where.ID, 1)
	_, err := r.p.ApprovePolicy(t.Context(), other, platform.Services, where, 1)
	if got := refused(t, err); !strings.Contains(got, "changed outside of the API") {
		t.Error(got)
	}
	if _, err := r.p.RejectPolicy(t.Context(), other, platform.Services, where, 1); err != nil {
		t.Fatal(err)
	}
	v, err := r.set(author, platform.Services, where, nothingGoes)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.p.ApprovePolicy(t.Context(), other, platform.Services, where, v.Version); err != nil {
		t.Fatal(err)
	}
	r.forge("service:"+where.ID, v.Version)
	p, err := r.p.Policy(t.Context(), other, platform.Services, where)
	if err != nil || p.Active == nil || p.Active.Problem == "" {
		t.Fatalf("%+v, %v", p.Active, err)
	}
	if v, err = r.set(author, platform.Services, where, sendsToOne); err != nil {
		t.Fatal(err)
	}
	if _, err := r.p.ApprovePolicy(t.Context(), other, platform.Services, where, v.Version); err != nil {
		t.Fatal(err)
	}
	old, err := r.p.PolicyVersion(t.Context(), other, platform.Services, where, 2)
	if err != nil || old.State != "past" || old.Problem == "" {
		t.Errorf("a forged version is made good: %+v, %v", old, err)
	}
}

func testSend(to string) platform.PolicyTest {
	return platform.PolicyTest{Method: "eth_sendTransaction", Params: []byte(`[{"from":"0x00000000000000000000000000000000000000f0","to":"` + to + `","value":"0x1"}]`)}
}

func TestADryRunExplainsAndHidesWhatIsOthers(t *testing.T) {
	r := policyRig(t)
	n := r.club("c", 0)
	where := n.service(r)
	who := person("a", n.consortium, n.membership, auth.Admin)
	ctx := t.Context()
	good, bad := testSend("0x00000000000000000000000000000000000000aa"), testSend("0x00000000000000000000000000000000000000bb")
	verdict := func(who auth.Access, in platform.PolicyTest) platform.PolicyVerdict {
		t.Helper()
		v, err := r.p.TestPolicy(ctx, who, where, in)
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
	if v := verdict(who, bad); v.Effect != "allow" || len(v.Policies) != 0 {
		t.Errorf("without rules: %+v", v)
	}
	tried := bad
	tried.Document = sendsToOne
	if v := verdict(who, tried); v.Effect != "deny" {
		t.Errorf("rules that are tried: %+v", v)
	}
	if all, err := r.db.Policies(ctx, "service:"+where.ID); err != nil || len(all) > 0 {
		t.Fatal("a dry run has stored rules")
	}
	if _, err := r.set(who, platform.Services, where, sendsToOne); err != nil {
		t.Fatal(err)
	}
	if v := verdict(who, good); v.Effect != "allow" || v.Rule != "service:"+where.ID+"/only-one" || len(v.Policies) != 1 || len(v.Policies[0].Steps) != 1 {
		t.Errorf("%+v", v)
	}
	if v := verdict(who, bad); v.Effect != "deny" || v.Reason == "" {
		t.Errorf("%+v", v)
	}
	if _, err := r.set(root(), platform.Consortia, platform.Path{ID: n.consortium}, nothingGoes); err != nil {
		t.Fatal(err)
	}
	v := verdict(who, good)
	if v.Effect != "deny" || v.Rule != "consortium:"+n.consortium+"/closed" || len(v.Policies) != 2 || strings.Contains(v.Reason, "closed") {
		t.Errorf("%+v", v)
	}
	if o := v.Policies[0]; o.Scope != "consortium:"+n.consortium || o.Effect != "deny" || len(o.Steps) > 0 || !strings.Contains(o.Reason, "wider scope") {
		t.Errorf("a member sees the consortium's rules: %+v", o)
	}
	if v := verdict(person("b", n.consortium, "", auth.Auditor), good); len(v.Policies[0].Steps) != 1 {
		t.Errorf("an auditor of the consortium does not: %+v", v)
	}
	p, err := r.p.Policy(ctx, who, platform.Services, where)
	if err != nil || len(p.Outer) != 1 || p.Outer[0] != "consortium:"+n.consortium {
		t.Errorf("%+v, %v", p.Outer, err)
	}
}

func TestADryRunOfEveryMethod(t *testing.T) {
	r := policyRig(t)
	n := r.club("c", 0)
	where := n.service(r)
	const from = `"0x00000000000000000000000000000000000000f0"`
	typed := `{"types":{"EIP712Domain":[{"name":"name","type":"string"}],"A":[{"name":"x","type":"uint256"}]},"primaryType":"A","domain":{"name":"d"},"message":{"x":1}}`
	params := map[string]string{
		"eth_sendTransaction":    `[{"from":` + from + `,"data":"0x60016001"}]`,
		"eth_signTransaction":    `[{"from":` + from + `,"to":` + from + `,"gasPrice":"0x1"}]`,
		"eth_sendRawTransaction": `["0xf86c098504a817c800825208943535353535353535353535353535353535353535880de0b6b3a76400008025a028ef61340bd939bc2195fe537567866003e1a15d3c71ff63e1590620aa636276a067cbe9d8997f761aecb703304b3800ccf555c9f3dc64214b297fb1966a3b6d83"]`,
		"eth_sign":               `[` + from + `,"0x00"]`,
		"personal_sign":          `["0x00",` + from + `]`,
		"eth_signTypedData":      `[` + from + `,` + typed + `]`,
		"eth_signTypedData_v3":   `[` + from + `,` + typed + `]`,
		"eth_signTypedData_v4":   `[` + from + `,` + typed + `]`,
		"document":               `[{"account":` + from + `,"sha256":"` + strings.Repeat("0", 64) + `","size":1,"name":"a.pdf","media_type":"application/pdf"}]`,
	}
	if _, err := r.set(root(), platform.Services, where, nothingGoes); err != nil {
		t.Fatal(err)
	}
	for _, method := range platform.PolicyTestMethods() {
		v, err := r.p.TestPolicy(t.Context(), root(), where, platform.PolicyTest{Method: method, Params: []byte(params[method])})
		if err != nil || v.Effect != "deny" || v.Rule != "service:"+where.ID+"/closed" {
			t.Errorf("%s: %+v, %v", method, v, err)
		}
	}
	for _, wrong := range []platform.PolicyTest{
		{Method: "eth_call", Params: []byte(`[{}]`)},
		{Method: "eth_sign", Params: []byte(`[]`)},
		{Method: "eth_sign", Params: []byte(`{`)},
		{Method: "eth_sign", Params: []byte(`[` + from + `]`)},
		{Method: "eth_sendTransaction", Params: []byte(`[{"from":` + from + `,"chainId":"0x1","to":` + from + `}]`)},
		{Method: "document", Params: []byte(`[{"account":` + from + `,"size":1}]`)},
		{Principal: "app:u0zzzzzzz0", Method: "eth_sign", Params: []byte(params["eth_sign"])},
	} {
		_, err := r.p.TestPolicy(t.Context(), root(), where, wrong)
		if got := reason(err); got != "invalid" {
			t.Errorf("%s %s: %q", wrong.Method, wrong.Params, got)
		}
	}
}

func TestWithoutTheMeansNothingPanics(t *testing.T) {
	r := newRig(t)
	_, err := r.set(root(), "", platform.Path{}, nothingGoes)
	if reason(err) != "unavailable" {
		t.Error(err)
	}
	if _, err := r.p.PolicyUsage(t.Context(), root(), "", platform.Path{}); reason(err) != "unavailable" {
		t.Error(err)
	}
	if _, err := r.p.Freezes(context.Background(), root()); reason(err) != "unavailable" {
		t.Error(err)
	}
	if _, err := r.p.Freeze(context.Background(), root(), platform.FreezeTarget{}, "x"); reason(err) != "unavailable" {
		t.Error(err)
	}
}
