// SPDX-License-Identifier: Apache-2.0

package store_test

import (
	"errors"
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

// What is approved in the copy may have been sent since.
func TestRestoredBackupHasNoOpenApproval(t *testing.T) {
	dir, elsewhere := t.TempDir(), t.TempDir()
	used(t, dir, 1)
	db := open(t, store.Config{Dir: dir})
	a := store.Approval{
		ID: store.NewID(), Wallet: "w", State: store.ApprovalApproved, Created: time.Now(), Expires: time.Now().Add(time.Hour), MAC: []byte{1},
	}
	take := store.ApprovalUse{ID: a.ID, From: a.State, Was: a.MAC, Result: "t", MAC: []byte{2}}
	err := db.Write(t.Context(), func(w *store.Writer) error {
		_, err := w.InsertApproval(a)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if gone, err := db.ApprovalGone(t.Context(), take.String()); err != nil || gone {
		t.Fatalf("gone: %t, %v", gone, err)
	}
	if err := db.Close(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{database, "highwater"} {
		copyFile(t, filepath.Join(dir, name), filepath.Join(elsewhere, name))
	}
	db = open(t, store.Config{Dir: elsewhere})
	defer db.Close()
	row := store.Tx{ID: "t", Sender: "s", State: store.Queued, Kind: store.UserTx, Uses: take.String()}
	err = db.Write(t.Context(), func(w *store.Writer) error { return w.InsertTx(row) })
	if !errors.Is(err, store.ErrApprovalGone) {
		t.Errorf("it is used: %v", err)
	}
	if _, err := db.Tx(t.Context(), "t"); !errors.Is(err, store.ErrNotFound) {
		t.Errorf("its transaction is stored: %v", err)
	}
	if gone, err := db.ApprovalGone(t.Context(), take.String()); err != nil || !gone {
		t.Errorf("gone: %t, %v", gone, err)
	}
	if open, err := db.WaitingApprovals(t.Context(), store.ApprovalApproved, "", 10); err != nil || len(open) != 0 {
		t.Errorf("%d are open: %v", len(open), err)
	}
	if marked, err := db.RestoredApprovals(t.Context(), 10); err != nil || len(marked) != 1 || !marked[0].Restored {
		t.Errorf("%d are to be ended: %v", len(marked), err)
	}
}
