// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/store"
)

func waiting(n int) store.Approval {
	a := store.Approval{
		ID: store.NewID(), Wallet: fmt.Sprintf("wallet%d", n%3), State: store.ApprovalPending,
		Created: time.Now(), Expires: time.Now().Add(time.Hour), MAC: []byte("mac"),
	}
	a.RequestHash[0], a.RequestHash[1] = byte(n), byte(n>>8)
	return a
}

func insertApproval(t *testing.T, db *store.DB, a store.Approval) {
	t.Helper()
	if err := db.Write(t.Context(), func(w *store.Writer) error {
		_, err := w.InsertApproval(a)
		return err
	}); err != nil {
		t.Error(err)
	}
}

// Whoever is told that nothing waits does not look into the table: of a request that
// was there before, nobody may be told so.
func TestWhatWaitsIsNeverOverlooked(t *testing.T) {
	dir := t.TempDir()
	open := func() *store.DB {
		db, err := store.OpenSQLite(t.Context(), store.Config{Dir: dir})
		if err != nil {
			t.Fatal(err)
		}
		return db
	}
	db := open()
	a, other := waiting(0), waiting(3)
	if db.MayWait(t.Context(), a.Wallet, nil) {
		t.Error("something may wait in an empty database")
	}
	insertApproval(t, db, a)
	if !db.MayWait(t.Context(), a.Wallet, nil) || !db.MayWait(t.Context(), a.Wallet, &a.RequestHash) {
		t.Error("a request is overlooked")
	}
	if db.MayWait(t.Context(), a.Wallet, &other.RequestHash) || db.MayWait(t.Context(), "wallet1", nil) {
		t.Error("another request, or another wallet's, is taken for it")
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	db = open()
	defer func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	}()
	if !db.MayWait(t.Context(), a.Wallet, &a.RequestHash) {
		t.Error("after a restart a request is overlooked")
	}
	// While they are read for the first time, and each time they are too many.
	var wg sync.WaitGroup
	for g := range 8 {
		wg.Go(func() {
			for n := range 300 {
				a := waiting(10 + g*300 + n)
				insertApproval(t, db, a)
				if !db.MayWait(t.Context(), a.Wallet, &a.RequestHash) {
					t.Errorf("request %d of %d is overlooked", n, g)
					return
				}
			}
		})
	}
	wg.Wait()
}

// What has ended is forgotten at the next reading.
func TestWhatHasEndedIsForgotten(t *testing.T) {
	db, err := store.OpenSQLite(t.Context(), store.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	first := waiting(0)
	if db.MayWait(t.Context(), first.Wallet, nil) {
		t.Fatal("something waits")
	}
	for n := range 1100 {
		a := waiting(n)
		if n == 0 {
			a = first
		}
		if err := db.Write(t.Context(), func(w *store.Writer) error {
			if _, err := w.InsertApproval(a); err != nil {
				return err
			}
			return w.CloseApproval(a.ID)
		}); err != nil {
			t.Fatal(err)
		}
	}
	if db.MayWait(t.Context(), first.Wallet, nil) {
		t.Error("what has ended is kept for ever")
	}
}
