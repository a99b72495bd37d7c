// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"strconv"
	"strings"
)

//go:embed migrations/*.sql
var migrationFiles embed.FS

// migration is one step forward. There is no way back: restore a backup.
type migration struct {
	version int
	name    string
	text    string
}

// migrations returns the embedded steps in order. Their numbers are 1, 2, 3 …
// without gaps.
func migrations() ([]migration, error) {
	names, err := fs.Glob(migrationFiles, "migrations/*.sql")
	if err != nil {
		return nil, fmt.Errorf("store: list migrations: %w", err)
	}
	steps := make([]migration, 0, len(names))
	for i, name := range names { // Glob sorts
		base := strings.TrimPrefix(name, "migrations/")
		number, _, _ := strings.Cut(base, "_")
		if version, err := strconv.Atoi(number); err != nil || version != i+1 {
			return nil, fmt.Errorf("store: migration %s is out of order: want number %04d", base, i+1)
		}
		text, err := fs.ReadFile(migrationFiles, name)
		if err != nil {
			return nil, fmt.Errorf("store: read migration %s: %w", base, err)
		}
		steps = append(steps, migration{version: i + 1, name: base, text: string(text)})
	}
	return steps, nil
}

// schemaVersion returns the version of the database, 0 if it is empty.
func schemaVersion(ctx context.Context, conn *sql.Conn) (int, error) {
	const text = `CREATE TABLE IF NOT EXISTS schema_version (id BIGINT PRIMARY KEY, version BIGINT NOT NULL, settled BIGINT NOT NULL)`
	if _, err := conn.ExecContext(ctx, text); err != nil {
		return 0, fmt.Errorf("store: create schema_version: %w", err)
	}
	return readVersion(ctx, conn)
}

func readVersion(ctx context.Context, conn *sql.Conn) (int, error) {
	var version int
	err := conn.QueryRowContext(ctx, `SELECT version FROM schema_version WHERE id = 1`).Scan(&version)
	if errors.Is(err, sql.ErrNoRows) {
		return 0, nil
	}
	if err != nil {
		return 0, fmt.Errorf("store: read schema version: %w", err)
	}
	return version, nil
}

// migrate brings the database to the newest version, each step in a
// transaction of its own, and refuses one that is newer than this program.
func migrate(ctx context.Context, conn *sql.Conn, d dialect, where string) (from, to int, err error) {
	steps, err := migrations()
	if err != nil {
		return 0, 0, err
	}
	if from, err = schemaVersion(ctx, conn); err != nil {
		return 0, 0, err
	}
	if from > len(steps) {
		return from, from, newerSchema(where, from, len(steps))
	}
	for _, step := range steps[from:] {
		if err := apply(ctx, conn, d, step); err != nil {
			return from, step.version - 1, fmt.Errorf("store: migration %s: %w", step.name, err)
		}
	}
	return from, len(steps), nil
}

func apply(ctx context.Context, conn *sql.Conn, d dialect, step migration) error {
	if _, err := conn.ExecContext(ctx, d.begin); err != nil {
		return err
	}
	const bump = `INSERT INTO schema_version (id, version, settled) VALUES (1, $1, 0)
		ON CONFLICT (id) DO UPDATE SET version = excluded.version`
	_, err := conn.ExecContext(ctx, step.text)
	if err == nil {
		_, err = conn.ExecContext(ctx, bump, step.version)
	}
	if err == nil {
		_, err = conn.ExecContext(ctx, "COMMIT")
	}
	if err != nil {
		// ctx may be what ended the step; the transaction must not stay open.
		_, _ = conn.ExecContext(context.WithoutCancel(ctx), "ROLLBACK")
	}
	return err
}

func newerSchema(where string, has, knows int) error {
	return fmt.Errorf("%w: %s has schema version %d, this program knows up to %d; run the version of hsmsigner that wrote it, or a newer one",
		ErrNewerSchema, where, has, knows)
}
