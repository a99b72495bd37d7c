// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/audit/logbook"
	"github.com/hsmsigner/hsmsigner/internal/config"
	"github.com/hsmsigner/hsmsigner/internal/seal"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

// auditKeyRow is the row of table sealed_key with the log's key, where no file is
// configured.
const auditKeyRow = "audit-log"

// clearKeyPrefix begins a row that is not sealed; no sealed one begins so.
const clearKeyPrefix = "PRIVATE+KEY+"

// auditKey is the key of the audit log: that of the file that the config names,
// else one that is made once and kept in the database, sealed if there is anything
// to seal it with. It needs the right to write, but where the key is there already
// and is sealed, or there is a file.
func auditKey(ctx context.Context, c *config.Config, db *store.DB, log *slog.Logger) (*logbook.Key, error) {
	if c.Audit.Key.Set() {
		text, err := c.Audit.Key.Reveal()
		if err != nil {
			return nil, fmt.Errorf("audit.key: %w", err)
		}
		key, err := logbook.ParseKey(text)
		if err != nil {
			return nil, fmt.Errorf("audit.key: %s: %w; hsmsigner audit key --new makes one", c.Audit.Key.File(), err)
		}
		if c.Audit.Name != "" && c.Audit.Name != key.Origin() {
			return nil, fmt.Errorf("audit.name is %s, and the key in %s is that of the log %s: leave audit.name out", c.Audit.Name, c.Audit.Key.File(), key.Origin())
		}
		return key, nil
	}
	sealer, err := openSealer(ctx, c, db)
	switch {
	case errors.Is(err, seal.ErrNoKey):
		return clearAuditKey(ctx, c, db, log)
	case err != nil:
		return nil, fmt.Errorf("audit key: %w", err)
	}
	return sealedAuditKey(ctx, c, db, sealer, log)
}

// sealedAuditKey opens the key in the database, or makes it.
func sealedAuditKey(ctx context.Context, c *config.Config, db *store.DB, sealer *seal.Sealer, log *slog.Logger) (*logbook.Key, error) {
	row, err := db.SealedKey(ctx, auditKeyRow, nil)
	if errors.Is(err, store.ErrNotFound) {
		var fresh *logbook.Key
		if fresh, err = newAuditKey(c); err != nil {
			return nil, err
		}
		var sealed []byte
		if sealed, err = waitForSealer(ctx, log, func(ctx context.Context) ([]byte, error) {
			return sealer.Seal(ctx, seal.OfKey(auditKeyRow), []byte(fresh.Text()))
		}); err != nil {
			return nil, fmt.Errorf("audit key: %w", err)
		}
		row, err = db.SealedKey(ctx, auditKeyRow, sealed) // or what another replica stored
	}
	if err != nil {
		return nil, fmt.Errorf("audit key: %w", err)
	}
	if strings.HasPrefix(string(row), clearKeyPrefix) {
		return sealAuditKey(ctx, c, db, sealer, row, log)
	}
	text, err := waitForSealer(ctx, log, func(ctx context.Context) ([]byte, error) {
		return sealer.Open(ctx, seal.OfKey(auditKeyRow), row)
	})
	if err != nil {
		return nil, fmt.Errorf("audit key: %w", err)
	}
	return knownAuditKey(c, text)
}

// sealAuditKey seals a key that was stored in clear when there was nothing to seal
// it with. Where the database may only be read, that is left to the daemon.
func sealAuditKey(ctx context.Context, c *config.Config, db *store.DB, sealer *seal.Sealer, row []byte, log *slog.Logger) (*logbook.Key, error) {
	key, err := knownAuditKey(c, row)
	if err != nil {
		return nil, err
	}
	sealed, err := waitForSealer(ctx, log, func(ctx context.Context) ([]byte, error) {
		return sealer.Seal(ctx, seal.OfKey(auditKeyRow), row)
	})
	if err != nil {
		return nil, fmt.Errorf("audit key: %w", err)
	}
	err = db.ReplaceSealedKey(ctx, auditKeyRow, row, sealed)
	switch {
	case err == nil:
		log.Warn("the key of the audit log stood in the database in clear, and is sealed now; older copies of the database have it still: change it if they are not yours alone (docs/audit.md)", "log", key.Origin())
	case errors.Is(err, store.ErrRevision), errors.Is(err, store.ErrReadOnly):
	default:
		return nil, fmt.Errorf("audit key: %w", err)
	}
	return key, nil
}

// clearAuditKey is the key where there is nothing to seal it with.
func clearAuditKey(ctx context.Context, c *config.Config, db *store.DB, log *slog.Logger) (*logbook.Key, error) {
	row, err := db.SealedKey(ctx, auditKeyRow, nil)
	if errors.Is(err, store.ErrNotFound) {
		var fresh *logbook.Key
		if fresh, err = newAuditKey(c); err != nil {
			return nil, err
		}
		row, err = db.SealedKey(ctx, auditKeyRow, []byte(fresh.Text()))
	}
	if err != nil {
		return nil, fmt.Errorf("audit key: %w", err)
	}
	if !strings.HasPrefix(string(row), clearKeyPrefix) {
		return nil, fmt.Errorf("audit key: it is sealed in the database, and %w", seal.ErrNoKey)
	}
	log.Warn("the key of the audit log stands in the database in clear: whoever can read the database can write another history. Give audit.key a file (hsmsigner audit key --new), or configure seal.keys")
	return knownAuditKey(c, row)
}

// newAuditKey makes a key with the name that is configured, or one that no other
// log will have.
func newAuditKey(c *config.Config) (*logbook.Key, error) {
	name := c.Audit.Name
	if name == "" {
		name = "hsmsigner/" + randomName()
	}
	return logbook.NewKey(name)
}

func randomName() string {
	var b [6]byte
	_, _ = rand.Read(b[:]) // never fails
	return hex.EncodeToString(b[:])
}

func knownAuditKey(c *config.Config, text []byte) (*logbook.Key, error) {
	key, err := logbook.ParseKey(string(text))
	if err != nil {
		return nil, fmt.Errorf("audit key in the database: %w", err)
	}
	if c.Audit.Name != "" && c.Audit.Name != key.Origin() {
		return nil, fmt.Errorf("audit.name is %s, and the log in this database is called %s: a log keeps its name", c.Audit.Name, key.Origin())
	}
	return key, nil
}

// waitForSealer does what may need a key service, and waits a while for one that
// does not answer: a restart at the wrong moment must not need a second one.
func waitForSealer(ctx context.Context, log *slog.Logger, do func(context.Context) ([]byte, error)) ([]byte, error) {
	limited, cancel := context.WithTimeout(ctx, keyServiceTime)
	defer cancel()
	for wait := keyServiceFirst; ; wait = min(2*wait, keyServiceMost) {
		out, err := do(limited)
		if err == nil || !errors.Is(err, seal.ErrUnavailable) || limited.Err() != nil {
			return out, err
		}
		log.Warn("the service with the key that seals does not answer; trying again", "in", wait, "err", err)
		select {
		case <-time.After(wait):
		case <-limited.Done():
			return nil, err
		}
	}
}

// recordDatabase is writeDatabase for commands whose changes belong on record:
// their audit rows get the keyed hash without which the log takes nothing in.
func recordDatabase(ctx context.Context, c *config.Config, stderr io.Writer) (*store.DB, error) {
	db, err := writeDatabase(ctx, c, stderr)
	if err != nil {
		return nil, err
	}
	// What it warns of, the daemon says at each start.
	key, err := auditKey(ctx, c, db, slog.New(slog.DiscardHandler))
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	logbook.Stamp(db, key)
	return db, nil
}
