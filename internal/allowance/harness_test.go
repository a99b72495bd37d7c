// SPDX-License-Identifier: Apache-2.0

package allowance

import (
	"context"
	"fmt"
	"math/big"
	"os"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/hsmsigner/hsmsigner/internal/policy"
	"github.com/hsmsigner/hsmsigner/internal/store"
	"github.com/hsmsigner/hsmsigner/internal/store/pgtest"
)

var server *pgtest.Server

func TestMain(m *testing.M) {
	s, err := pgtest.Start(context.Background())
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	server = s
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		_ = s.Close()
		os.Exit(code)
	}), goleak.IgnoreAnyFunction("github.com/hsmsigner/hsmsigner/internal/store/pgtest.begin.func1"))
}

func openStore(t testing.TB, cfg store.Config) *store.DB {
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

func sqlite(t testing.TB) *store.DB { return openStore(t, store.Config{Dir: t.TempDir()}) }

// replicas are several stores on one new database of PostgreSQL.
func replicas(t testing.TB, n int) []*store.DB {
	t.Helper()
	url, err := server.NewDatabase(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	dbs := make([]*store.DB, n)
	for i := range dbs {
		dbs[i] = openStore(t, store.Config{URL: url})
	}
	return dbs
}

// everywhere runs a test on SQLite and on PostgreSQL.
func everywhere(t *testing.T, f func(t *testing.T, db *store.DB)) {
	t.Run("SQLite", func(t *testing.T) { f(t, sqlite(t)) })
	t.Run("PostgreSQL", func(t *testing.T) { f(t, replicas(t, 1)[0]) })
}

// clock is a time that tests set: what really passes, and what the machine says.
type clock struct {
	real time.Duration // since the beginning
	off  time.Duration // by how much the machine's clock is wrong
}

var beginning = time.Date(2026, 11, 22, 10, 0, 0, 0, time.UTC)

func (c *clock) wall() time.Time { return beginning.Add(c.real + c.off) }

// ledger is one of a process that starts now by c.
func (c *clock) ledger(db *store.DB) *Ledger {
	l := New(Config{Store: db})
	start := c.real
	l.since = func() time.Duration { return c.real - start }
	l.wall = func(time.Time) time.Time { return c.wall() }
	return l
}

func take(key string, amount, limit int64, window time.Duration) policy.Take {
	return policy.Take{
		Limit: "deployment/" + key, Key: key, Asset: policy.Native, Amount: big.NewInt(amount), Max: big.NewInt(limit), Window: window,
	}
}

func used(t testing.TB, l *Ledger, key string) int64 {
	t.Helper()
	all, err := l.Usage(t.Context(), "deployment/"+key)
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range all {
		if u.Key == key {
			return u.Used.Int64()
		}
	}
	return 0
}

func mustReserve(t testing.TB, l *Ledger, id string, takes ...policy.Take) Receipt {
	t.Helper()
	r, err := l.Reserve(t.Context(), id, takes)
	if err != nil {
		t.Fatal(err)
	}
	return r
}
