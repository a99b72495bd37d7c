// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"database/sql"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"github.com/hsmsigner/hsmsigner/e2e/harness"

	"github.com/hsmsigner/hsmsigner/internal/sqlite"
)

const (
	seedAddresses = 100
	millionRows   = 1_000_000
	tenMillion    = 10_000_000
)

// seeded is a closed database with many stored transactions, and the chain on
// which they were mined.
type seeded struct {
	keys harness.Keys
	data string
	rows int
}

// seed fills the database of a stopped daemon with n transactions of its senders,
// by copying confirmed ones with everything that belongs to them, under new ids,
// nonces and hashes. The node is told of the nonces.
func seed(ctx context.Context, node own, keys harness.Keys, data string, n int) error {
	db, err := sql.Open(sqlite.Driver, filepath.Join(data, "hsmsigner.db"))
	if err != nil {
		return err
	}
	defer db.Close()
	db.SetMaxOpenConns(1) // temporary tables and pragmas belong to a connection
	s := &seeder{ctx: ctx, db: db, n: n}
	s.run(`PRAGMA journal_mode = DELETE`)
	s.run(`PRAGMA journal_mode = OFF`)
	s.run(`PRAGMA synchronous = OFF`)
	s.run(`PRAGMA cache_size = -1000000`)
	s.run(`PRAGMA temp_store = MEMORY`)
	s.rows()
	if s.err == nil && s.senders < len(keys.Addresses) {
		s.err = fmt.Errorf("only %d of %d addresses have a confirmed transaction to copy", s.senders, len(keys.Addresses))
	}
	if s.err != nil {
		return fmt.Errorf("seed: %w", s.err)
	}
	for _, a := range keys.Addresses {
		has, err := call(node.address, "eth_getTransactionCount", fmt.Sprintf(`"%s","latest"`, a.Hex()))
		if err != nil {
			return err
		}
		var count int
		if _, err := fmt.Sscanf(has, "0x%x", &count); err != nil {
			return fmt.Errorf("seed: count %q: %w", has, err)
		}
		if _, err := call(node.address, "bench_setNonce", fmt.Sprintf(`"%s","0x%x"`, strings.ToLower(a.Hex()), count+n/len(keys.Addresses))); err != nil {
			return err
		}
	}
	return nil
}

// seeder keeps the first error.
type seeder struct {
	ctx     context.Context
	db      *sql.DB
	n       int
	senders int
	err     error
}

func (s *seeder) run(text string, args ...any) {
	if s.err != nil {
		return
	}
	if _, err := s.db.ExecContext(s.ctx, text, args...); err != nil {
		s.err = fmt.Errorf("%.60s: %w", text, err)
	}
}

// idOf is the SQL of an id as store.NewID makes it, for row i of one kind: 48 bits
// of time in ms, the version of UUIDv7, and the rest. They are older than all ids
// that the daemon has made.
func (s *seeder) idOf(kind string) string {
	return fmt.Sprintf(`printf('%%012x7%%03x%s%%015x', s.at / 1000, s.i %% 4096, s.i)`, kind)
}

func (s *seeder) rows() {
	s.run(`CREATE TEMP TABLE tpl AS SELECT row_number() OVER (ORDER BY t.sender) - 1 AS k, t.sender AS sender,
		max(t.id) AS tx, (SELECT max(nonce) + 1 FROM tx u WHERE u.sender = t.sender AND u.live = 1) AS base
		FROM tx t WHERE t.state = 'confirmed' GROUP BY t.sender`)
	if s.err == nil {
		s.err = s.db.QueryRowContext(s.ctx, `SELECT count(*) FROM tpl`).Scan(&s.senders)
	}
	// About 4,000 a second until an hour ago.
	first := time.Now().Add(-time.Hour).UnixMicro() - int64(s.n)*250
	s.run(`CREATE TEMP TABLE seq (i INTEGER PRIMARY KEY, at INTEGER, hash BLOB, digest BLOB)`)
	s.run(`INSERT INTO seq WITH RECURSIVE c(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM c WHERE i + 1 < $1)
		SELECT i, $2 + i * 250, randomblob(32), randomblob(32) FROM c`, s.n, first)
	indexes := s.dropIndexes("tx", "attempt", "audit_intent", "audit_outcome")
	tx, attempt, intent, outcome := s.idOf("a"), s.idOf("b"), s.idOf("c"), s.idOf("d")
	nonce := fmt.Sprintf("p.base + s.i / %d", max(1, s.senders))
	s.copy("tx", "r.id = p.tx", map[string]string{
		"id": tx, "intent": intent, "nonce": nonce, "hash": "s.hash", "request_hash": "randomblob(32)",
		"created": "s.at", "updated": "s.at + 3000000", "expires": "s.at + 600000000",
	})
	s.copy("attempt", "r.tx = p.tx", map[string]string{
		"id": attempt, "tx": tx, "nonce": nonce, "hash": "s.hash", "digest": "s.digest", "created": "s.at",
	})
	s.copy("audit_intent", "r.id = (SELECT intent FROM tx WHERE id = p.tx)", map[string]string{"id": intent, "subject": tx, "at": "s.at"})
	s.copy("audit_outcome", "r.intent = (SELECT intent FROM tx WHERE id = p.tx)", map[string]string{
		"id": outcome, "intent": intent, "at": "s.at + 1000", "digest": "s.digest", "hash": "s.hash",
	})
	for _, text := range indexes {
		s.run(text)
	}
	s.run(`ANALYZE`)
}

// dropIndexes drops what is quicker to make anew, and returns how.
func (s *seeder) dropIndexes(tables ...string) (texts []string) {
	if s.err != nil {
		return nil
	}
	rows, err := s.db.QueryContext(s.ctx, `SELECT name, sql FROM sqlite_master WHERE type = 'index' AND sql IS NOT NULL AND tbl_name IN ('`+strings.Join(tables, `','`)+`')`)
	if err != nil {
		s.err = err
		return nil
	}
	var names []string
	for rows.Next() {
		var name, text string
		if s.err = rows.Scan(&name, &text); s.err != nil {
			break
		}
		names, texts = append(names, name), append(texts, text)
	}
	rows.Close()
	for _, name := range names {
		s.run(`DROP INDEX ` + name)
	}
	return texts
}

// copy multiplies the row r of a table that belongs to each template p, once per
// row s of seq, with other expressions for some columns. The columns are the
// table's own, whatever they are in this version of the schema.
func (s *seeder) copy(table, where string, change map[string]string) {
	if s.err != nil {
		return
	}
	rows, err := s.db.QueryContext(s.ctx, `SELECT name FROM pragma_table_info('`+table+`')`)
	if err != nil {
		s.err = err
		return
	}
	var names, values []string
	for rows.Next() {
		var name string
		if s.err = rows.Scan(&name); s.err != nil {
			break
		}
		value := change[name]
		if value == "" {
			value = "r." + name
		}
		names, values = append(names, name), append(values, value)
	}
	rows.Close()
	s.run(fmt.Sprintf(`CREATE TEMP TABLE from_%[1]s AS SELECT p.k AS k, p.base AS base, r.* FROM tpl p JOIN main.%[1]s r ON %[2]s`, table, where))
	s.run(fmt.Sprintf(`CREATE UNIQUE INDEX temp.from_%[1]s_k ON from_%[1]s (k)`, table))
	text := strings.Join(values, ", ")
	text = strings.ReplaceAll(text, "p.base", "r.base")
	s.run(fmt.Sprintf(`INSERT INTO main.%[1]s (%[2]s) SELECT %[3]s FROM temp.seq s JOIN temp.from_%[1]s r ON r.k = s.i %% %[4]d ORDER BY s.i`,
		table, strings.Join(names, ", "), text, max(1, s.senders)))
}
