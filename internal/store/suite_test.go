// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/hsmsigner/hsmsigner/internal/store"
	"github.com/hsmsigner/hsmsigner/internal/store/storetest"
)

func TestMain(m *testing.M) {
	writeUntilKilled()
	stop := startServer()
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		stop()
		os.Exit(code)
	}), goleak.IgnoreAnyFunction("github.com/hsmsigner/hsmsigner/internal/store/pgtest.begin.func1"))
}

func open(t *testing.T, cfg store.Config) *store.DB {
	t.Helper()
	if cfg.Dir == "" {
		cfg.Dir = t.TempDir()
	}
	db, err := store.OpenSQLite(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := db.Close(); err != nil {
			t.Error(err)
		}
	})
	return db
}

func TestSQLite(t *testing.T) {
	storetest.Run(t, func(t *testing.T) *store.DB { return open(t, store.Config{}) })
}
