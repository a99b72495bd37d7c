// SPDX-License-Identifier: Apache-2.0

package fleet_test

import (
	"context"
	"errors"
	"sync"
	"testing"

	"github.com/hsmsigner/hsmsigner/internal/freeze"
	"github.com/hsmsigner/hsmsigner/internal/policy"
)

// ruler is a policy that remembers where the wallets stand that it was asked for.
type ruler struct {
	mu     sync.Mutex
	owners map[policy.Owner]int
}

func (p *ruler) Judge(_ context.Context, r policy.Request) (policy.Verdict, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.owners[r.Owner]++
	return policy.Verdict{Allow: r.Owner.Wallet != "s2", Rule: "not s2"}, nil
}

func (*ruler) Settle(string, string, policy.Use) {}

// Every wallet has the policy and the stop switch, and both know where it stands.
func TestWalletsAreJudgedAndFrozenWhereTheyStand(t *testing.T) {
	p := &ruler{owners: map[policy.Owner]int{}}
	r := newRigWith(t, p)
	v := r.vault("a", 1, 0)
	first, second, third := r.spec("s1", "a"), r.spec("s2", "a"), r.spec("s3", "a")
	first.Consortium = "c1"
	third.Membership = "m2"
	third.Backend.ID = "conf-other"
	r.serve(first, second)
	if _, err := r.send("s1", v.address(0), 1); err != nil {
		t.Fatal(err)
	}
	var denied *policy.DeniedError
	if _, err := r.send("s2", v.address(0), 1); !errors.As(err, &denied) {
		t.Errorf("s2: %v", err)
	}
	if n := p.owners[policy.Owner{Consortium: "c1", Environment: "e1", Membership: "m1", Wallet: "s1", Service: "s1"}]; n != 2 {
		t.Errorf("judged: %v", p.owners)
	}
	other := r.vault("b", 1, 1)
	third.Wallet.Details.Azure.TargetAddress = "b"
	r.serve(third)
	by := freeze.By{Principal: "operator"}
	scope := freeze.Scope{Kind: freeze.Membership, Owner: policy.Owner{Membership: "m1"}}
	r.must(r.freeze.Freeze(t.Context(), by, scope, "test"))
	var frozen *freeze.FrozenError
	if _, err := r.send("s1", v.address(0), 2); !errors.As(err, &frozen) {
		t.Errorf("s1: %v", err)
	}
	if _, err := r.send("s3", other.address(0), 1); err != nil {
		t.Errorf("s3, of another membership: %v", err)
	}
	r.must(r.freeze.Release(t.Context(), by, scope, ""))
	if _, err := r.send("s1", v.address(0), 3); err != nil {
		t.Errorf("after the release: %v", err)
	}
}
