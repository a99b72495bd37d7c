// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/sqlite"
)

func openTest(t *testing.T, dir string) *DB {
	t.Helper()
	db, err := OpenSQLite(t.Context(), Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db
}

func queued() Tx {
	return Tx{ID: NewID(), Wallet: "w", Credential: "c", Sender: "s", State: Queued, Payload: make([]byte, 2000)}
}

// failCommits makes COMMIT fail, as it does when the disk cannot sync, while
// the returned switch is on.
func failCommits(t *testing.T, db *DB) *atomic.Bool {
	t.Helper()
	var failing atomic.Bool
	err := db.Write(t.Context(), func(w *Writer) error {
		return sqlite.OnCommit(w.s.(*sqliteSession).raw, func() bool { return !failing.Load() })
	})
	if err != nil {
		t.Fatal(err)
	}
	return &failing
}

func TestFailedCommitIsUnknownToAllWhoSharedIt(t *testing.T) {
	db := openTest(t, t.TempDir())
	failing := failCommits(t, db)
	failing.Store(true)
	var wg sync.WaitGroup
	txs := make([]Tx, 20)
	for i := range txs {
		txs[i] = queued()
		wg.Go(func() {
			err := db.Write(t.Context(), func(w *Writer) error { return w.InsertTx(txs[i]) })
			var unknown *CommitError
			if !errors.As(err, &unknown) {
				t.Errorf("got %v", err)
			}
		})
	}
	wg.Wait()

	// Still failing: what the rows are is not definite, so no read may say.
	if _, err := db.Tx(t.Context(), txs[0].ID); err == nil || errors.Is(err, ErrNotFound) {
		t.Fatalf("a read answered %v in doubt", err)
	}
	if err := db.Ping(t.Context()); err == nil {
		t.Fatal("ping answers although nothing can be stored")
	}
	failing.Store(false)
	for _, tx := range txs {
		if _, err := db.Tx(t.Context(), tx.ID); !errors.Is(err, ErrNotFound) {
			t.Fatalf("got %v", err)
		}
	}
	if err := db.Write(t.Context(), func(w *Writer) error { return w.InsertTx(txs[0]) }); err != nil {
		t.Fatal(err)
	}
	if _, err := db.Tx(t.Context(), txs[0].ID); err != nil {
		t.Fatal(err)
	}
}

func TestFullDiskLeavesTheStoreUsable(t *testing.T) {
	db := openTest(t, t.TempDir())
	pragma := func(text string) (value int) {
		t.Helper()
		err := db.Write(t.Context(), func(w *Writer) error {
			rows, err := w.query(text)
			if err != nil {
				return err
			}
			defer rows.Close()
			rows.Next()
			return errors.Join(rows.Scan(&value), rows.Err())
		})
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
	stored := queued()
	if err := db.Write(t.Context(), func(w *Writer) error { return w.InsertTx(stored) }); err != nil {
		t.Fatal(err)
	}
	pragma(fmt.Sprintf("PRAGMA max_page_count = %d", pragma("PRAGMA page_count")+20)) // it can hardly grow further
	var wg sync.WaitGroup
	var failed, done atomic.Int64
	for range 400 {
		wg.Go(func() {
			tx := queued()
			err := db.Write(t.Context(), func(w *Writer) error { return w.InsertTx(tx) })
			_, there := db.Tx(t.Context(), tx.ID)
			if err == nil {
				done.Add(1)
			} else {
				failed.Add(1)
			}
			if (err == nil) != (there == nil) {
				t.Errorf("write said %v, read says %v", err, there)
			}
		})
	}
	wg.Wait()
	if failed.Load() == 0 || done.Load() == 0 {
		t.Fatalf("%d failed, %d done: the disk was not full halfway", failed.Load(), done.Load())
	}
	if _, err := db.Tx(t.Context(), stored.ID); err != nil {
		t.Fatal(err)
	}
	pragma("PRAGMA max_page_count = 1000000")
	if err := db.Write(t.Context(), func(w *Writer) error { return w.InsertTx(queued()) }); err != nil {
		t.Fatal(err)
	}
}

// share holds the writer back until all of fns share one batch, in order.
func share(t *testing.T, db *DB, fns ...func(*Writer) error) []error {
	t.Helper()
	entered, release := make(chan struct{}), make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		_ = db.Write(context.Background(), func(*Writer) error {
			close(entered)
			<-release
			return nil
		})
	})
	<-entered
	errs := make([]error, len(fns))
	for i, fn := range fns {
		wg.Go(func() { errs[i] = db.Write(context.Background(), fn) })
		for len(db.lanes[0].queue) <= i {
			time.Sleep(time.Millisecond)
		}
	}
	close(release)
	wg.Wait()
	return errs
}

func TestLostTransactionHurtsOnlyWhoLostIt(t *testing.T) {
	db := openTest(t, t.TempDir())
	var first, third Tx = queued(), queued()
	insert := func(tx Tx) func(*Writer) error { return func(w *Writer) error { return w.InsertTx(tx) } }
	errs := share(t, db, insert(first), func(w *Writer) error {
		_, _ = w.s.exec("ROLLBACK", nil) // as SQLite does by itself on some I/O errors
		_, err := w.exec("break", "SELECT no_such_function()")
		return err
	}, insert(third))
	if errs[0] != nil || errs[1] == nil || errs[2] != nil {
		t.Fatalf("got %v", errs)
	}
	for _, tx := range []Tx{first, third} {
		if _, err := db.Tx(t.Context(), tx.ID); err != nil {
			t.Fatal(err)
		}
	}
}

func TestConnectionThatCannotBeginIsReplaced(t *testing.T) {
	db := openTest(t, t.TempDir())
	stuck := func(w *Writer) error { _, err := w.s.exec("BEGIN", nil); return err }
	c := &committer{db: db}
	c.w = Writer{db: db, fences: make(map[Fence]bool)}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	var err error
	if db.writePool, err = openPool(writerDSN(filepath.Join(t.TempDir(), fileName)), 1); err != nil {
		t.Fatal(err)
	}
	defer db.writePool.Close()
	defer c.drop()
	if err := c.begin(false); err != nil {
		t.Fatal(err)
	}
	first := c.s
	if err := stuck(&c.w); err == nil {
		t.Fatal("begun twice on one connection")
	}
	if err := c.begin(false); err != nil { // finds the transaction of the first still open
		t.Fatal(err)
	}
	if c.s == first {
		t.Fatal("went on with a connection that cannot begin")
	}
	c.s.rollback()
}

func setVersion(t *testing.T, dir string, version, oldest int) {
	t.Helper()
	pool, err := sql.Open(sqlite.Driver, writerDSN(filepath.Join(dir, fileName)))
	if err != nil {
		t.Fatal(err)
	}
	defer pool.Close()
	if _, err := pool.ExecContext(t.Context(), `UPDATE schema_version SET version = $1, oldest = $2`, version, oldest); err != nil {
		t.Fatal(err)
	}
}

func TestSchemaOfAnotherVersionIsRefused(t *testing.T) {
	dir := t.TempDir()
	from, to, err := Migrate(t.Context(), dir)
	if err != nil || from != 0 || to < 1 {
		t.Fatalf("migrated from %d to %d, %v", from, to, err)
	}
	if from, again, err := Migrate(t.Context(), dir); err != nil || from != to || again != to {
		t.Fatalf("migrated again from %d to %d, %v", from, again, err)
	}
	setVersion(t, dir, to+1, to+1)
	for name, open := range map[string]func() error{
		"daemon":    func() error { _, err := OpenSQLite(t.Context(), Config{Dir: dir}); return err },
		"read-only": func() error { _, err := OpenReadOnly(t.Context(), dir); return err },
		"migrate":   func() error { _, _, err := Migrate(t.Context(), dir); return err },
	} {
		if err := open(); !errors.Is(err, ErrNewerSchema) {
			t.Errorf("%s: %v", name, err)
		}
	}
	setVersion(t, dir, to-1, 1)
	if _, err := OpenReadOnly(t.Context(), dir); !errors.Is(err, ErrOlderSchema) {
		t.Errorf("older: %v", err)
	}
}
