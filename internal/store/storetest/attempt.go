// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"testing"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/store"
)

var attemptTests = []test{
	{"EveryFieldComesBack", func(t *testing.T, db *store.DB) {
		tx, first := assigned(t, db)
		second := newAttempt(tx)
		second.Kind, second.Payload, second.Raw, second.Hash = store.BumpAttempt, []byte{1}, []byte{2}, common.HexToHash("0x03")
		second.Outcome = store.Void
		write(t, db, func(w *store.Writer) error { return w.InsertAttempt(second) })
		got, err := db.Attempts(t.Context(), tx.ID)
		if err != nil {
			t.Fatal(err)
		}
		wantEqual(t, got, []store.Attempt{first, second})
		byHash, err := db.AttemptByHash(t.Context(), second.Hash)
		if err != nil {
			t.Fatal(err)
		}
		wantEqual(t, byHash, second)
		owner, err := db.TxByHash(t.Context(), second.Hash)
		if err != nil {
			t.Fatal(err)
		}
		wantEqual(t, owner, tx)
		_, err = db.AttemptByHash(t.Context(), common.HexToHash("0x04"))
		wantErr(t, err, store.ErrNotFound)
	}},
	{"WithoutItsTransactionIsRefused", func(t *testing.T, db *store.DB) {
		orphan := newAttempt(withNonce(newTx(), store.Assigned, 1))
		if err := db.Write(t.Context(), func(w *store.Writer) error { return w.InsertAttempt(orphan) }); err == nil {
			t.Fatal("stored")
		}
	}},
	{"SignatureIsStoredOnce", func(t *testing.T, db *store.DB) {
		_, a := assigned(t, db)
		raws := make([][]byte, racers)
		won := -1
		n := race(t, func(i int) (bool, error) {
			raws[i] = []byte{byte(i), 1}
			ok, err := sign(t, db, a, raws[i])
			if ok {
				won = i
			}
			return ok, err
		})
		if n != 1 {
			t.Fatalf("%d signatures were stored", n)
		}
		got, err := db.Attempts(t.Context(), a.Tx)
		if err != nil {
			t.Fatal(err)
		}
		a.Raw, a.Hash = raws[won], hashOf(raws[won])
		wantEqual(t, got, []store.Attempt{a})
	}},
	// TXMGR.md no. 11: a late signature for the old nonce cannot be stored.
	{"SignatureForAnotherAttemptIsDropped", func(t *testing.T, db *store.DB) {
		_, a := assigned(t, db)
		for name, change := range map[string]func(a *store.Attempt){
			"id":     func(a *store.Attempt) { a.ID = store.NewID() },
			"tx":     func(a *store.Attempt) { a.Tx = store.NewID() },
			"nonce":  func(a *store.Attempt) { a.Nonce++ },
			"digest": func(a *store.Attempt) { a.Digest[0]++ },
			"epoch":  func(a *store.Attempt) { a.Epoch++ },
		} {
			changed := a
			change(&changed)
			if ok, err := sign(t, db, changed, []byte{1}); ok || err != nil {
				t.Fatalf("%s: stored %v, %v", name, ok, err)
			}
		}
		if ok, err := sign(t, db, a, []byte{1}); !ok || err != nil {
			t.Fatalf("the right one: stored %v, %v", ok, err)
		}
	}},
	{"VoidAttemptTakesNoSignature", func(t *testing.T, db *store.DB) {
		_, a := assigned(t, db)
		if !outcome(t, db, a.ID, []store.AttemptOutcome{store.Open}, store.Void) {
			t.Fatal("not voided")
		}
		if ok, err := sign(t, db, a, []byte{1}); ok || err != nil {
			t.Fatalf("stored %v, %v", ok, err)
		}
	}},
	// Either the move or the signature comes first; never both.
	{"VoidingRacesWithSigning", func(t *testing.T, db *store.DB) {
		for range 10 {
			tx, a := assigned(t, db)
			signed, voided := false, false
			race(t, func(i int) (ok bool, err error) {
				switch i {
				case 0:
					signed, err = sign(t, db, a, []byte{1})
				case 1:
					err = db.Write(t.Context(), func(w *store.Writer) error {
						all, err := w.Attempts(tx.ID)
						if err != nil || all[0].Raw != nil {
							return err
						}
						voided, err = w.SetAttemptOutcome(a.ID, []store.AttemptOutcome{store.Open}, store.Void)
						return err
					})
				}
				return false, err
			})
			if signed == voided {
				t.Fatalf("signed %v, voided %v", signed, voided)
			}
			if !update(t, db, tx.ID, nil, store.TxUpdate{State: store.Failed}) {
				t.Fatal("nonce not freed")
			}
		}
	}},
	{"OutcomeMovesOnlyFromWhatWasExpected", func(t *testing.T, db *store.DB) {
		_, a := assigned(t, db)
		if outcome(t, db, a.ID, []store.AttemptOutcome{store.Won, store.Lost}, store.Impossible) {
			t.Fatal("moved from an outcome that it did not have")
		}
		if !outcome(t, db, a.ID, nil, store.Won) || !outcome(t, db, a.ID, []store.AttemptOutcome{store.Won}, store.Open) {
			t.Fatal("not moved")
		}
		if outcome(t, db, "nothing", nil, store.Won) {
			t.Fatal("moved an attempt that is not there")
		}
	}},
}

// assigned stores a transaction at nonce 4 with an unsigned attempt.
func assigned(t *testing.T, db *store.DB) (store.Tx, store.Attempt) {
	t.Helper()
	tx := withNonce(newTx(), store.Assigned, 4)
	a := newAttempt(tx)
	insert(t, db, tx)
	write(t, db, func(w *store.Writer) error { return w.InsertAttempt(a) })
	return tx, a
}

func hashOf(raw []byte) common.Hash { return common.BytesToHash(raw) }

func sign(t *testing.T, db *store.DB, a store.Attempt, raw []byte) (ok bool, err error) {
	t.Helper()
	err = db.Write(t.Context(), func(w *store.Writer) (err error) {
		ok, err = w.StoreSigned(a.ID, a.Tx, a.Nonce, a.Digest, a.Epoch, raw, hashOf(raw))
		return err
	})
	return ok, err
}

func outcome(t *testing.T, db *store.DB, id string, from []store.AttemptOutcome, to store.AttemptOutcome) (ok bool) {
	t.Helper()
	write(t, db, func(w *store.Writer) (err error) {
		ok, err = w.SetAttemptOutcome(id, from, to)
		return err
	})
	return ok
}
