// SPDX-License-Identifier: Apache-2.0

package approval_test

import (
	"context"
	"errors"
	"testing"

	"github.com/hsmsigner/hsmsigner/internal/allowance"
	"github.com/hsmsigner/hsmsigner/internal/judge"
	"github.com/hsmsigner/hsmsigner/internal/policy"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

// later is the book of a process, which is made after its policy.
type later struct{ p *process }

func (l later) Find(ctx context.Context, r policy.Request, asks []policy.Ask) (*judge.Grant, *policy.PendingError, error) {
	return l.p.book.Find(ctx, r, asks)
}

func (l later) Use(ctx context.Context, grant *judge.Grant, id string) (bool, error) {
	return l.p.book.Use(ctx, grant, id)
}

func (l later) Waits(ctx context.Context, r policy.Request) (*judge.Grant, error) {
	return l.p.book.Waits(ctx, r)
}

func (l later) Holds(ctx context.Context, id, used string, asks []policy.Ask) error {
	return l.p.book.Holds(ctx, id, used, asks)
}

// The whole of it: rules as data ask two people about what is large, and a limit
// counts what they have approved, too.
func TestRulesAskAndLimitsCountWhatIsApproved(t *testing.T) {
	declared, err := judge.Declare("", "config.yaml", []byte(`version: hsmsigner-policy-v1
rules:
  - {name: small, effect: allow, actions: [transaction], value: {max: 10 wei}}
  - {name: large, effect: ask, actions: [transaction], value: {min: 11 wei}, approval: {needed: 2, names: ["person:alice", "key:u0bob00000"], expires: 1h}}
limits: [{name: daily, asset: native, per: wallet, max: 100 wei, window: 24h}]
`))
	must(t, err)
	s := newStage(t)
	s.judge = func(p *process) policy.Policy {
		limits := allowance.New(allowance.Config{Store: p.db})
		return judge.New(judge.Config{Declared: []judge.Declared{declared}, Limits: limits, Approvals: later{p}})
	}
	p := s.start(false)
	defer p.run()()
	if _, err := p.sendArgs(transfer(5), ""); err != nil {
		t.Fatal(err)
	}
	first, second := p.asks(transfer(60), ""), p.asks(transfer(50), "")
	p.mined(1)
	p.approve(first)
	p.until(first, store.ApprovalUsed)
	p.mined(2)
	p.approve(second) // 5 and 60 are used by now
	p.mined(2)
	if r := p.result(second); r != "approved: " { // there may be room for it before it expires
		t.Errorf("over a limit it is %s", r)
	}
	_, err = p.sendArgs(transfer(50), "")
	var denied *policy.DeniedError
	if !errors.As(err, &denied) || denied.Verdict.Rule == "" {
		t.Errorf("what no limit lets through is not asked about: %v", err)
	}
	if list, err := p.book.List(t.Context(), store.ApprovalFilter{Wallet: "main", States: []store.ApprovalState{store.ApprovalPending}}); err != nil || len(list) != 0 {
		t.Errorf("%d wait: %v", len(list), err)
	}
}
