// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/hsmsigner/hsmsigner/internal/store"
	"github.com/hsmsigner/hsmsigner/internal/store/pgtest"
)

func TestTwoDaemonsMayStartAndMigrateAtOnce(t *testing.T) {
	url := newDatabase(t)
	var wg sync.WaitGroup
	for range 6 {
		wg.Go(func() {
			db, err := store.OpenDB(t.Context(), store.Config{URL: url, Connections: 4})
			if err != nil {
				t.Error(err)
				return
			}
			defer db.Close()
			if err := db.Ping(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	from, to, err := store.Migrate(t.Context(), url)
	if err != nil || from != to || from < 2 {
		t.Errorf("from %d to %d, %v", from, to, err)
	}
}

func TestDaemonsOfNeighbouringVersionsShareADatabase(t *testing.T) {
	for name, place := range map[string]func() store.Config{
		"postgres": func() store.Config { return store.Config{URL: newDatabase(t)} },
		"sqlite":   func() store.Config { return store.Config{Dir: t.TempDir()} },
	} {
		t.Run(name, func(t *testing.T) {
			cfg := place()
			old := openURL(t, cfg)
			if cfg.Dir != "" {
				if err := old.Close(); err != nil { // its directory is its own
					t.Fatal(err)
				}
			}
			compatible := store.WithMigration(cfg, "-- oldest: 2\nALTER TABLE tx ADD COLUMN extra TEXT NOT NULL DEFAULT '';")
			fresh := openURL(t, compatible)
			put(t, fresh, someTx())
			if cfg.Dir == "" {
				put(t, old, someTx())
			}
			if err := fresh.Close(); err != nil {
				t.Fatal(err)
			}
			again := openURL(t, cfg) // the old one restarts
			put(t, again, someTx())
			if err := again.Close(); err != nil {
				t.Fatal(err)
			}
			where := cfg.URL + cfg.Dir
			reader, err := store.OpenReadOnly(t.Context(), where)
			if err != nil {
				t.Fatal(err)
			}
			if err := reader.Close(); err != nil {
				t.Fatal(err)
			}

			breaking := store.WithMigration(compatible, "ALTER TABLE tx ADD COLUMN another TEXT NOT NULL DEFAULT '';")
			if err := openURL(t, breaking).Close(); err != nil {
				t.Fatal(err)
			}
			newest := fmt.Sprintf("has schema version %d", store.Newest()+2)
			_, err1 := store.OpenDB(t.Context(), cfg)
			_, err2 := store.OpenReadOnly(t.Context(), where)
			_, err3 := store.OpenDB(t.Context(), compatible)
			_, _, err4 := store.Migrate(t.Context(), where)
			for _, err := range []error{err1, err2, err3, err4} {
				if !errors.Is(err, store.ErrNewerSchema) || !strings.Contains(err.Error(), newest) {
					t.Errorf("got %v", err)
				}
			}
		})
	}
}

func TestOlderSchemaIsNotOpenedForReading(t *testing.T) {
	url := newDatabase(t)
	openURL(t, store.AtSchema(store.Config{URL: url}, 1))
	if _, err := store.OpenReadOnly(t.Context(), url); !errors.Is(err, store.ErrOlderSchema) {
		t.Errorf("got %v", err)
	}
	if _, err := store.OpenReadOnly(t.Context(), newDatabase(t)); err == nil || !strings.Contains(err.Error(), "not a database of hsmsigner") {
		t.Errorf("an empty one: %v", err)
	}
}

func TestMigrationThatFailsChangesNothing(t *testing.T) {
	cfg := store.Config{URL: newDatabase(t)}
	if _, err := store.OpenDB(t.Context(), store.WithMigration(cfg, "CREATE TABLE half (id BIGINT); SELECT 1/0;")); err == nil || !strings.Contains(err.Error(), "migration test.sql") {
		t.Fatalf("got %v", err)
	}
	put(t, openURL(t, store.WithMigration(cfg, "CREATE TABLE half (id BIGINT);")), someTx())
}

func TestSecretsOfTheURLAreInNoError(t *testing.T) {
	const secret = "s3cr%65t#x"
	for _, url := range []string{
		"postgres://user:" + secret + "@127.0.0.1:1/db",
		"postgres://user:s3cret@127.0.0.1:1/db?sslmode=nonsense",
		"postgres://user:s3cret@127.0.0.1:notaport/db",
		"postgres://user:s3cret@127.0.0.1:1",
		"postgres://user:s3cret@[::1/db",
		"postgres://user:s3cret%zz@host/db",
		"postgres://user:s3cret@" + server.Addr() + "/postgres?sslmode=disable",
		"postgres://hsmsigner:s3cret@" + server.Addr() + "/postgres?sslmode=disable",
		"postgres://user@127.0.0.1:1/db?password=s3cret&sslmode=disable",
	} {
		_, err1 := store.OpenDB(t.Context(), store.Config{URL: url})
		_, err2 := store.OpenReadOnly(t.Context(), url)
		for _, err := range []error{err1, err2} {
			if err == nil || strings.Contains(err.Error(), "s3cr") {
				t.Errorf("got %v", err)
			}
		}
	}
}

func TestHotStandbyIsRefused(t *testing.T) {
	s, err := pgtest.Start(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	url, err := s.NewDatabase(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	put(t, openURL(t, store.Config{URL: url}), someTx())
	if err := s.Stop(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(s.DataDir(), "standby.signal"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := s.Up(t.Context()); err != nil {
		t.Fatal(err)
	}
	if _, err := store.OpenDB(t.Context(), store.Config{URL: url}); err == nil || !strings.Contains(err.Error(), "hot standby") {
		t.Errorf("got %v", err)
	}
	reader, err := store.OpenReadOnly(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	if txs, err := reader.List(t.Context(), store.TxFilter{}); err != nil || len(txs) != 1 {
		t.Errorf("read %d rows, %v", len(txs), err)
	}
}

func TestDurabilityIsSaid(t *testing.T) {
	ctx := t.Context()
	url := newDatabase(t)
	say := func(want string, level slog.Level) {
		t.Helper()
		db := openURL(t, store.Config{URL: url})
		got, at := db.Durability()
		if !strings.Contains(got, want) || at != level {
			t.Errorf("%v: %s", at, got)
		}
		// Whatever the server's default is, this program's commits are synced.
		if err := db.Write(ctx, func(w *store.Writer) error { return store.WantSetting(w, "synchronous_commit", "on") }); err != nil {
			t.Error(err)
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
	say("not replicated", slog.LevelInfo)
	name := url[strings.LastIndex(url, "/")+1 : strings.Index(url, "?")]
	if err := server.Exec(ctx, "postgres", "ALTER DATABASE "+name+" SET synchronous_commit = off"); err != nil {
		t.Fatal(err)
	}
	say("overridden by on", slog.LevelInfo)
	if text, level := open(t, store.Config{}).Durability(); level != slog.LevelInfo || !strings.Contains(text, "local disk") {
		t.Errorf("%v: %s", level, text)
	}
}

func TestPoolerIsRecognised(t *testing.T) {
	if store.Pooled(openURL(t, store.Config{URL: newDatabase(t)})) {
		t.Error("a server is taken for a pooler")
	}
	if !store.Pooled(openURL(t, store.Config{URL: newDatabase(t), Pooler: true})) {
		t.Error("the setting does not count")
	}
	pooler, err := server.Pooler(t.Context(), 2)
	if err != nil {
		t.Fatal(err)
	}
	url, err := pooler.NewDatabase(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	db := openURL(t, store.Config{URL: url})
	if !store.Pooled(db) {
		t.Error("pgbouncer is not recognised")
	}
	err = db.Write(t.Context(), func(w *store.Writer) error {
		return errors.Join(store.WantSetting(w, "lock_timeout", "2s"), store.WantSetting(w, "idle_in_transaction_session_timeout", "5s"))
	})
	if err != nil {
		t.Error(err)
	}
}

func TestRestoredPostgresStartsFrozen(t *testing.T) {
	ctx := t.Context()
	dir := t.TempDir()
	url := newDatabase(t)
	db := openURL(t, store.Config{URL: url, Dir: dir})
	fill(t, db)
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	parked := func(url, dir string) string {
		t.Helper()
		db := openURL(t, store.Config{URL: url, Dir: dir})
		defer db.Close()
		s, err := db.Sender(ctx, movedSender)
		if err != nil {
			t.Fatal(err)
		}
		return s.Parked
	}
	if why := parked(url, dir); why != "" {
		t.Errorf("a restart parks: %s", why)
	}
	if why := parked(url, t.TempDir()); why != "" {
		t.Errorf("another replica parks: %s", why)
	}
	name := url[strings.LastIndex(url, "/")+1 : strings.Index(url, "?")]
	if err := server.Exec(ctx, "postgres", "CREATE DATABASE restored TEMPLATE "+name); err != nil {
		t.Fatal(err)
	}
	if why := parked(server.URL("restored"), ""); !strings.HasPrefix(why, store.RestoredReason) {
		t.Errorf("a copy is not parked: %q", why)
	}
	// An earlier state of the same database: what the note says was seen is not there.
	if err := server.Exec(ctx, name, "DELETE FROM audit_intent"); err != nil {
		t.Fatal(err)
	}
	if why := parked(url, dir); !strings.HasPrefix(why, store.RestoredReason) {
		t.Errorf("an older state is not parked: %q", why)
	}
}
