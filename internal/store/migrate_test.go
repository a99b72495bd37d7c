// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/audit"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

// A database of the version before the replicas, with rows in it.
func TestMigrationKeepsWhatAnEarlierVersionStored(t *testing.T) {
	for name, cfg := range map[string]store.Config{"sqlite": {Dir: t.TempDir()}, "postgres": {URL: newDatabase(t)}} {
		t.Run(name, func(t *testing.T) {
			ctx := t.Context()
			old := openURL(t, store.WithoutLastMigration(cfg))
			intent := audit.Intent{ID: store.NewID(), At: time.Now(), Action: audit.SendTransaction}
			err := old.Write(ctx, func(w *store.Writer) error {
				if err := store.Script(w, `INSERT INTO tx (id, wallet, credential, idempotency_key, request_hash, intent, sender, nonce, explicit, kind,
					payload, state, live, final, replaces, created, updated, succeeded, error)
					VALUES ('old', 'w', 'c', '', '', '', 's', 1, 0, 'user', '', 'confirmed', 1, 1, '', 1, 1, 1, '')`); err != nil {
					return err
				}
				if err := w.AuditIntent(intent); err != nil {
					return err
				}
				return w.AuditOutcome(audit.Outcome{ID: store.NewID(), Intent: intent.ID, At: time.Now(), RequestID: "r"})
			})
			if err != nil {
				t.Fatal(err)
			}
			if err := old.Close(); err != nil {
				t.Fatal(err)
			}
			db := openURL(t, cfg)
			if txs, err := db.List(ctx, store.TxFilter{States: []store.TxState{store.Confirmed}}); err != nil || len(txs) != 1 {
				t.Errorf("%d final rows by state, %v", len(txs), err)
			}
			if _, outcomes, err := db.AuditOf(ctx, intent.ID); err != nil || len(outcomes) != 1 || outcomes[0].RequestID != "r" {
				t.Errorf("outcomes %+v, %v", outcomes, err)
			}
			if _, err := db.Prune(ctx, time.Now(), time.Now()); err != nil {
				t.Error(err)
			}
		})
	}
}
