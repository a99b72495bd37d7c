// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/store"
)

// A database of the version before the replicas, with rows in it.
func TestMigrationKeepsWhatAnEarlierVersionStored(t *testing.T) {
	for name, cfg := range map[string]store.Config{"sqlite": {Dir: t.TempDir()}, "postgres": {URL: newDatabase(t)}} {
		t.Run(name, func(t *testing.T) {
			ctx := t.Context()
			old := openURL(t, store.AtSchema(cfg, 1))
			intent, outcome := store.NewID(), store.NewID()
			err := old.Write(ctx, func(w *store.Writer) error {
				if err := store.Script(w, `INSERT INTO tx (id, wallet, credential, idempotency_key, request_hash, intent, sender, nonce, explicit, kind,
					payload, state, live, final, replaces, created, updated, succeeded, error)
					VALUES ('old', 'w', 'c', '', '', '', 's', 1, 0, 'user', '', 'confirmed', 1, 1, '', 1, 1, 1, '')`); err != nil {
					return err
				}
				if err := store.Script(w, `INSERT INTO audit_intent (id, at, principal, wallet, address, action, subject, verdict)
					VALUES ('`+intent+`', 1, '', '', '', 'send-transaction', '', '')`); err != nil {
					return err
				}
				return store.Script(w, `INSERT INTO audit_outcome (id, intent, at, request_id, error) VALUES ('`+outcome+`', '`+intent+`', 1, 'r', '')`)
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
			if _, outcomes, err := db.AuditOf(ctx, intent); err != nil || len(outcomes) != 1 || outcomes[0].RequestID != "r" {
				t.Errorf("outcomes %+v, %v", outcomes, err)
			}
			if _, err := db.Prune(ctx, time.Now(), time.Now()); err != nil {
				t.Error(err)
			}
		})
	}
}
