// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
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
	Dir string
	// Logger receives what has no caller to return an error to; nil discards.
	Logger *slog.Logger
	// Exclusive says that no other process can hold a lease that counts, as is
	// so on SQLite, where the data directory is locked: a lease that an earlier
	// process left behind is then taken at once instead of after it expired.
	Exclusive bool
	// OnCommit, if set, is told after each commit how many writes it held and
	// how long it took from BEGIN. It is called by the writer and must be quick.
	OnCommit func(writes int, took time.Duration)
}

// DB is an open store. All methods are safe for concurrent use.
type DB struct {
	d        dialect
	log      *slog.Logger
	cfg      Config
	lock     *os.File // nil when read-only
	readPool *sql.DB
	reads    sync.Map // text → *sql.Stmt on readPool

	writePool *sql.DB // one connection; nil when read-only
	queue     chan *request
	done      chan struct{} // closed when the writer has ended
	mark      highWater     // how far the database has come, noted beside it
	unsettled atomic.Bool   // a COMMIT failed and no later one has succeeded yet

	mu     sync.RWMutex // held shared while sending on queue, else closing it would panic the sender
	closed bool
}

// OpenSQLite opens, and if need be creates and migrates, the store in cfg.Dir
// for the daemon. It holds the directory's lock until Close: a second one gets
// ErrInUse. A database that a newer version has migrated gets ErrNewerSchema
// and is left alone.
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
	db, err := openWriter(ctx, cfg, lock)
	if err != nil {
		_ = lock.Close()
		return nil, err
	}
	if err := db.freezeRestored(ctx); err != nil {
		_ = db.Close()
		return nil, err
	}
	return db, nil
}

func openWriter(ctx context.Context, cfg Config, lock *os.File) (*DB, error) {
	path := filepath.Join(cfg.Dir, fileName)
	// SQLite would create the file with the umask's mode, and gives its journal
	// files the mode of this one.
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("store: create database: %w", err)
	}
	if err := file.Close(); err != nil {
		return nil, fmt.Errorf("store: create database: %w", err)
	}
	db := newDB(cfg)
	db.lock = lock
	if db.writePool, err = openPool(db.d, writerDSN(path), 1); err != nil {
		return nil, err
	}
	c, err := newCommitter(ctx, db)
	if err != nil {
		_ = db.writePool.Close()
		return nil, err
	}
	from, to, err := migrate(ctx, c.conn, db.d, path)
	if err == nil && from != to {
		db.log.Info("database migrated", "from", from, "to", to)
	}
	if err == nil {
		db.readPool, err = openPool(db.d, readerDSN(path), readers)
	}
	if err != nil {
		c.drop()
		_ = db.writePool.Close()
		return nil, err
	}
	go c.loop()
	return db, nil
}

// OpenReadOnly opens the store beside a running daemon, or without one. It
// takes no lock and changes nothing; every write returns ErrReadOnly. The
// schema must be of exactly this program's version.
func OpenReadOnly(ctx context.Context, dir string) (*DB, error) {
	path := filepath.Join(dir, fileName)
	if _, err := os.Stat(path); err != nil {
		return nil, fmt.Errorf("store: no database in %s: %w", dir, err)
	}
	steps, err := migrations()
	if err != nil {
		return nil, err
	}
	db := newDB(Config{Dir: dir})
	if db.readPool, err = openPool(db.d, readerDSN(path), readers); err != nil {
		return nil, err
	}
	version, err := poolVersion(ctx, db.readPool)
	switch {
	case err != nil:
		err = fmt.Errorf("store: %s is not a database of hsmsigner: %w", path, err)
	case version > len(steps):
		err = newerSchema(path, version, len(steps))
	case version < len(steps):
		err = fmt.Errorf("%w: %s has schema version %d, this program wants %d; run `hsmsigner migrate` or start the daemon",
			ErrOlderSchema, path, version, len(steps))
	default:
		return db, nil
	}
	_ = db.readPool.Close()
	return nil, err
}

// Migrate brings the database in dir, made if it is missing, to the newest
// schema and says from and to which version. ErrInUse while a daemon runs.
func Migrate(ctx context.Context, dir string) (from, to int, err error) {
	if _, err := os.Stat(filepath.Join(dir, fileName)); err == nil {
		if from, err = fileVersion(ctx, dir); err != nil {
			return 0, 0, err
		}
	}
	db, err := OpenSQLite(ctx, Config{Dir: dir})
	if err != nil {
		return from, from, err
	}
	defer db.Close()
	to, err = poolVersion(ctx, db.readPool)
	return from, to, err
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
	if db.queue != nil {
		close(db.queue)
	}
	db.mu.Unlock()

	if db.queue != nil {
		<-db.done
		db.mark.stop()
	}
	// The writer goes last: closing the last connection folds the journal into
	// the database, which a reader's connection may not do.
	err := db.readPool.Close()
	if db.writePool != nil {
		if e := db.writePool.Close(); err == nil {
			err = e
		}
		if e := db.lock.Close(); err == nil {
			err = e
		}
	}
	if err != nil {
		return fmt.Errorf("store: close: %w", err)
	}
	return nil
}

// Ping reports whether the store would read, and write, now. Its write is one
// empty commit, so it finds a full disk too.
func (db *DB) Ping(ctx context.Context) error {
	if db.queue == nil {
		_, err := poolVersion(ctx, db.readPool)
		return err
	}
	if err := db.Write(ctx, (*Writer).settle); err != nil {
		return fmt.Errorf("store: ping: %w", err)
	}
	return nil
}

func newDB(cfg Config) *DB {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	return &DB{d: sqliteDialect, log: cfg.Logger, cfg: cfg}
}
