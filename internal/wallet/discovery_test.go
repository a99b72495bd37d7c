// SPDX-License-Identifier: Apache-2.0

package wallet

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/key"
)

// share opens n wallets on one discovery of a vault, with what alter makes of
// their configurations.
func share(t *testing.T, v *vault, d *disk, n int, alter func(i int, c *Config)) (*Discovery, []*Wallet) {
	t.Helper()
	all := NewDiscovery(DiscoveryConfig{Backend: v, Interval: time.Minute})
	var wallets []*Wallet
	for i := range n {
		wallets = append(wallets, openUnrefreshed(t, v, d, func(c *Config) {
			c.Name, c.Discovery = fmt.Sprint("shared-", i), all
			if alter != nil {
				alter(i, c)
			}
		}))
	}
	t.Cleanup(func() {
		for _, w := range wallets {
			_ = w.Close()
		}
		_ = all.Close()
	})
	return all, wallets
}

func TestWalletsOnOneDiscoveryListOnce(t *testing.T) {
	v := newVault(t, 3)
	_, wallets := share(t, v, newDisk(t), 20, func(i int, c *Config) {
		if i == 7 {
			c.Include = []string{"key-1"}
		}
	})
	for _, w := range wallets {
		for end := time.Now().Add(time.Minute); !w.Ready(); {
			if time.Now().After(end) {
				t.Fatal("not ready")
			}
			time.Sleep(time.Millisecond)
		}
	}
	if n := v.listings.Load(); n != 1 {
		t.Errorf("%d listings", n)
	}
	if a, b := len(wallets[0].Accounts()), len(wallets[7].Accounts()); a != 3 || b != 1 {
		t.Errorf("%d accounts, and %d with a filter", a, b)
	}
	v.add(t, "key-3")
	report, err := wallets[3].Refresh(t.Context())
	if err != nil || report.Found != 4 || report.Added != 1 {
		t.Errorf("report %+v, %v", report, err)
	}
	if len(wallets[4].Accounts()) != 4 {
		t.Error("another wallet does not know of the new key")
	}
	if n := v.listings.Load(); n != 2 {
		t.Errorf("%d listings after a refresh", n)
	}
}

func TestWalletThatJoinsLaterGetsWhatWasFoundLast(t *testing.T) {
	v, d := newVault(t, 2), newDisk(t)
	all, wallets := share(t, v, d, 1, nil)
	if _, err := wallets[0].Refresh(t.Context()); err != nil {
		t.Fatal(err)
	}
	before := v.listings.Load()
	v.setOutage(fmt.Errorf("dial: %w", key.ErrUnavailable))
	late := openUnrefreshed(t, v, d, func(c *Config) { c.Name, c.Discovery = "late", all })
	defer late.Close()
	for end := time.Now().Add(time.Minute); !late.Ready(); {
		if time.Now().After(end) {
			t.Fatal("it waits for a backend that is away")
		}
		if p := late.Progress(); !p.Finished.IsZero() && len(late.Accounts()) == 0 {
			t.Fatal("it is said to have been listed, and has no accounts")
		}
		time.Sleep(time.Millisecond)
	}
	if v.listings.Load() != before {
		t.Error("it was listed once more")
	}
}

func TestSharedAccountsAreStoredWhenTheyChangeAndOnceAnHour(t *testing.T) {
	v, d := newVault(t, 2), newDisk(t)
	_, wallets := share(t, v, d, 2, nil)
	w := wallets[0]
	refresh := func() {
		t.Helper()
		if _, err := w.Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	stored := func() time.Time {
		t.Helper()
		rows, err := d.Accounts(t.Context(), w.Name())
		if err != nil || len(rows) == 0 {
			t.Fatal(rows, err)
		}
		return rows[0].Seen
	}
	refresh()
	first := stored()
	refresh()
	if !stored().Equal(first) {
		t.Error("stored again without a change")
	}
	v.alter("key-0", func(k *key.Key) { k.State, k.Reason = key.Disabled, "off" })
	refresh()
	changed := stored()
	if !changed.After(first) {
		t.Error("a change is not stored")
	}
	w.taking.Lock()
	w.stored.at = w.stored.at.Add(-storeSeenAfter)
	w.taking.Unlock()
	refresh()
	if !stored().After(changed) {
		t.Error("when they were last seen is not stored after an hour")
	}
}

func TestClosedWalletStoresNothingMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		v, d := newVault(t, 1), newDisk(t)
		release := make(chan struct{})
		v.list = func(context.Context) { <-release }
		_, wallets := share(t, v, d, 2, nil)
		synctest.Wait()
		if err := wallets[0].Close(); err != nil {
			t.Fatal(err)
		}
		close(release)
		if _, err := wallets[1].Refresh(t.Context()); err != nil {
			t.Fatal(err)
		}
		if rows, err := d.Accounts(t.Context(), wallets[0].Name()); err != nil || len(rows) != 0 {
			t.Errorf("%d accounts of a closed wallet were stored, %v", len(rows), err)
		}
		// Nor what was found for it just before.
		if _, err := wallets[0].take(t.Context(), &listing{at: time.Now()}, true); !errors.Is(err, ErrClosed) {
			t.Errorf("a closed wallet takes accounts: %v", err)
		}
		if _, err := wallets[0].Refresh(t.Context()); !errors.Is(err, ErrClosed) {
			t.Errorf("refresh of a closed wallet: %v", err)
		}
	})
}
