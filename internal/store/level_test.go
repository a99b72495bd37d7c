// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/audit"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

// A daemon with retention runs for years: what is pruned makes room for what
// comes, so the file grows no further.
func TestFileLevelsOffUnderInsertAndPrune(t *testing.T) {
	dir := t.TempDir()
	db := open(t, store.Config{Dir: dir})
	const rounds, perRound, perWrite = 10, 600, 200
	var sizes []int64
	var nonce uint64
	for range rounds {
		for range perRound / perWrite {
			err := db.Write(t.Context(), func(w *store.Writer) error {
				for range perWrite {
					nonce++
					if err := insertDone(w, nonce); err != nil {
						return err
					}
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		soon := time.Now().Add(time.Minute)
		pruned, err := db.Prune(t.Context(), soon, soon)
		if err != nil || pruned < perRound-1 {
			t.Fatalf("pruned %d, %v", pruned, err)
		}
		if _, err := db.PruneAudit(t.Context(), soon); err != nil {
			t.Fatal(err)
		}
		if _, err := db.DropEvents(t.Context(), soon); err != nil {
			t.Fatal(err)
		}
		sizes = append(sizes, fileSizes(t, dir))
	}
	if peak := sizes[rounds/2]; sizes[rounds-1] > peak+peak/4 {
		t.Fatalf("the files went on to grow: %v", sizes)
	}
	t.Logf("sizes: %v", sizes)
}

func insertDone(w *store.Writer, nonce uint64) error {
	now := time.Now()
	tx := store.Tx{
		ID: store.NewID(), Wallet: "treasury", Credential: "app:shop", IdempotencyKey: store.NewID(), Intent: store.NewID(),
		Sender: "1-level", Nonce: &nonce, Kind: store.UserTx, Payload: make([]byte, 120), State: store.Confirmed,
	}
	a := store.Attempt{
		ID: store.NewID(), Tx: tx.ID, Sender: tx.Sender, Nonce: nonce, Kind: store.FirstAttempt, Digest: common.HexToHash(tx.ID),
		Raw: make([]byte, 180), Hash: common.HexToHash(tx.Intent), Epoch: 1, Outcome: store.Won,
	}
	for _, step := range []func() error{
		func() error { return w.AuditIntent(audit.Intent{ID: tx.Intent, At: now, Subject: tx.ID}) },
		func() error { return w.InsertTx(tx) },
		func() error { return w.InsertAttempt(a) },
		func() error { return w.AuditOutcome(audit.Outcome{ID: store.NewID(), Intent: tx.Intent, At: now}) },
		func() error {
			return w.PutEvent(store.Event{ID: store.NewID(), Hook: "shop", Tx: tx.ID, Body: make([]byte, 300)})
		},
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func fileSizes(t *testing.T, dir string) (sum int64) {
	t.Helper()
	for _, name := range []string{"hsmsigner.db", "hsmsigner.db-wal"} {
		info, err := os.Stat(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		sum += info.Size()
	}
	return sum
}
