// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"slices"
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/audit"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

var pruneTests = []test{
	{"RemovesOnlyOldFinalRows", func(t *testing.T, db *store.DB) {
		old := time.Now().Add(-time.Hour)
		aged := func(tx store.Tx) store.Tx {
			tx.Created, tx.Updated = old, old
			return tx
		}
		gone := []store.Tx{aged(withNonce(newTx(), store.Confirmed, 1)), aged(withNonce(newTx(), store.Replaced, 2)), aged(newTx())}
		gone[2].State = store.Failed
		kept := []store.Tx{
			withNonce(newTx(), store.Confirmed, 3),        // not old
			aged(withNonce(newTx(), store.Sent, 4)),       // not final
			aged(withNonce(newTx(), store.Superseded, 4)), // not final
			aged(newTx()), // not final
			aged(withNonce(newTx(), store.Confirmed, 5)), // the highest
		}
		insert(t, db, append(slices.Clone(gone), kept...)...)
		a := newAttempt(gone[0])
		a.Hash, a.Raw = hashOf([]byte{1}), []byte{1}
		write(t, db, func(w *store.Writer) error { return w.InsertAttempt(a) })

		prune(t, db, time.Now().Add(-time.Minute), time.Time{}, 3)
		prune(t, db, time.Now().Add(-time.Minute), time.Time{}, 0)
		left, err := db.List(t.Context(), store.TxFilter{})
		if err != nil {
			t.Fatal(err)
		}
		slices.Reverse(left)
		if !slices.Equal(ids(left), ids(kept)) {
			t.Fatalf("left %v, want %v", ids(left), ids(kept))
		}
		_, err = db.AttemptByHash(t.Context(), a.Hash)
		wantErr(t, err, store.ErrNotFound)
	}},
	{"NeverRemovesTheHighestNonceOfASender", func(t *testing.T, db *store.DB) {
		for _, s := range []string{"a", "b"} {
			for n := range uint64(3) {
				tx := withNonce(newTx(), store.Confirmed, n)
				tx.Sender = s
				insert(t, db, tx)
			}
		}
		prune(t, db, time.Now().Add(time.Minute), time.Now().Add(time.Minute), 4)
		for _, s := range []string{"a", "b"} {
			if n, any, err := db.HighestNonce(t.Context(), s); err != nil || !any || n != 2 {
				t.Fatalf("%s: got %d, %v, %v", s, n, any, err)
			}
		}
	}},
	{"ManyBatches", func(t *testing.T, db *store.DB) {
		const many = 250
		write(t, db, func(w *store.Writer) error {
			for n := range uint64(many) {
				if err := w.InsertTx(withNonce(newTx(), store.Confirmed, n)); err != nil {
					return err
				}
			}
			return nil
		})
		prune(t, db, time.Now().Add(time.Minute), time.Now().Add(time.Minute), many-1)
	}},
	{"KeysGoWhenTheirTimeAndTransactionAreGone", func(t *testing.T, db *store.DB) {
		gone, highest, open := withNonce(newTx(), store.Confirmed, 1), withNonce(newTx(), store.Confirmed, 3), withNonce(newTx(), store.Sent, 2)
		insert(t, db, gone, highest, open)
		soon := time.Now().Add(time.Minute)
		prune(t, db, soon, gone.Created.Add(-time.Minute), 1)
		lookup(t, db, gone)
		prune(t, db, soon, soon, 0)
		_, known, err := db.Idempotent(t.Context(), gone.Wallet, gone.Credential, gone.IdempotencyKey)
		if err != nil || known {
			t.Fatalf("known %v, %v", known, err)
		}
		lookup(t, db, highest)
		lookup(t, db, open)
	}},
	// 10,000 idle senders each keep a row; they are looked at once, not once for
	// each batch.
	{"RowsThatStayDoNotHideOthers", func(t *testing.T, db *store.DB) {
		write(t, db, func(w *store.Writer) error {
			for i := range 1100 {
				tx := withNonce(newTx(), store.Confirmed, 1)
				tx.Sender, tx.IdempotencyKey = store.NewID(), ""
				if i == 1099 {
					tx.State = store.Failed
				}
				if err := w.InsertTx(tx); err != nil {
					return err
				}
			}
			return w.InsertTx(withNonce(newTx(), store.Replaced, 1))
		})
		prune(t, db, time.Now().Add(time.Minute), time.Time{}, 2)
	}},
	{"AuditOfGoneTransactionsIsPrunedOnDemand", func(t *testing.T, db *store.DB) {
		old := time.Now().Add(-time.Hour).UTC().Truncate(time.Microsecond)
		intent := func(subject string, at time.Time) audit.Intent {
			i := audit.Intent{ID: store.NewID(), At: at, Action: audit.SendTransaction, Subject: subject, Verdict: "allow: default"}
			write(t, db, func(w *store.Writer) error {
				if err := w.AuditIntent(i); err != nil {
					return err
				}
				return w.AuditOutcome(audit.Outcome{ID: store.NewID(), Intent: i.ID, At: at})
			})
			return i
		}
		there := newTx()
		insert(t, db, there)
		kept := []audit.Intent{intent(there.ID, old), intent("", time.Now())}
		var gone []audit.Intent
		for range 250 {
			gone = append(gone, intent(store.NewID(), old))
		}
		kept = append(kept, intent("", old)) // the newest
		n, err := db.PruneAudit(t.Context(), time.Now().Add(-time.Minute))
		if err != nil || n != len(gone) {
			t.Fatalf("pruned %d, %v", n, err)
		}
		for _, i := range gone {
			_, _, err := db.AuditOf(t.Context(), i.ID)
			wantErr(t, err, store.ErrNotFound)
		}
		for _, i := range kept {
			_, outcomes, err := db.AuditOf(t.Context(), i.ID)
			if err != nil || len(outcomes) != 1 {
				t.Fatalf("%d outcomes, %v", len(outcomes), err)
			}
		}
	}},
	{"PruneBesideWrites", func(t *testing.T, db *store.DB) { pruneBesideWrites(t, db, db) }},
}

func prune(t *testing.T, db *store.DB, before, keepKeys time.Time, want int) {
	t.Helper()
	n, err := db.Prune(t.Context(), before, keepKeys)
	if err != nil || n != want {
		t.Fatalf("pruned %d (%v), want %d", n, err, want)
	}
}
