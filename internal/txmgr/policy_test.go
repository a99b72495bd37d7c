// SPDX-License-Identifier: Apache-2.0

package txmgr

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/node/nodetest"
	"github.com/hsmsigner/hsmsigner/internal/policy"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

// rules is a policy that remembers what it was asked and told. Each verdict has a
// clearance of its own.
type rules struct {
	mu       sync.Mutex
	refuse   func(policy.Request) error // nil: everything is allowed
	requests []policy.Request
	settled  map[string][]policy.Use // by id
	cleared  map[string]string       // clearance by id
}

func newRules() *rules {
	return &rules{settled: map[string][]policy.Use{}, cleared: map[string]string{}}
}

func (p *rules) Judge(_ context.Context, r policy.Request) (policy.Verdict, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.requests = append(p.requests, r)
	if p.refuse != nil {
		if err := p.refuse(r); err != nil {
			return policy.Verdict{}, err
		}
	}
	v := policy.Verdict{Allow: true, Rule: "all", Clearance: r.Clearance}
	if !r.Signing && !r.Presigned {
		v.Clearance = fmt.Sprintf("clearance %d", len(p.requests))
		p.cleared[r.ID] = v.Clearance
	}
	return v, nil
}

func (p *rules) Settle(id, clearance string, use policy.Use) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cleared[id] != clearance {
		panic(fmt.Sprintf("%s settled with clearance %q, it has %q", id, clearance, p.cleared[id]))
	}
	p.settled[id] = append(p.settled[id], use)
}

func (p *rules) set(refuse func(policy.Request) error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.refuse = refuse
}

// asked are the requests so far about a value, in their order.
func (p *rules) asked(wei int64) []policy.Request {
	p.mu.Lock()
	defer p.mu.Unlock()
	var list []policy.Request
	for _, r := range p.requests {
		if r.Transaction != nil && r.Transaction.Value().Int64() == wei {
			list = append(list, r)
		}
	}
	return list
}

// became is what was told of the last request about a value, each thing once.
func (p *rules) became(wei int64) []policy.Use {
	asked := p.asked(wei)
	if len(asked) == 0 {
		return nil
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	list := slices.Clone(p.settled[asked[len(asked)-1].ID])
	slices.Sort(list)
	return slices.Compact(list)
}

func ruled(t *testing.T, opts nodetest.Options, set Settings) (*rig, *rules) {
	t.Helper()
	opts.DefaultBalance = nodetest.Ether(1000)
	p := newRules()
	r := &rig{t: t, dir: t.TempDir(), chain: nodetest.New(t, opts), hsm: newHSM(3), set: set, policy: p}
	r.start()
	t.Cleanup(r.stop)
	return r, p
}

func deny(rule string) error {
	return &policy.DeniedError{Verdict: policy.Verdict{Rule: rule, Reason: "not this"}}
}

// The policy is asked at acceptance and again before the signature, about the same
// id, with what it gave the first time: over a restart in between, too.
func TestClearanceComesBackAtSigning(t *testing.T) {
	set := fast()
	set.Window = 1
	r, p := ruled(t, nodetest.Options{}, set)
	_, err := r.w.Send(context.Background(), caller, SendRequest{Args: transfer(0, 1), IdempotencyKey: "k", Approval: "approval-1"})
	r.must(err)
	first := p.asked(1)
	if len(first) != 2 {
		t.Fatalf("judged %d times", len(first))
	}
	if a := first[0]; a.Signing || a.Approval != "approval-1" || a.Asked.IdempotencyKey != "k" || a.FeeCeiling == nil || a.Owner.Wallet != "main" {
		t.Errorf("at acceptance: %+v", a)
	}
	if b := first[1]; !b.Signing || b.ID != first[0].ID || b.Clearance != "clearance 1" || b.Approval != "" {
		t.Errorf("at signing: %+v", b)
	}
	if row := r.row(first[0].ID); row.Clearance != "clearance 1" {
		t.Errorf("the row has %q", row.Clearance)
	}
	r.begin(transfer(0, 2), "")
	r.waitFor("queued", func() bool { return r.count(store.Queued) == 1 })
	r.restart()
	r.waitFor("mined", func() bool { r.mineSlowly(1); return len(r.chain.Mined(addr(0))) == 2 })
	second := p.asked(2)
	if len(second) != 2 || second[1].ID != second[0].ID || second[1].Clearance == "" || second[1].Clearance != p.cleared[second[0].ID] {
		t.Errorf("after the restart: %+v", second)
	}
}

// A policy that changes between acceptance and signing decides at signing: the
// transaction fails, nobody is asked to sign it, and its nonce is used otherwise.
func TestPolicyThatChangesBeforeTheSignature(t *testing.T) {
	for _, late := range []error{deny("new rule"), &policy.PendingError{Rule: "now ask", Need: 1}, errors.New("the rules cannot be read")} {
		r, p := ruled(t, nodetest.Options{}, fast())
		_, err := r.send(transfer(0, 1))
		r.must(err)
		calls := r.hsm.count()
		p.set(func(req policy.Request) error {
			if req.Signing {
				return late
			}
			return nil
		})
		_, err = r.send(transfer(0, 2))
		var denied *policy.DeniedError
		if !errors.As(err, &denied) {
			t.Fatalf("got %v, want a denial", err)
		}
		if r.hsm.count() != calls {
			t.Error("the backend was asked")
		}
		r.waitFor("it is given back", func() bool { return slices.Equal(p.became(2), []policy.Use{policy.Stored, policy.Unused}) })
		p.set(nil)
		_, err = r.send(transfer(0, 3))
		r.must(err)
		r.chain.Mine()
		r.checkChain(0, 2, nil)
	}
}

// What people have to approve first is stored nowhere but in the audit trail, and
// its caller gets the policy's own word.
func TestPendingApprovalPassesThrough(t *testing.T) {
	r, p := ruled(t, nodetest.Options{}, fast())
	p.set(func(policy.Request) error { return &policy.PendingError{ID: "a1", Rule: "large", Need: 2} })
	_, err := r.send(transfer(0, 1))
	var pending *policy.PendingError
	if !errors.As(err, &pending) || pending.ID != "a1" {
		t.Fatalf("got %v", err)
	}
	_, _, err = r.w.SendRaw(context.Background(), caller, r.rawTx(0, 0, 3))
	if !errors.As(err, &pending) {
		t.Fatalf("raw: got %v", err)
	}
	rows, err := r.db.List(context.Background(), store.TxFilter{})
	r.must(err)
	if len(rows) != 0 || len(r.chain.Received()) != 0 {
		t.Errorf("%d rows", len(rows))
	}
	if reqs := p.asked(3); len(reqs) != 1 || !reqs[0].Presigned {
		t.Errorf("raw: %+v", reqs)
	}
}

// The policy is told rightly what became of what it allowed, however a transaction
// ends.
func TestPolicyIsToldWhatBecameOfIt(t *testing.T) {
	stored, unused := []policy.Use{policy.Stored}, []policy.Use{policy.Unused}
	back := []policy.Use{policy.Stored, policy.Unused}
	for _, c := range []struct {
		name string
		run  func(r *rig, p *rules) // of value 7
		want []policy.Use
	}{
		{"mined", func(r *rig, _ *rules) {
			_, err := r.send(transfer(0, 7))
			r.must(err)
			r.mineSlowly(4)
		}, stored},
		{"not covered by the balance", func(r *rig, _ *rules) {
			r.chain.SetBalance(addr(0), common.Big1)
			_, err := r.send(transfer(0, 7))
			wantRefused(r.t, err, "insufficient funds")
		}, unused},
		{"nonce too low", func(r *rig, _ *rules) {
			_, err := r.send(transfer(0, 1))
			r.must(err)
			r.mineSlowly(2)
			_, err = r.send(at(transfer(0, 7), 0))
			wantRefused(r.t, err, "nonce too low")
		}, unused},
		{"the backend refuses", func(r *rig, _ *rules) {
			_, err := r.send(transfer(0, 1))
			r.must(err)
			r.hsm.set(func(h *hsm) { h.fail = func(int, [32]byte) error { return key.ErrDenied } })
			if _, err = r.send(transfer(0, 7)); err == nil {
				r.t.Error("no error")
			}
		}, stored},
		{"cancelled before it had a nonce", func(r *rig, _ *rules) {
			_, err := r.send(transfer(0, 1))
			r.must(err)
			held := r.begin(at(transfer(0, 7), 5), "")
			r.waitFor("held", func() bool { return r.count(store.Held) == 1 })
			rows, err := r.db.List(context.Background(), store.TxFilter{States: []store.TxState{store.Held}})
			r.must(err)
			r.must(r.cancel(rows[0].ID))
			_, err = r.result(held)
			wantRefused(r.t, err, "cancelled by an operator")
		}, back},
		{"cancelled on the chain", func(r *rig, _ *rules) {
			hash, err := r.send(transfer(0, 7))
			r.must(err)
			id := r.txID(hash)
			r.must(r.cancel(id))
			r.waitFor("the cancel is in the pool", func() bool {
				pool := r.chain.Pool(addr(0))
				return len(pool) == 1 && pool[0].Value().Sign() == 0
			})
			r.waitFor("failed", func() bool { r.mineSlowly(1); return r.row(id).State == store.Failed })
		}, back},
		{"replaced", func(r *rig, _ *rules) {
			first, err := r.send(at(transfer(0, 7), 0))
			r.must(err)
			_, err = r.send(dearer(at(transfer(0, 8), 0), 20))
			r.must(err)
			r.waitFor("replaced", func() bool { r.mineSlowly(1); return r.state(first) == store.Replaced })
		}, back},
		{"displaced", func(r *rig, _ *rules) {
			hash, err := r.send(transfer(0, 7))
			r.must(err)
			r.external(0, 0)
			r.waitFor("displaced", func() bool { r.mineSlowly(1); return r.state(hash) == store.Displaced })
		}, back},
		{"raw", func(r *rig, _ *rules) {
			_, _, err := r.w.SendRaw(context.Background(), caller, r.rawTx(0, 0, 7))
			r.must(err)
			r.mineSlowly(4)
		}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			r, p := ruled(t, nodetest.Options{}, fast())
			c.run(r, p)
			end := time.Now().Add(30 * time.Second)
			for !slices.Equal(p.became(7), c.want) && time.Now().Before(end) {
				time.Sleep(5 * time.Millisecond)
			}
			time.Sleep(50 * time.Millisecond)
			if got := p.became(7); !slices.Equal(got, c.want) {
				t.Errorf("told %v, want %v", got, c.want)
			}
		})
	}
}

// Higher fees are judged as what they are, and take nothing off a limit again.
func TestHigherFeesAreJudged(t *testing.T) {
	p := newRules()
	r := &rig{t: t, dir: t.TempDir(), chain: nodetest.New(t, nodetest.Options{DefaultBalance: nodetest.Ether(1000)}), hsm: newHSM(3), set: caring(), policy: p}
	r.start()
	t.Cleanup(r.stop)
	hash, err := r.send(feesOpen(0, 7))
	r.must(err)
	r.chain.SetBaseFee(new(big.Int).Lsh(r.fees(r.txID(hash)), 1))
	r.waitFor("judged again", func() bool { r.mineSlowly(1); return len(p.asked(7)) >= 3 })
	reqs := p.asked(7)
	last := reqs[len(reqs)-1]
	if !last.Signing || last.ID != reqs[0].ID || last.Clearance == "" || last.FeeCeiling != nil ||
		last.Transaction.GasFeeCap().Cmp(reqs[0].Transaction.GasFeeCap()) <= 0 {
		t.Errorf("%+v", last)
	}
}

// A clearance goes along with a request that another replica has judged.
func TestClearanceGoesToTheHolder(t *testing.T) {
	for _, peers := range []bool{true, false} {
		p := newRules()
		f := newFleetOf(t, p, 2, peers, nodetest.Options{Interval: 20 * time.Millisecond}, fast())
		_, guest := f.guestOf()
		_, err := f.sendBy(guest, transfer(0, 7), "")
		f.must(err)
		reqs := p.asked(7)
		if len(reqs) != 2 || reqs[1].ID != reqs[0].ID || reqs[1].Clearance == "" || reqs[1].Clearance != p.cleared[reqs[0].ID] {
			t.Fatalf("%+v", reqs)
		}
		f.waitFor("told", func() bool { return slices.Equal(p.became(7), []policy.Use{policy.Stored}) })
	}
}
