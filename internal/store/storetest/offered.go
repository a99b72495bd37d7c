// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"errors"
	"math"
	"slices"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/store"
)

// offer is a row that waits for the holder.
func offer() store.Tx {
	tx := newTx()
	tx.State = store.Offered
	return tx
}

var offeredTests = []test{
	{"AnOfferOccupiesNoNonce", func(t *testing.T, db *store.DB) {
		first, second := withNonce(newTx(), store.Offered, 3), withNonce(newTx(), store.Offered, 3)
		insert(t, db, first, second, withNonce(newTx(), store.Assigned, 3))
		wantEqual(t, get(t, db, first.ID), first)
		again := offer()
		again.IdempotencyKey = first.IdempotencyKey
		err := db.Write(t.Context(), func(w *store.Writer) error { return w.InsertTx(again) })
		var duplicate *store.DuplicateKeyError
		if !errors.As(err, &duplicate) || duplicate.TxID != first.ID {
			t.Fatalf("got %v", err)
		}
	}},
	{"OffersComeInOrderWithRawBytes", func(t *testing.T, db *store.DB) {
		var mine []store.Tx
		for range 5 {
			mine = append(mine, offer())
		}
		mine[1].Kind, mine[4].Kind = store.RawTx, store.RawTx
		other := offer()
		other.Sender = "another"
		insert(t, db, slices.Concat([]store.Tx{newTx(), other}, []store.Tx{mine[3], mine[0], mine[4], mine[2], mine[1]})...)
		a := newAttempt(withNonce(mine[1], store.Offered, 7))
		a.Raw, a.Hash = []byte{1, 2}, hashOf([]byte{1, 2})
		write(t, db, func(w *store.Writer) error { return w.InsertAttempt(a) })

		senders, err := db.OfferedSenders(t.Context())
		if err != nil || !slices.Equal(senders, []string{sender, "another"}) {
			t.Fatalf("got %v, %v", senders, err)
		}
		rows, attempts, err := db.Offered(t.Context(), sender, 4)
		if err != nil {
			t.Fatal(err)
		}
		wantEqual(t, rows, mine[:4])
		wantEqual(t, attempts, map[string][]store.Attempt{mine[1].ID: {a}})
		for _, tx := range mine {
			if !update(t, db, tx.ID, []store.TxState{store.Offered}, store.TxUpdate{State: store.Queued}) {
				t.Fatal("not taken")
			}
		}
		if rows, attempts, err = db.Offered(t.Context(), sender, 4); err != nil || len(rows)+len(attempts) != 0 {
			t.Fatalf("got %v, %v, %v", rows, attempts, err)
		}
	}},
	{"OrphansHaveWorkAndNoHolder", func(t *testing.T, db *store.DB) {
		lease := func(sender string, ttl time.Duration) store.Lease {
			l, err := db.AcquireLease(t.Context(), sender, "a", ttl)
			if err != nil {
				t.Fatal(err)
			}
			return l
		}
		lease("held", time.Hour)
		lease("expired", time.Millisecond)
		lease("idle", time.Millisecond)
		wantErr(t, db.ReleaseLease(t.Context(), fence(lease("released", time.Hour))), nil)
		time.Sleep(20 * time.Millisecond)
		for s, state := range map[string]store.TxState{"held": store.Sent, "expired": store.Mined, "released": store.Queued, "never": store.Offered, "idle": store.Confirmed} {
			for range 2 {
				tx := newTx()
				tx.Sender, tx.State = s, state
				insert(t, db, tx)
			}
		}
		got, err := db.OrphanSenders(t.Context())
		if err != nil || !slices.Equal(got, []string{"expired", "never", "released"}) {
			t.Fatalf("got %v, %v", got, err)
		}
	}},
	{"LeaseOfSaysWhoAndHowLong", func(t *testing.T, db *store.DB) {
		_, _, err := db.LeaseOf(t.Context(), sender)
		wantErr(t, err, store.ErrNotFound)
		l := acquire(t, db, "a", time.Hour)
		owner, left, err := db.LeaseOf(t.Context(), sender)
		if err != nil || owner != "a" || left < 59*time.Minute || left > time.Hour {
			t.Fatalf("got %q, %v, %v", owner, left, err)
		}
		wantErr(t, db.ReleaseLease(t.Context(), fence(l)), nil)
		if owner, left, err = db.LeaseOf(t.Context(), sender); err != nil || owner != "a" || left > 0 {
			t.Fatalf("got %q, %v, %v", owner, left, err)
		}
	}},
	{"OutcomesOfMany", func(t *testing.T, db *store.DB) {
		failed, sent := newTx(), withNonce(newTx(), store.Sent, 1)
		failed.State, failed.Error, sent.Hash = store.Failed, "why", common.HexToHash("0x01")
		insert(t, db, failed, sent)
		asked := []string{sent.ID, "nothing", failed.ID}
		for i := range 600 {
			tx := offer()
			if i%3 == 0 {
				insert(t, db, tx)
			}
			asked = append(asked, tx.ID)
		}
		got, err := db.Outcomes(t.Context(), asked)
		if err != nil || len(got) != 202 {
			t.Fatalf("got %d, %v", len(got), err)
		}
		for _, want := range []store.TxOutcome{{ID: failed.ID, State: store.Failed, Error: "why"}, {ID: sent.ID, State: store.Sent, Hash: sent.Hash}} {
			if !slices.Contains(got, want) {
				t.Fatalf("%+v is not among %+v", want, got)
			}
		}
		if got, err = db.Outcomes(t.Context(), nil); err != nil || len(got) != 0 {
			t.Fatalf("got %v, %v", got, err)
		}
	}},
	{"CancelTakesBackOnlyWhatHasNoNonce", func(t *testing.T, db *store.DB) {
		for i, state := range []store.TxState{
			store.Offered, store.Queued, store.Held, store.Assigned, store.Signed, store.Sent, store.Mined,
			store.Superseded, store.Confirmed, store.Replaced, store.Displaced, store.Failed,
		} {
			tx := withNonce(newTx(), state, uint64(i))
			insert(t, db, tx)
			ok, err := db.CancelUnclaimed(t.Context(), tx.ID, "too late")
			if want := state == store.Offered || state == store.Queued; err != nil || ok != want {
				t.Fatalf("%s: %v, %v", state, ok, err)
			}
			got := get(t, db, tx.ID)
			if ok {
				tx.State, tx.Nonce, tx.Error, tx.Updated = store.Failed, nil, "too late", got.Updated
			}
			wantEqual(t, got, tx)
		}
		if ok, err := db.CancelUnclaimed(t.Context(), "nothing", ""); err != nil || ok {
			t.Fatalf("got %v, %v", ok, err)
		}
	}},
	{"CancelOrAssignNotBoth", func(t *testing.T, db *store.DB) { cancelOrAssign(t, db, db) }},
	{"NextNonceIsTheLowestFree", func(t *testing.T, db *store.DB) {
		next := func(from, want uint64) {
			t.Helper()
			got, err := db.NextNonce(t.Context(), sender, from)
			if err != nil || got != want {
				t.Fatalf("from %d: got %d (%v), want %d", from, got, err, want)
			}
		}
		next(0, 0)
		next(7, 7)
		for _, n := range []uint64{2, 3, 4, 6, 7} {
			insert(t, db, withNonce(newTx(), []store.TxState{store.Confirmed, store.Held, store.Sent}[n%3], n))
		}
		insert(t, db, withNonce(newTx(), store.Offered, 5), withNonce(newTx(), store.Superseded, 8), withNonce(newTx(), store.Failed, 8))
		for from, want := range []uint64{0, 1, 5, 5, 5, 5, 8, 8, 8, 9} {
			next(uint64(from), want)
		}
		if _, err := db.NextNonce(t.Context(), sender, math.MaxUint64); err == nil {
			t.Fatal("a nonce beyond BIGINT was answered")
		}
	}},
}

// signedTx inserts a transaction in a state, with an attempt whose bytes are
// stored, and returns both.
func signedTx(t *testing.T, db *store.DB, state store.TxState, nonce uint64) (store.Tx, store.Attempt) {
	t.Helper()
	tx := withNonce(newTx(), state, nonce)
	a := newAttempt(tx)
	a.Raw = []byte(a.ID)
	a.Hash = hashOf(a.Raw)
	insert(t, db, tx)
	write(t, db, func(w *store.Writer) error { return w.InsertAttempt(a) })
	return tx, a
}

func wantDisclosed(t *testing.T, db *store.DB, id string, want common.Hash) {
	t.Helper()
	hash, ok, err := db.Disclose(t.Context(), id)
	if err != nil || ok != (want != common.Hash{}) || hash != want {
		t.Fatalf("got %s, %v, %v, want %s", hash, ok, err, want)
	}
}

var discloseTests = []test{
	{"WhatIsShownCountsAsSent", func(t *testing.T, db *store.DB) {
		for i, c := range []struct{ from, to store.TxState }{
			{store.Assigned, store.Sent},
			{store.Signed, store.Sent},
			{store.Sent, store.Sent},
			{store.Mined, store.Mined},
			{store.Superseded, store.Superseded},
			{store.Confirmed, store.Confirmed},
			{store.Replaced, store.Replaced},
			{store.Displaced, store.Displaced},
		} {
			tx, a := signedTx(t, db, c.from, uint64(i))
			wantDisclosed(t, db, tx.ID, a.Hash)
			got := get(t, db, tx.ID)
			if got.State != c.to || c.from != c.to && got.Hash != a.Hash {
				t.Fatalf("%s is %s with %s", c.from, got.State, got.Hash)
			}
		}
	}},
	{"WhatMayStillChangeIsNotShown", func(t *testing.T, db *store.DB) {
		for i, state := range []store.TxState{store.Offered, store.Queued, store.Held, store.Failed} {
			tx, _ := signedTx(t, db, state, uint64(i))
			before := get(t, db, tx.ID)
			wantDisclosed(t, db, tx.ID, common.Hash{})
			wantEqual(t, get(t, db, tx.ID), before)
		}
		wantDisclosed(t, db, "nothing", common.Hash{})
		unsigned := withNonce(newTx(), store.Assigned, 9)
		insert(t, db, unsigned)
		write(t, db, func(w *store.Writer) error { return w.InsertAttempt(newAttempt(unsigned)) })
		wantDisclosed(t, db, unsigned.ID, common.Hash{})
		wantEqual(t, get(t, db, unsigned.ID), unsigned)
	}},
	{"WithdrawnBytesAndCancelsAreNotShown", func(t *testing.T, db *store.DB) {
		add := func(tx store.Tx, kind store.AttemptKind, outcome store.AttemptOutcome) store.Attempt {
			a := newAttempt(tx)
			a.Kind, a.Outcome, a.Raw = kind, outcome, []byte(a.ID)
			a.Hash = hashOf(a.Raw)
			write(t, db, func(w *store.Writer) error { return w.InsertAttempt(a) })
			return a
		}
		for i, outcome := range []store.AttemptOutcome{store.Void, store.Impossible} {
			tx, a := signedTx(t, db, store.Assigned, uint64(i))
			write(t, db, func(w *store.Writer) error { return w.ExpectOutcome(a.ID, []store.AttemptOutcome{store.Open}, outcome) })
			wantDisclosed(t, db, tx.ID, common.Hash{})
			fresh := add(tx, store.FirstAttempt, store.Open)
			wantDisclosed(t, db, tx.ID, fresh.Hash)
		}
		tx, first := signedTx(t, db, store.Sent, 5)
		add(tx, store.CancelAttempt, store.Open)
		wantDisclosed(t, db, tx.ID, first.Hash)
		bump := add(tx, store.BumpAttempt, store.Open)
		wantDisclosed(t, db, tx.ID, bump.Hash)
		update(t, db, tx.ID, nil, store.TxUpdate{State: store.Mined, Hash: &first.Hash})
		wantDisclosed(t, db, tx.ID, first.Hash) // of what was mined
	}},
	{"ShownOrVoidNotBoth", func(t *testing.T, db *store.DB) { shownOrVoid(t, db, db) }},
}
