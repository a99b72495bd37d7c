// SPDX-License-Identifier: Apache-2.0

package pgtest

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
)

// Pooler is pgbouncer in transaction mode in front of a server: each
// transaction may run on another of its few connections.
type Pooler struct {
	server *Server
	port   int
	dir    string
	proc   *process
}

// Pooler starts pgbouncer with so many connections to each database of the
// server. It ends with the server.
func (s *Server) Pooler(ctx context.Context, connections int) (*Pooler, error) {
	bouncer, err := program("pgbouncer")
	if err != nil {
		return nil, err
	}
	p := &Pooler{server: s}
	if p.dir, err = os.MkdirTemp(s.dir, "pooler-"); err != nil {
		return nil, fmt.Errorf("pgtest: %w", err)
	}
	if p.port, err = freePort(ctx); err != nil {
		return nil, err
	}
	ini, users := filepath.Join(p.dir, "pgbouncer.ini"), filepath.Join(p.dir, "users")
	text := fmt.Sprintf(`[databases]
* = host=127.0.0.1 port=%d
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %d
unix_socket_dir =
auth_type = scram-sha-256
auth_file = %s
pool_mode = transaction
default_pool_size = %d
max_client_conn = 500
server_reset_query =
server_login_retry = 1
`, s.port, p.port, users, connections)
	if err := os.WriteFile(ini, []byte(text), 0o600); err != nil {
		return nil, fmt.Errorf("pgtest: %w", err)
	}
	if err := os.WriteFile(users, []byte(strconv.Quote(role)+" "+strconv.Quote(s.password)+"\n"), 0o600); err != nil {
		return nil, fmt.Errorf("pgtest: %w", err)
	}
	if err := own(p.dir, ini, users); err != nil {
		return nil, err
	}
	if p.proc, err = begin(bouncer, filepath.Join(p.dir, "log"), ini); err != nil {
		return nil, err
	}
	s.poolers = append(s.poolers, p)
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		config, err := pgx.ParseConfig(p.URL("postgres"))
		if err != nil {
			return nil, fmt.Errorf("pgtest: %w", err)
		}
		conn, err := pgx.ConnectConfig(ctx, config)
		if err == nil {
			return p, conn.Close(ctx)
		}
		select {
		case <-p.proc.done:
			return nil, fmt.Errorf("pgtest: pgbouncer ended at once: %s", tail(filepath.Join(p.dir, "log")))
		case <-ctx.Done():
			return nil, fmt.Errorf("pgtest: pgbouncer does not answer: %w: %s", err, tail(filepath.Join(p.dir, "log")))
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// URL is where a database of the server is reached through the pooler.
func (p *Pooler) URL(database string) string { return address(p.server.password, p.port, database) }

// NewDatabase makes an empty database in the server and returns its URL through
// the pooler.
func (p *Pooler) NewDatabase(ctx context.Context) (string, error) {
	name := "test" + strconv.FormatInt(p.server.serial.Add(1), 10)
	if err := p.server.Exec(ctx, "postgres", "CREATE DATABASE "+name+" TEMPLATE template0"); err != nil {
		return "", err
	}
	return p.URL(name), nil
}

// Close ends the pooler.
func (p *Pooler) Close() error {
	if p.proc == nil {
		return nil
	}
	err := p.proc.end(syscall.SIGTERM, stopTimeout)
	p.proc = nil
	return err
}
