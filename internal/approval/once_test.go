// SPDX-License-Identifier: Apache-2.0

package approval_test

import (
	"context"
	"errors"
	"math/big"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/allowance"
	"github.com/hsmsigner/hsmsigner/internal/approval"
	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/judge"
	"github.com/hsmsigner/hsmsigner/internal/policy"
	"github.com/hsmsigner/hsmsigner/internal/store"
	"github.com/hsmsigner/hsmsigner/internal/txmgr"
)

// judged has a stage judge by rules as data, and change what each process has.
func (s *stage) judged(text string, change func(policy.Policy) policy.Policy) {
	s.Helper()
	declared, err := judge.Declare("", "config.yaml", []byte("version: hsmsigner-policy-v1\n"+text))
	must(s.T, err)
	s.judge = func(p *process) policy.Policy {
		limits := allowance.New(allowance.Config{Store: p.db})
		return change(judge.New(judge.Config{Declared: []judge.Declared{declared}, Limits: limits, Approvals: later{p}}))
	}
}

func unchanged(p policy.Policy) policy.Policy { return p }

// The documented way of a caller without a key: he asks until he has an answer.
func TestWhatIsAskedForAgainOnceNoRuleAsksIsSentOnce(t *testing.T) {
	for name, approved := range map[string]bool{"pending": false, "approved": true} {
		t.Run(name, func(t *testing.T) {
			s := newStage(t)
			p := s.start(false)
			id := p.asks(transfer(7), "")
			if approved {
				p.approve(id)
			}
			s.rules.set(func(r *rules) { r.asks = nil })
			hash, err := p.sendArgs(transfer(7), "")
			must(t, err)
			a := p.until(id, store.ApprovalUsed)
			if row, err := p.db.Tx(t.Context(), a.Result); err != nil || row.Hash != hash {
				t.Errorf("the request is used by %q (%v), and the caller has %s", a.Result, err, hash)
			}
			if _, err := p.book.Vote(t.Context(), approval.Ballot{Approval: id, Who: carol, Verdict: approval.Approve, Roles: []auth.Role{auth.Admin}}); err == nil {
				t.Error("it takes votes")
			}
			defer p.run()()
			p.mined(1)
			if n := p.events(id, "approval-used"); n != 1 {
				t.Errorf("%d events that it was used", n)
			}
			if again, err := p.sendArgs(transfer(7), ""); err != nil || again == hash {
				t.Errorf("the next one is none of its own: %s, %v", again, err)
			}
			p.mined(2)
		})
	}
}

// No rule changes: it is what gas costs that does.
func TestWhatIsAskedForAgainAtALowerFeeIsSentOnce(t *testing.T) {
	s := newStage(t)
	s.judged(`rules:
  - {name: cheap, effect: allow, actions: [transaction], max_fee_per_gas: {max: 20 gwei}}
  - {name: dear, effect: ask, actions: [transaction], max_fee_per_gas: {min: 20000000001 wei}, approval: {needed: 2, names: ["person:alice", "key:u0bob00000"], expires: 1h}}
`, unchanged)
	s.chain.SetBaseFee(big.NewInt(100e9))
	s.chain.Mine()
	p := s.start(false)
	defer p.run()()
	id := p.asks(transfer(7), "")
	s.chain.SetBaseFee(big.NewInt(1e9))
	s.chain.Mine()
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(50 * time.Millisecond) {
		_, err := p.sendArgs(transfer(7), "")
		if err == nil {
			break
		}
		if pendingOf(err) == nil || time.Now().After(end) {
			t.Fatal(err)
		}
	}
	p.until(id, store.ApprovalUsed)
	p.mined(1)
}

// slow is a policy whose process stands still between the verdict on what is
// approved and its row.
type slow struct {
	policy.Policy
	before func()
}

func (s slow) Judge(ctx context.Context, r policy.Request) (policy.Verdict, error) {
	v, err := s.Policy.Judge(ctx, r)
	if err == nil && v.Allow && !r.Signing && r.Approval != "" {
		s.before()
	}
	return v, err
}

// The second replica is refused by what the first has reserved for the same
// request.
func TestATryThatALimitRefusesDoesNotEndWhatAnotherTrySends(t *testing.T) {
	s := onStage(t, onPostgres(t))
	first := true
	s.judged(`rules:
  - {name: large, effect: ask, actions: [transaction], approval: {needed: 2, names: ["person:alice", "key:u0bob00000"], expires: 1h}}
limits: [{name: daily, asset: native, per: wallet, max: 100 wei, window: 24h}]
`, func(p policy.Policy) policy.Policy {
		if !first {
			return p
		}
		first = false
		return slow{p, func() { time.Sleep(2500 * time.Millisecond) }}
	})
	a, b := s.start(true), s.start(true)
	defer a.run()()
	defer b.run()()
	id := a.asks(transfer(60), "")
	a.approve(id)
	a.until(id, store.ApprovalUsed)
	s.mined(1)
}

// A request that has ended while it was on its way into the rows is not sent,
// however it has ended.
func TestWhatHasEndedOnTheWayToItsRowIsNotSent(t *testing.T) {
	for _, state := range []store.ApprovalState{store.ApprovalExpired, store.ApprovalFailed} {
		for _, idempotency := range []string{"", "mine"} {
			t.Run(string(state)+idempotency, func(t *testing.T) {
				s := newStage(t)
				var p *process
				var id atomic.Pointer[string]
				var once sync.Once
				done := make(chan struct{})
				s.judge = func(of *process) policy.Policy {
					return slow{judging{s.rules, func() *approval.Book { return of.book }}, func() {
						once.Do(func() {
							must(t, p.endAs(*id.Load(), state))
							close(done)
						})
					}}
				}
				p = s.start(false)
				is := p.asks(transfer(1), idempotency)
				id.Store(&is)
				p.approve(is)
				stop := p.run()
				<-done
				time.Sleep(300 * time.Millisecond)
				stop()
				p.mined(0)
				if r := p.result(is); !strings.HasPrefix(r, string(state)) {
					t.Errorf("it is %s", r)
				}
				// The account is none the worse for it.
				s.rules.set(func(r *rules) { r.asks = nil })
				if _, err := p.sendArgs(transfer(2), ""); err != nil {
					t.Error(err)
				}
				p.mined(1)
			})
		}
	}
}

// hung is a wallet whose node does not answer.
type hung struct{ approval.Wallet }

func (hung) Begin(context.Context, auth.Principal, txmgr.SendRequest) func(context.Context) (common.Hash, error) {
	return func(ctx context.Context) (common.Hash, error) {
		<-ctx.Done()
		return common.Hash{}, ctx.Err()
	}
}

func TestAHungNodeKeepsUpNeitherOthersNorWhatIsOver(t *testing.T) {
	s := newStage(t)
	p := s.start(false)
	var ids []string
	for i := range 40 {
		ids = append(ids, p.asks(transfer(int64(i+1)), ""))
		p.approve(ids[i])
	}
	own := func(name string) approval.Wallet {
		switch name {
		case "main":
			return hung{p.w}
		default:
			return nil
		}
	}
	clock := &clock{at: time.Now()}
	book, err := approval.New(approval.Config{Store: p.db, MAC: mac, Deployment: "test", Poll: 20 * time.Millisecond, Wallet: own, Now: clock.now})
	must(t, err)
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); book.Run(ctx) }()
	defer func() { cancel(); <-done }()
	time.Sleep(200 * time.Millisecond)
	clock.add(2 * time.Hour)
	for _, id := range ids {
		p.until(id, store.ApprovalExpired)
	}
	p.mined(0)
}

// A copy may be older than what was sent.
func TestNothingComesOfWhatARestoredBackupHasOpen(t *testing.T) {
	s := newStage(t)
	p := s.start(false)
	pending, approved := p.asks(transfer(1), "mine"), p.asks(transfer(2), "")
	p.approve(approved)
	must(t, execSQL(s.dir, `UPDATE approval SET open = 2 WHERE open = 1`)) // as the store does at opening
	before, err := p.db.Approval(t.Context(), approved)
	must(t, err)
	if !before.Restored {
		t.Error("it does not show")
	}
	if _, err := p.book.Vote(t.Context(), approval.Ballot{Approval: pending, Who: alice, Verdict: approval.Approve}); err == nil {
		t.Error("it takes votes")
	}
	hash := [32]byte{}
	_, err = p.w.Send(t.Context(), app, txmgr.SendRequest{Args: transfer(2), Approval: approved, RequestHash: &hash})
	var denied *policy.DeniedError
	if !errors.As(err, &denied) {
		t.Errorf("it is taken: %v", err)
	}
	if _, err = p.sendArgs(transfer(1), "mine"); !errors.As(err, &denied) || !strings.Contains(err.Error(), "restored") {
		t.Errorf("its caller is told %v", err)
	}
	defer p.run()()
	for _, id := range []string{pending, approved} {
		if a := p.until(id, store.ApprovalExpired); !strings.Contains(a.Result, "restored") {
			t.Errorf("the reason is %q", a.Result)
		}
		if n := p.events(id, "approval-expired"); n != 1 {
			t.Errorf("%d events", n)
		}
	}
	p.mined(0)
}

// events counts the audit events about a request.
func (p *process) events(id, kind string) int {
	p.Helper()
	return (&rig{T: p.T, dir: p.dir}).count(`SELECT count(*) FROM audit_event WHERE subject = ? AND kind = ?`, id, kind)
}

// endAs ends a request, as another replica does.
func (p *process) endAs(id string, state store.ApprovalState) error {
	return p.db.Write(context.Background(), func(w *store.Writer) error {
		a, err := w.LockApproval(id)
		if err != nil {
			return err
		}
		from, was := a.State, a.MAC
		a.State, a.Result = state, "by the test"
		a.MAC = mac(a.Bytes())
		_, err = w.SetApproval(a, from, was)
		return err
	})
}
