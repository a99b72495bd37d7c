// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/store"
)

// RunShared tests what several replicas do to one database at the same time.
// open returns two stores over one new, empty database, without
// Config.Exclusive, and closes them when the test ends.
func RunShared(t *testing.T, open func(t *testing.T) (a, b *store.DB)) {
	for _, c := range []struct {
		name string
		run  func(t *testing.T, a, b *store.DB)
	}{
		{"CancelOrAssignNotBoth", cancelOrAssign},
		{"ShownOrVoidNotBoth", shownOrVoid},
		{"PruneBesideWrites", pruneBesideWrites},
		{"RefreshOfTheSameAccounts", refreshTogether},
		{"HeartbeatsAndSweeps", heartbeats},
	} {
		t.Run(c.name, func(t *testing.T) {
			a, b := open(t)
			c.run(t, a, b)
		})
	}
}

// The holder assigns while callers give up: each transaction goes one way.
func cancelOrAssign(t *testing.T, holder, other *store.DB) {
	l := acquire(t, holder, "a", time.Hour)
	rows := make([]store.Tx, racers/2)
	for i := range rows {
		rows[i] = offer()
	}
	insert(t, other, rows...)
	assigned, cancelled := make([]bool, len(rows)), make([]bool, len(rows))
	race(t, func(i int) (ok bool, err error) {
		at := i / 2
		if i%2 == 0 {
			cancelled[at], err = other.CancelUnclaimed(t.Context(), rows[at].ID, "too late")
			return cancelled[at], err
		}
		nonce := uint64(at)
		err = holder.WriteFenced(t.Context(), fence(l), func(w *store.Writer) (err error) {
			assigned[at], err = w.UpdateTx(rows[at].ID, []store.TxState{store.Offered}, store.TxUpdate{State: store.Assigned, SetNonce: true, Nonce: &nonce})
			return err
		})
		return assigned[at], err
	})
	for i, tx := range rows {
		state := get(t, holder, tx.ID).State
		if assigned[i] == cancelled[i] || assigned[i] != (state == store.Assigned) || cancelled[i] != (state == store.Failed) {
			t.Fatalf("row %d: assigned %v, cancelled %v, is %s", i, assigned[i], cancelled[i], state)
		}
	}
}

// The holder moves a transaction to another nonce, by compare-and-set from the
// states that have shown nothing, while a caller is shown its hash.
func shownOrVoid(t *testing.T, holder, other *store.DB) {
	l := acquire(t, holder, "a", time.Hour)
	const n = racers / 2
	var rows [n]store.Tx
	var tries [n]store.Attempt
	var moved [n]bool
	var shown [n]common.Hash
	for i := range n {
		rows[i], tries[i] = signedTx(t, holder, []store.TxState{store.Assigned, store.Signed}[i%2], uint64(i))
	}
	race(t, func(i int) (ok bool, err error) {
		at := i / 2
		if i%2 == 0 {
			shown[at], ok, err = other.Disclose(t.Context(), rows[at].ID)
			return ok, err
		}
		nonce := uint64(1000 + at)
		err = holder.WriteFenced(t.Context(), fence(l), func(w *store.Writer) error {
			if err := w.ExpectOutcome(tries[at].ID, []store.AttemptOutcome{store.Open}, store.Void); err != nil {
				return err
			}
			return w.ExpectTx(rows[at].ID, []store.TxState{store.Assigned, store.Signed}, store.TxUpdate{State: store.Assigned, SetNonce: true, Nonce: &nonce})
		})
		moved[at] = err == nil
		if errors.Is(err, store.ErrChanged) {
			err = nil
		}
		return moved[at], err
	})
	for i := range n {
		isShown := shown[i] != common.Hash{}
		attempts, err := holder.Attempts(t.Context(), rows[i].ID)
		if err != nil {
			t.Fatal(err)
		}
		is := fmt.Sprint(get(t, holder, rows[i].ID).State, " ", attempts[0].Outcome)
		if isShown == moved[i] || isShown && is != "sent open" || moved[i] && is != "assigned void" {
			t.Fatalf("row %d: shown %v, moved %v, is %s", i, isShown, moved[i], is)
		}
	}
}

// Somebody accepts while others prune: no live nonce is lost.
func pruneBesideWrites(t *testing.T, a, b *store.DB) {
	race(t, func(i int) (bool, error) {
		db := []*store.DB{a, b}[i%2]
		if i%8 < 2 {
			_, err := db.Prune(t.Context(), time.Now().Add(time.Minute), time.Now().Add(time.Minute))
			return true, err
		}
		return true, db.Write(t.Context(), func(w *store.Writer) error { return w.InsertTx(withNonce(newTx(), store.Confirmed, uint64(i))) })
	})
	if n, any, err := a.HighestNonce(t.Context(), sender); err != nil || !any || n != racers-1 {
		t.Fatalf("got %d, %v, %v", n, any, err)
	}
}

// Every replica discovers the same accounts at about the same time. Whoever
// comes second finds nothing new, once the wallet has a version.
func refreshTogether(t *testing.T, a, b *store.DB) {
	accounts := make([]store.Account, 20)
	for i := range accounts {
		accounts[i] = anAccount(byte(i))
	}
	refresh := func(i int) (bool, error) {
		return true, []*store.DB{a, b}[i%2].SaveAccounts(t.Context(), "treasury", accounts)
	}
	if _, err := refresh(0); err != nil {
		t.Fatal(err)
	}
	race(t, refresh)
	if got := versions(t, b)["treasury"]; got != 1 {
		t.Fatalf("version %d", got)
	}
	for i := range accounts {
		accounts[i].Reason = "other"
	}
	race(t, refresh)
	if got := versions(t, a)["treasury"]; got != 2 {
		t.Fatalf("version %d", got)
	}
}

func heartbeats(t *testing.T, a, b *store.DB) {
	race(t, func(i int) (bool, error) {
		r := store.Replica{Owner: fmt.Sprint("r", i/2%4), Started: time.Now()}
		return true, []*store.DB{a, b}[i%2].PutReplica(t.Context(), r)
	})
	if got := replicas(t, b, time.Minute); len(got) != 4 {
		t.Fatalf("got %+v", got)
	}
}
