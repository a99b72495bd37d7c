// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/stdlib"
)

// Moved says what Move has copied.
type Moved struct {
	Rows map[string]int64 // by table
}

// replicaAlive is how lately a replica must have been seen for Move to take it
// for running.
const replicaAlive = 30 * time.Second

// Move copies the database at from into the empty one at to, each a data
// directory or a URL, and marks the source so that no daemon starts on it any
// more (ErrMoved, whose text says how to go back).
//
// All daemons must be stopped: it takes the lock of a data directory, and
// refuses a PostgreSQL source with ErrInUse while one holds a lease or was seen
// lately. The target is filled in one transaction, after which the rows are
// counted, so it holds all of the source or nothing. Leases keep their epochs,
// so that no epoch is given twice, but are nobody's. Senders are parked on the
// target only if they were on the source. If it fails at the very end, in
// marking the source, the error says that both are complete.
func Move(ctx context.Context, from, to string, log *slog.Logger) (Moved, error) {
	if from == to {
		return Moved{}, fmt.Errorf("store: move: source and target are the same")
	}
	source, err := openMove(ctx, from, log)
	if err != nil {
		return Moved{}, fmt.Errorf("store: move: source: %w", err)
	}
	defer source.Close()
	if err := source.refuseLive(ctx); err != nil {
		return Moved{}, err
	}
	target, err := openMove(ctx, to, log)
	if err != nil {
		return Moved{}, fmt.Errorf("store: move: target: %w", err)
	}
	defer target.Close()
	moved, err := copyAll(ctx, source, target)
	if err != nil {
		return Moved{}, err
	}
	err = source.Write(ctx, func(w *Writer) error { return w.putMeta(movedKey, target.name()) })
	if err != nil {
		return moved, fmt.Errorf("store: move: all rows are at the target, but the source could not be marked as moved; never start a daemon on it again: %w", err)
	}
	return moved, nil
}

func openMove(ctx context.Context, where string, log *slog.Logger) (*DB, error) {
	cfg := Config{Dir: where, Logger: log, StatementTimeout: time.Hour, IdleTimeout: time.Hour}
	if IsURL(where) {
		cfg.Dir, cfg.URL = "", where
	}
	return OpenDB(ctx, cfg)
}

// name is where the database is, without secrets.
func (db *DB) name() string {
	if db.pg != nil {
		return db.pg.where()
	}
	return db.cfg.Dir
}

// refuseLive refuses a database that a daemon works on. On SQLite the lock has
// seen to that.
func (db *DB) refuseLive(ctx context.Context) error {
	if db.pg == nil {
		return nil
	}
	live, err := db.Replicas(ctx, replicaAlive)
	if err != nil {
		return err
	}
	if len(live) > 0 {
		return fmt.Errorf("%w: %d daemons were seen at %s within the last %v; stop them first", ErrInUse, len(live), db.name(), replicaAlive)
	}
	var leases int64
	if err := db.readPool.QueryRowContext(ctx, `SELECT count(*) FROM lease WHERE expires > `+db.d.now).Scan(&leases); err != nil {
		return fmt.Errorf("store: count leases: %w", err)
	}
	if leases > 0 {
		return fmt.Errorf("%w: a daemon at %s holds %d leases; stop it, or wait until they have expired", ErrInUse, db.name(), leases)
	}
	return nil
}

// table is one to be copied.
type table struct {
	name    string
	columns []string
}

// tables lists what is copied: all but the schema's version, which the target
// has from its own migrations. Rows that others refer to come first.
func (db *DB) tables(ctx context.Context) ([]table, error) {
	text := `SELECT m.name, c.name FROM sqlite_master m JOIN pragma_table_info(m.name) c
		WHERE m.type = 'table' AND m.name NOT LIKE 'sqlite_%' ORDER BY m.name, c.cid`
	if db.pg != nil {
		text = `SELECT table_name, column_name FROM information_schema.columns WHERE table_schema = current_schema()
			ORDER BY table_name, ordinal_position`
	}
	rows, err := db.readPool.QueryContext(ctx, text)
	if err != nil {
		return nil, fmt.Errorf("store: list tables: %w", err)
	}
	defer rows.Close()
	var all []table
	for rows.Next() {
		var name, column string
		if err := rows.Scan(&name, &column); err != nil {
			return nil, fmt.Errorf("store: list tables: %w", err)
		}
		if name == "schema_version" {
			continue
		}
		if len(all) == 0 || all[len(all)-1].name != name {
			all = append(all, table{name: name})
		}
		last := &all[len(all)-1]
		last.columns = append(last.columns, column)
	}
	if i := slices.IndexFunc(all, func(t table) bool { return t.name == "tx" }); i > 0 {
		tx := all[i]
		all = slices.Insert(slices.Delete(all, i, i+1), 0, tx)
	}
	return all, rows.Err()
}

// copyAll fills the target in one transaction and counts what has come.
func copyAll(ctx context.Context, source, target *DB) (Moved, error) {
	tables, err := source.tables(ctx)
	if err != nil {
		return Moved{}, err
	}
	pool, err := target.ownPool()
	if err != nil {
		return Moved{}, err
	}
	defer pool.Close()
	conn, err := pool.Conn(ctx)
	if err != nil {
		return Moved{}, fmt.Errorf("store: connect: %w", err)
	}
	defer conn.Close()
	read, err := source.readPool.BeginTx(ctx, source.d.snapshot)
	if err != nil {
		return Moved{}, fmt.Errorf("store: begin read: %w", err)
	}
	defer func() { _ = read.Rollback() }()
	moved := Moved{Rows: make(map[string]int64)}
	err = inMigration(ctx, conn, target.d, func() error {
		for _, t := range tables {
			if err := refuseFilled(ctx, conn, t, target.name()); err != nil {
				return err
			}
		}
		for _, t := range tables {
			n, err := copyTable(ctx, read, target, conn, t)
			if err != nil {
				return fmt.Errorf("store: move table %s: %w", t.name, err)
			}
			moved.Rows[t.name] = n
		}
		return nil
	})
	return moved, err
}

// ownPool is a connection beside those of the writers.
func (db *DB) ownPool() (*sql.DB, error) {
	if db.pg != nil {
		return db.pg.pool(1, 0), nil
	}
	return openPool(writerDSN(filepath.Join(db.cfg.Dir, fileName)), 1)
}

// ownRows leaves out what a database says of itself.
func ownRows(t table) string {
	if t.name != "meta" {
		return ""
	}
	return ` WHERE name NOT IN ('` + strings.Join([]string{fileIdentityKey, systemIdentityKey, oidIdentityKey, movedKey}, "', '") + `')`
}

func refuseFilled(ctx context.Context, conn *sql.Conn, t table, where string) error {
	var n int64
	if err := conn.QueryRowContext(ctx, `SELECT count(*) FROM `+t.name+ownRows(t)).Scan(&n); err != nil {
		return fmt.Errorf("store: count table %s: %w", t.name, err)
	}
	if n > 0 {
		return fmt.Errorf("store: the target %s is not empty: table %s has %d rows; move into a new database", where, t.name, n)
	}
	return nil
}

func copyTable(ctx context.Context, source *sql.Tx, target *DB, conn *sql.Conn, t table) (int64, error) {
	rows, err := source.QueryContext(ctx, `SELECT `+strings.Join(t.columns, ", ")+` FROM `+t.name+ownRows(t)) //nolint:gosec // names come from the catalogue of our own schema
	if err != nil {
		return 0, err
	}
	defer rows.Close()
	feed := &feed{rows: rows, table: t, values: make([]any, len(t.columns)), cells: make([]any, len(t.columns))}
	for i := range feed.values {
		feed.cells[i] = &feed.values[i]
	}
	if target.pg != nil {
		err = conn.Raw(func(raw any) error {
			_, err := raw.(*stdlib.Conn).Conn().CopyFrom(ctx, pgx.Identifier{t.name}, t.columns, feed)
			return err
		})
	} else {
		err = insertAll(ctx, conn, feed)
	}
	if err != nil {
		return 0, err
	}
	if err := rows.Err(); err != nil {
		return 0, err
	}
	var there int64
	if err := conn.QueryRowContext(ctx, `SELECT count(*) FROM `+t.name+ownRows(t)).Scan(&there); err != nil {
		return 0, err
	}
	if there != feed.n {
		return 0, fmt.Errorf("%d rows were read and %d have come", feed.n, there)
	}
	return there, nil
}

func insertAll(ctx context.Context, conn *sql.Conn, f *feed) error {
	holders := make([]string, len(f.table.columns))
	for i := range holders {
		holders[i] = "$" + strconv.Itoa(i+1)
	}
	stmt, err := conn.PrepareContext(ctx, `INSERT INTO `+f.table.name+` (`+strings.Join(f.table.columns, ", ")+`) VALUES (`+strings.Join(holders, ", ")+`)`) //nolint:gosec // names come from the catalogue of our own schema
	if err != nil {
		return err
	}
	defer stmt.Close()
	for f.Next() {
		values, err := f.Values()
		if err != nil {
			return err
		}
		if _, err := stmt.ExecContext(ctx, values...); err != nil {
			return err
		}
	}
	return f.Err()
}

// feed reads the rows of a table, as pgx.CopyFromSource wants it.
type feed struct {
	rows   *sql.Rows
	table  table
	values []any
	cells  []any // pointers to values
	n      int64
}

var _ pgx.CopyFromSource = (*feed)(nil)

func (f *feed) Next() bool { return f.rows.Next() }
func (f *feed) Err() error { return f.rows.Err() }

func (f *feed) Values() ([]any, error) {
	if err := f.rows.Scan(f.cells...); err != nil {
		return nil, err
	}
	f.n++
	for i, v := range f.values {
		switch column := f.table.columns[i]; {
		case f.table.name == "lease" && column == "expires":
			f.values[i] = int64(0) // nobody's, so that the first daemon there takes it
		default:
			if text, ok := v.(string); ok {
				f.values[i] = postgresText(text)
			}
		}
	}
	return f.values, nil
}
