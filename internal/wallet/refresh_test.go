// SPDX-License-Identifier: Apache-2.0

package wallet

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/key"
)

func TestDiscoveryReadsEveryPageAndSorts(t *testing.T) {
	v := newVault(t, 25)
	v.page = 10
	v.problem = key.Problem{Name: "broken", Reason: "not a key"}
	w := openWallet(t, v, newDisk(t), nil)
	accounts := w.Accounts()
	if len(accounts) != 25 {
		t.Fatalf("%d accounts, want 25", len(accounts))
	}
	for i := 1; i < len(accounts); i++ {
		if bytes.Compare(accounts[i-1].Address[:], accounts[i].Address[:]) >= 0 {
			t.Fatal("the accounts are not sorted by address")
		}
	}
	if p := w.Problems(); len(p) != 1 || p[0] != v.problem {
		t.Errorf("problems %v", p)
	}
}

func TestStartDoesNotWaitForDiscovery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVault(t, 1)
		v.list = func(ctx context.Context) { <-ctx.Done() }
		started := time.Now()
		w := openUnrefreshed(t, v, newDisk(t), nil)
		if time.Since(started) != 0 || w.Ready() || len(w.Accounts()) != 0 {
			t.Error("Open waited, or made something up")
		}
	})
}

func TestSnapshotSurvivesOutageAndRestart(t *testing.T) {
	v, d := newVault(t, 3), newDisk(t)
	addr := v.address("key-1")
	first := openWallet(t, v, d, nil)
	down := fmt.Errorf("dial: %w", key.ErrUnavailable)
	v.setOutage(down)
	if _, err := first.Refresh(t.Context()); !errors.Is(err, key.ErrUnavailable) {
		t.Fatalf("refresh gives %v", err)
	}
	if len(first.Accounts()) != 3 || first.Usable(addr) != nil {
		t.Error("the outage took the accounts away")
	}
	wantKind(t, first.Health(t.Context()), KindUnavailable)

	second := openUnrefreshed(t, v, d, nil)
	if !second.Ready() || len(second.Accounts()) != 3 {
		t.Fatal("the restart lost the accounts")
	}
	before, _ := first.Account(addr)
	after, _ := second.Account(addr)
	if fmt.Sprint(before) != fmt.Sprint(after) {
		t.Errorf("account %v came back as %v", before, after)
	}
	if _, err := second.SignMessage(t.Context(), alice, addr, nil); err != nil {
		t.Errorf("signing from the snapshot: %v", err)
	}
}

func TestVanishedKeyIsMissingAndRefusedUntilItReturns(t *testing.T) {
	v, d, log := newVault(t, 2), newDisk(t), &logbook{}
	addr := v.address("key-0")
	private := v.keys["ref:key-0"]
	w := openWallet(t, v, d, func(c *Config) { c.Logger = log.logger() })
	v.remove("key-0")
	for range 2 {
		report, err := w.Refresh(t.Context())
		if err != nil || report.Found != 1 || report.Missing != 1 || report.Added != 0 {
			t.Fatalf("report %+v, %v", report, err)
		}
	}
	if n := strings.Count(log.String(), "gone from the backend"); n != 1 {
		t.Errorf("its loss was logged %d times", n)
	}
	_, err := w.SignMessage(t.Context(), alice, addr, nil)
	var unusable *UnusableError
	if !errors.As(err, &unusable) || !strings.Contains(unusable.Reason, "not found") {
		t.Errorf("got %v", err)
	}
	if restarted := openUnrefreshed(t, v, d, nil); restarted.Usable(addr) == nil {
		t.Error("the restart forgot that the key is missing")
	}
	v.put("key-0", private)
	report, err := w.Refresh(t.Context())
	if err != nil || report.Found != 2 || report.Missing != 0 || report.Added != 0 || w.Usable(addr) != nil {
		t.Errorf("after its return: report %+v, %v, usable %v", report, err, w.Usable(addr))
	}
}

// A provider may hide the public key of a key that is switched off: then all that
// is known is that the key of an account is there, and why it cannot be used.
func TestKeyThatIsThereAndCannotBeUsedIsDisabledNotMissing(t *testing.T) {
	v, d := newVault(t, 2), newDisk(t)
	addr := v.address("key-0")
	v.problem = key.Problem{Name: "key-0", Ref: "ref:key-0", Reason: "it is switched off"}
	w := openWallet(t, v, d, nil)
	v.remove("key-0")
	report, err := w.Refresh(t.Context())
	if err != nil || report.Missing != 0 {
		t.Fatalf("report %+v, %v", report, err)
	}
	a, ok := w.Account(addr)
	if !ok || a.State != key.Disabled || a.Reason != "it is switched off" {
		t.Errorf("account %+v", a)
	}
	if w.Usable(addr) == nil {
		t.Error("it can be used")
	}
}

func TestConcurrentRefreshesShareOneRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVault(t, 1)
		v.list = func(ctx context.Context) { sleep(ctx, time.Second) }
		w := openWallet(t, v, newDisk(t), nil)
		before := v.listings.Load()
		var callers sync.WaitGroup
		for range 100 {
			callers.Go(func() {
				if report, err := w.Refresh(t.Context()); err != nil || report.Found != 1 {
					t.Errorf("report %+v, %v", report, err)
				}
			})
		}
		callers.Wait()
		// One may have begun before the last of them came.
		if n := v.listings.Load() - before; n > 2 {
			t.Errorf("%d listings for 100 callers", n)
		}
	})
}

func TestRefreshSeesAKeyMadeWhileAnotherRefreshRuns(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := &slowVault{vault: newVault(t, 1)}
		w := openWallet(t, v, newDisk(t), nil)
		v.delay.Store(int64(time.Second))
		var first sync.WaitGroup
		first.Go(func() { w.Refresh(t.Context()) })
		time.Sleep(time.Millisecond) // the first has its list, and has not returned
		addr := v.add(t, "new")
		if _, err := w.Refresh(t.Context()); err != nil || w.Usable(addr) != nil {
			t.Errorf("refresh %v, new key %v", err, w.Usable(addr))
		}
		first.Wait()
	})
}

// slowVault is a vault whose answers are long on their way.
type slowVault struct {
	*vault
	delay atomic.Int64 // ns
}

func (v *slowVault) Keys(ctx context.Context, cursor string) (key.Page, error) {
	page, err := v.vault.Keys(ctx, cursor)
	sleep(ctx, time.Duration(v.delay.Load()))
	return page, err
}

func TestCallerWhoLeavesDoesNotStopTheDiscovery(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVault(t, 1)
		v.list = func(ctx context.Context) { sleep(ctx, time.Second) }
		w := openUnrefreshed(t, v, newDisk(t), nil)
		ctx, cancel := context.WithTimeout(t.Context(), time.Millisecond)
		defer cancel()
		if _, err := w.Refresh(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got %v", err)
		}
		time.Sleep(3 * time.Second)
		if !w.Ready() || len(w.Accounts()) != 1 {
			t.Error("the discovery was not finished")
		}
	})
}

func TestSecondKeyOfAnAddressIsAProblem(t *testing.T) {
	v := newVault(t, 1)
	v.put("copy", v.keys["ref:key-0"])
	w := openWallet(t, v, newDisk(t), nil)
	a, _ := w.Account(v.address("key-0"))
	problems := w.Problems()
	if a.Name != "key-0" || len(problems) != 1 || problems[0].Name != "copy" || !strings.Contains(problems[0].Reason, `"key-0"`) {
		t.Errorf("account %+v, problems %v", a, problems)
	}
}

func TestKeyWithoutAddressIsAProblem(t *testing.T) {
	v := newVault(t, 2)
	v.alter("key-1", func(k *key.Key) { k.Address = common.Address{} })
	w := openWallet(t, v, newDisk(t), nil)
	if len(w.Accounts()) != 1 || len(w.Problems()) != 1 {
		t.Errorf("accounts %v, problems %v", w.Accounts(), w.Problems())
	}
}

func TestNewReferenceOfAnAccountIsLogged(t *testing.T) {
	v, log := newVault(t, 1), &logbook{}
	private := v.keys["ref:key-0"]
	w := openWallet(t, v, newDisk(t), func(c *Config) { c.Logger = log.logger() })
	v.remove("key-0")
	addr := v.put("rotated", private)
	if _, err := w.Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	if a, _ := w.Account(addr); a.Ref != "ref:rotated" {
		t.Errorf("account %+v", a)
	}
	if s := log.String(); !strings.Contains(s, "before=ref:key-0") || !strings.Contains(s, "now=ref:rotated") {
		t.Errorf("log %s", s)
	}
}

func TestListThatNeverEndsIsABadResponse(t *testing.T) {
	v := newVault(t, 2)
	w := openUnrefreshed(t, &loopingVault{v}, newDisk(t), nil)
	_, err := w.Refresh(t.Context())
	wantKind(t, err, KindBadResponse)
	if n := v.listings.Load(); n > 10 {
		t.Errorf("%d pages were read", n)
	}
}

type loopingVault struct{ *vault }

func (v *loopingVault) Keys(ctx context.Context, _ string) (key.Page, error) {
	page, err := v.vault.Keys(ctx, "")
	page.Next = "again"
	return page, err
}

func TestFailedStoreKeepsTheDiscoveryInUse(t *testing.T) {
	v, d := newVault(t, 1), failingDisk(t, func(d *disk) { d.saveFault = errDisk })
	w := openUnrefreshed(t, v, d, nil)
	report, err := w.Refresh(t.Context())
	if !errors.Is(err, errDisk) || report.Found != 1 || w.Usable(v.address("key-0")) != nil {
		t.Errorf("report %+v, %v", report, err)
	}
}

func TestChangedBackendIsDiscoveredAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := noticingVault{newVault(t, 1)}
		v.changed = make(chan struct{}, 1)
		w := openWallet(t, v, newDisk(t), nil)
		addr := v.add(t, "new")
		v.changed <- struct{}{}
		time.Sleep(time.Second)
		if err := w.Usable(addr); err != nil {
			t.Error(err)
		}
		close(v.changed) // a backend that stops noticing must not spin us
		time.Sleep(time.Second)
		n := v.listings.Load()
		time.Sleep(time.Minute)
		if v.listings.Load() != n {
			t.Error("a closed channel is taken for changes")
		}
	})
}

func TestDiscoveryRepeatsAtTheIntervalAndSoonerAfterAFailure(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVault(t, 1)
		v.setOutage(key.ErrUnavailable)
		w := openUnrefreshed(t, v, newDisk(t), func(c *Config) { c.RefreshInterval = 10 * time.Minute })
		time.Sleep(20 * time.Second)
		if n := v.listings.Load(); n < 3 || n > 6 {
			t.Errorf("%d listings in the first 20 s of an outage", n)
		}
		v.setOutage(nil)
		time.Sleep(time.Minute)
		if !w.Ready() {
			t.Error("the end of the outage was not noticed")
		}
		n := v.listings.Load()
		time.Sleep(time.Hour)
		if again := v.listings.Load() - n; again < 5 || again > 7 {
			t.Errorf("%d listings in an hour, want one in 10 minutes", again)
		}
	})
}

func TestFiltersChooseByNameAddressAndTag(t *testing.T) {
	v := newVault(t, 4)
	v.alter("key-3", func(k *key.Key) { k.Tags = map[string]string{"env": "test/blue"} })
	for _, c := range []struct {
		include, exclude []string
		want             string
	}{
		{nil, nil, "key-0 key-1 key-2 key-3"},
		{[]string{"key-[1]"}, nil, ""},
		{[]string{"key-1", "*-2"}, nil, "key-1 key-2"},
		{[]string{"key-?"}, []string{"key-0", "env=*"}, "key-1 key-2"},
		{nil, []string{"*"}, ""},
		{[]string{strings.ToUpper(v.address("key-2").Hex())}, nil, "key-2"},
		{[]string{"env=test*"}, nil, "key-3"},
	} {
		w := openWallet(t, v, newDisk(t), func(cfg *Config) { cfg.Include, cfg.Exclude = c.include, c.exclude })
		names := map[string]bool{}
		for _, a := range w.Accounts() {
			names[a.Name] = true
		}
		for _, name := range []string{"key-0", "key-1", "key-2", "key-3"} {
			if names[name] != strings.Contains(c.want, name) {
				t.Errorf("include %q, exclude %q: %s is in: %t", c.include, c.exclude, name, names[name])
			}
		}
	}
}

func TestExcludingAKnownAccountTakesItAwayAtStart(t *testing.T) {
	v, d := newVault(t, 2), newDisk(t)
	openWallet(t, v, d, nil)
	v.setOutage(key.ErrUnavailable)
	w := openUnrefreshed(t, v, d, func(c *Config) { c.Exclude = []string{"key-0"} })
	if len(w.Accounts()) != 1 {
		t.Errorf("accounts %v", w.Accounts())
	}
}

func TestPatterns(t *testing.T) {
	for _, c := range []struct {
		pattern, s string
		want       bool
	}{
		{"", "", true},
		{"", "a", false},
		{"*", "", true},
		{"*", "a/b", true},
		{"a*c", "abbc", true},
		{"a*c", "abbd", false},
		{"?", "", false},
		{"a?c", "abc", true},
		{"*b*d", "abcbd", true},
		{"**", "x", true},
		{"a*", "ba", false},
		{strings.Repeat("a*", 30) + "b", strings.Repeat("a", 3000), false},
	} {
		if got := match(c.pattern, c.s); got != c.want {
			t.Errorf("match(%.20q, %.20q) = %t", c.pattern, c.s, got)
		}
	}
}

// Where processes share a store, one discovery serves all of them.
func TestAccountsThatAnotherProcessFoundAreTakenOver(t *testing.T) {
	d := newDisk(t)
	v := newVault(t, 1)
	w := openWallet(t, v, d, nil)
	other := newVault(t, 3)
	openWallet(t, other, d, nil) // it stores what it found
	if err := w.Reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	for i := range 3 {
		name := fmt.Sprintf("key-%d", i)
		if _, ok := w.Account(other.address(name)); !ok {
			t.Errorf("the account of %s is not known", name)
		}
	}
}
