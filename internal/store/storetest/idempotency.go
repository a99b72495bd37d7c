// SPDX-License-Identifier: Apache-2.0

package storetest

import (
	"errors"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/store"
)

var idempotencyTests = []test{
	{"SecondUseNamesTheFirst", func(t *testing.T, db *store.DB) {
		first := newTx()
		insert(t, db, first)
		second := newTx()
		second.IdempotencyKey, second.RequestHash = first.IdempotencyKey, [32]byte{9}
		err := db.Write(t.Context(), func(w *store.Writer) error { return w.InsertTx(second) })
		var duplicate *store.DuplicateKeyError
		if !errors.As(err, &duplicate) || duplicate.TxID != first.ID || duplicate.RequestHash != first.RequestHash {
			t.Fatalf("got %v", err)
		}
		_, err = db.Tx(t.Context(), second.ID)
		wantErr(t, err, store.ErrNotFound)
	}},
	{"IsPerWalletAndCredential", func(t *testing.T, db *store.DB) {
		first := newTx()
		wallet, credential := newTx(), newTx()
		wallet.IdempotencyKey, wallet.Wallet = first.IdempotencyKey, "petty cash"
		credential.IdempotencyKey, credential.Credential = first.IdempotencyKey, "app:other"
		insert(t, db, first, wallet, credential)
		row, known, err := db.Idempotent(t.Context(), wallet.Wallet, wallet.Credential, wallet.IdempotencyKey)
		if err != nil || !known || row.TxID != wallet.ID {
			t.Fatalf("got %+v, %v, %v", row, known, err)
		}
		_, known, err = db.Idempotent(t.Context(), wallet.Wallet, credential.Credential, first.IdempotencyKey)
		if err != nil || known {
			t.Fatalf("known %v, %v", known, err)
		}
	}},
	{"WithoutKeyNothingIsKept", func(t *testing.T, db *store.DB) {
		first, second := newTx(), newTx()
		first.IdempotencyKey, second.IdempotencyKey = "", ""
		insert(t, db, first, second)
		_, known, err := db.Idempotent(t.Context(), first.Wallet, first.Credential, "")
		if err != nil || known {
			t.Fatalf("known %v, %v", known, err)
		}
	}},
	{"OfManyWithOneKeyOneIsAccepted", func(t *testing.T, db *store.DB) {
		key := store.NewID()
		n := race(t, func(int) (bool, error) {
			tx := newTx()
			tx.IdempotencyKey = key
			err := db.Write(t.Context(), func(w *store.Writer) error { return w.InsertTx(tx) })
			var duplicate *store.DuplicateKeyError
			if errors.As(err, &duplicate) {
				return false, nil
			}
			return true, err
		})
		all, err := db.List(t.Context(), store.TxFilter{})
		if n != 1 || err != nil || len(all) != 1 {
			t.Fatalf("%d accepted, %d rows, %v", n, len(all), err)
		}
	}},
	{"FollowsItsTransaction", func(t *testing.T, db *store.DB) {
		tx := newTx()
		insert(t, db, tx)
		row := lookup(t, db, tx)
		wantEqual(t, row, store.IdempotentRow{TxID: tx.ID, RequestHash: tx.RequestHash, State: store.Queued, Created: tx.Created})
		hash := common.HexToHash("0x07")
		update(t, db, tx.ID, nil, store.TxUpdate{State: store.Failed, Hash: &hash, Error: ptr("broken")})
		row = lookup(t, db, tx)
		if row.State != store.Failed || row.Hash != hash || row.Error != "broken" {
			t.Fatalf("got %+v", row)
		}
	}},
	{"OutlivesItsTransaction", func(t *testing.T, db *store.DB) {
		tx := withNonce(newTx(), store.Confirmed, 1)
		tx.Hash = common.HexToHash("0x08")
		insert(t, db, tx, withNonce(newTx(), store.Confirmed, 2))
		prune(t, db, time.Now().Add(time.Minute), time.Now().Add(-time.Minute), 1)
		_, err := db.Tx(t.Context(), tx.ID)
		wantErr(t, err, store.ErrNotFound)
		row := lookup(t, db, tx)
		wantEqual(t, row, store.IdempotentRow{TxID: tx.ID, RequestHash: tx.RequestHash, State: store.Confirmed, Hash: tx.Hash, Created: tx.Created})

		again := newTx()
		again.IdempotencyKey = tx.IdempotencyKey
		err = db.Write(t.Context(), func(w *store.Writer) error { return w.InsertTx(again) })
		var duplicate *store.DuplicateKeyError
		if !errors.As(err, &duplicate) || duplicate.TxID != tx.ID {
			t.Fatalf("got %v", err)
		}
	}},
}

func lookup(t *testing.T, db *store.DB, tx store.Tx) store.IdempotentRow {
	t.Helper()
	row, known, err := db.Idempotent(t.Context(), tx.Wallet, tx.Credential, tx.IdempotencyKey)
	if err != nil || !known {
		t.Fatalf("known %v, %v", known, err)
	}
	return row
}
