// SPDX-License-Identifier: Apache-2.0

package store

import (
	"database/sql"
	"errors"

	"github.com/jackc/pgx/v5/pgconn"

	"github.com/hsmsigner/hsmsigner/internal/sqlite"
)

// dialect is all in which the databases differ; every other text of this
// package is the same for all of them.
type dialect struct {
	now   string // expression: the database's clock in microseconds since 1970
	fence string // finds a lease that holds, and keeps others from changing its row
	// here says that the database's clock is this process's. fence is then given
	// the time as its last argument: to ask SQLite for it costs more than the rest.
	here bool
	// lazy says that an answer costs a round trip, so that one is not waited
	// for where it is known what it has to be.
	lazy bool
	// prepares says that a reader's statement is prepared by hand.
	prepares bool
	snapshot *sql.TxOptions // of a transaction that reads one state
	// own begins a line of a migration that is for this database alone.
	own string
	// migrate begins a transaction during which nobody else migrates.
	migrate string
	// unique reports whether err is the violation of a unique index.
	unique func(err error) bool
	// again reports whether err says that others were in the way of this
	// transaction as a whole, which may go better when it is run again.
	again func(err error) bool
	// gone reports whether err says that the connection broke, so that a read
	// may go better over another one.
	gone func(err error) bool
}

const (
	fenceText   = `SELECT 1 FROM lease WHERE sender = $1 AND owner = $2 AND epoch = $3 AND expires > `
	sqliteNow   = "CAST(unixepoch('subsec') * 1000000 AS BIGINT)"
	postgresNow = "CAST(EXTRACT(EPOCH FROM clock_timestamp()) * 1000000 AS BIGINT)"
)

func never(error) bool { return false }

// sqliteDialect needs no row locks: BEGIN IMMEDIATE makes its transaction the
// only one that writes.
var sqliteDialect = dialect{
	now:      sqliteNow,
	fence:    fenceText + "$4",
	here:     true,
	own:      "-- sqlite: ",
	migrate:  "BEGIN IMMEDIATE",
	prepares: true,
	unique:   sqlite.IsUnique,
	again:    never,
	gone:     never,
}

// The SQLSTATEs that matter here (PostgreSQL, Appendix A).
const (
	stateUnique        = "23505"
	stateSerialization = "40001"
	stateDeadlock      = "40P01"
	stateLockTimeout   = "55P03"
	stateProtocol      = "08P01"
	stateReadOnly      = "25006"
)

// migrationLock is the advisory lock that migrations of this program take.
const migrationLock = `SELECT pg_advisory_xact_lock(7236837160113408)`

// postgresDialect reads the clock itself: now() is when the transaction began.
var postgresDialect = dialect{
	now:      postgresNow,
	fence:    fenceText + postgresNow + ` FOR SHARE`,
	lazy:     true,
	snapshot: &sql.TxOptions{Isolation: sql.LevelRepeatableRead, ReadOnly: true},
	own:      "-- postgres: ",
	migrate:  `BEGIN; SET LOCAL lock_timeout = 0; SET LOCAL statement_timeout = 0; SET LOCAL idle_in_transaction_session_timeout = 0; ` + migrationLock,
	unique:   func(err error) bool { return sqlState(err) == stateUnique },
	again: func(err error) bool {
		state := sqlState(err)
		return state == stateDeadlock || state == stateSerialization
	},
	gone: brokenConnection,
}

// sqlState is the code of an error that the server has answered with, "" for
// any other.
func sqlState(err error) string {
	var e *pgconn.PgError
	if errors.As(err, &e) {
		return e.Code
	}
	return ""
}
