// SPDX-License-Identifier: Apache-2.0

package judge_test

import (
	"context"
	"errors"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/judge"
	"github.com/hsmsigner/hsmsigner/internal/policy"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

const (
	pay   = "rules: [{name: pay, effect: allow, actions: [transaction]}]"
	daily = "limits: [{name: daily, asset: native, per: wallet, max: 1000 wei, window: 24h}]"
)

func TestWithoutPoliciesEverythingIsAllowed(t *testing.T) {
	r := onSQLite(t)
	if v := r.want(r.send(5), true, "default"); v.Clearance != "" {
		t.Errorf("clearance %q", v.Clearance)
	}
	alone := judge.New(judge.Config{Limits: r.limits})
	if v, err := alone.Judge(t.Context(), r.send(5)); err != nil || !v.Allow {
		t.Errorf("%+v, %v", v, err)
	}
}

func TestEachPolicyThatAppliesCountsAndNoOther(t *testing.T) {
	everywhere, err := judge.Declare("", "hsmsigner.yaml", []byte(first+"rules: [{name: all, effect: allow, actions: [transaction, message]}]"))
	must(t, err)
	wallet, err := judge.Declare("u0service0", "hsmsigner.yaml", []byte(first+pay))
	must(t, err)
	other, err := judge.Declare("another", "hsmsigner.yaml", []byte(first+"rules: [{name: none, effect: deny}]"))
	must(t, err)
	r := onSQLite(t, everywhere, wallet, other)
	rule := "declared/all, declared:u0service0/pay"
	r.want(r.send(1), true, rule)
	for _, scope := range []string{"consortium:u0else0000", "membership:u0else0000", "service:u0else0000", "credential:u0else0000"} {
		r.set(scope, "rules: [{name: none, effect: deny}]")
	}
	r.want(r.send(1), true, rule)
	names := []string{"declared/all"}
	for _, scope := range []string{"deployment", "consortium:u0consort0", "membership:u0member00", "", "service:u0service0", "credential:u0cred0000"} {
		if scope == "" {
			names = append(names, "declared:u0service0/pay")
			continue
		}
		r.set(scope, pay)
		names = append(names, scope+"/pay")
	}
	r.want(r.send(1), true, strings.Join(names, ", "))
	person := r.send(1)
	person.Principal = auth.Principal{Name: "person:u0cred0000"}
	r.want(person, true, strings.Join(names[:len(names)-1], ", "))
	for _, scope := range []string{"deployment", "consortium:u0consort0", "membership:u0member00", "service:u0service0", "credential:u0cred0000"} {
		r.set(scope, "rules: [{name: none, effect: deny}]")
		r.want(r.send(1), false, scope+"/none")
		r.set(scope, pay)
	}
}

func TestLimitsOfAllPoliciesAreTakenFromTogether(t *testing.T) {
	r := onSQLite(t)
	r.set("deployment", "limits: [{name: all, asset: native, per: nothing, max: 100 wei, window: total}]")
	r.set("service:u0service0", pay+"\n"+daily)
	q := r.send(60)
	v := r.want(q, true, "service:u0service0/pay")
	r.want(r.send(60), false, "deployment/all")
	if got := [2]string{r.used("deployment"), r.used("service:u0service0")}; got != [2]string{"60", "60"} {
		t.Errorf("%v are used, want 60 of both", got)
	}
	r.judge.Settle(q.ID, v.Clearance, policy.Unused)
	must(t, r.limits.Sweep(t.Context()))
	r.want(r.send(100), true, "service:u0service0/pay")
	presigned := r.send(70)
	presigned.Presigned = true
	r.want(presigned, false, "service:u0service0/no match") // raw transactions are an action by themselves
	r.set("service:u0service0", "rules: [{name: raw, effect: allow, actions: [raw-transaction]}]\n"+daily)
	if v := r.want(presigned, true, "service:u0service0/raw"); v.Clearance != "" {
		t.Errorf("a transaction that was signed before has taken %s", v.Clearance)
	}
}

func TestManyAtOnceOnThreeReplicasNeverPassALimit(t *testing.T) {
	url, err := server.NewDatabase(t.Context())
	must(t, err)
	replicas := make([]*rig, 3)
	for i := range replicas {
		replicas[i] = newRig(t, open(t, store.Config{URL: url}))
	}
	replicas[0].set("service:u0service0", pay+"\n"+daily)
	var mu sync.Mutex
	allowed, refused := int64(0), 0
	var wg sync.WaitGroup
	for _, r := range replicas {
		for i := range int64(500) {
			wg.Go(func() {
				wei := 1 + i%17
				v, err := r.judge.Judge(t.Context(), r.send(wei))
				mu.Lock()
				defer mu.Unlock()
				switch {
				case err != nil:
					t.Error(err)
				case v.Allow:
					allowed += wei
				default:
					refused++
				}
			})
		}
	}
	wg.Wait()
	if allowed > 1000 || allowed < 1000-17 || refused == 0 {
		t.Errorf("%d wei of 1000 were let through", allowed)
	}
	for _, r := range replicas {
		if v, err := r.judge.Judge(t.Context(), r.send(1000-allowed+1)); err != nil || v.Allow || v.Rule != "service:u0service0/daily" {
			t.Errorf("one wei above: %+v, %v", v, err)
		}
	}
}

func TestSigningByUnchangedRulesCostsNoAccessToTheDatabase(t *testing.T) {
	r := onSQLite(t)
	r.set("service:u0service0", pay+"\n"+daily)
	q := r.send(60)
	v := r.want(q, true, "service:u0service0/pay")
	must(t, r.judge.Reload(t.Context()))
	looks := r.rows.looks.Load()
	must(t, r.db.Close())
	for range 100 {
		if again := r.want(signing(q, v.Clearance), true, "service:u0service0/pay"); again.Clearance != v.Clearance {
			t.Fatalf("clearance %q is %q by now", v.Clearance, again.Clearance)
		}
	}
	if got := r.rows.looks.Load(); got != looks {
		t.Errorf("the store was looked at %d times", got-looks)
	}
}

func TestSigningIsJudgedByTheRulesOfTheTime(t *testing.T) {
	r := onSQLite(t)
	r.set("service:u0service0", pay+"\n"+daily)
	q := r.send(600)
	v := r.want(q, true, "service:u0service0/pay")
	r.judge.Settle(q.ID, v.Clearance, policy.Stored)

	r.set("service:u0service0", pay+"\n"+strings.Replace(daily, "1000", "700", 1))
	again := r.want(signing(q, v.Clearance), true, "service:u0service0/pay")
	r.set("service:u0service0", pay+"\n"+strings.Replace(daily, "1000", "599", 1))
	r.want(signing(q, again.Clearance), false, "service:u0service0/daily")
	r.set("service:u0service0", "rules: [{name: never, effect: deny}, {name: pay, effect: allow, actions: [transaction]}]")
	r.want(signing(q, again.Clearance), false, "service:u0service0/never")
	r.set("service:u0service0", pay+"\n"+strings.Replace(daily, "daily", "new", 1))
	for range 3 {
		r.want(signing(q, v.Clearance), true, "service:u0service0/pay")
	}
	if got := r.used("service:u0service0"); got != "1200" {
		t.Errorf("%s are used, want 600 of the old limit and 600 of the new one", got)
	}
	r.want(signing(r.send(600), ""), false, "service:u0service0/new")
	r.set("service:u0service0", "rules: [{name: people, effect: ask, actions: [transaction], approval: {names: ['person:ann']}}]")
	r.want(signing(q, v.Clearance), false, "service:u0service0/people")
	r.want(signing(q, "not a clearance"), false, "service:u0service0/people")
}

func TestAChangeIsInForceOnAnotherReplicaWithinASecond(t *testing.T) {
	url, err := server.NewDatabase(t.Context())
	must(t, err)
	a, b := newRig(t, open(t, store.Config{URL: url})), newRig(t, open(t, store.Config{URL: url}))
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { b.judge.Run(ctx) })
	defer wg.Wait()
	defer cancel()
	for i := range 6 {
		a.set("deployment", []string{pay, "rules: [{name: none, effect: deny}]"}[i%2])
		if i%3 == 2 { // without Run, too
			time.Sleep(1100 * time.Millisecond)
			a.want(a.send(1), i%2 == 0, []string{"deployment/pay", "deployment/none"}[i%2])
		} else {
			time.Sleep(time.Second)
		}
		b.want(b.send(1), i%2 == 0, []string{"deployment/pay", "deployment/none"}[i%2])
	}
}

func TestAJudgeThatCannotReadTheRulesSaysNothing(t *testing.T) {
	r := onSQLite(t)
	r.want(r.send(1), true, "default")
	must(t, r.db.Close())
	time.Sleep(1100 * time.Millisecond)
	ctx, cancel := context.WithTimeout(t.Context(), 700*time.Millisecond)
	defer cancel()
	for _, q := range []policy.Request{r.send(1), signing(r.send(1), "")} {
		if v, err := r.judge.Judge(ctx, q); err == nil || v.Allow {
			t.Errorf("%+v, %v", v, err)
		}
	}
}

func TestWhatPeopleAreAskedForIsAllowedOnceTheyAgreeAndOnce(t *testing.T) {
	r := onSQLite(t)
	r.set("service:u0service0", "rules: [{name: people, effect: ask, actions: [message], approval: {names: ['person:ann', 'person:ben'], needed: 2}}]")
	q := policy.Request{Principal: app, Owner: owner, Account: own, Action: "sign-message", Message: []byte("agreed"), ID: "1"}
	ask := func(id string) (policy.Verdict, *policy.PendingError) {
		t.Helper()
		q.ID = id
		v, err := r.judge.Judge(t.Context(), q)
		var pending *policy.PendingError
		if err != nil && !errors.As(err, &pending) {
			t.Fatal(err)
		}
		return v, pending
	}
	_, pending := ask("1")
	if pending == nil {
		t.Fatal("nobody is asked")
	}
	for i, name := range []string{"person:ann", "person:ben"} {
		_, same := ask("1")
		if same == nil || same.ID != pending.ID || same.Have != i || same.Need != 2 {
			t.Fatalf("%+v, want it to wait as %s", same, pending.ID)
		}
		vote(t, r, pending.ID, name)
	}
	v, still := ask("2")
	if still != nil || !v.Allow || v.Rule != "service:u0service0/people" || !strings.Contains(v.Clearance, pending.ID) {
		t.Fatalf("%+v, %v", v, still)
	}
	if _, again := ask("3"); again == nil || again.ID == pending.ID {
		t.Errorf("a second time: %+v, want people to be asked anew", again)
	}
}

func TestNobodyIsAskedForWhatALimitRefuses(t *testing.T) {
	r := onSQLite(t)
	r.set("service:u0service0", "rules: [{name: people, effect: ask, actions: [transaction], approval: {names: ['person:ann']}}]\n"+daily)
	r.set("deployment", "limits: [{name: all, asset: native, per: nothing, max: 1000 wei, window: total}]")
	r.want(r.send(2000), false, "deployment/all")
	other := r.send(900)
	if _, err := r.limits.Reserve(t.Context(), "other", takesOf(t, r, other)); err != nil {
		t.Fatal(err)
	}
	r.want(r.send(200), false, "deployment/all")
	var pending *policy.PendingError
	if _, err := r.judge.Judge(t.Context(), r.send(50)); !errors.As(err, &pending) {
		t.Errorf("%v, want people to be asked", err)
	}
	alone := judge.New(judge.Config{Rows: r.rows, Limits: r.limits, MAC: mac})
	if v, err := alone.Judge(t.Context(), r.send(50)); err != nil || v.Allow || !strings.Contains(v.Reason, "not available") {
		t.Errorf("without anybody to ask: %+v, %v", v, err)
	}
}
