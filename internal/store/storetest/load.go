// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/store"
)

var loadTests = []test{
	{"LoadSenderHasWhatIsOpenAndWhatIsAbove", func(t *testing.T, db *store.DB) {
		doneBelow := withNonce(newTx(), store.Confirmed, 1)
		sentBelow := withNonce(newTx(), store.Sent, 2)
		superseded := withNonce(newTx(), store.Superseded, 3)
		replacement := withNonce(newTx(), store.Signed, 3)
		replacement.Created = superseded.Created.Add(time.Millisecond)
		failed := withNonce(newTx(), store.Failed, 4)
		doneAbove := withNonce(newTx(), store.Confirmed, 5)
		displaced := withNonce(newTx(), store.Displaced, 6)
		held := withNonce(newTx(), store.Held, 9)
		queuedLater, queued := newTx(), newTx()
		queuedLater.Created = queued.Created.Add(time.Second)
		stranger := withNonce(newTx(), store.Sent, 2)
		stranger.Sender = "another"
		offered := withNonce(newTx(), store.Offered, 7)
		insert(t, db, offered, queuedLater, held, displaced, doneAbove, failed, replacement, superseded, sentBelow, doneBelow, queued, stranger)
		first, second := newAttempt(superseded), newAttempt(superseded)
		above := newAttempt(doneAbove)
		write(t, db, func(w *store.Writer) error {
			for _, a := range []store.Attempt{second, first, above, newAttempt(doneBelow), newAttempt(stranger)} {
				if err := w.InsertAttempt(a); err != nil {
					return err
				}
			}
			return nil
		})

		rows, attempts, err := db.LoadSender(t.Context(), sender, 5)
		if err != nil {
			t.Fatal(err)
		}
		want := []store.Tx{sentBelow, superseded, replacement, doneAbove, displaced, held, queued, queuedLater}
		if !slices.Equal(ids(rows), ids(want)) {
			t.Fatalf("got %v\nwant %v", ids(rows), ids(want))
		}
		wantEqual(t, rows[0], sentBelow)
		wantEqual(t, attempts, map[string][]store.Attempt{superseded.ID: {first, second}, doneAbove.ID: {above}})

		rows, attempts, err = db.LoadSender(t.Context(), "nobody", 0)
		if err != nil || len(rows) != 0 || len(attempts) != 0 {
			t.Fatalf("got %v, %v, %v", rows, attempts, err)
		}
	}},
	{"ManySendersAreLoadedAtOnce", func(t *testing.T, db *store.DB) {
		// More than there are connections, before any statement was used: nobody
		// who has one may wait for another.
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
		defer cancel()
		var loading sync.WaitGroup
		for i := range 64 {
			loading.Go(func() {
				if _, _, err := db.LoadSender(ctx, fmt.Sprintf("sender-%d", i), 0); err != nil {
					t.Error(err)
				}
			})
		}
		loading.Wait()
	}},
	{"HighestNonceIsOfLiveRows", func(t *testing.T, db *store.DB) {
		_, any, err := db.HighestNonce(t.Context(), sender)
		if err != nil || any {
			t.Fatalf("got %v, %v", any, err)
		}
		insert(t, db, newTx(), withNonce(newTx(), store.Confirmed, 0), withNonce(newTx(), store.Held, 7), withNonce(newTx(), store.Failed, 8))
		if n, any, err := db.LowestNonce(t.Context(), sender); err != nil || !any || n != 0 {
			t.Errorf("lowest nonce %d, %v, %v", n, any, err)
		}
		n, any, err := db.HighestNonce(t.Context(), sender)
		if err != nil || !any || n != 7 {
			t.Fatalf("got %d, %v, %v", n, any, err)
		}
	}},
	{"SendersWithWorkHaveARowThatIsNotFinal", func(t *testing.T, db *store.DB) {
		var txs []store.Tx
		for id, state := range map[string]store.TxState{"d": store.Queued, "b": store.Mined, "a": store.Superseded, "c": store.Confirmed, "e": store.Failed, "f": store.Offered} {
			tx := newTx()
			tx.Sender, tx.State = id, state
			txs = append(txs, tx)
		}
		twice := newTx()
		twice.Sender = "b"
		insert(t, db, append(txs, twice)...)
		got, err := db.SendersWithWork(t.Context())
		if err != nil || !slices.Equal(got, []string{"a", "b", "d", "f"}) {
			t.Fatalf("got %v, %v", got, err)
		}
		counts, err := db.Counts(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		wantEqual(t, counts, map[store.TxState]int{store.Queued: 2, store.Mined: 1, store.Superseded: 1, store.Offered: 1})
		if !update(t, db, txs[0].ID, nil, store.TxUpdate{State: store.Failed}) {
			t.Fatal("not finished")
		}
	}},
}
