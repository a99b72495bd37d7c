// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"strconv"
	"time"

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

	pipeline
	sent   bool // something of this transaction has been sent
	fault  error
	xid    string // of the transaction, once it was asked for
	broken bool
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

func (s *postgresSession) begin(merge bool) error {
	s.pipeline.reset()
	s.merge = merge
	s.fault, s.xid, s.sent = nil, "", false
	s.add(statement{text: "BEGIN ISOLATION LEVEL READ COMMITTED READ WRITE", owner: nobody}, nil)
	for _, set := range s.p.local {
		s.add(statement{text: set, owner: nobody}, nil)
	}
	return nil
}

// idle says that nothing but begin was asked for.
func (s *postgresSession) idle() bool { return !s.sent && len(s.waiting) == 1+len(s.p.local) }

// prepare readies a statement for being sent, and says of which types its
// parameters are. Behind a pooler, which may hand every transaction another
// connection, nothing stays prepared; the types do not change.
func (s *postgresSession) prepare(text string) (stmt *pgconn.StatementDescription, types []uint32, err error) {
	if stmt, ok := s.stmts[text]; ok {
		return stmt, stmt.ParamOIDs, nil
	}
	name := ""
	if s.p.pooled {
		if types, ok := s.p.types.Load(text); ok {
			return nil, types.([]uint32), nil
		}
	} else if len(s.stmts) < maxPrepared {
		name = "hsmsigner_" + strconv.Itoa(len(s.stmts))
	}
	s.limit()
	stmt, err = s.pg.Prepare(context.Background(), name, text, nil)
	if err != nil {
		return nil, nil, err
	}
	if name == "" {
		s.p.types.Store(text, stmt.ParamOIDs)
		return nil, stmt.ParamOIDs, nil
	}
	s.stmts[text] = stmt
	return stmt, stmt.ParamOIDs, nil
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
	for i := range s.waiting {
		if err := s.waiting[i].encode(s); err != nil {
			return s.lost(err)
		}
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
		if q.owner != nobody && !s.pg.IsClosed() {
			err = &mismatch{q.owner, err}
		}
	}
	closed := pipe.Close() // reads the rest; its error is of a later statement
	if err == nil && s.pg.IsClosed() {
		err = closed
	}
	s.pipeline.reset()
	if err != nil {
		return s.lost(err)
	}
	return nil
}

func (s *postgresSession) receive(pipe *pgconn.Pipeline, q *statement) error {
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
	if want := int64(len(q.rows)); q.owner != nobody && s.last != want {
		return fmt.Errorf("touched %d rows instead of %d", s.last, want)
	}
	return nil
}

func (s *postgresSession) exec(text string, args []any) (int64, error) {
	s.add(statement{text: text, owner: nobody}, args)
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
	if s.fault != nil {
		return s.fault
	}
	s.demand(statement{text: text, owner: owner, op: op, id: id}, args)
	return nil
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
	s.add(statement{text: "SELECT txid_current_if_assigned()", owner: nobody, value: &s.xid}, nil)
	return s.send()
}

func (s *postgresSession) commit() error {
	if s.idle() {
		return nil
	}
	s.limit()
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
	s.pipeline.reset()
	s.fault = nil
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
	xid, err := strconv.ParseInt(d.xid, 10, 64)
	if err != nil {
		return false, fmt.Errorf("store: transaction id %q", d.xid)
	}
	var status string
	s.add(statement{
		text:  "SELECT CASE WHEN $1 < txid_current() THEN txid_status($1) END",
		owner: nobody, value: &status,
	}, []any{xid})
	err = s.send()
	return status != "in progress", err
}

func (s *postgresSession) close() { s.drop() }
