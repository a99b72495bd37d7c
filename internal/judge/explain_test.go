// SPDX-License-Identifier: Apache-2.0

package judge_test

import (
	"slices"
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/approval"
	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/judge"
	"github.com/hsmsigner/hsmsigner/internal/policy"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

func vote(t *testing.T, r *rig, id, name string) {
	t.Helper()
	_, err := r.book.Vote(t.Context(), approval.Ballot{Approval: id, Verdict: approval.Approve, Who: auth.Principal{Name: name}})
	must(t, err)
}

// takesOf is what a request takes off the limits of the deployment.
func takesOf(t *testing.T, r *rig, q policy.Request) []policy.Take {
	t.Helper()
	all, err := r.db.ActivePolicies(t.Context())
	must(t, err)
	i := slices.IndexFunc(all, func(p store.Policy) bool { return p.Scope == "deployment" })
	book, err := policy.Parse("deployment", []byte(all[i].Document))
	must(t, err)
	rules, err := policy.Compile(book)
	must(t, err)
	return rules.In("deployment").Judge(q, time.Now()).Takes
}

func TestADryRunSaysWhatTheVerdictWouldBeAndTakesNothing(t *testing.T) {
	r := onSQLite(t)
	r.set("deployment", "limits: [{name: all, asset: native, per: nothing, max: 1000 wei, window: total}]")
	r.set("service:u0service0", `rules:
  - {name: pay, effect: allow, actions: [transaction], value: {max: 500 wei}}
  - {name: people, effect: ask, actions: [transaction], value: {min: 300 wei}, approval: {names: ['person:ann']}}
limits: [{name: daily, asset: native, per: wallet, max: 700 wei, window: 24h}]`)
	for range 2 {
		for wei, want := range map[int64]struct {
			effect policy.Effect
			rule   string
		}{
			100: {"allow", "service:u0service0/pay"}, 400: {"ask", "service:u0service0/people"}, 800: {"deny", "service:u0service0/daily"},
		} {
			e, err := r.judge.Explain(t.Context(), r.send(wei))
			must(t, err)
			if e.Effect != want.effect || e.Rule != want.rule || (e.Reason == "") != (want.effect == "allow") {
				t.Errorf("%d: %s by %s: %s", wei, e.Effect, e.Rule, e.Reason)
			}
			if len(e.Policies) != 2 || e.Policies[1].Scope != "service:u0service0" || e.Policies[1].Version != 1 || len(e.Policies[1].Steps) != 3 {
				t.Errorf("%d: %+v", wei, e.Policies)
			}
			if want.effect == "allow" && (len(e.Limits) != 2 || e.Limits[0].Amount != "100" || e.Limits[0].Used != "0" || !e.Limits[0].Holds) {
				t.Errorf("%d: %+v", wei, e.Limits)
			}
		}
	}
	if got := r.used("deployment"); got != "0" {
		t.Errorf("%s were taken", got)
	}
	r.want(r.send(250), true, "service:u0service0/pay")
	r.want(r.send(250), true, "service:u0service0/pay")
	e, err := r.judge.Explain(t.Context(), r.send(250))
	must(t, err)
	if e.Effect != policy.EffectDeny || e.Rule != "service:u0service0/daily" {
		t.Errorf("%s by %s", e.Effect, e.Rule)
	}
}

func TestADryRunTriesRulesThatDoNotCountYet(t *testing.T) {
	r := onSQLite(t)
	r.set("deployment", pay)
	book, err := policy.Parse("new", []byte(first+"rules: [{name: none, effect: deny}]"))
	must(t, err)
	none, err := policy.Compile(book)
	must(t, err)
	for _, c := range []struct {
		try    []judge.Try
		effect policy.Effect
		rule   string
	}{
		{nil, "allow", "deployment/pay"},
		{[]judge.Try{{Scope: "deployment", Rules: none.In("deployment")}}, "deny", "deployment/none"},
		{[]judge.Try{{Scope: "service:u0service0", Rules: none.In("service:u0service0")}}, "deny", "service:u0service0/none"},
		{[]judge.Try{{Scope: "service:u0else0000", Rules: none.In("service:u0else0000")}}, "allow", "deployment/pay"},
		{[]judge.Try{{Scope: "deployment"}}, "allow", "default"},
	} {
		e, err := r.judge.Explain(t.Context(), r.send(1), c.try...)
		if must(t, err); e.Effect != c.effect || e.Rule != c.rule {
			t.Errorf("%+v: %s by %s", c.try, e.Effect, e.Rule)
		}
	}
	r.want(r.send(1), true, "deployment/pay")
}

func BenchmarkSigningAgain(b *testing.B) {
	r := onSQLite(b)
	r.set("service:u0service0", pay+"\n"+daily)
	q := r.send(60)
	v := r.want(q, true, "service:u0service0/pay")
	q = signing(q, v.Clearance)
	for b.Loop() {
		if v, err := r.judge.Judge(b.Context(), q); err != nil || !v.Allow {
			b.Fatal(v, err)
		}
	}
}
