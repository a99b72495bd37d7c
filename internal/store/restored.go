// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// RestoredReason begins the reason of every sender that is parked because the
// database is a restored backup (TXMGR.md no. 24): what it holds as unsent may
// have been mined since.
const RestoredReason = "the database was restored from a backup"

// A backup that is put back shows in one of two ways. The database is another
// one than it was (the file's inode has changed: a copy, an unpacked archive; on
// PostgreSQL the server's system identifier or the database's oid), or it has
// come less far than was noted in the data directory (an older content was
// written over it, a server was brought back to an earlier time). The note is
// the id of the newest audit intent, which every signature has, and it is
// written after the commit, so a database that was not restored is never behind
// it. A standby that takes over from its primary is the same database.
const (
	fileIdentityKey   = "file_identity"
	systemIdentityKey = "system_identity"
	oidIdentityKey    = "database_identity"
	highWaterName     = "highwater"
	noteEvery         = time.Second
)

// identities are what tells this database from a copy of it, by row of meta. A
// value that cannot be read now is left out, and what was stored stays.
func (db *DB) identities(ctx context.Context) (map[string]string, error) {
	if db.pg == nil {
		return map[string]string{fileIdentityKey: fileIdentity(filepath.Join(db.cfg.Dir, fileName))}, nil
	}
	var oid, system string
	err := db.readPool.QueryRowContext(ctx, `SELECT CAST(oid AS TEXT) FROM pg_database WHERE datname = current_database()`).Scan(&oid)
	if err != nil {
		return nil, fmt.Errorf("store: read the database's identity: %w", err)
	}
	if err := db.readPool.QueryRowContext(ctx, `SELECT CAST(system_identifier AS TEXT) FROM pg_control_system()`).Scan(&system); err != nil {
		db.log.Info("cannot read the server's system identifier; a database that was restored on another server may not be noticed", "err", err)
	}
	return map[string]string{oidIdentityKey: oid, systemIdentityKey: system}, nil
}

// freezeRestored parks every sender, and takes every open request for approval out
// of everybody's reach, if the database is a restored backup, and
// remembers which database it is now. Of several replicas that find the same
// backup each does so; those that open it later find nothing new.
func (db *DB) freezeRestored(ctx context.Context) error {
	identities, err := db.identities(ctx)
	if err != nil {
		return err
	}
	newest, err := db.newestIntent(ctx)
	if err != nil {
		return err
	}
	note, err := db.readNote()
	if err != nil {
		return err
	}
	why := ""
	if newest < note {
		why = "it is older than what this daemon's data directory has seen"
	}
	changed := make(map[string]string)
	for key, is := range identities {
		was, err := db.metaValue(ctx, key)
		if err != nil {
			return err
		}
		if is == "" || is == was {
			continue
		}
		changed[key] = is
		switch {
		case was == "":
		case key == fileIdentityKey:
			why = "its file is a copy"
		default:
			why = "it is another database than it was"
		}
	}
	if why != "" {
		db.log.Error("the database was restored from a backup; all senders are parked until tx repair", "why", why)
	}
	if why != "" || len(changed) > 0 {
		err = db.Write(ctx, func(w *Writer) error {
			if why != "" {
				reason := RestoredReason + " (" + why + "): its transactions may have been mined since"
				if _, err := w.exec("park all senders", `UPDATE sender SET parked = $1 WHERE parked = ''`, reason); err != nil {
					return err
				}
				if err := w.spend(); err != nil {
					return err
				}
				// What is approved in the copy may have been sent since, and its idempotency
				// key is lost. Package approval ends these: state and mac are not ours.
				if _, err := w.exec("close all approvals", `UPDATE approval SET open = $1 WHERE open = 1`, openRestored); err != nil {
					return err
				}
				if err := w.NoteChange(ChangeApproval); err != nil {
					return err
				}
			}
			for _, key := range slices.Sorted(maps.Keys(changed)) {
				if err := w.putMeta(key, changed[key]); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	if db.cfg.Dir != "" {
		if why != "" {
			// The senders are parked, durably: what the note said has had its effect,
			// and must not park them again at each start to come.
			if err := db.renote(newest); err != nil {
				return err
			}
		}
		db.mark.start(db, newest)
	}
	return nil
}

func (w *Writer) putMeta(name, value string) error {
	_, err := w.exec("note "+name, `INSERT INTO meta (name, value) VALUES ($1, $2)
		ON CONFLICT (name) DO UPDATE SET value = excluded.value`, name, value)
	return err
}

// readNote returns how far the database had come, "" if nothing says so.
func (db *DB) readNote() (string, error) {
	if db.cfg.Dir == "" {
		return "", nil
	}
	note, err := os.ReadFile(db.notePath())
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return "", fmt.Errorf("store: read how far the database had come: %w", err)
	}
	return strings.TrimSpace(string(note)), nil
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

// renote makes the note say newest, whatever it said.
func (db *DB) renote(newest string) error {
	if db.cfg.Dir == "" {
		return nil
	}
	err := os.Remove(db.notePath())
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return fmt.Errorf("store: forget how far the database had come: %w", err)
	}
	if newest != "" {
		db.note("")
	}
	return nil
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
