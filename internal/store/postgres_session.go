// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
)

// maxPrepared bounds how many statements one connection keeps prepared.
const maxPrepared = 200

// postgresSession writes to PostgreSQL in pipelines: statements gather until an
// answer is needed, then all of them go out together and come back in one round
// trip (protocol: Parse/Bind/Execute …, one Sync).
type postgresSession struct {
	pinned
	p     *postgres
	pg    *pgconn.PgConn
	stmts map[string]*pgconn.StatementDescription

	waiting []pgStatement
	buf     []byte // of numbers as text, shared by what is waiting
	last    int64  // rows that the last statement touched

	begun  bool // begin was called
	sent   bool // and has been sent
	fault  error
	xid    string // of the transaction, once it was asked for
	broken bool
}

// pgStatement waits to be sent.
type pgStatement struct {
	stmt   *pgconn.StatementDescription // nil: text is sent unprepared
	text   string
	params [][]byte
	format []int16
	owner  int // of an expectation; below zero is none
	op, id string
	value  *string // receives the one column of the one row
}

func newPostgresSession(ctx context.Context, p *postgres, pool *sql.DB) (*postgresSession, error) {
	at, err := pin(ctx, pool)
	if err != nil {
		return nil, p.said(err)
	}
	s := &postgresSession{pinned: at, p: p, stmts: make(map[string]*pgconn.StatementDescription)}
	// The connection outlives this call: it is pinned, and database/sql touches
	// a pinned one only when it is asked to, by this goroutine.
	err = at.conn.Raw(func(conn any) error {
		s.pg = conn.(*stdlib.Conn).Conn().PgConn()
		return nil
	})
	if err != nil {
		at.drop()
		return nil, err
	}
	return s, nil
}

func (s *postgresSession) begin() error {
	s.waiting, s.buf = s.waiting[:0], s.buf[:0]
	s.fault, s.xid, s.begun, s.sent = nil, "", true, false
	if err := s.push(pgStatement{text: "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE", owner: -1}, nil); err != nil {
		return err
	}
	for _, set := range s.p.local {
		if err := s.push(pgStatement{text: set, owner: -1}, nil); err != nil {
			return err
		}
	}
	return nil
}

// idle says that nothing but begin was asked for.
func (s *postgresSession) idle() bool { return !s.sent && len(s.waiting) == 1+len(s.p.local) }

func (s *postgresSession) push(q pgStatement, args []any) error {
	if s.fault != nil {
		return s.fault
	}
	var err error
	if q.stmt, err = s.prepare(q.text); err != nil {
		return s.lost(err)
	}
	if len(args) > 0 {
		q.params, q.format = make([][]byte, len(args)), make([]int16, len(args))
	}
	for i, arg := range args {
		switch v := arg.(type) {
		case nil:
		case int64:
			q.params[i] = s.number(v)
		case int:
			q.params[i] = s.number(int64(v))
		case string:
			q.params[i] = []byte(postgresText(v))
		case []byte:
			q.params[i], q.format[i] = v, 1
		default:
			return fmt.Errorf("store: argument %d is of type %T", i+1, arg)
		}
	}
	s.waiting = append(s.waiting, q)
	return nil
}

func (s *postgresSession) number(n int64) []byte {
	from := len(s.buf)
	s.buf = strconv.AppendInt(s.buf, n, 10)
	return s.buf[from:len(s.buf):len(s.buf)]
}

// postgresText replaces what PostgreSQL takes in no text: what is not UTF-8,
// and NUL. Such bytes come in texts that others wrote, as a node's errors.
func postgresText(s string) string {
	if utf8.ValidString(s) && strings.IndexByte(s, 0) < 0 {
		return s
	}
	return strings.ReplaceAll(strings.ToValidUTF8(s, "\uFFFD"), "\x00", "\uFFFD")
}

// prepare returns nil where a statement is to be sent as text: behind a pooler,
// which may hand every transaction another connection.
func (s *postgresSession) prepare(text string) (*pgconn.StatementDescription, error) {
	if s.p.pooled {
		return nil, nil
	}
	if stmt, ok := s.stmts[text]; ok || len(s.stmts) >= maxPrepared {
		return stmt, nil
	}
	s.limit()
	stmt, err := s.pg.Prepare(context.Background(), "hsmsigner_"+strconv.Itoa(len(s.stmts)), text, nil)
	if err != nil {
		return nil, err
	}
	s.stmts[text] = stmt
	return stmt, nil
}

// limit gives the next answer its time. The server has limits of its own; this
// one is for a server that is not there any more.
func (s *postgresSession) limit() {
	_ = s.pg.Conn().SetDeadline(time.Now().Add(s.p.patience))
}

// lost notes that the transaction is good for nothing but a rollback.
func (s *postgresSession) lost(err error) error {
	if s.fault == nil {
		s.fault = err
	}
	return err
}

// send sends what waits and reads all answers.
func (s *postgresSession) send() error {
	if s.fault != nil || len(s.waiting) == 0 {
		return s.fault
	}
	s.limit()
	s.sent = true
	pipe := s.pg.StartPipeline(context.Background())
	for i := range s.waiting {
		q := &s.waiting[i]
		if q.stmt != nil {
			pipe.SendQueryStatement(q.stmt, q.params, q.format, nil)
		} else {
			pipe.SendQueryParams(q.text, q.params, nil, q.format, nil)
		}
	}
	err := pipe.Sync()
	for i := 0; err == nil && i < len(s.waiting); i++ {
		q := &s.waiting[i]
		if err = s.receive(pipe, q); err == nil {
			continue
		}
		if q.op != "" {
			err = fmt.Errorf("store: %s %s: %w", q.op, q.id, err)
		}
		if q.owner >= 0 && !s.pg.IsClosed() {
			err = &mismatch{q.owner, err}
		}
	}
	closed := pipe.Close() // reads the rest; its error is of a later statement
	if err == nil && s.pg.IsClosed() {
		err = closed
	}
	clear(s.waiting)
	s.waiting, s.buf = s.waiting[:0], s.buf[:0]
	if err != nil {
		return s.lost(err)
	}
	return nil
}

func (s *postgresSession) receive(pipe *pgconn.Pipeline, q *pgStatement) error {
	results, err := pipe.GetResults()
	if err != nil {
		return err
	}
	rows, ok := results.(*pgconn.ResultReader)
	if !ok {
		return fmt.Errorf("store: pipeline answered with %T", results)
	}
	for rows.NextRow() {
		if q.value != nil {
			*q.value = string(rows.Values()[0])
		}
	}
	tag, err := rows.Close()
	if err != nil {
		return err
	}
	s.last = tag.RowsAffected()
	if q.owner >= 0 && s.last != 1 {
		return errTouched(s.last)
	}
	return nil
}

func (s *postgresSession) exec(text string, args []any) (int64, error) {
	if err := s.push(pgStatement{text: text, owner: -1}, args); err != nil {
		return 0, err
	}
	if err := s.send(); err != nil {
		return 0, err
	}
	return s.last, nil
}

func (s *postgresSession) found(text string, args []any) (bool, error) {
	n, err := s.exec(text, args)
	return n > 0, err
}

func (s *postgresSession) expect(owner int, op, id, text string, args []any) error {
	return s.push(pgStatement{text: text, owner: owner, op: op, id: id}, args)
}

func (s *postgresSession) query(text string, args []any) (*sql.Rows, error) {
	if err := s.send(); err != nil {
		return nil, err
	}
	s.limit()
	rows, err := s.conn.QueryContext(context.Background(), text, args...)
	if err != nil {
		return nil, s.lost(err)
	}
	return rows, nil
}

// flush also asks for the transaction's id, by which its fate can be learnt
// should the commit not be answered.
func (s *postgresSession) flush() error {
	if s.idle() {
		return nil
	}
	if err := s.push(pgStatement{text: "SELECT txid_current_if_assigned()", owner: -1, value: &s.xid}, nil); err != nil {
		return err
	}
	return s.send()
}

func (s *postgresSession) commit() error {
	if s.idle() {
		s.begun = false
		return nil
	}
	s.limit()
	s.begun = false
	data := s.pg.CustomData()
	delete(data, warningKey)
	results, err := s.pg.Exec(context.Background(), "COMMIT").ReadAll()
	var refused *pgconn.PgError
	switch {
	case err != nil && errors.As(err, &refused) && !s.pg.IsClosed():
		return &definite{err}
	case err != nil:
		return err
	case len(results) != 1 || results[0].CommandTag.String() != "COMMIT":
		return &definite{errors.New("store: the server has rolled the transaction back")}
	case data[warningKey] != nil:
		// An operator has cancelled the wait for a synchronous standby: the
		// rows are committed here, and lost if this server is.
		return fmt.Errorf("store: commit: server warns: %v", data[warningKey])
	}
	return nil
}

func (s *postgresSession) rollback() {
	clear(s.waiting)
	s.waiting, s.buf = s.waiting[:0], s.buf[:0]
	s.begun, s.fault = false, nil
	if s.dead() || s.pg.TxStatus() == 'I' {
		return
	}
	s.limit()
	_, err := s.pg.Exec(context.Background(), "ROLLBACK").ReadAll()
	s.broken = err != nil
}

func (s *postgresSession) dead() bool { return s.broken || s.pg.IsClosed() }

func (s *postgresSession) doubt() *doubt { return &doubt{xid: s.xid} }

// settled: a server whose client is gone may still be at work on its COMMIT, or
// wait for a standby. It has ended when its transaction is no longer in
// progress; a server that does not know the transaction (it was promoted, and
// has lost it) answers NULL. Ids below one that was given later are known.
func (s *postgresSession) settled(d *doubt) (bool, error) {
	if d.xid == "" {
		return true, nil // it had changed nothing
	}
	var status string
	err := s.push(pgStatement{text: "SELECT CASE WHEN " + d.xid + " < txid_current() THEN txid_status(" + d.xid + ") END", owner: -1, value: &status}, nil)
	if err == nil {
		err = s.send()
	}
	return status != "in progress", err
}

func (s *postgresSession) close() { s.drop() }
