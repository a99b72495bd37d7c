// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"errors"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/audit"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

const movedSender = "1-aa-0x01"

// fill gives a database a little of everything; the epoch of its lease is 2.
func fill(t *testing.T, db *store.DB) store.Tx {
	t.Helper()
	nonce := uint64(7)
	tx := store.Tx{
		ID: store.NewID(), Wallet: "w", Credential: "c", IdempotencyKey: "k", Sender: movedSender, State: store.Signed, Nonce: &nonce,
		Payload: []byte{1, 0, 2}, Error: "bad \xff and \x00", Created: time.UnixMicro(5).UTC(), Updated: time.UnixMicro(6).UTC(),
	}
	a := store.Attempt{ID: store.NewID(), Tx: tx.ID, Sender: movedSender, Nonce: 7, Kind: store.FirstAttempt, Digest: common.Hash{1}, Raw: []byte{0, 1}, Hash: common.Hash{2}, Epoch: 2}
	err := db.Write(t.Context(), func(w *store.Writer) error {
		return errors.Join(
			w.PutSender(store.Sender{ID: movedSender, ChainID: 1, Membership: "m", Proven: true}),
			w.InsertTx(tx), w.InsertAttempt(a),
			w.AuditIntent(audit.Intent{ID: store.NewID(), At: time.Now(), Action: audit.SendTransaction}),
			w.PutAccounts("w", []store.Account{{Address: common.Address{1}, Ref: "r", State: "ready", Tags: map[string]string{"a": "b"}}}),
		)
	})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		lease, err := db.AcquireLease(t.Context(), movedSender, "old", time.Hour)
		if err != nil {
			t.Fatal(err)
		}
		if err := db.ReleaseLease(t.Context(), store.Fence{Sender: movedSender, Owner: "old", Epoch: lease.Epoch}); err != nil {
			t.Fatal(err)
		}
	}
	return tx
}

func TestMoveCarriesEverythingBothWays(t *testing.T) {
	ctx := t.Context()
	first, url, second := t.TempDir(), newDatabase(t), t.TempDir()
	db := open(t, store.Config{Dir: first})
	tx := fill(t, db)
	if _, err := store.Move(ctx, first, url, nil); !errors.Is(err, store.ErrInUse) {
		t.Fatalf("beside a daemon: %v", err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	for _, leg := range []struct{ from, to string }{{first, url}, {url, second}} {
		moved, err := store.Move(ctx, leg.from, leg.to, nil)
		if err != nil {
			t.Fatal(err)
		}
		if moved.Rows["tx"] != 1 || moved.Rows["attempt"] != 1 || moved.Rows["lease"] != 1 || moved.Rows["idempotency"] != 1 {
			t.Errorf("moved %v", moved.Rows)
		}
		cfg := store.Config{Dir: leg.from}
		if store.IsURL(leg.from) {
			cfg = store.Config{URL: leg.from}
		}
		_, err = store.OpenDB(ctx, cfg)
		if !errors.Is(err, store.ErrMoved) || !strings.Contains(err.Error(), "DELETE FROM meta") || strings.Contains(err.Error(), "hsmsigner:") {
			t.Errorf("the source opens: %v", err)
		}
		if _, err := store.Move(ctx, leg.from, t.TempDir(), nil); !errors.Is(err, store.ErrMoved) {
			t.Errorf("moved twice: %v", err)
		}
	}
	db = open(t, store.Config{Dir: second})
	got, err := db.Tx(ctx, tx.ID)
	if err != nil {
		t.Fatal(err)
	}
	tx.Error = "bad \uFFFD and \uFFFD"
	if !reflect.DeepEqual(got, tx) {
		t.Errorf("got  %+v\nwant %+v", got, tx)
	}
	if attempts, err := db.Attempts(ctx, tx.ID); err != nil || len(attempts) != 1 || len(attempts[0].Raw) != 2 {
		t.Errorf("attempts %+v, %v", attempts, err)
	}
	if s, err := db.Sender(ctx, movedSender); err != nil || s.Parked != "" || !s.Proven {
		t.Errorf("sender %+v, %v", s, err)
	}
	lease, err := db.AcquireLease(ctx, movedSender, "new", time.Hour)
	if err != nil || lease.Epoch != 3 {
		t.Errorf("lease %+v, %v", lease, err)
	}
	if accounts, err := db.Accounts(ctx, "w"); err != nil || len(accounts) != 1 || accounts[0].Tags["a"] != "b" {
		t.Errorf("accounts %+v, %v", accounts, err)
	}
}

func TestMoveIntoAFilledDatabaseIsRefused(t *testing.T) {
	from, to := t.TempDir(), newDatabase(t)
	db := open(t, store.Config{Dir: from})
	put(t, db, someTx())
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	target := openURL(t, store.Config{URL: to})
	put(t, target, someTx())
	if _, err := store.Move(t.Context(), from, to, nil); err == nil || !strings.Contains(err.Error(), "not empty") {
		t.Fatalf("got %v", err)
	}
	open(t, store.Config{Dir: from}) // it is not marked
}

func TestMoveFromALiveDatabaseIsRefused(t *testing.T) {
	ctx := t.Context()
	for name, live := range map[string]func(*store.DB) error{
		"lease":   func(db *store.DB) error { _, err := db.AcquireLease(ctx, "s", "me", time.Hour); return err },
		"replica": func(db *store.DB) error { return db.PutReplica(ctx, store.Replica{Owner: "me"}) },
	} {
		url := newDatabase(t)
		if err := live(openURL(t, store.Config{URL: url})); err != nil {
			t.Fatal(err)
		}
		if _, err := store.Move(ctx, url, t.TempDir(), nil); !errors.Is(err, store.ErrInUse) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
