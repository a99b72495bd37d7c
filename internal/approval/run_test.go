// SPDX-License-Identifier: Apache-2.0

package approval_test

import (
	"context"
	"errors"
	"math/big"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"

	"github.com/hsmsigner/hsmsigner/internal/approval"
	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/policy"
	"github.com/hsmsigner/hsmsigner/internal/store"
	"github.com/hsmsigner/hsmsigner/internal/tx"
	"github.com/hsmsigner/hsmsigner/internal/txmgr"
)

func pendingOf(err error) *policy.PendingError {
	var pending *policy.PendingError
	if errors.As(err, &pending) {
		return pending
	}
	return nil
}

func TestAnApprovedTransactionIsSentByTheDaemon(t *testing.T) {
	p := newStage(t).start(false)
	defer p.run()()
	for _, idempotency := range []string{"", "payment-7"} {
		had := len(p.chain.Mined(signerAddress(0)))
		args := transfer(int64(7 + len(idempotency)))
		id := p.asks(args, idempotency)
		if again := p.asks(args, idempotency); again != id {
			t.Fatalf("asked again, it is %s and then %s", id, again)
		}
		p.mined(had) // nothing leaves
		p.approve(id)
		a := p.until(id, store.ApprovalUsed)
		p.mined(had + 1)
		sent := p.chain.Mined(signerAddress(0))[had]
		row, err := p.db.Tx(t.Context(), a.Result)
		must(t, err)
		if row.Hash != sent.Hash() || row.Credential != app.Name || sent.Value().Cmp(args.Value) != 0 {
			t.Errorf("the row %s of %s is not what was sent", a.Result, row.Credential)
		}
		// The caller asks again: by his key, or by that of the approval.
		if idempotency == "" {
			idempotency = approval.KeyPrefix + id
		}
		hash, err := p.sendArgs(args, idempotency)
		if err != nil || hash != sent.Hash() {
			t.Errorf("asked again: %s, %v; want %s", hash, err, sent.Hash())
		}
		p.mined(had + 1)
	}
}

// A caller without a key, who asks again until he has an answer.
func TestACallerWhoAsksAgainLearnsTheOutcomeOnce(t *testing.T) {
	p := newStage(t).start(false)
	defer p.run()()
	id := p.asks(transfer(1), "")
	p.approve(id)
	p.until(id, store.ApprovalUsed)
	_, err := p.sendArgs(transfer(1), "")
	if pending := pendingOf(err); pending == nil || pending.ID != id || pending.Have < pending.Need {
		t.Errorf("got %v", err)
	}
	if next := p.asks(transfer(1), ""); next == id {
		t.Error("who asks after that is told again")
	}
	p.mined(1)
}

func TestKilledAfterTheApprovalItIsSentOnce(t *testing.T) {
	s := newStage(t)
	p := s.start(false)
	id := p.asks(transfer(1), "")
	p.approve(id)
	p.stop() // before anything was begun
	p = s.start(false)
	defer p.run()()
	p.until(id, store.ApprovalUsed)
	p.mined(1)
}

// dying is a wallet in a process that ends somewhere on the way.
type dying struct {
	approval.Wallet
	at   string
	dead chan struct{}
}

func (d dying) end(at string) {
	if d.at == at {
		close(d.dead)
		runtime.Goexit() // nothing after this happens any more
	}
}

func (d dying) Fill(ctx context.Context, args tx.Args) (*types.Transaction, error) {
	d.end("fill")
	return d.Wallet.Fill(ctx, args)
}

func (d dying) Begin(ctx context.Context, p auth.Principal, r txmgr.SendRequest) func(context.Context) (common.Hash, error) {
	wait := d.Wallet.Begin(ctx, p, r)
	d.end("begin")
	return func(ctx context.Context) (common.Hash, error) {
		hash, err := wait(ctx)
		d.end("sent")
		return hash, err
	}
}

func TestKilledAnywhereWhileItIsSentItIsSentOnce(t *testing.T) {
	for _, c := range []struct{ at, idempotency string }{{"fill", ""}, {"begin", ""}, {"begin", "mine"}, {"sent", ""}} {
		t.Run(c.at+c.idempotency, func(t *testing.T) {
			t.Parallel()
			s := newStage(t)
			dead := make(chan struct{})
			p := s.start(false, func(p *process) {
				p.between = func(w approval.Wallet) approval.Wallet { return dying{w, c.at, dead} }
			})
			id := p.asks(transfer(1), c.idempotency)
			p.approve(id)
			stop := p.run()
			<-dead
			stop()
			if r := p.result(id); c.at == "fill" && r != "approved: " || c.at == "sent" && !strings.HasPrefix(r, "used: ") {
				t.Fatalf("the dead process has left it %s", r)
			}
			p.stop()
			p = s.start(false)
			defer p.run()()
			p.until(id, store.ApprovalUsed)
			p.mined(1)
		})
	}
}

func TestWhatThePolicyForbidsByThenFailsWithTheReason(t *testing.T) {
	p := newStage(t).start(false)
	args := transfer(1)
	id := p.asks(args, "")
	p.approve(id)
	p.rules.set(func(s *rules) { s.forbid = "nothing leaves on sundays" })
	defer p.run()()
	if a := p.until(id, store.ApprovalFailed); !strings.Contains(a.Result, "nothing leaves on sundays") || !strings.Contains(a.Result, "service:u0service0/stop") {
		t.Errorf("the reason is %q", a.Result)
	}
	if v, err := p.book.Get(t.Context(), id); err != nil || v.State != "failed" || !strings.Contains(v.Result, "sundays") {
		t.Errorf("it is shown as %s: %s", v.State, v.Result)
	}
	p.rules.set(func(s *rules) { s.forbid = "" })
	_, err := p.sendArgs(args, "")
	var denied *policy.DeniedError
	if !errors.As(err, &denied) || !strings.Contains(denied.Verdict.Reason, "sundays") {
		t.Errorf("the caller is told %v", err)
	}
	p.mined(0)
}

func TestWhatTheRulesWantMoreForByThenFails(t *testing.T) {
	p := newStage(t).start(false)
	id := p.asks(transfer(1), "")
	p.approve(id)
	p.rules.set(func(s *rules) {
		s.asks = twoOf()
		s.asks[0].Needed = 3
	})
	defer p.run()()
	if a := p.until(id, store.ApprovalFailed); !strings.Contains(a.Result, "2 of the 3") {
		t.Errorf("the reason is %q", a.Result)
	}
	p.mined(0)
}

func TestWhatARevokedCredentialAskedForIsNotSent(t *testing.T) {
	p := newStage(t).start(false, func(p *process) {
		p.may = func(_ context.Context, who auth.Principal, of approval.Owner) error {
			if who != app || of.Service != owner.Service || of.Membership != owner.Membership {
				t.Errorf("asked for %+v, of %+v", who, of)
			}
			return approval.ErrRevoked
		}
	})
	id := p.asks(transfer(1), "")
	p.approve(id)
	defer p.run()()
	if a := p.until(id, store.ApprovalFailed); !strings.Contains(a.Result, "revoked, or has lost the role") {
		t.Errorf("the reason is %q", a.Result)
	}
	p.mined(0)
}

// waits is what somebody who looks at a request is told of why it is not sent.
func (p *process) waits(id, want string) {
	p.Helper()
	var v approval.View
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		var err error
		v, err = p.book.Get(p.Context(), id)
		must(p.T, err)
		if strings.Contains(v.Waits, want) {
			return
		}
	}
	p.Fatalf("it is %s, and waits for %q; want %q", v.State, v.Waits, want)
}

// asPerson asks as somebody who has signed in.
func (p *process) asPerson(args tx.Args) error {
	_, err := p.w.Send(context.Background(), auth.Principal{Name: "person:dora"}, txmgr.SendRequest{Args: args})
	return err
}

// A person who is signed in nowhere is waited for: to sign in, or to ask again. One
// who was removed never does.
func TestWhatAPersonAskedForWaitsForThePerson(t *testing.T) {
	now := &clock{at: time.Now()}
	var absent sync.Map
	p := newStage(t).start(false, func(p *process) {
		p.now = now.now
		p.may = func(context.Context, auth.Principal, approval.Owner) error {
			if err, is := absent.Load("err"); is {
				return err.(error)
			}
			return nil
		}
	})
	absent.Store("err", approval.ErrAbsent)
	first := pendingOf(p.asPerson(transfer(1)))
	if first == nil {
		t.Fatal("nobody is asked")
	}
	now.add(10 * time.Minute)
	p.approve(first.ID)
	defer p.run()()
	p.waits(first.ID, "is not signed in")
	p.mined(0)
	again := pendingOf(p.asPerson(transfer(1)))
	if again == nil || again.ID != first.ID || !strings.HasPrefix(again.Error(), "approved and not sent yet: request "+first.ID+" is tried again until ") || !strings.Contains(again.Error(), "is not signed in") {
		t.Fatalf("asked again: %v", again)
	}
	now.add(time.Minute) // past the pause between two tries
	p.until(first.ID, store.ApprovalUsed)
	p.mined(1)

	second := pendingOf(p.asPerson(transfer(2)))
	now.add(10 * time.Minute)
	p.approve(second.ID)
	p.waits(second.ID, "is not signed in")
	now.add(2 * time.Hour)
	if a := p.until(second.ID, store.ApprovalExpired); !strings.Contains(a.Result, "was approved and not used before ") || !strings.Contains(a.Result, "is not signed in") {
		t.Errorf("it ends with %q", a.Result)
	}

	third := pendingOf(p.asPerson(transfer(3)))
	now.add(10 * time.Minute)
	p.approve(third.ID)
	p.waits(third.ID, "is not signed in")
	absent.Delete("err") // signed in
	now.add(time.Minute)
	p.until(third.ID, store.ApprovalUsed)
	p.mined(2)
}

// A limit may have room later: until then everybody is told what it waits for.
func TestWhatALimitRefusesSaysSoWhileItIsTriedAgain(t *testing.T) {
	now := &clock{at: time.Now()}
	p := newStage(t).start(false, func(p *process) { p.now = now.now })
	id := p.asks(transfer(1), "")
	p.approve(id)
	p.rules.set(func(s *rules) { s.full = "1 wei is more than the 0 that are left" })
	defer p.run()()
	const says = `rule "service:u0service0/daily": 1 wei is more than the 0 that are left`
	p.waits(id, says)
	if r := p.result(id); r != "approved: " {
		t.Errorf("it is %s", r)
	}
	o, err := p.book.Await(canceled(t), id)
	must(t, err)
	if o.Settled() || !strings.Contains(o.Waits, says) {
		t.Errorf("who waits for it is told %+v", o)
	}
	p.rules.set(func(s *rules) { s.full = "" })
	now.add(time.Minute)
	p.until(id, store.ApprovalUsed)
	p.mined(1)
	if v, err := p.book.Get(t.Context(), id); err != nil || v.Waits != "" {
		t.Errorf("once it is sent it waits for %q, %v", v.Waits, err)
	}
}

func canceled(t *testing.T) context.Context {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	return ctx
}

func TestANodeThatIsAwayIsWaitedFor(t *testing.T) {
	p := newStage(t).start(false)
	id := p.asks(transfer(1), "")
	p.approve(id)
	p.chain.SetChainID(5) // no node of this chain, for now
	defer p.run()()
	time.Sleep(100 * time.Millisecond)
	if r := p.result(id); r != "approved: " {
		t.Errorf("it is %s", r)
	}
	p.chain.SetChainID(1337)
	p.until(id, store.ApprovalUsed)
	p.mined(1)
}

// Fees are filled anew when it is sent, and are at most what was approved.
func TestFeesAreAtMostWhatWasApproved(t *testing.T) {
	p := newStage(t).start(false)
	first, second := p.asks(transfer(1), ""), ""
	legacy := transfer(2)
	kind := uint8(types.LegacyTxType)
	legacy.Type = &kind
	second = p.asks(legacy, "")
	p.chain.SetGasPrice(1 << 60)
	p.chain.SetMinTip(new(big.Int))
	for _, id := range []string{first, second} {
		p.approve(id)
	}
	defer p.run()()
	for _, id := range []string{first, second} {
		a := p.until(id, store.ApprovalUsed)
		row, err := p.db.Tx(t.Context(), a.Result)
		must(t, err)
		sent, err := tx.DecodeUnsigned(row.Payload)
		must(t, err)
		v, err := p.book.Get(t.Context(), id)
		must(t, err)
		most := maxFee(t, v)
		if sent.GasFeeCap().Cmp(most) > 0 || row.FeeCeiling.Cmp(most) > 0 {
			t.Errorf("it pays up to %s, of %s that were approved", sent.GasFeeCap(), most)
		}
	}
}

// Two replicas have it at the same time, again and again.
func TestTwoReplicasSendWhatIsApprovedOnce(t *testing.T) {
	s := onStage(t, onPostgres(t))
	one, two := s.start(true), s.start(true)
	const n = 4
	var ids []string
	for i := range n {
		ids = append(ids, one.asks(transfer(int64(i+1)), ""))
	}
	// One approver comes to each replica at the same time: together they are two.
	for _, id := range ids {
		var wg sync.WaitGroup
		for who, p := range map[auth.Principal]*process{alice: one, bob: two} {
			wg.Go(func() {
				if _, err := p.book.Vote(t.Context(), approval.Ballot{Approval: id, Who: who, Verdict: approval.Approve}); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		one.until(id, store.ApprovalApproved)
	}
	time.Sleep(1100 * time.Millisecond) // until no replica leaves them to the other
	defer one.run()()
	defer two.run()()
	for _, id := range ids {
		one.until(id, store.ApprovalUsed)
	}
	s.mined(n)
	seen := map[string]bool{}
	for _, sent := range s.chain.Mined(signerAddress(0)) {
		if seen[sent.Value().String()] {
			t.Errorf("%s wei were sent twice", sent.Value())
		}
		seen[sent.Value().String()] = true
	}
}
