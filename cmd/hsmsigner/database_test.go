// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/audit"
	"github.com/hsmsigner/hsmsigner/internal/config"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

// What is final for longer than retention says goes, with its audit rows only
// if those have a limit too, and with zero nothing ever goes.
func TestRowsAreKeptAsLongAsTheConfigSays(t *testing.T) {
	for _, c := range []struct {
		name       string
		retention  config.Retention
		txs, audit bool // are they still there
	}{
		{"for ever", config.Retention{}, true, true},
		{"transactions go", config.Retention{Transactions: time.Hour}, false, true},
		{"audit rows go too", config.Retention{Transactions: time.Hour, Audit: time.Hour}, false, false},
		{"not yet", config.Retention{Transactions: 1000 * time.Hour, Audit: 1000 * time.Hour}, true, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx := t.Context()
			db, err := store.OpenSQLite(ctx, store.Config{Dir: t.TempDir(), Exclusive: true})
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			old := time.Now().Add(-48 * time.Hour)
			// Ids carry their time, as those of real rows do.
			ids := []string{idOf(old, 1), idOf(old, 2), idOf(old, 3)}
			err = db.Write(ctx, func(w *store.Writer) error {
				for i, id := range ids {
					if err := w.AuditIntent(audit.Intent{ID: id, At: old, Action: audit.SendTransaction, Subject: id, Address: common.Address{1}}); err != nil {
						return err
					}
					nonce := uint64(i)
					if err := w.InsertTx(store.Tx{ID: id, Intent: id, Sender: "s", Nonce: &nonce, Kind: store.UserTx, State: store.Confirmed, Created: old, Updated: old}); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
			if err := tidyOnce(ctx, db, c.retention, slog.New(slog.DiscardHandler)); err != nil {
				t.Fatal(err)
			}
			_, err = db.Tx(ctx, ids[0])
			if there := !errors.Is(err, store.ErrNotFound); there != c.txs {
				t.Errorf("transaction is there: %t, %v", there, err)
			}
			_, _, err = db.AuditOf(ctx, ids[0])
			if there := !errors.Is(err, store.ErrNotFound); there != c.audit {
				t.Errorf("audit rows are there: %t, %v", there, err)
			}
			if _, err := db.Tx(ctx, ids[2]); err != nil {
				t.Errorf("the account's highest nonce: %v", err)
			}
		})
	}
}

// idOf is an id as store.NewID made it at that time.
func idOf(at time.Time, n int) string {
	return fmt.Sprintf("%012x%020x", at.UnixMilli(), n)
}

// Where daemons share a database one of them tidies, and leaves the lease to
// another when it ends.
func TestTidyingGoesToAnotherWhenOneEnds(t *testing.T) {
	db, err := store.OpenSQLite(t.Context(), store.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	keep := config.Retention{Transactions: 40 * time.Millisecond}
	log := slog.New(slog.DiscardHandler)
	for _, owner := range []string{"first", "second"} {
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan struct{})
		go func() {
			defer close(done)
			tidy(ctx, db, keep, owner, log)
		}()
		holds := func() bool {
			held, left, err := db.LeaseOf(t.Context(), "tidy")
			return err == nil && left > 0 && held == owner+"/tidy"
		}
		for end := time.Now().Add(time.Minute); !holds(); time.Sleep(5 * time.Millisecond) {
			if time.Now().After(end) {
				t.Fatalf("%s does not tidy", owner)
			}
		}
		cancel()
		<-done
		if holds() {
			t.Errorf("%s has ended and holds the lease", owner)
		}
	}
}
