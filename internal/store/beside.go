// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"fmt"
	"path/filepath"
)

// OpenBeside opens the store for a few writes of the command line while a daemon
// works on it, or without one. It takes no lock on the data directory, migrates
// nothing and notes nothing; a schema older than this program's, or too new for
// it, is refused, and so is a database that was moved.
//
// It is not for what only one process at a time may write: nothing of senders,
// transactions or leases.
func OpenBeside(ctx context.Context, cfg Config) (*DB, error) {
	cfg.Exclusive = false
	db, err := openReader(ctx, cfg)
	if err != nil {
		return nil, err
	}
	where := cfg.Dir
	if db.pg != nil {
		where = db.pg.where()
		db.writePool = db.pg.writers(1)
	} else if db.writePool, err = openPool(writerDSN(filepath.Join(cfg.Dir, fileName)), 1); err != nil {
		_ = db.Close()
		return nil, err
	}
	if err = db.besides(ctx, where); err != nil {
		_ = db.Close()
		return nil, err
	}
	return db, nil
}

// besides begins to write.
func (db *DB) besides(ctx context.Context, where string) error {
	conn, err := db.writePool.Conn(ctx)
	if err != nil {
		return fmt.Errorf("store: connect: %w", err)
	}
	err = refuseMoved(ctx, conn, where)
	if e := conn.Close(); err == nil {
		err = e
	}
	if err != nil {
		return err
	}
	s, err := db.connect(ctx)
	if err != nil {
		return err
	}
	db.lanes = append(db.lanes, db.lane(s))
	db.writers.Add(1)
	go db.lanes[0].loop()
	return nil
}
