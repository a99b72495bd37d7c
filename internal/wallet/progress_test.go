// SPDX-License-Identifier: Apache-2.0

package wallet

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

// library lists many keys that nobody signs with, one call of a quota for each.
type library struct {
	key.Backend
	keys, page int
	reads      *key.Quota
	hang       func(ctx context.Context, i int) error // before the call for key i
	listed     atomic.Int64                           // pages that were asked for
}

func (l *library) Keys(ctx context.Context, cursor string) (key.Page, error) {
	l.listed.Add(1)
	start := 0
	fmt.Sscan(cursor, &start)
	var page key.Page
	for i := start; i < min(start+l.page, l.keys); i++ {
		if err := l.reads.Wait(ctx); err != nil {
			return key.Page{}, err
		}
		if l.hang != nil {
			if err := l.hang(ctx, i); err != nil {
				return key.Page{}, err
			}
		}
		page.Keys = append(page.Keys, key.Key{
			Ref: key.Ref(fmt.Sprint("ref:", i)), Name: fmt.Sprint("key-", i), Address: addressOf(i), Protection: key.HSM, State: key.Enabled,
			Tags: map[string]string{"env": "production"},
		})
	}
	if start+l.page < l.keys {
		page.Next = fmt.Sprint(start + l.page)
	}
	return page, nil
}

func (l *library) Health(context.Context) error { return nil }
func (l *library) Close() error                 { return nil }

func addressOf(i int) common.Address { return common.BigToAddress(big.NewInt(int64(i) + 1)) }

func TestDiscoveryAsSlowAsItsQuotaGoesOnAndShowsHowFarItIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &logbook{}
		l := &library{keys: 3000, page: 1000, reads: key.NewQuota(5)} // ten minutes in all, more than three for a page
		w := openUnrefreshed(t, l, newDisk(t), func(c *Config) { c.Logger = log.logger() })
		time.Sleep(250 * time.Second)
		p := w.Progress()
		if !p.Running || p.Keys != 1000 || p.Pages != 1 || p.Calls < 1200 || p.Calls > 1260 || !p.Finished.IsZero() {
			t.Errorf("after 250 s: %+v", p)
		}
		if n := strings.Count(log.String(), "account discovery goes on"); n < 48 || n > 50 {
			t.Errorf("reported %d times in 250 s", n)
		}
		time.Sleep(360 * time.Second)
		p = w.Progress()
		if p.Running || p.Keys != 3000 || p.Pages != 3 || p.Err != nil || p.Took < 9*time.Minute || !w.Ready() || len(w.Accounts()) != 3000 {
			t.Errorf("at the end: %+v, %d accounts", p, len(w.Accounts()))
		}
		if l.listed.Load() != 3 || !strings.Contains(log.String(), `"account discovery done" found=3000 added=3000`) {
			t.Errorf("%d pages were asked for", l.listed.Load())
		}
	})
}

func TestPageThatHangsIsNoticed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for name, hang := range map[string]func(context.Context, int) error{
			"heeds its context":   func(ctx context.Context, i int) error { return hangAt(ctx, i, 30) },
			"ignores its context": func(_ context.Context, i int) error { return hangAt(context.Background(), i, 30) },
		} {
			l := &library{keys: 100, page: 50, reads: key.NewQuota(5), hang: hang}
			w := openUnrefreshed(t, l, newDisk(t), nil)
			started := time.Now()
			_, err := w.Refresh(t.Context())
			wantKind(t, err, KindTimeout)
			if took := time.Since(started); took < 2*time.Minute || took > 4*time.Minute+30*time.Second { // two runs, at worst
				t.Errorf("%s: noticed after %s", name, took)
			}
			if p := w.Progress(); p.Err == nil {
				t.Errorf("%s: progress %+v", name, p)
			}
			if err := w.Close(); err != nil {
				t.Error(err)
			}
		}
		time.Sleep(time.Hour) // for those that ignored it
	})
}

func hangAt(ctx context.Context, i, at int) error {
	if i != at {
		return nil
	}
	return sleep(ctx, 10*time.Minute)
}

func TestPageThatFailsForAMomentIsReadAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		failures := 0
		l := &library{keys: 300, page: 100, hang: func(_ context.Context, i int) error {
			if i == 150 && failures < 3 {
				failures++
				return &key.ThrottledError{RetryAfter: time.Second}
			}
			return nil
		}}
		w := openUnrefreshed(t, l, newDisk(t), nil)
		report, err := w.Refresh(t.Context())
		if err != nil || report.Found != 300 || l.listed.Load() > 2*(3+3) { // the run at the start, and this one
			t.Errorf("report %+v, %v, %d pages", report, err, l.listed.Load())
		}
		definite := &library{keys: 300, page: 100, hang: func(_ context.Context, i int) error {
			if i == 150 {
				return fmt.Errorf("list: %w", key.ErrDenied)
			}
			return nil
		}}
		w = openUnrefreshed(t, definite, newDisk(t), nil)
		if _, err := w.Refresh(t.Context()); !errors.Is(err, key.ErrDenied) || definite.listed.Load() > 4 {
			t.Errorf("got %v after %d pages", err, definite.listed.Load())
		}
	})
}

func TestDiscoveryUnderWayDoesNotHoldUpSignatures(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v := newVault(t, 1)
		var slow atomic.Bool
		v.list = func(ctx context.Context) {
			if slow.Load() {
				sleep(ctx, time.Minute)
			}
		}
		w := openWallet(t, v, newDisk(t), nil)
		slow.Store(true)
		go w.Refresh(t.Context())
		synctest.Wait()
		if !w.Progress().Running {
			t.Fatal("no discovery is under way")
		}
		started := time.Now()
		for range 100 {
			if err := accepted(t, w, v, time.Second); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(started); took != 0 || !w.Progress().Running {
			t.Errorf("took %s", took)
		}
		time.Sleep(2 * time.Minute)
	})
}

func TestRestartWithTenThousandAccountsIsReadyAtOnce(t *testing.T) {
	d := newDisk(t)
	l := &library{keys: 10_000, page: 1000}
	first := openWallet(t, l, d, nil)
	if n := len(first.Accounts()); n != 10_000 {
		t.Fatalf("%d accounts", n)
	}
	unreachable := &library{hang: func(ctx context.Context, _ int) error { return sleep(ctx, time.Hour) }, keys: 1, page: 1}
	begun, used := time.Now(), processorTime(t)
	second := openUnrefreshed(t, unreachable, d, nil)
	took := processorTime(t) - used // others may keep the machine busy, and the limit is ours
	if !second.Ready() || len(second.Accounts()) != 10_000 || second.Usable(addressOf(7)) != nil {
		t.Error("not ready")
	}
	if took > 2*time.Second*slower {
		t.Errorf("ready after %s", took)
	}
	t.Logf("ready after %s, of which the processor %s", time.Since(begun), took)

	rows := make([]store.Account, 0, 10_000)
	for _, a := range second.Accounts() {
		rows = append(rows, toRow("treasury", a))
	}
	begun, used = time.Now(), processorTime(t)
	if err := d.SaveAccounts(t.Context(), "treasury", rows); err != nil {
		t.Fatal(err)
	}
	t.Logf("stored again in %s, of which the processor %s", time.Since(begun), processorTime(t)-used)
}

// processorTime is what this process has used of the processors so far.
func processorTime(t *testing.T) time.Duration {
	t.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		t.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
