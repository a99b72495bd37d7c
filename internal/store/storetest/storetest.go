// SPDX-License-Identifier: Apache-2.0

// Package storetest is the one suite that every database under package store
// passes. It guarantees that what package txmgr relies on holds there:
// compare-and-set, fences, group commit, idempotency. It never looks at how a
// database does it.
package storetest

import (
	"errors"
	"math/big"
	"reflect"
	"sync"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/store"
)

// Run tests a database. open returns a new, empty store without
// Config.Exclusive, and closes it when the test ends.
func Run(t *testing.T, open func(t *testing.T) *store.DB) {
	for _, group := range []struct {
		name  string
		tests []test
	}{
		{"tx", txTests},
		{"attempt", attemptTests},
		{"idempotency", idempotencyTests},
		{"lease", leaseTests},
		{"commit", commitTests},
		{"load", loadTests},
		{"offered", offeredTests},
		{"disclose", discloseTests},
		{"list", listTests},
		{"replica", replicaTests},
		{"event", eventTests},
		{"prune", pruneTests},
		{"sender", senderTests},
		{"account", accountTests},
		{"audit", auditTests},
		{"audit query", auditQueryTests},
		{"resource", resourceTests},
		{"resourcestate", resourceStateTests},
		{"signin", signInTests},
		{"policy", policyTests},
		{"freeze", freezeTests},
		{"stream", streamTests},
		{"contract", contractTests},
	} {
		t.Run(group.name, func(t *testing.T) {
			for _, c := range group.tests {
				t.Run(c.name, func(t *testing.T) { c.run(t, open(t)) })
			}
		})
	}
}

type test struct {
	name string
	run  func(t *testing.T, db *store.DB)
}

const sender = "1337-0a0b0c0d-0x00000000000000000000000000000000000000aa"

// racers is how many goroutines race in a race.
const racers = 64

func ptr[T any](v T) *T { return &v }

// newTx returns a queued transaction with every field set that a queued one
// has, and a key of its own.
func newTx() store.Tx {
	id := store.NewID()
	now := time.Now().UTC().Truncate(time.Microsecond)
	return store.Tx{
		ID: id, Wallet: "treasury", Credential: "app:shop", IdempotencyKey: "key-" + id, RequestHash: [32]byte{1, 2, 3},
		Intent: store.NewID(), Sender: sender, Kind: store.UserTx, Payload: []byte{0x02, 0xc0}, State: store.Queued,
		FeeCeiling: new(big.Int).Lsh(big.NewInt(1), 90), Expires: now.Add(time.Hour), Created: now, Updated: now,
	}
}

func withNonce(t store.Tx, state store.TxState, nonce uint64) store.Tx {
	t.State, t.Nonce = state, &nonce
	return t
}

// newAttempt returns an open, unsigned first attempt at t's nonce.
func newAttempt(t store.Tx) store.Attempt {
	id := store.NewID()
	return store.Attempt{
		ID: id, Tx: t.ID, Sender: t.Sender, Nonce: *t.Nonce, Kind: store.FirstAttempt, Digest: common.HexToHash(id),
		Epoch: 1, Outcome: store.Open, Created: time.Now().UTC().Truncate(time.Microsecond),
	}
}

func write(t *testing.T, db *store.DB, fn func(w *store.Writer) error) {
	t.Helper()
	if err := db.Write(t.Context(), fn); err != nil {
		t.Fatal(err)
	}
}

func insert(t *testing.T, db *store.DB, txs ...store.Tx) {
	t.Helper()
	write(t, db, func(w *store.Writer) error {
		for _, tx := range txs {
			if err := w.InsertTx(tx); err != nil {
				return err
			}
		}
		return nil
	})
}

func update(t *testing.T, db *store.DB, id string, from []store.TxState, u store.TxUpdate) bool {
	t.Helper()
	var ok bool
	write(t, db, func(w *store.Writer) (err error) {
		ok, err = w.UpdateTx(id, from, u)
		return err
	})
	return ok
}

func get(t *testing.T, db *store.DB, id string) store.Tx {
	t.Helper()
	tx, err := db.Tx(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return tx
}

// race calls fn from all racers at once and returns how many got true.
func race(t *testing.T, fn func(i int) (bool, error)) int {
	t.Helper()
	var wg sync.WaitGroup
	won := make([]bool, racers)
	start := make(chan struct{})
	for i := range racers {
		wg.Go(func() {
			<-start
			var err error
			if won[i], err = fn(i); err != nil {
				t.Error(err)
			}
		})
	}
	close(start)
	wg.Wait()
	n := 0
	for _, ok := range won {
		if ok {
			n++
		}
	}
	return n
}

func wantErr(t *testing.T, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Fatalf("got error %v, want %v", err, want)
	}
}

func wantEqual(t *testing.T, got, want any) {
	t.Helper()
	if !reflect.DeepEqual(got, want) {
		t.Fatalf("got  %+v\nwant %+v", got, want)
	}
}

func ids(txs []store.Tx) []string {
	all := make([]string, len(txs))
	for i, tx := range txs {
		all[i] = tx.ID
	}
	return all
}
