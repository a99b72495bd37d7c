// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"math"
	"math/big"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/store"
)

var txTests = []test{
	{"EveryFieldComesBack", func(t *testing.T, db *store.DB) {
		full := withNonce(newTx(), store.Mined, math.MaxInt64)
		full.Explicit, full.Kind, full.Replaces = true, store.RawTx, store.NewID()
		full.Hash, full.Block, full.BlockHash = common.HexToHash("0x01"), 7, common.HexToHash("0x02")
		full.Succeeded, full.Error, full.Trace = true, "why", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
		bare := store.Tx{ID: store.NewID(), Sender: sender, State: store.Queued, Payload: []byte{1}}
		insert(t, db, full, bare)
		wantEqual(t, get(t, db, full.ID), full)

		got := get(t, db, bare.ID)
		if got.Created.IsZero() || got.Updated.IsZero() {
			t.Fatalf("zero times were not filled in: %+v", got)
		}
		bare.Created, bare.Updated = got.Created, got.Updated
		wantEqual(t, got, bare)
	}},
	{"UnknownIsNotFound", func(t *testing.T, db *store.DB) {
		_, err := db.Tx(t.Context(), "nothing")
		wantErr(t, err, store.ErrNotFound)
		_, err = db.TxByHash(t.Context(), common.HexToHash("0x01"))
		wantErr(t, err, store.ErrNotFound)
		if update(t, db, "nothing", nil, store.TxUpdate{State: store.Failed}) {
			t.Fatal("a row that is not there was changed")
		}
	}},
	{"UpdateChangesOnlyWhatItNames", func(t *testing.T, db *store.DB) {
		tx := newTx()
		insert(t, db, tx)
		u := store.TxUpdate{
			State: store.Mined, SetNonce: true, Nonce: ptr(uint64(5)), Hash: ptr(common.HexToHash("0x01")), Block: ptr(uint64(9)),
			BlockHash: ptr(common.HexToHash("0x02")), Succeeded: ptr(true), Error: ptr("e"), Payload: []byte{9},
			FeeCeiling: big.NewInt(3), Replaces: ptr("r"), Expires: ptr(time.Time{}),
			Timing: &store.Timing{Asked: time.Millisecond, Signed: 41_200 * time.Microsecond, Mined: 3 * time.Hour},
		}
		if !update(t, db, tx.ID, []store.TxState{store.Held, store.Queued}, u) {
			t.Fatal("not updated")
		}
		want := withNonce(tx, store.Mined, 5)
		want.Hash, want.Block, want.BlockHash, want.Succeeded = *u.Hash, 9, *u.BlockHash, true
		want.Timing = *u.Timing
		want.Error, want.Payload, want.FeeCeiling, want.Replaces, want.Expires = "e", u.Payload, u.FeeCeiling, "r", time.Time{}
		got := get(t, db, tx.ID)
		if !got.Updated.After(tx.Updated) {
			t.Fatal("Updated did not move")
		}
		want.Updated = got.Updated
		wantEqual(t, got, want)

		if !update(t, db, tx.ID, nil, store.TxUpdate{}) {
			t.Fatal("empty update not done")
		}
		got = get(t, db, tx.ID)
		want.Updated = got.Updated
		wantEqual(t, got, want)

		if !update(t, db, tx.ID, nil, store.TxUpdate{State: store.Queued, SetNonce: true, Hash: &common.Hash{}, BlockHash: &common.Hash{}}) {
			t.Fatal("not cleared")
		}
		got = get(t, db, tx.ID)
		if got.Nonce != nil || got.Block != 0 || got.BlockHash != (common.Hash{}) || got.Hash != (common.Hash{}) {
			t.Fatalf("not cleared: %+v", got)
		}
	}},
	{"UpdateFromAnotherStateDoesNothing", func(t *testing.T, db *store.DB) {
		tx := newTx()
		insert(t, db, tx)
		if update(t, db, tx.ID, []store.TxState{store.Assigned, store.Signed}, store.TxUpdate{State: store.Sent, Error: ptr("no")}) {
			t.Fatal("updated from a state that it did not have")
		}
		wantEqual(t, get(t, db, tx.ID), tx)
	}},
	{"OfManyUpdatesFromOneStateOneWins", func(t *testing.T, db *store.DB) {
		tx := newTx()
		insert(t, db, tx)
		n := race(t, func(int) (ok bool, err error) {
			err = db.Write(t.Context(), func(w *store.Writer) (err error) {
				ok, err = w.UpdateTx(tx.ID, []store.TxState{store.Queued}, store.TxUpdate{State: store.Failed})
				return err
			})
			return ok, err
		})
		if n != 1 {
			t.Fatalf("%d updates won", n)
		}
	}},
	{"NonceBelongsToOneLiveRow", func(t *testing.T, db *store.DB) {
		holder := withNonce(newTx(), store.Assigned, 3)
		insert(t, db, holder)
		second := withNonce(newTx(), store.Held, 3)
		wantErr(t, db.Write(t.Context(), func(w *store.Writer) error { return w.InsertTx(second) }), store.ErrNonceTaken)
		_, known, err := db.Idempotent(t.Context(), second.Wallet, second.Credential, second.IdempotencyKey)
		if err != nil || known {
			t.Fatalf("the refused transaction left its key behind: %v, %v", known, err)
		}
		queued := newTx()
		insert(t, db, queued)
		take := store.TxUpdate{State: store.Assigned, SetNonce: true, Nonce: ptr(uint64(3))}
		wantErr(t, db.Write(t.Context(), func(w *store.Writer) error {
			_, err := w.UpdateTx(queued.ID, []store.TxState{store.Queued}, take)
			return err
		}), store.ErrNonceTaken)

		other := withNonce(newTx(), store.Assigned, 3)
		other.Sender = "another"
		insert(t, db, other)
		if !update(t, db, holder.ID, nil, store.TxUpdate{State: store.Superseded}) {
			t.Fatal("not superseded")
		}
		if !update(t, db, queued.ID, nil, take) {
			t.Fatal("a nonce whose row is no longer live was not given out again")
		}
		wantErr(t, db.Write(t.Context(), func(w *store.Writer) error {
			_, err := w.UpdateTx(holder.ID, []store.TxState{store.Superseded}, store.TxUpdate{State: store.Sent})
			return err
		}), store.ErrNonceTaken)
	}},
	{"EveryStateIsLiveAsRowsSay", func(t *testing.T, db *store.DB) {
		states := []store.TxState{
			store.Offered, store.Queued, store.Held, store.Assigned, store.Signed, store.Sent, store.Mined, store.Superseded,
			store.Confirmed, store.Replaced, store.Displaced, store.Failed,
		}
		for i, from := range states {
			for j, to := range states {
				nonce := uint64(i*len(states) + j)
				tx := withNonce(newTx(), from, nonce)
				insert(t, db, tx)
				if !update(t, db, tx.ID, []store.TxState{from}, store.TxUpdate{State: to}) {
					t.Fatalf("%s → %s not done", from, to)
				}
				err := db.Write(t.Context(), func(w *store.Writer) error { return w.InsertTx(withNonce(newTx(), store.Sent, nonce)) })
				if taken := err != nil; taken != to.Live() {
					t.Fatalf("%s → %s: nonce taken is %v (%v), want %v", from, to, taken, err, to.Live())
				}
			}
		}
	}},
	{"NonceBeyondBigintIsRefused", func(t *testing.T, db *store.DB) {
		err := db.Write(t.Context(), func(w *store.Writer) error {
			return w.InsertTx(withNonce(newTx(), store.Held, math.MaxInt64+1))
		})
		if err == nil {
			t.Fatal("stored")
		}
	}},
}
