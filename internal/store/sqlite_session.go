// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
)

// sqliteSession writes through the driver's own connection: what database/sql
// does around each statement (locks, conversions, retries) is of no use to the
// one goroutine that has the connection for itself.
type sqliteSession struct {
	pinned
	raw   sqliteConn
	stmts map[string]sqliteStmt // by text; they live as long as the connection
	args  []driver.NamedValue   // reused
	broke bool
}

// sqliteConn is what is used of the driver's connection.
type sqliteConn interface {
	driver.ConnPrepareContext
}

type sqliteStmt interface {
	driver.Stmt
	driver.StmtExecContext
	driver.StmtQueryContext
}

func newSQLiteSession(ctx context.Context, pool *sql.DB) (*sqliteSession, error) {
	p, err := pin(ctx, pool)
	if err != nil {
		return nil, err
	}
	s := &sqliteSession{pinned: p, stmts: make(map[string]sqliteStmt)}
	// The connection outlives this call: it is pinned, and database/sql touches
	// a pinned one only when it is asked to, by this goroutine.
	err = p.conn.Raw(func(conn any) error {
		raw, ok := conn.(sqliteConn)
		if !ok {
			return fmt.Errorf("store: driver of type %T cannot prepare", conn)
		}
		s.raw = raw
		return nil
	})
	if err != nil {
		p.drop()
		return nil, err
	}
	return s, nil
}

func (s *sqliteSession) begin(bool) error {
	_, err := s.exec("BEGIN IMMEDIATE", nil)
	s.broke = err != nil
	return err
}

func (s *sqliteSession) exec(text string, args []any) (int64, error) {
	stmt, err := s.prepare(text)
	if err != nil {
		return 0, err
	}
	if s.args, err = namedValues(s.args[:0], args); err != nil {
		return 0, err
	}
	result, err := stmt.ExecContext(context.Background(), s.args)
	clear(s.args) // they hold the callers' bytes
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

func namedValues(named []driver.NamedValue, args []any) ([]driver.NamedValue, error) {
	for i, arg := range args {
		switch v := arg.(type) {
		case nil, int64, string, []byte:
		case int:
			arg = int64(v)
		default:
			return nil, fmt.Errorf("store: argument %d is of type %T", i+1, arg)
		}
		named = append(named, driver.NamedValue{Ordinal: i + 1, Value: arg})
	}
	return named, nil
}

func (s *sqliteSession) prepare(text string) (sqliteStmt, error) {
	if stmt, ok := s.stmts[text]; ok {
		return stmt, nil
	}
	prepared, err := s.raw.PrepareContext(context.Background(), text)
	if err != nil {
		return nil, err
	}
	stmt, ok := prepared.(sqliteStmt)
	if !ok {
		return nil, fmt.Errorf("store: statement of type %T cannot be run", prepared)
	}
	s.stmts[text] = stmt
	return stmt, nil
}

func (s *sqliteSession) query(text string, args []any) (*sql.Rows, error) {
	return s.conn.QueryContext(context.Background(), text, args...)
}

func (s *sqliteSession) found(text string, args []any) (bool, error) {
	stmt, err := s.prepare(text)
	if err != nil {
		return false, err
	}
	if s.args, err = namedValues(s.args[:0], args); err != nil {
		return false, err
	}
	rows, err := stmt.QueryContext(context.Background(), s.args)
	clear(s.args)
	if err != nil {
		return false, err
	}
	var row [1]driver.Value // what is asked for has one column
	err = rows.Next(row[:])
	if e := rows.Close(); e != nil {
		return false, e
	}
	if errors.Is(err, io.EOF) {
		return false, nil
	}
	return err == nil, err
}

// expect is not called: an answer costs nothing here.
func (s *sqliteSession) expect(owner int, op, id, text string, args []any) error {
	n, err := s.exec(text, args)
	if err == nil && n != 1 {
		err = errTouched(n)
	}
	if err != nil {
		return &mismatch{owner, fmt.Errorf("store: %s %s: %w", op, id, err)}
	}
	return nil
}

func (s *sqliteSession) flush() error { return nil }

func (s *sqliteSession) commit() error {
	_, err := s.exec("COMMIT", nil)
	return err
}

// rollback: that no transaction is open is the one error that it may meet, and
// is what it wants; anything worse shows at the next begin.
func (s *sqliteSession) rollback() { _, _ = s.exec("ROLLBACK", nil) }

// dead after a begin that failed: a transaction may be stuck on the connection.
func (s *sqliteSession) dead() bool { return s.broke }

// doubt: SQLite may have written the whole transaction to its journal before
// the sync failed, and would then find it there after a crash, although it has
// been rolled back now. The next commit overwrites that part of the journal, so
// it settles the matter and nothing has to be waited for.
func (s *sqliteSession) doubt() *doubt { return new(doubt) }

func (s *sqliteSession) settled(*doubt) (bool, error) { return true, nil }

func (s *sqliteSession) close() {
	for _, stmt := range s.stmts {
		_ = stmt.Close()
	}
	s.drop()
}
