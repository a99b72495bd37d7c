// SPDX-License-Identifier: Apache-2.0

package approval_test

import (
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/approval"
	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/judge"
	"github.com/hsmsigner/hsmsigner/internal/policy"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

func TestOneCallerCannotFillTheList(t *testing.T) {
	r := newRig(t, func(c *approval.Config) { c.MaxPending = 5 })
	var first string
	for i := range 5 {
		p := r.ask(message(fmt.Sprint("message ", i)), twoOf())
		if i == 0 {
			first = p.ID
		}
	}
	if why := r.denied(message("one more"), twoOf()); !strings.Contains(why, "5 requests of this caller wait") {
		t.Errorf("got %q", why)
	}
	r.ask(message("message 3"), twoOf()) // one that waits already is no new one
	other := message("one more")
	other.Principal.Name = "app:another"
	r.ask(other, twoOf())
	_, err := r.vote(first, alice, approval.Reject)
	must(t, err)
	r.ask(message("one more"), twoOf())
}

func TestARequestThatIsTooLargeIsRefused(t *testing.T) {
	r := newRig(t)
	if why := r.denied(message(strings.Repeat("x", 3<<20)), twoOf()); !strings.Contains(why, "at most") {
		t.Errorf("got %q", why)
	}
}

func TestManyAtOnceMakeOneRequest(t *testing.T) {
	r := newRig(t)
	ids := make([]string, 30)
	var wg sync.WaitGroup
	for i := range ids {
		wg.Go(func() {
			_, pending, err := r.book.Find(t.Context(), payment(1), twoOf())
			if err != nil {
				t.Error(err)
				return
			}
			ids[i] = pending.ID
		})
	}
	wg.Wait()
	for _, id := range ids {
		if id != ids[0] {
			t.Fatal("there are several")
		}
	}
}

func TestAnApprovalIsUsedOnce(t *testing.T) {
	r := newRig(t)
	req := message("hello")
	p := r.ask(req, twoOf())
	r.approve(p.ID)
	var used atomic.Int32
	var wg sync.WaitGroup
	for range 20 {
		wg.Go(func() {
			mine := message("hello") // with an id of its own
			grant, _, err := r.book.Find(t.Context(), mine, twoOf())
			if err != nil || grant == nil {
				return // it was used before
			}
			ok, err := r.book.Use(t.Context(), grant, mine.ID)
			if err != nil {
				t.Error(err)
			}
			if ok {
				used.Add(1)
			}
		})
	}
	wg.Wait()
	if used.Load() != 1 || r.state(p.ID) != store.ApprovalUsed {
		t.Errorf("used %d times, and is %s", used.Load(), r.state(p.ID))
	}
	if ok, _ := r.book.Use(t.Context(), &judge.Grant{ID: p.ID}, ""); ok {
		t.Error("used by nobody")
	}
	if next := r.ask(message("hello"), twoOf()); next.ID == p.ID {
		t.Error("the same message again is not asked about again")
	}
}

func TestAnApprovalThatNobodyUsesExpires(t *testing.T) {
	r := newRig(t)
	req := message("hello")
	p := r.ask(req, twoOf())
	r.approve(p.ID)
	grant, _, err := r.book.Find(t.Context(), req, twoOf())
	must(t, err)
	r.clock.add(time.Hour)
	if ok, err := r.book.Use(t.Context(), grant, req.ID); ok || err != nil {
		t.Errorf("used after its time: %v", err)
	}
	if why := r.denied(req, twoOf()); !strings.Contains(why, "approved and not used before") {
		t.Errorf("got %q", why)
	}
}

func TestAKeyMeansOneRequest(t *testing.T) {
	r := newRig(t)
	one, two := payment(1), payment(2)
	one.Asked.IdempotencyKey, two.Asked.IdempotencyKey = "k", "k"
	p := r.ask(one, twoOf())
	if why := r.denied(two, twoOf()); !strings.Contains(why, "used for another request") {
		t.Errorf("got %q", why)
	}
	again := payment(1)
	again.Asked.IdempotencyKey = "j"
	if other := r.ask(again, twoOf()); other.ID == p.ID {
		t.Error("another key is the same request")
	}
	_, err := r.vote(p.ID, bob, approval.Reject)
	must(t, err)
	for range 3 { // a key gets the same outcome for ever
		if why := r.denied(one, twoOf()); !strings.Contains(why, "rejected by "+bob.Name) {
			t.Errorf("got %q", why)
		}
	}
}

// The people who have voted are asked by the rules as they are now.
func TestRulesThatChangeAskAgain(t *testing.T) {
	r := newRig(t)
	req := message("hello")
	p := r.ask(req, twoOf())
	r.approve(p.ID)
	three := twoOf()
	three[0].Needed = 3
	if again := r.ask(req, three); again.ID != p.ID || again.Have != 2 || again.Need != 3 {
		t.Fatalf("got %+v", again)
	}
	_, err := r.signed(p.ID, 7, approval.Approve, nil)
	must(t, err)
	if grant, _, err := r.book.Find(t.Context(), req, three); err != nil || grant == nil {
		t.Errorf("with a third: %v", err)
	}
	one := twoOf()
	one[0].Approvers = policy.Approvers{Names: []string{carol.Name}}
	if again := r.ask(req, one); again.Have != 0 {
		t.Errorf("votes of whom no rule names any more count: %+v", again)
	}
}

func TestNobodyIsAskedWhomNoRuleNames(t *testing.T) {
	r := newRig(t)
	if _, _, err := r.book.Find(t.Context(), payment(1), nil); err == nil {
		t.Error("without rules there is a request")
	}
	req := payment(1)
	req.Signing = true
	if why := r.denied(req, twoOf()); !strings.Contains(why, "since it was accepted") {
		t.Errorf("what is accepted and not approved: %q", why)
	}
}

// Everything that happens to a request is in the audit trail, by whoever did it.
func TestEveryStepIsAudited(t *testing.T) {
	r := newRig(t)
	p := r.ask(message("hello"), twoOf())
	r.approve(p.ID)
	req := message("hello")
	grant, _, err := r.book.Find(t.Context(), req, twoOf())
	must(t, err)
	_, err = r.book.Use(t.Context(), grant, req.ID)
	must(t, err)
	q := r.ask(message("another"), twoOf())
	_, err = r.vote(q.ID, carol, approval.Reject, auth.Admin)
	must(t, err)
	for _, want := range []struct {
		id, kind, who string
		n             int
	}{
		{p.ID, "approval-create", app.Name, 1},
		{p.ID, "approval-vote", alice.Name, 1},
		{p.ID, "approval-vote", bob.Name, 1},
		{p.ID, "approval-approved", "system", 1},
		{p.ID, "approval-used", app.Name, 1},
		{q.ID, "approval-rejected", carol.Name, 1},
	} {
		if n := r.count(`SELECT count(*) FROM audit_event WHERE subject = ? AND kind = ? AND principal = ? AND wallet = 'main' AND membership = 'u0member00'`, want.id, want.kind, want.who); n != want.n {
			t.Errorf("%d events %s by %s, want %d", n, want.kind, want.who, want.n)
		}
	}
}

func TestOldRequestsAreForgotten(t *testing.T) {
	r := newRig(t)
	p := r.ask(message("hello"), twoOf())
	_, err := r.vote(p.ID, alice, approval.Reject)
	must(t, err)
	open := r.ask(message("another"), twoOf())
	n, err := r.db.DropApprovals(t.Context(), r.clock.now().Add(2*time.Hour))
	if err != nil || n != 1 {
		t.Fatalf("%d forgotten: %v", n, err)
	}
	if r.state(open.ID) != store.ApprovalPending || r.count(`SELECT count(*) FROM approval_vote`) != 0 {
		t.Error("what is open is gone, or a vote is left")
	}
}

func TestOnlyWhatIsApprovedCanBeUsed(t *testing.T) {
	r := newRig(t)
	req := message("hello")
	p := r.ask(req, twoOf())
	for _, state := range []string{"pending", "rejected"} {
		if ok, err := r.book.Use(t.Context(), &judge.Grant{ID: p.ID}, req.ID); ok || err != nil {
			t.Errorf("%s, and it is used: %v", state, err)
		}
		_, err := r.vote(p.ID, alice, approval.Reject)
		must(t, err)
	}
}
