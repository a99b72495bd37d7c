// SPDX-License-Identifier: Apache-2.0

package judge_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/allowance"
	"github.com/hsmsigner/hsmsigner/internal/approval"
	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/judge"
	"github.com/hsmsigner/hsmsigner/internal/policy"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

// asking is a rule that asks so many of the people that are named.
func asking(needed, names string) string {
	return `rules: [{name: ask, effect: ask, actions: [transaction, message], approval: {needed: ` + needed + `, names: [` + names + `]}}]`
}

// What waits to be signed is compared with whom the rule asks by then, and of how
// many, not only with which rule it was.
func TestARuleThatAsksForMoreByThenIsAppliedAtSigning(t *testing.T) {
	const scope = "service:u0service0"
	r := onSQLite(t)
	r.set(scope, asking("1", `"person:a", "person:b"`))
	q := r.send(5)
	_, err := r.judge.Judge(t.Context(), q)
	var p *policy.PendingError
	if !errors.As(err, &p) {
		t.Fatal(err)
	}
	_, err = r.book.Vote(t.Context(), approval.Ballot{Approval: p.ID, Who: auth.Principal{Name: "person:a"}, Verdict: approval.Approve})
	must(t, err)
	q.Approval = p.ID
	v, err := r.judge.Judge(t.Context(), q)
	must(t, err)
	if !v.Allow || v.Uses == "" {
		t.Fatalf("%+v", v)
	}
	must(t, r.db.Write(t.Context(), func(w *store.Writer) error {
		return w.InsertTx(store.Tx{ID: q.ID, Wallet: "main", Kind: store.UserTx, State: store.Queued, Sender: "s", Clearance: v.Clearance, Uses: v.Uses})
	}))
	for _, c := range []struct {
		name, needed, names string
		allow               bool
	}{
		{"the same", "1", `"person:b", "person:a"`, true},
		{"more people", "2", `"person:a", "person:b"`, false},
		{"another approver", "1", `"person:b"`, false},
		{"others beside him", "1", `"person:a", "person:c"`, true},
	} {
		r.set(scope, asking(c.needed, c.names))
		again, err := r.judge.Judge(t.Context(), signing(q, v.Clearance))
		must(t, err)
		if again.Allow != c.allow {
			t.Errorf("%s: %+v", c.name, again)
		}
		if !again.Allow {
			continue
		}
		before := r.rows.looks.Load()
		if third, err := r.judge.Judge(t.Context(), signing(q, again.Clearance)); err != nil || !third.Allow || r.rows.looks.Load() != before {
			t.Errorf("%s, once more: %+v, %v", c.name, third, err)
		}
	}
}

// stuck is a database whose first connection hangs.
type stuck struct {
	*store.DB
	entered chan struct{}
}

func (s *stuck) Changes(ctx context.Context) (map[string]int64, error) {
	select {
	case s.entered <- struct{}{}:
		<-ctx.Done()
		return nil, ctx.Err()
	default:
		return s.DB.Changes(ctx)
	}
}

func TestALookThatHangsDoesNotKeepVerdictsForEver(t *testing.T) {
	db := open(t, store.Config{Dir: t.TempDir()})
	rows := &stuck{DB: db, entered: make(chan struct{}, 1)}
	j := judge.New(judge.Config{Rows: rows, Limits: allowance.New(allowance.Config{Store: db}), MAC: mac})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); j.Run(ctx) }()
	defer func() { cancel(); <-done }()
	for len(rows.entered) == 0 { // its look hangs, and has the turn
		time.Sleep(time.Millisecond)
	}
	within, stop := context.WithTimeout(t.Context(), 30*time.Second)
	defer stop()
	r := &rig{TB: t}
	if v, err := j.Judge(within, r.send(1)); err != nil || !v.Allow {
		t.Errorf("%+v, %v", v, err)
	}
}
