// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"context"
	"fmt"
	"os"
	"testing"

	"github.com/hsmsigner/hsmsigner/internal/store"
	"github.com/hsmsigner/hsmsigner/internal/store/pgtest"
	"github.com/hsmsigner/hsmsigner/internal/store/storetest"
)

// server is shared by the tests that do it no harm; TestMain ends it.
var server *pgtest.Server

func startServer() (stop func()) {
	s, err := pgtest.Start(context.Background())
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	server = s
	return func() { _ = s.Close() }
}

func newDatabase(t *testing.T) string {
	t.Helper()
	url, err := server.NewDatabase(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return url
}

func openURL(t *testing.T, cfg store.Config) *store.DB {
	t.Helper()
	db, err := store.OpenDB(t.Context(), cfg)
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

func TestPostgres(t *testing.T) {
	storetest.Run(t, func(t *testing.T) *store.DB { return openURL(t, store.Config{URL: newDatabase(t)}) })
}

func TestPostgresBehindAPooler(t *testing.T) {
	pooler, err := server.Pooler(t.Context(), 3)
	if err != nil {
		t.Fatal(err)
	}
	storetest.Run(t, func(t *testing.T) *store.DB {
		url, err := pooler.NewDatabase(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return openURL(t, store.Config{URL: url})
	})
}
