// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/store"
)

func someTx() store.Tx {
	return store.Tx{ID: store.NewID(), Wallet: "w", Credential: "c", Sender: "s", State: store.Queued, Payload: []byte{1}}
}

func put(t *testing.T, db *store.DB, tx store.Tx) {
	t.Helper()
	if err := db.Write(t.Context(), func(w *store.Writer) error { return w.InsertTx(tx) }); err != nil {
		t.Fatal(err)
	}
}

func TestSecondDaemonIsRefused(t *testing.T) {
	dir := t.TempDir()
	db := open(t, store.Config{Dir: dir})
	_, err := store.OpenSQLite(t.Context(), store.Config{Dir: dir})
	if !errors.Is(err, store.ErrInUse) || !strings.Contains(err.Error(), dir) || !strings.Contains(err.Error(), fmt.Sprintf("process %d", os.Getpid())) {
		t.Fatalf("got %v", err)
	}
	if _, _, err := store.Migrate(t.Context(), dir); !errors.Is(err, store.ErrInUse) {
		t.Fatalf("migrate beside a daemon: %v", err)
	}
	put(t, db, someTx())
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	open(t, store.Config{Dir: dir})
}

func TestFilesAreForTheirOwnerOnly(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "data")
	put(t, open(t, store.Config{Dir: dir}), someTx())
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) < 3 { // lock, database, journal
		t.Fatalf("%v, %v", entries, err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s has mode %v, %v", e.Name(), info.Mode(), err)
		}
	}
	if info, err := os.Stat(dir); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("directory: %v, %v", info.Mode(), err)
	}
}

func TestDirectoryMayHaveAnyName(t *testing.T) {
	for _, name := range []string{"with space", "a?mode=memory", "50%41", "hash#tag", "a:b", "ümläut"} {
		dir := filepath.Join(t.TempDir(), name)
		db := open(t, store.Config{Dir: dir})
		tx := someTx()
		put(t, db, tx)
		if _, err := db.Tx(t.Context(), tx.ID); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := os.Stat(filepath.Join(dir, "hsmsigner.db")); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	t.Chdir(t.TempDir())
	put(t, open(t, store.Config{Dir: "data"}), someTx())
	if _, err := os.Stat("data/hsmsigner.db"); err != nil {
		t.Error(err)
	}
}

func TestExclusiveOwnerTakesALeftLeaseAtOnce(t *testing.T) {
	dir := t.TempDir()
	db := open(t, store.Config{Dir: dir, Exclusive: true})
	old, err := db.AcquireLease(t.Context(), "s", "before the crash", time.Hour)
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	db = open(t, store.Config{Dir: dir, Exclusive: true})
	fresh, err := db.AcquireLease(t.Context(), "s", "after it", time.Hour)
	if err != nil || fresh.Epoch != old.Epoch+1 {
		t.Fatalf("got %+v, %v", fresh, err)
	}
	err = db.WriteFenced(t.Context(), store.Fence{Sender: "s", Owner: old.Owner, Epoch: old.Epoch}, func(*store.Writer) error { return nil })
	if !errors.Is(err, store.ErrLeaseLost) {
		t.Fatalf("got %v", err)
	}
}

func TestReadOnlyReadsBesideTheDaemonAndWritesNothing(t *testing.T) {
	dir := t.TempDir()
	if _, err := store.OpenReadOnly(t.Context(), dir); err == nil {
		t.Fatal("opened a database that is not there")
	}
	daemon := open(t, store.Config{Dir: dir})
	reader, err := store.OpenReadOnly(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	defer reader.Close()
	tx := someTx()
	put(t, daemon, tx)
	if _, err := reader.Tx(t.Context(), tx.ID); err != nil {
		t.Fatal(err)
	}
	if err := reader.Ping(t.Context()); err != nil {
		t.Fatal(err)
	}
	if err := reader.Write(t.Context(), func(*store.Writer) error { return nil }); !errors.Is(err, store.ErrReadOnly) {
		t.Fatalf("got %v", err)
	}
	if err := daemon.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := reader.Tx(t.Context(), tx.ID); err != nil {
		t.Fatalf("after the daemon has ended: %v", err)
	}
}

// copyDir copies the files as a power cut would leave them: the daemon has
// them open and has not closed anything.
func copyDir(t *testing.T, from string) string {
	t.Helper()
	to := t.TempDir()
	for _, name := range []string{"hsmsigner.db", "hsmsigner.db-wal"} {
		data, err := os.ReadFile(filepath.Join(from, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(to, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return to
}

func TestCrashKeepsWhatWasAnswered(t *testing.T) {
	dir := t.TempDir()
	db := open(t, store.Config{Dir: dir})
	var mu sync.Mutex
	var wg sync.WaitGroup
	var answered []string
	for range 16 {
		wg.Go(func() {
			for range 40 {
				tx := someTx()
				if err := db.Write(t.Context(), func(w *store.Writer) error { return w.InsertTx(tx) }); err != nil {
					t.Error(err)
				}
				mu.Lock()
				answered = append(answered, tx.ID)
				mu.Unlock()
			}
		})
	}
	wg.Wait()
	copied := open(t, store.Config{Dir: copyDir(t, dir)})
	for _, id := range answered {
		if _, err := copied.Tx(t.Context(), id); err != nil {
			t.Fatal(err)
		}
	}
}

const killedDir = "STORE_TEST_WRITE_UNTIL_KILLED"

// writeUntilKilled is the other process of the next test: it prints the id of
// each transaction once its write was answered.
func writeUntilKilled() {
	dir := os.Getenv(killedDir)
	if dir == "" {
		return
	}
	ctx, stop := context.WithTimeout(context.Background(), time.Minute)
	defer stop()
	db, err := store.OpenSQLite(ctx, store.Config{Dir: dir})
	if err != nil {
		fmt.Println("error:", err)
		os.Exit(1)
	}
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for ctx.Err() == nil {
				tx := someTx()
				if db.Write(ctx, func(w *store.Writer) error { return w.InsertTx(tx) }) == nil {
					fmt.Println(tx.ID)
				}
			}
		})
	}
	wg.Wait()
	os.Exit(0)
}

func TestKilledDaemonKeepsWhatItAnsweredAndLeavesNoLock(t *testing.T) {
	dir := t.TempDir()
	for range 3 {
		cmd := exec.CommandContext(t.Context(), os.Args[0])
		cmd.Env = append(os.Environ(), killedDir+"="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		var ids []string
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			ids = append(ids, lines.Text())
			if len(ids) == 200 {
				_ = cmd.Process.Kill()
			}
		}
		_ = cmd.Wait()
		if len(ids) < 200 {
			t.Fatalf("the other process said only %q", ids)
		}
		if last := ids[len(ids)-1]; len(last) < 32 { // cut off in the middle of a line
			ids = ids[:len(ids)-1]
		}
		db := open(t, store.Config{Dir: dir})
		for _, id := range ids {
			if _, err := db.Tx(t.Context(), id); err != nil {
				t.Fatal(err)
			}
		}
		if err := db.Close(); err != nil {
			t.Fatal(err)
		}
	}
}

func TestIDsRise(t *testing.T) {
	var mu sync.Mutex
	var wg sync.WaitGroup
	seen := make(map[string]bool)
	for range 8 {
		wg.Go(func() {
			ids := make([]string, 2000)
			for i := range ids {
				ids[i] = store.NewID()
			}
			if !slices.IsSorted(ids) || len(ids[0]) != 32 || ids[0][12] != '7' {
				t.Errorf("not rising UUIDv7s: %v …", ids[:3])
			}
			mu.Lock()
			defer mu.Unlock()
			for _, id := range ids {
				seen[id] = true
			}
		})
	}
	wg.Wait()
	if len(seen) != 8*2000 {
		t.Fatalf("%d different ids", len(seen))
	}
}
