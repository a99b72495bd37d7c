// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
)

// session is the connection of one committer: one transaction after another,
// on one goroutine. Statements between begin and commit are in the transaction.
type session interface {
	// begin opens a transaction. It may do so with the first statement only.
	// With merge set it may make one statement of several that are expected to
	// touch a row, and then not know which of them did not.
	begin(merge bool) error
	// exec runs a statement and returns how many rows it touched.
	exec(text string, args []any) (int64, error)
	// query runs one that returns rows, which are closed before anything else
	// is called.
	query(text string, args []any) (*sql.Rows, error)
	// found reports whether a query has a row.
	found(text string, args []any) (bool, error)
	// expect is exec for a statement that has to touch, or to find, exactly one
	// row, and whose answer is not waited for: it comes with the next call that
	// needs one, at the latest flush. A *mismatch says that it did not, or
	// failed. owner comes back in it; op and id are for its text.
	expect(owner int, op, id, text string, args []any) error
	// flush waits for all answers. A transaction whose flush succeeded can only
	// fail by its commit.
	flush() error
	// commit ends the transaction. An error that is not a *definite leaves open
	// whether it happened.
	commit() error
	// rollback ends the transaction, if there is one, with nothing done. If that
	// cannot be known the session is dead.
	rollback()
	// dead says that the connection is of no more use.
	dead() bool
	// doubt is what tells later whether the commit that failed just now is still
	// on its way.
	doubt() *doubt
	// settled looks whether a doubtful commit has ended, either way. It is
	// called within a transaction.
	settled(d *doubt) (bool, error)
	// close drops the connection with what is open on it.
	close()
}

const (
	// nobody owns a statement of which nothing is demanded.
	nobody = -1
	// somebody owns what was merged of several closures' statements.
	somebody = -2
)

// mismatch says which closure of a batch broke the transaction; somebody if it
// is not known.
type mismatch struct {
	owner int
	err   error
}

func (m *mismatch) Error() string { return m.err.Error() }
func (m *mismatch) Unwrap() error { return m.err }

// definite says that a COMMIT did certainly not happen.
type definite struct{ err error }

func (d *definite) Error() string { return d.err.Error() }
func (d *definite) Unwrap() error { return d.err }

// pinned is a connection of a pool that is ours until it is dropped.
type pinned struct{ conn *sql.Conn }

func pin(ctx context.Context, pool *sql.DB) (pinned, error) {
	conn, err := pool.Conn(ctx)
	if err != nil {
		return pinned{}, fmt.Errorf("store: connect: %w", err)
	}
	return pinned{conn}, nil
}

// drop ends the connection for good: given back to the pool it would come
// again, with whatever transaction is open on it.
func (p pinned) drop() {
	_ = p.conn.Raw(func(any) error { return driver.ErrBadConn })
	_ = p.conn.Close()
}

// mismatched returns the mismatch in err, nil if there is none.
func mismatched(err error) *mismatch {
	var m *mismatch
	if errors.As(err, &m) {
		return m
	}
	return nil
}
