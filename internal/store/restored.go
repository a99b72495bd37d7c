// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"
)

// RestoredReason begins the reason of every sender that is parked because the
// database is a restored backup (TXMGR.md no. 24): what it holds as unsent may
// have been mined since.
const RestoredReason = "the database was restored from a backup"

// A backup that is put back shows in one of two ways. The database file is
// another file than it was (its inode has changed: a copy, an unpacked
// archive), or it has come less far than was noted beside it (an older content
// was written over it). The note is the id of the newest audit intent, which
// every signature has, and it is written after the commit, so a database that
// was not restored is never behind it.
const (
	identityKey   = "file_identity"
	highWaterName = "highwater"
	noteEvery     = time.Second
)

// freezeRestored parks every sender if the database is a restored backup, and
// remembers which file it is now.
func (db *DB) freezeRestored(ctx context.Context) error {
	identity := fileIdentity(filepath.Join(db.cfg.Dir, fileName))
	was, err := db.metaValue(ctx, identityKey)
	if err != nil {
		return err
	}
	newest, err := db.newestIntent(ctx)
	if err != nil {
		return err
	}
	note, err := os.ReadFile(db.notePath())
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("store: read how far the database had come: %w", err)
	}
	why := ""
	switch {
	case was != "" && identity != "" && was != identity:
		why = "its file is a copy"
	case newest < strings.TrimSpace(string(note)):
		why = "it is older than what this directory has seen"
	}
	if why != "" {
		db.log.Error("the database was restored from a backup; all senders are parked until tx repair", "why", why)
	}
	if why != "" || was != identity {
		err = db.Write(ctx, func(w *Writer) error {
			if why != "" {
				reason := RestoredReason + " (" + why + "): its transactions may have been mined since"
				if _, err := w.exec("park all senders", `UPDATE sender SET parked = $1 WHERE parked = ''`, reason); err != nil {
					return err
				}
			}
			_, err := w.exec("note the file", `INSERT INTO meta (name, value) VALUES ($1, $2)
				ON CONFLICT (name) DO UPDATE SET value = excluded.value`, identityKey, identity)
			return err
		})
		if err != nil {
			return err
		}
	}
	db.mark.start(db, newest)
	return nil
}

func (db *DB) notePath() string { return filepath.Join(db.cfg.Dir, highWaterName) }

func (db *DB) metaValue(ctx context.Context, name string) (string, error) {
	var value string
	err := db.readPool.QueryRowContext(ctx, `SELECT value FROM meta WHERE name = $1`, name).Scan(&value)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return "", fmt.Errorf("store: read %s: %w", name, err)
	}
	return value, nil
}

// newestIntent is the id of the newest audit intent, "" if there is none.
func (db *DB) newestIntent(ctx context.Context) (string, error) {
	var id sql.NullString
	if err := db.readPool.QueryRowContext(ctx, `SELECT max(id) FROM audit_intent`).Scan(&id); err != nil {
		return "", fmt.Errorf("store: read the newest audit intent: %w", err)
	}
	return id.String, nil
}

// highWater notes beside the database how far it has come.
type highWater struct {
	quit chan struct{}
	wg   sync.WaitGroup
}

func (h *highWater) start(db *DB, noted string) {
	h.quit = make(chan struct{})
	h.wg.Go(func() {
		tick := time.NewTicker(noteEvery)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				noted = db.note(noted)
			case <-h.quit:
				db.note(noted)
				return
			}
		}
	})
}

func (h *highWater) stop() {
	if h.quit != nil {
		close(h.quit)
		h.wg.Wait()
	}
}

// note writes the newest intent down if it is newer than noted, and returns
// what is noted now. A note that is lost or late only makes a restored backup
// harder to notice; it never stops the work.
func (db *DB) note(noted string) string {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	newest, err := db.newestIntent(ctx)
	if err != nil || newest <= noted {
		return noted
	}
	temporary := db.notePath() + ".new"
	err = os.WriteFile(temporary, []byte(newest+"\n"), 0o600)
	if err == nil {
		err = os.Rename(temporary, db.notePath())
	}
	if err != nil {
		db.log.Warn("cannot note how far the database has come", "err", err)
		return noted
	}
	return newest
}
