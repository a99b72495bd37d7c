// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/audit"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

// used opens a store, gives it a sender and n audit intents, and closes it.
func used(t *testing.T, dir string, n int) {
	t.Helper()
	db := open(t, store.Config{Dir: dir})
	err := db.Write(t.Context(), func(w *store.Writer) error {
		if err := w.PutSender(store.Sender{ID: "s", ChainID: 1, Membership: "default"}); err != nil {
			return err
		}
		for range n {
			if err := w.AuditIntent(audit.Intent{ID: store.NewID(), At: time.Now(), Action: audit.SendTransaction}); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
}

func parked(t *testing.T, dir string) string {
	t.Helper()
	db := open(t, store.Config{Dir: dir})
	defer db.Close()
	s, err := db.Sender(t.Context(), "s")
	if err != nil {
		t.Fatal(err)
	}
	return s.Parked
}

// copyFile writes the content of from into to, which stays the same file if
// it exists.
func copyFile(t *testing.T, from, to string) {
	t.Helper()
	in, err := os.Open(from)
	if err != nil {
		t.Fatal(err)
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	defer out.Close()
	if _, err := io.Copy(out, in); err != nil {
		t.Fatal(err)
	}
}

const database = "hsmsigner.db"

func TestRestartIsNoRestore(t *testing.T) {
	dir := t.TempDir()
	used(t, dir, 3)
	used(t, dir, 3)
	if why := parked(t, dir); why != "" {
		t.Errorf("parked: %s", why)
	}
}

func TestCopiedDatabaseStartsFrozen(t *testing.T) {
	dir, elsewhere := t.TempDir(), t.TempDir()
	used(t, dir, 3)
	for _, name := range []string{database, "highwater"} {
		copyFile(t, filepath.Join(dir, name), filepath.Join(elsewhere, name))
	}
	if why := parked(t, elsewhere); !strings.HasPrefix(why, store.RestoredReason) {
		t.Errorf("parked: %q", why)
	}
	if why := parked(t, dir); why != "" {
		t.Errorf("the original is parked, too: %s", why)
	}
}

func TestOlderContentInTheSameFileStartsFrozen(t *testing.T) {
	dir, backup := t.TempDir(), filepath.Join(t.TempDir(), "backup")
	used(t, dir, 1)
	copyFile(t, filepath.Join(dir, database), backup)
	used(t, dir, 1)
	copyFile(t, backup, filepath.Join(dir, database))
	if why := parked(t, dir); !strings.HasPrefix(why, store.RestoredReason) {
		t.Errorf("parked: %q", why)
	}
}

// Once an operator has released what a restored backup had parked, the next
// start finds nothing new, although nothing was signed since.
func TestReleasedSenderIsNotParkedAgainByTheSameBackup(t *testing.T) {
	dir, backup := t.TempDir(), filepath.Join(t.TempDir(), "backup")
	used(t, dir, 1)
	copyFile(t, filepath.Join(dir, database), backup)
	used(t, dir, 1)
	copyFile(t, backup, filepath.Join(dir, database))
	db := open(t, store.Config{Dir: dir})
	released := ""
	err := db.Write(t.Context(), func(w *store.Writer) error {
		return w.UpdateSender("s", store.SenderUpdate{Parked: &released})
	})
	if err != nil {
		t.Fatal(err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	if why := parked(t, dir); why != "" {
		t.Errorf("parked again: %s", why)
	}
}
