// SPDX-License-Identifier: Apache-2.0

//go:build cgo

package sqlite

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/mattn/go-sqlite3"
)

// Engine names the SQLite that this program is built with.
const Engine = "SQLite"

var native sqlite3.SQLiteDriver

// open runs the pragmas of the name itself: the driver knows some of them only, each
// by a name of its own, in an order of its own.
func open(name string) (driver.Conn, error) {
	path, query, _ := strings.Cut(name, "?")
	params, err := url.ParseQuery(query)
	if err != nil {
		return nil, fmt.Errorf("sqlite: the name of a database is not understood: %w", err)
	}
	pragmas := params["_pragma"]
	params.Del("_pragma")
	// A connection is used by one goroutine at a time, so it needs no lock of its own.
	// What interrupts a statement may come from another (https://sqlite.org/c3ref/interrupt.html).
	params.Set("_mutex", "no")
	c, err := native.Open(path + "?" + params.Encode())
	if err != nil {
		return nil, err
	}
	for _, pragma := range pragmas {
		if _, err := c.(driver.ExecerContext).ExecContext(context.Background(), "PRAGMA "+pragma, nil); err != nil {
			return nil, errors.Join(err, c.Close())
		}
	}
	return c, nil
}

// placed turns $1 into ?1 and so on: to SQLite the first is a name, which gets the
// next free place wherever it stands first, and the second is a place.
func placed(text string) string {
	if !strings.Contains(text, "$") {
		return text
	}
	out := []byte(text)
	quoted := false
	for i, c := range out {
		switch {
		case c == '\'':
			quoted = !quoted
		case c == '$' && !quoted && i+1 < len(out) && '0' < out[i+1] && out[i+1] <= '9':
			out[i] = '?'
		}
	}
	return string(out)
}

// Code is SQLite's extended result code of an error, 0 if err is none of SQLite's.
func Code(err error) int {
	var e sqlite3.Error
	if errors.As(err, &e) {
		return int(e.ExtendedCode)
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
	c.raw.(*sqlite3.SQLiteConn).RegisterCommitHook(func() int {
		if hook() {
			return 0
		}
		return 1
	})
	return nil
}
