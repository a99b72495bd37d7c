// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"
)

const (
	lockName = "lock"
	fileName = "hsmsigner.db"
	readers  = 4 // connections; reads are short and mostly served from memory
)

// Config says where the rows are kept.
type Config struct {
	// Dir is the data directory; it is made with mode 0700 if it is missing.
	// With URL set it holds only the note by which a restored backup is told,
	// and may be empty.
	Dir string
	// URL names a PostgreSQL database, postgres://user:password@host/database
	// with the parameters of libpq (sslmode, target_session_attrs, several
	// hosts …). Empty: SQLite in Dir. Its password is in no error and no log.
	URL string
	// Logger receives what has no caller to return an error to; nil discards.
	Logger *slog.Logger
	// Exclusive says that no other process can hold a lease that counts, as is
	// so on SQLite, where the data directory is locked: a lease that an earlier
	// process left behind is then taken at once instead of after it expired.
	// It does not count on PostgreSQL.
	Exclusive bool
	// OnCommit, if set, is told after each commit how many writes it held and
	// how long it took from BEGIN. It is called by the writers, must be quick,
	// and safe for concurrent use.
	OnCommit func(writes int, took time.Duration)

	// The rest is for PostgreSQL; zero values are the defaults.

	Connections      int           // at most, at least 6; default 10
	Lifetime         time.Duration // of a reader's connection; default 30 min
	StatementTimeout time.Duration // of one statement, at the server; default 10 s
	LockTimeout      time.Duration // how long one waits for another's row; default 2 s
	// IdleTimeout is when the server ends a transaction whose daemon is silent,
	// stopped or cut off, and frees what it has locked: a lease, too. Default 5 s.
	IdleTimeout time.Duration
	// Pooler says that a pooler in transaction mode is in between, so that
	// nothing may be kept on a connection from one transaction to the next.
	// Most are recognised without it.
	Pooler bool

	steps []migration // instead of the embedded ones, in tests
}

// DB is an open store. All methods are safe for concurrent use.
type DB struct {
	d        dialect
	log      *slog.Logger
	cfg      Config
	lock     *os.File  // of the data directory; nil on PostgreSQL and when read-only
	pg       *postgres // nil on SQLite
	readPool *sql.DB
	reads    sync.Map // text → *sql.Stmt on readPool, where they are prepared by hand

	writePool *sql.DB // nil when read-only
	lanes     []*committer
	writers   sync.WaitGroup
	mark      highWater                 // how far the database has come, noted beside it
	doubts    doubts                    // COMMITs that failed, while no later one has succeeded
	sink      atomic.Pointer[AuditSink] // nil: no log is kept
	open      openApprovals             // unused on PostgreSQL
	counting  atomic.Pointer[Counting]  // nil: limits are counted by the rows alone

	mu     sync.RWMutex // held shared while sending on a lane, else closing it would panic the sender
	closed bool
}

// OpenDB opens, and if need be creates and migrates, the store for the daemon:
// SQLite in cfg.Dir, or PostgreSQL at cfg.URL.
//
// On SQLite it holds the directory's lock until Close: a second daemon gets
// ErrInUse. On PostgreSQL any number of daemons share the database, also of two
// versions, if the newer one's schema allows the older one. A database that is
// too new for this program gets ErrNewerSchema, one that was moved elsewhere
// ErrMoved; both are left alone.
func OpenDB(ctx context.Context, cfg Config) (*DB, error) {
	if cfg.URL != "" {
		return openPostgres(ctx, cfg)
	}
	return OpenSQLite(ctx, cfg)
}

// OpenSQLite is OpenDB for SQLite.
func OpenSQLite(ctx context.Context, cfg Config) (*DB, error) {
	if cfg.Dir == "" {
		return nil, fmt.Errorf("store: no data directory given")
	}
	if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
		return nil, fmt.Errorf("store: make data directory: %w", err)
	}
	lock, err := lockDir(cfg.Dir)
	if err != nil {
		return nil, err
	}
	path := filepath.Join(cfg.Dir, fileName)
	db := newDB(cfg, sqliteDialect)
	db.lock = lock
	if err = createFile(path); err == nil {
		db.readPool, err = openPool(readerDSN(path), readers)
	}
	if err == nil {
		db.writePool, err = openPool(writerDSN(path), 1)
	}
	if err == nil {
		err = db.start(ctx, path, 1)
	}
	if err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return db, nil
}

// createFile makes the database with mode 0600: SQLite would create it with the
// umask's mode, and gives its journal files the mode of this one.
func createFile(path string) error {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return fmt.Errorf("store: create database: %w", err)
	}
	if err := file.Close(); err != nil {
		return fmt.Errorf("store: create database: %w", err)
	}
	return nil
}

func openPostgres(ctx context.Context, cfg Config) (*DB, error) {
	cfg.Exclusive = false
	pg, err := parsePostgres(cfg)
	if err != nil {
		return nil, err
	}
	if err := pg.probe(ctx, cfg, false); err != nil {
		return nil, err
	}
	db := newDB(cfg, postgresDialect)
	db.pg = pg
	if cfg.Dir != "" {
		if err := os.MkdirAll(cfg.Dir, 0o700); err != nil {
			return nil, fmt.Errorf("store: make data directory: %w", err)
		}
		// The daemons share the database, never the directory: its control
		// socket and its note are of one of them.
		if db.lock, err = lockDir(cfg.Dir); err != nil {
			return nil, err
		}
	}
	size := max(or(cfg.Connections, defaultConnections), minConnections)
	db.readPool = pg.pool(size-postgresLanes, or(cfg.Lifetime, defaultLifetime))
	db.writePool = pg.writers(postgresLanes)
	if err := db.start(ctx, pg.where(), postgresLanes); err != nil {
		return nil, errors.Join(pg.said(err), db.Close())
	}
	return db, nil
}

// start migrates the database, begins to write, and looks whether it is a
// restored backup.
func (db *DB) start(ctx context.Context, where string, lanes int) error {
	steps, err := db.cfg.migrations()
	if err != nil {
		return err
	}
	conn, err := db.writePool.Conn(ctx)
	if err != nil {
		return fmt.Errorf("store: connect: %w", err)
	}
	from, to, err := migrate(ctx, conn, db.d, steps, where)
	if err == nil {
		err = refuseMoved(ctx, conn, where)
	}
	if e := conn.Close(); err == nil {
		err = e
	}
	if err != nil {
		return err
	}
	switch {
	case from < to:
		db.log.Info("database migrated", "from", from, "to", to)
	case to > len(steps):
		db.log.Info("database is of a newer version that goes with this one", "schema", to, "known", len(steps))
	}
	for range lanes {
		s, err := db.connect(ctx)
		if err != nil {
			return err
		}
		db.lanes = append(db.lanes, db.lane(s))
	}
	for _, lane := range db.lanes {
		db.writers.Add(1)
		go lane.loop()
	}
	return db.freezeRestored(ctx)
}

// connect opens a connection that writes.
func (db *DB) connect(ctx context.Context) (session, error) {
	if db.pg != nil {
		return newPostgresSession(ctx, db.pg, db.writePool)
	}
	return newSQLiteSession(ctx, db.writePool)
}

// OpenReadOnly opens the store at where, a data directory or a URL, beside
// running daemons or without one. It takes no lock and changes nothing; every
// write returns ErrReadOnly. A schema older than this program's, or too new for
// it, is refused.
func OpenReadOnly(ctx context.Context, where string) (*DB, error) {
	cfg := Config{Dir: where}
	if IsURL(where) {
		cfg = Config{URL: where}
	}
	return openReader(ctx, cfg)
}

func openReader(ctx context.Context, cfg Config) (*DB, error) {
	steps, err := cfg.migrations()
	if err != nil {
		return nil, err
	}
	var db *DB
	where := cfg.URL
	if where != "" {
		pg, err := parsePostgres(cfg)
		if err != nil {
			return nil, err
		}
		if err := pg.probe(ctx, cfg, true); err != nil {
			return nil, err
		}
		db, where = newDB(cfg, postgresDialect), pg.where()
		db.pg, db.readPool = pg, pg.pool(readers, defaultLifetime)
	} else {
		where = filepath.Join(cfg.Dir, fileName)
		if _, err := os.Stat(where); err != nil {
			return nil, fmt.Errorf("store: no database in %s: %w", cfg.Dir, err)
		}
		db = newDB(cfg, sqliteDialect)
		if db.readPool, err = openPool(readerDSN(where), readers); err != nil {
			return nil, err
		}
	}
	v, err := poolVersion(ctx, db.readPool)
	switch {
	case err != nil:
		err = fmt.Errorf("store: %s is not a database of hsmsigner: %w", where, err)
	case v.oldest > len(steps):
		err = newerSchema(where, v, len(steps))
	case v.version < len(steps):
		err = fmt.Errorf("%w: %s has schema version %d, this program wants %d; run `hsmsigner migrate` or start the daemon",
			ErrOlderSchema, where, v.version, len(steps))
	default:
		return db, nil
	}
	_ = db.readPool.Close()
	return nil, err
}

// Migrate brings the database at where, a data directory or a URL, to the
// newest schema, and says from and to which version. A data directory is made
// if it is missing; ErrInUse while a daemon runs in it.
func Migrate(ctx context.Context, where string) (from, to int, err error) {
	cfg := Config{Dir: where}
	if IsURL(where) {
		cfg = Config{URL: where}
	}
	if from, err = existingVersion(ctx, cfg); err != nil {
		return 0, 0, err
	}
	db, err := OpenDB(ctx, cfg)
	if err != nil {
		return from, from, err
	}
	defer db.Close()
	v, err := poolVersion(ctx, db.readPool)
	return from, v.version, err
}

// Close waits until every write that was accepted has been answered, then
// closes the database and lets go of the directory.
func (db *DB) Close() error {
	db.mu.Lock()
	if db.closed {
		db.mu.Unlock()
		return nil
	}
	db.closed = true
	for _, lane := range db.lanes {
		close(lane.queue)
	}
	db.mu.Unlock()
	db.writers.Wait()
	db.mark.stop()
	// The writer goes last: closing the last connection folds the journal into
	// the database, which a reader's connection may not do.
	var errs []error
	for _, pool := range []*sql.DB{db.readPool, db.writePool} {
		if pool != nil {
			errs = append(errs, pool.Close())
		}
	}
	if db.lock != nil {
		errs = append(errs, db.lock.Close())
	}
	if err := errors.Join(errs...); err != nil {
		return fmt.Errorf("store: close: %w", err)
	}
	return nil
}

// Ping reports whether the store would read, and write, now. Its write is one
// empty commit, so it finds a full disk too.
func (db *DB) Ping(ctx context.Context) error {
	if len(db.lanes) == 0 {
		_, err := poolVersion(ctx, db.readPool)
		return err
	}
	if err := db.Write(ctx, (*Writer).bump); err != nil {
		return fmt.Errorf("store: ping: %w", err)
	}
	return nil
}

func newDB(cfg Config, d dialect) *DB {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &DB{d: d, log: cfg.Logger, cfg: cfg}
}
