// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
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
	// oldest is the lowest schema version whose program may still run on the
	// schema that this step makes: what a line `-- oldest: 2` among the first
	// comments says. Without one no older program may.
	oldest int
}

// schema is what a database says of its own: the version it has, and the
// lowest one whose programs may run on it.
type schema struct{ version, oldest int }

func (cfg Config) migrations() ([]migration, error) {
	if cfg.steps != nil {
		return cfg.steps, nil
	}
	return migrations()
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
		step, err := parseMigration(i+1, base, string(text))
		if err != nil {
			return nil, err
		}
		steps = append(steps, step)
	}
	return steps, nil
}

func parseMigration(version int, name, text string) (migration, error) {
	step := migration{version: version, name: name, text: text, oldest: version}
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "--") {
			break
		}
		if value, ok := strings.CutPrefix(line, "-- oldest:"); ok {
			oldest, err := strconv.Atoi(strings.TrimSpace(value))
			if err != nil || oldest < 1 || oldest > version {
				return step, fmt.Errorf("store: migration %s: oldest is%s; want a schema version from 1 to %d", name, strings.TrimRight(value, "\n"), version)
			}
			step.oldest = oldest
		}
	}
	return step, nil
}

const createVersion = `CREATE TABLE IF NOT EXISTS schema_version (id BIGINT PRIMARY KEY, version BIGINT NOT NULL, settled BIGINT NOT NULL)`

// readVersion reads the schema of a database that has a schema_version. Those
// of version 1 do not say which programs may run on them: their own.
func readVersion(ctx context.Context, conn *sql.Conn) (schema, error) {
	var s schema
	err := conn.QueryRowContext(ctx, `SELECT version FROM schema_version WHERE id = 1`).Scan(&s.version)
	if errors.Is(err, sql.ErrNoRows) {
		return schema{}, nil
	}
	if err == nil && s.version > 1 {
		err = conn.QueryRowContext(ctx, `SELECT oldest FROM schema_version WHERE id = 1`).Scan(&s.oldest)
	} else {
		s.oldest = s.version
	}
	if err != nil {
		return schema{}, fmt.Errorf("store: read schema version: %w", err)
	}
	return s, nil
}

func poolVersion(ctx context.Context, pool *sql.DB) (schema, error) {
	conn, err := pool.Conn(ctx)
	if err != nil {
		return schema{}, fmt.Errorf("store: connect: %w", err)
	}
	defer conn.Close()
	return readVersion(ctx, conn)
}

// existingVersion is the schema version of a database, 0 if it has none or does
// not exist yet.
func existingVersion(ctx context.Context, cfg Config) (int, error) {
	var pool *sql.DB
	text := `SELECT count(*) FROM sqlite_master WHERE name = 'schema_version'`
	if cfg.URL != "" {
		p, err := parsePostgres(cfg)
		if err != nil {
			return 0, err
		}
		if err := p.probe(ctx, cfg, false); err != nil {
			return 0, err
		}
		pool = p.pool(1, 0)
		text = `SELECT count(*) FROM pg_class WHERE oid = to_regclass('schema_version')`
	} else {
		path := filepath.Join(cfg.Dir, fileName)
		if _, err := os.Stat(path); errors.Is(err, os.ErrNotExist) {
			return 0, nil
		}
		var err error
		if pool, err = openPool(readerDSN(path), 1); err != nil {
			return 0, err
		}
	}
	defer pool.Close()
	var tables int
	if err := pool.QueryRowContext(ctx, text).Scan(&tables); err != nil {
		return 0, fmt.Errorf("store: read schema: %w", err)
	}
	if tables == 0 {
		return 0, nil
	}
	v, err := poolVersion(ctx, pool)
	return v.version, err
}

// migrate brings the database to the newest version, each step in a
// transaction of its own that no other daemon's runs beside, and refuses a
// database that this program may not run on.
func migrate(ctx context.Context, conn *sql.Conn, d dialect, steps []migration, where string) (from, to int, err error) {
	for first := true; ; first = false {
		var v schema
		err := inMigration(ctx, conn, d, func() (err error) {
			if _, err := conn.ExecContext(ctx, createVersion); err != nil {
				return fmt.Errorf("store: create schema_version: %w", err)
			}
			if v, err = readVersion(ctx, conn); err != nil || v.version >= len(steps) {
				return err
			}
			step := steps[v.version]
			if err := apply(ctx, conn, d, step, v); err != nil {
				return fmt.Errorf("store: migration %s: %w", step.name, err)
			}
			return nil
		})
		if first {
			from = v.version
		}
		switch {
		case err != nil:
			return from, v.version, err
		case v.oldest > len(steps):
			return from, v.version, newerSchema(where, v, len(steps))
		case v.version >= len(steps):
			return from, v.version, nil
		}
	}
}

// inMigration runs fn in a transaction that excludes other migrations.
func inMigration(ctx context.Context, conn *sql.Conn, d dialect, fn func() error) error {
	_, err := conn.ExecContext(ctx, d.migrate)
	if err == nil {
		err = fn()
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

func apply(ctx context.Context, conn *sql.Conn, d dialect, step migration, was schema) error {
	const bump = `INSERT INTO schema_version (id, version, settled) VALUES (1, $1, 0)
		ON CONFLICT (id) DO UPDATE SET version = excluded.version`
	if _, err := conn.ExecContext(ctx, step.text); err != nil {
		return err
	}
	for line := range strings.Lines(step.text) {
		own, ok := strings.CutPrefix(line, d.own)
		if !ok {
			continue
		}
		if _, err := conn.ExecContext(ctx, own); err != nil {
			return err
		}
	}
	if _, err := conn.ExecContext(ctx, bump, step.version); err != nil || step.version == 1 {
		return err
	}
	_, err := conn.ExecContext(ctx, `UPDATE schema_version SET oldest = $1 WHERE id = 1`, max(step.oldest, was.oldest))
	return err
}

func newerSchema(where string, has schema, knows int) error {
	return fmt.Errorf("%w: %s has schema version %d, on which programs from version %d on may run, this one knows %d; run the version of hsmsigner that wrote it, or a newer one",
		ErrNewerSchema, where, has.version, has.oldest, knows)
}
