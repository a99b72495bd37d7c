// SPDX-License-Identifier: Apache-2.0

package store

import (
	"database/sql"
	"fmt"
	"net/url"
	"path/filepath"

	"github.com/hsmsigner/hsmsigner/internal/sqlite"
)

// No mmap: on a mapped file an I/O error is a SIGBUS that ends the process,
// where a read returns an error. The journal may grow to 4,000 pages (16 MB)
// before a commit folds it into the database, which costs that commit a second
// sync.
var (
	commonPragmas = []string{"busy_timeout(10000)", "foreign_keys(1)", "temp_store(MEMORY)"}
	writerPragmas = []string{"journal_mode(WAL)", "synchronous(FULL)", "wal_autocheckpoint(4000)", "journal_size_limit(67108864)", "cache_size(-65536)"}
	readerPragmas = []string{"query_only(1)", "cache_size(-16384)"}
)

func writerDSN(path string) string { return dsn(path, "rwc", writerPragmas) }

// readerDSN opens for writing although it never writes: with mode=ro SQLite
// cannot read a journal that a killed daemon left behind.
func readerDSN(path string) string { return dsn(path, "rw", readerPragmas) }

func dsn(path, mode string, pragmas []string) string {
	if abs, err := filepath.Abs(path); err == nil {
		path = abs // a file URI without a host has an absolute path
	}
	query := url.Values{"mode": {mode}, "_pragma": append(append([]string{}, commonPragmas...), pragmas...)}
	uri := url.URL{Scheme: "file", OmitHost: true, Path: filepath.ToSlash(path), RawQuery: query.Encode()}
	return uri.String()
}

func openPool(dsn string, size int) (*sql.DB, error) {
	pool, err := sql.Open(sqlite.Driver, dsn)
	if err != nil {
		return nil, fmt.Errorf("store: open database: %w", err)
	}
	pool.SetMaxOpenConns(size)
	pool.SetMaxIdleConns(size)
	return pool, nil
}
