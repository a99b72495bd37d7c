// SPDX-License-Identifier: Apache-2.0

// Package sqlite is the driver of SQLite for database/sql, one of two: where the
// program is built with cgo, SQLite's own C code; without cgo the same code
// translated to Go, which takes about twice the processor time and needs no C
// library. Both read and write the same files, and may follow each other on one
// database. Everything that opens a database file of ours does so by this package:
// two different SQLites in one process would break each other's locks on a file
// (https://sqlite.org/howtocorrupt.html, section 2.2.1).
//
// Both take parameters as $1, $2, … in any order and number, and a data source name
// "file:path?mode=rw&_pragma=name(value)&_pragma=…" whose pragmas are run in their
// order on each new connection.
package sqlite

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"fmt"
)

// Driver is the name for [sql.Open].
const Driver = "hsmsigner-sqlite"

func init() { sql.Register(Driver, base{}) } //nolint:gochecknoinits // so every driver of database/sql makes itself known

// IsUnique reports whether err says that a unique index or a primary key has that
// row already.
func IsUnique(err error) bool {
	const unique, primaryKey = 2067, 1555 // https://sqlite.org/rescode.html
	code := Code(err)
	return code == unique || code == primaryKey
}

// raw is what both drivers' connections can do.
type raw interface {
	driver.Conn
	driver.ConnPrepareContext
	driver.ExecerContext
	driver.QueryerContext
	driver.ConnBeginTx
	driver.Pinger
}

// base opens connections that take the texts of this program.
type base struct{}

// Open implements [driver.Driver].
func (base) Open(name string) (driver.Conn, error) {
	c, err := open(name)
	if err != nil {
		return nil, err
	}
	r, ok := c.(raw)
	if !ok {
		_ = c.Close()
		return nil, fmt.Errorf("sqlite: a connection of type %T does less than is asked of it", c)
	}
	return &conn{r}, nil
}

// conn gives the texts to its driver in the form that this takes.
type conn struct{ raw }

// ResetSession implements [driver.SessionResetter].
func (c *conn) ResetSession(ctx context.Context) error {
	if r, ok := c.raw.(driver.SessionResetter); ok {
		return r.ResetSession(ctx)
	}
	return nil
}

func (c *conn) Prepare(text string) (driver.Stmt, error) { return c.raw.Prepare(placed(text)) }

func (c *conn) PrepareContext(ctx context.Context, text string) (driver.Stmt, error) {
	return c.raw.PrepareContext(ctx, placed(text))
}

func (c *conn) ExecContext(ctx context.Context, text string, args []driver.NamedValue) (driver.Result, error) {
	return c.raw.ExecContext(ctx, placed(text), args)
}

func (c *conn) QueryContext(ctx context.Context, text string, args []driver.NamedValue) (driver.Rows, error) {
	return c.raw.QueryContext(ctx, placed(text), args)
}
