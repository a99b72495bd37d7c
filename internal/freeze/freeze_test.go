// SPDX-License-Identifier: Apache-2.0

package freeze

import (
	"context"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"go.uber.org/goleak"

	"github.com/hsmsigner/hsmsigner/internal/audit"
	"github.com/hsmsigner/hsmsigner/internal/policy"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	operator = By{Principal: "operator"}
	here     = policy.Owner{Consortium: "c1", Membership: "m1", Wallet: "treasury", Service: "s1"}
	alice    = common.HexToAddress("0x00000000000000000000000000000000000000Aa")
	bob      = common.HexToAddress("0x00000000000000000000000000000000000000Bb")
)

func open(t *testing.T) *store.DB {
	t.Helper()
	db, err := store.OpenSQLite(t.Context(), store.Config{Dir: filepath.Join(t.TempDir(), "data")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func loaded(t *testing.T, cfg Config) *Switch {
	t.Helper()
	s := New(cfg)
	must(t, s.Load(t.Context()))
	return s
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func TestScopesReachAsFarAsTheySay(t *testing.T) {
	s := loaded(t, Config{Store: open(t)})
	elsewhere := policy.Owner{Membership: "m2", Wallet: "other"}
	sibling := policy.Owner{Membership: "m1", Wallet: "sibling"}
	for _, c := range []struct {
		scope  Scope
		frozen []bool // here alice, here bob, sibling alice, elsewhere alice
	}{
		{Scope{Kind: Everything}, []bool{true, true, true, true}},
		{Scope{Kind: Membership, Owner: here}, []bool{true, true, true, false}},
		{Scope{Kind: Wallet, Owner: here}, []bool{true, true, false, false}},
		{Scope{Kind: Account, Owner: here, Account: alice}, []bool{true, false, true, false}},
		{Scope{Kind: Account, Owner: policy.Owner{Wallet: "treasury"}, Account: alice}, []bool{true, false, false, false}},
	} {
		must(t, s.Freeze(t.Context(), operator, c.scope, "lost laptop"))
		var got []bool
		for _, of := range []struct {
			owner   policy.Owner
			address common.Address
		}{{here, alice}, {here, bob}, {sibling, alice}, {elsewhere, alice}} {
			why, frozen := s.Frozen(of.owner, of.address)
			got = append(got, frozen)
			if frozen != strings.Contains(why, "lost laptop") {
				t.Errorf("%s: why is %q", c.scope, why)
			}
		}
		if !slices.Equal(got, c.frozen) {
			t.Errorf("%s: %v, want %v", c.scope, got, c.frozen)
		}
		must(t, s.Release(t.Context(), operator, c.scope, ""))
		if err := s.Check(here, alice); err != nil || !s.Idle() {
			t.Errorf("%s: after the release: %v", c.scope, err)
		}
	}
}

func TestScopeReadsWhatItWrites(t *testing.T) {
	for _, s := range []Scope{
		{Kind: Everything},
		{Kind: Membership, Owner: policy.Owner{Membership: "m1"}},
		{Kind: Wallet, Owner: policy.Owner{Wallet: "a:b"}},
		{Kind: Account, Owner: policy.Owner{Wallet: "a:b"}, Account: alice},
	} {
		got, err := ParseScope(s.String())
		if err != nil || got != s {
			t.Errorf("%s: %+v, %v", s, got, err)
		}
	}
	for _, bad := range []string{"", "all", "everything:x", "membership", "wallet:", "account:w", "account:w:0x12", "account::" + alice.Hex()} {
		if s, err := ParseScope(bad); err == nil {
			t.Errorf("%q: %+v", bad, s)
		}
	}
}

func TestFreezeNeedsAReasonAndReleaseSomethingFrozen(t *testing.T) {
	s := loaded(t, Config{Store: open(t)})
	if err := s.Freeze(t.Context(), operator, Scope{Kind: Everything}, ""); err == nil {
		t.Error("frozen without a reason")
	}
	if err := s.Freeze(t.Context(), operator, Scope{Kind: Wallet}, "x"); err == nil {
		t.Error("frozen without a name")
	}
	if err := s.Release(t.Context(), operator, Scope{Kind: Everything}, ""); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("release: %v", err)
	}
}

func TestNobodyBelowReleasesWhatSomebodyAboveHasFrozen(t *testing.T) {
	s := loaded(t, Config{Store: open(t)})
	scope := Scope{Kind: Wallet, Owner: here}
	member := By{Principal: "person:1", Over: []string{"membership:m1"}}
	must(t, s.Freeze(t.Context(), operator, scope, "by the operator"))
	if err := s.Release(t.Context(), member, scope, ""); !errors.Is(err, ErrAbove) {
		t.Errorf("release: %v", err)
	}
	if err := s.Freeze(t.Context(), member, scope, "mine"); !errors.Is(err, ErrAbove) {
		t.Errorf("freeze: %v", err)
	}
	must(t, s.Release(t.Context(), operator, scope, ""))
	must(t, s.Freeze(t.Context(), member, scope, "mine"))
	if list := s.List(); len(list) != 1 || list[0].Authority != "membership:m1" || list[0].Reason != "mine" {
		t.Errorf("%+v", list)
	}
	must(t, s.Release(t.Context(), operator, scope, "")) // the deployment is above all
}

func TestEverythingIsFrozenUntilItIsRead(t *testing.T) {
	s := New(Config{Store: open(t)})
	if _, frozen := s.Frozen(here, alice); !frozen || s.Idle() || s.Known() {
		t.Error("not frozen before it was read")
	}
	var none *Switch
	if _, frozen := none.Frozen(here, alice); frozen || !none.Idle() || none.Check(here, alice) != nil {
		t.Error("no switch has frozen something")
	}
}

// run has a switch kept up to date until the test ends.
func run(t *testing.T, s *Switch) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); s.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
}

func within(t *testing.T, d time.Duration, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(d); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("not within %s: %s", d, what)
}

func TestOtherReplicasFollowWithinTwoSeconds(t *testing.T) {
	db := open(t)
	mine, theirs := loaded(t, Config{Store: db, Shared: true}), New(Config{Store: db, Shared: true})
	var told atomic.Int64
	theirs.OnChange(func() { told.Add(1) })
	run(t, mine)
	run(t, theirs)
	within(t, 10*time.Second, "it is known what is frozen", theirs.Known)
	var frozen, released time.Duration
	for range 5 { // a machine that stands still keeps no time: it has some tries
		before, begun := told.Load(), time.Now()
		must(t, mine.Freeze(t.Context(), operator, Scope{Kind: Everything}, "test"))
		if mine.Check(here, alice) == nil {
			t.Error("not in force where it was made")
		}
		within(t, 20*time.Second, "frozen", func() bool { return theirs.Check(here, alice) != nil })
		frozen = time.Since(begun)
		within(t, 20*time.Second, "told", func() bool { return told.Load() > before })
		begun = time.Now()
		must(t, mine.Release(t.Context(), operator, Scope{Kind: Everything}, ""))
		within(t, 20*time.Second, "released", func() bool { return theirs.Check(here, alice) == nil })
		if released = time.Since(begun); max(frozen, released) <= 2*time.Second {
			return
		}
	}
	t.Errorf("frozen after %s, released after %s", frozen, released)
}

func TestWhatCannotBeReadIsFrozenUntilItIsReadAgain(t *testing.T) {
	db := open(t)
	// So long it is known after each reading, also while the machine stands still.
	s := loaded(t, Config{Store: db, Shared: true, Stale: 4 * time.Second})
	if err := s.Check(here, alice); err != nil {
		t.Fatal(err)
	}
	var told atomic.Int64
	s.OnChange(func() { told.Add(1) })
	within(t, 30*time.Second, "frozen", func() bool { return s.Check(here, alice) != nil && told.Load() > 0 })
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if s.Load(cancelled) == nil {
		t.Fatal("it was read")
	}
	before := told.Load()
	must(t, s.Load(t.Context()))
	if told.Load() == before {
		t.Error("nobody was told that it is known again")
	}
	if err := s.Check(here, alice); err != nil {
		t.Error(err)
	}
}

// Whoever has something on its way to a node hears at once that it is not known any
// more what is frozen, and not when the next reading has failed.
func TestListenersHearThatItIsNotKnownWhileTheStoreHangs(t *testing.T) {
	s := New(Config{Store: open(t), Shared: true, Stale: 2 * time.Second})
	told := make(chan bool, 4)
	s.OnChange(func() { told <- s.Known() })
	must(t, s.Load(t.Context()))
	<-told // that it is known
	select {
	case known := <-told: // nobody reads meanwhile
		if known || s.Check(here, alice) == nil {
			t.Error("it is said to be known")
		}
	case <-time.After(30 * time.Second):
		t.Fatal("nobody was told")
	}
}

func TestScopeOfALaterVersionFreezesEverything(t *testing.T) {
	db := open(t)
	must(t, db.Write(t.Context(), func(w *store.Writer) error {
		return w.PutFrozen(store.Frozen{Scope: "region:eu", Reason: "x", Principal: "y", At: time.Now()}, nil)
	}))
	if s := loaded(t, Config{Store: db}); s.Check(here, alice) == nil {
		t.Error("not frozen")
	}
}

func TestChangesAreOnTheAuditTrailOrNotMade(t *testing.T) {
	db := open(t)
	s := loaded(t, Config{Store: db})
	must(t, s.Freeze(t.Context(), operator, Scope{Kind: Wallet, Owner: here}, "lost \"laptop\""))
	must(t, s.Release(t.Context(), operator, Scope{Kind: Wallet, Owner: here}, "found"))
	var kinds []string
	for _, e := range events(t, db) {
		kinds = append(kinds, e.Kind)
		if e.Principal != "operator" || e.Wallet != "treasury" || e.Consortium != "c1" || e.Subject != "wallet:treasury" || !strings.Contains(e.Detail, `"reason":`) {
			t.Errorf("%+v", e)
		}
	}
	if !slices.Equal(kinds, []string{"freeze", "release"}) {
		t.Errorf("on record: %v", kinds)
	}
}

func events(t *testing.T, db *store.DB) []audit.Event {
	t.Helper()
	all, _, err := db.AuditRecords(t.Context(), store.AuditFilter{Events: true})
	must(t, err)
	var list []audit.Event
	for _, r := range all {
		list = append(list, *r.Event)
	}
	slices.SortFunc(list, func(a, b audit.Event) int { return strings.Compare(a.ID, b.ID) })
	return list
}

func BenchmarkFrozen(b *testing.B) {
	s := New(Config{Shared: true})
	s.take(1, time.Now().Add(time.Hour), nil)
	for b.Loop() {
		_, _ = s.Frozen(here, alice)
	}
}
