// SPDX-License-Identifier: Apache-2.0

//go:build !cgo

package sqlite

import (
	"database/sql/driver"
	"errors"
	"fmt"

	"modernc.org/sqlite"
)

// Engine names the SQLite that this program is built with.
const Engine = "SQLite translated to Go"

var native sqlite.Driver

func open(name string) (driver.Conn, error) { return native.Open(name) }

// Code is SQLite's extended result code of an error, 0 if err is none of SQLite's.
func Code(err error) int {
	var e *sqlite.Error
	if errors.As(err, &e) {
		return e.Code()
	}
	return 0
}

// OnCommit calls hook before each commit of a connection, as [sql.Conn.Raw] gives
// it; false makes a rollback of it. It is for tests.
func OnCommit(connection any, hook func() bool) error {
	c, _ := connection.(*conn)
	if c == nil {
		return fmt.Errorf("sqlite: %T is no connection of this package", connection)
	}
	c.raw.(sqlite.HookRegisterer).RegisterCommitHook(func() int32 {
		if hook() {
			return 0
		}
		return 1
	})
	return nil
}
