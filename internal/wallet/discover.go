// SPDX-License-Identifier: Apache-2.0

package wallet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

const (
	// pagePatience is how long a page may take without a sign of life. A backend
	// that waits at its quota, or is let through it, gives one: some need a
	// call for each key of a page, and an hour for all where five a second are
	// allowed.
	pagePatience = 2 * time.Minute
	pageTries    = 5       // for a page behind the first; all before it would have to be read again
	maxPages     = 100_000 // a backend that never ends its list is broken
)

// take makes what was found the wallet's accounts, publishes and stores them.
// sparing leaves out to store that nothing has changed but the time, until that is
// an hour old: many wallets may share a backend.
func (w *Wallet) take(ctx context.Context, found *listing, sparing bool) (Report, error) {
	w.taking.Lock()
	defer w.taking.Unlock()
	if w.life.Err() != nil {
		return Report{}, ErrClosed
	}
	if !w.breaker.isOpen() { // a backend may list keys and sign nothing
		w.cfg.Observer.BackendUp(w.cfg.Name, true)
	}
	chosen, problems := w.choose(found)
	accounts, report := w.merge(chosen, problems)
	report.Problems = problems
	w.publish(newSnapshot(accounts))
	w.logNew(problems)
	w.problems.Store(&problems)
	w.ready.Store(true)
	w.listed.Store(true)
	if sparing && w.stored.says(accounts) && found.at.Sub(w.stored.at) < storeSeenAfter {
		return report, nil
	}
	rows := make([]store.Account, len(accounts))
	for i, a := range accounts {
		rows[i] = toRow(w.cfg.Name, a)
	}
	if err := w.cfg.Snapshots.SaveAccounts(ctx, w.cfg.Name, rows); err != nil {
		return report, fmt.Errorf("wallet %s: store accounts: %w", w.cfg.Name, err)
	}
	w.stored = stored{accounts, found.at}
	w.logDone(report)
	return report, nil
}

// missed is told that the keys could not be listed.
func (w *Wallet) missed(err error) error {
	w.cfg.Observer.BackendUp(w.cfg.Name, false)
	return fmt.Errorf("wallet %s: list keys: %w", w.cfg.Name, err)
}

// choose picks the keys that the wallet's filters let through.
func (w *Wallet) choose(l *listing) (map[common.Address]Account, []key.Problem) {
	chosen := make(map[common.Address]Account, len(l.keys))
	problems := l.problem()
	for _, k := range l.keys {
		if !w.cfg.selected(k.Name, k.Address, k.Tags) {
			continue
		}
		if problem, bad := admit(chosen, k, l.at); bad {
			problems = append(problems, problem)
		}
	}
	return chosen, problems
}

// storeSeenAfter is how old the stored time may be at which an account was last
// found, where that is all that has changed.
const storeSeenAfter = time.Hour

// stored is what the store holds of a wallet's accounts.
type stored struct {
	accounts []Account // by address
	at       time.Time // of the discovery
}

// loaded is what of n stored accounts the filters let through. If that is not all
// of them, they have to be stored again.
func loaded(accounts []Account, n int) stored {
	s := stored{accounts: accounts}
	if len(accounts) < n {
		return s
	}
	for _, a := range accounts {
		if a.Seen.After(s.at) {
			s.at = a.Seen
		}
	}
	return s
}

// says reports whether the accounts are those that are stored, Seen aside.
func (s stored) says(accounts []Account) bool {
	return slices.EqualFunc(s.accounts, accounts, func(a, b Account) bool {
		return a.Address == b.Address && a.Ref == b.Ref && a.Name == b.Name && a.Protection == b.Protection &&
			a.State == b.State && a.Reason == b.Reason && maps.Equal(a.Tags, b.Tags)
	})
}

// logDone says what a discovery came to, loudly if it took its time or changed
// anything.
func (w *Wallet) logDone(r Report) {
	p := w.Progress()
	level, took := slog.LevelDebug, time.Since(p.Started)
	if took >= progressInterval || r.Added > 0 {
		level = slog.LevelInfo
	}
	w.cfg.Logger.Log(context.Background(), level, "account discovery done", "found", r.Found, "added", r.Added,
		"missing", r.Missing, "problems", len(r.Problems), "pages", p.Pages, "took", took.Round(time.Millisecond))
}

// list reads every page. A failure anywhere spoils the whole: half a list
// would make the other half look vanished.
func (d *Discovery) list(ctx context.Context) (*listing, error) {
	found := &listing{at: time.Now().UTC().Truncate(time.Microsecond)} // as the store keeps it
	seen := make(map[string]bool)
	cursor := ""
	for range maxPages {
		page, err := d.page(ctx, cursor)
		if err != nil {
			return nil, backendError(err)
		}
		found.keys = append(found.keys, page.Keys...)
		found.problems = append(found.problems, page.Problems...)
		if page.Next == "" {
			return found, nil
		}
		if seen[page.Next] {
			return nil, backendError(fmt.Errorf("the cursor of page %d came twice: %w", len(seen)+1, key.ErrBadResponse))
		}
		seen[page.Next] = true
		cursor = page.Next
	}
	return nil, backendError(fmt.Errorf("more than %d pages: %w", maxPages, key.ErrBadResponse))
}

// page reads one page, again if it fails for a reason that may pass by itself.
func (d *Discovery) page(ctx context.Context, cursor string) (key.Page, error) {
	for try := 1; ; try++ {
		page, err := d.readPage(ctx, cursor)
		if err == nil {
			d.going.read(page)
			return page, nil
		}
		if cursor == "" || try == pageTries || !key.Transient(err) {
			return page, err
		}
		pause := firstRetry << (try - 1)
		var throttled *key.ThrottledError
		if errors.As(err, &throttled) {
			pause = max(pause, min(throttled.RetryAfter, pagePatience))
		}
		d.cfg.Logger.Warn("a page of the account discovery failed, trying again", "err", err, "in", pause)
		if sleep(ctx, pause) != nil {
			return page, err
		}
	}
}

func (d *Discovery) readPage(ctx context.Context, cursor string) (key.Page, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	ctx, watch := key.NewWatch(ctx)
	d.going.reading(watch)
	done := make(chan struct{})
	defer close(done)
	go func() {
		for wait := pagePatience; wait > 0; wait = pagePatience - watch.Idle() {
			select {
			case <-time.After(wait):
			case <-done:
				return
			}
		}
		cancel(errHung)
	}()
	page, err := guarded(ctx, func(ctx context.Context) (key.Page, error) {
		return d.cfg.Backend.Keys(ctx, cursor)
	})
	if err != nil && errors.Is(context.Cause(ctx), errHung) {
		return page, errHung
	}
	return page, err
}

// errHung ends the reading of a page. It is a timeout to everybody else.
var errHung = fmt.Errorf("no sign of life while a page of keys was read: %w", context.DeadlineExceeded)

// admit adds a key to the accounts found so far, or says why it cannot.
func admit(found map[common.Address]Account, k key.Key, now time.Time) (key.Problem, bool) {
	if k.Ref == "" || k.Address == (common.Address{}) {
		return key.Problem{Name: k.Name, Reason: "the backend listed it without a reference or an address"}, true
	}
	if first, taken := found[k.Address]; taken {
		return key.Problem{Name: k.Name, Reason: fmt.Sprintf(
			"has the address %s, as %q has, which is used; remove or exclude one of them", k.Address.Hex(), first.Name)}, true
	}
	found[k.Address] = Account{
		Address: k.Address, Ref: k.Ref, Name: k.Name, Protection: k.Protection,
		State: k.State, Reason: k.Reason, Tags: maps.Clone(k.Tags), Seen: now,
	}
	return key.Problem{}, false
}

// merge adds the known accounts whose keys were not found, as missing: rows
// of transactions may point to them, and a person should see what is gone. One
// whose key is there and cannot be used, of which the provider shows no more than
// that, is disabled.
func (w *Wallet) merge(found map[common.Address]Account, problems []key.Problem) ([]Account, Report) {
	unusable := map[key.Ref]string{}
	for _, p := range problems {
		if p.Ref != "" {
			unusable[p.Ref] = p.Reason
		}
	}
	report := Report{Found: len(found)}
	known := w.snapshot.Load()
	accounts := make([]Account, 0, max(len(found), len(known.sorted)))
	for addr, a := range found {
		accounts = append(accounts, a)
		before, ok := known.account(addr)
		switch {
		case !ok:
			report.Added++
		case before.Ref != a.Ref:
			w.cfg.Logger.Warn("the key of an account has another reference now",
				"address", addr.Hex(), "before", string(before.Ref), "now", string(a.Ref))
		}
	}
	for _, a := range known.sorted {
		if _, ok := found[a.Address]; ok || !w.cfg.selected(a.Name, a.Address, a.Tags) {
			continue
		}
		if reason, there := unusable[a.Ref]; there {
			a.State, a.Reason = key.Disabled, reason
			accounts = append(accounts, a)
			continue
		}
		if a.State != Missing {
			w.cfg.Logger.Warn("the key of an account is gone from the backend",
				"address", a.Address.Hex(), "ref", string(a.Ref), "last_seen", a.Seen)
		}
		a.State, a.Reason = Missing, "not found in the backend"
		accounts = append(accounts, a)
		report.Missing++
	}
	return accounts, report
}

// logNew logs the problems that the last discovery did not have.
func (w *Wallet) logNew(problems []key.Problem) {
	old := w.Problems()
	for _, p := range problems {
		if !slices.Contains(old, p) {
			w.cfg.Logger.Warn("a key cannot be used", "key", p.Name, "reason", p.Reason)
		}
	}
}

// Problems returns the keys that the last discovery found and could not use.
func (w *Wallet) Problems() []key.Problem {
	if p := w.problems.Load(); p != nil {
		return slices.Clone(*p)
	}
	return nil
}
