// SPDX-License-Identifier: Apache-2.0

package store

import (
	"errors"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// dialect is all in which the databases differ; every other text of this
// package is the same for all of them.
type dialect struct {
	driver string // name for sql.Open
	begin  string // starts a transaction that writes
	now    string // expression: the database's clock in microseconds since 1970
	share  string // suffix that keeps others from changing the selected row
	// savepoints says that others may write between two transactions of ours,
	// so that undoing one closure of a batch takes a savepoint.
	savepoints bool
	// unique reports whether err is the violation of a unique index.
	unique func(err error) bool
}

// sqliteDialect needs no row locks: BEGIN IMMEDIATE makes its transaction the
// only one that writes.
var sqliteDialect = dialect{
	driver: "sqlite",
	begin:  "BEGIN IMMEDIATE",
	now:    "CAST(unixepoch('subsec') * 1000000 AS BIGINT)",
	unique: func(err error) bool {
		var e *sqlite.Error
		if !errors.As(err, &e) {
			return false
		}
		return e.Code() == sqlite3.SQLITE_CONSTRAINT_UNIQUE || e.Code() == sqlite3.SQLITE_CONSTRAINT_PRIMARYKEY
	},
}
