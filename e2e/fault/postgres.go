// SPDX-License-Identifier: Apache-2.0

package fault

import (
	"context"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/store/pgtest"
)

// Server is a real PostgreSQL server of the rig. It is safe for concurrent use.
type Server struct {
	mu sync.Mutex
	pg *pgtest.Server
}

// StartServer starts one.
func StartServer(ctx context.Context) (*Server, error) {
	// After a crash all files are synced; one by one that takes long with many databases.
	pg, err := pgtest.Start(ctx, pgtest.WithSetting("recovery_init_sync_method", "syncfs"))
	if err != nil {
		return nil, fmt.Errorf("fault: %w", err)
	}
	return &Server{pg: pg}, nil
}

// Close stops it.
func (s *Server) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pg.Close()
}

// NewDatabase makes an empty database and returns its URL.
func (s *Server) NewDatabase(ctx context.Context) (string, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	dsn, err := s.pg.NewDatabase(ctx)
	if err != nil {
		return "", fmt.Errorf("fault: %w", err)
	}
	return dsn, nil
}

// DropDatabase removes it, whoever is connected.
func (s *Server) DropDatabase(ctx context.Context, dsn string) error {
	u, err := url.Parse(dsn)
	if err != nil {
		return fmt.Errorf("fault: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.pg.Exec(ctx, "postgres", `DROP DATABASE IF EXISTS "`+strings.Trim(u.Path, "/")+`" WITH (FORCE)`); err != nil {
		return fmt.Errorf("fault: %w", err)
	}
	return nil
}

// Exec runs one statement on a database.
func (s *Server) Exec(ctx context.Context, dsn, statement string) error {
	u, err := url.Parse(dsn)
	if err != nil {
		return fmt.Errorf("fault: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pg.Exec(ctx, strings.Trim(u.Path, "/"), statement)
}

// Down kills the server as a power cut would; Up starts it again.
func (s *Server) Down() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pg.Kill()
}

// Up starts the server after Down, on the same port, and waits for it.
func (s *Server) Up(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.pg.Up(ctx)
}

// Crash is Down and Up.
func (s *Server) Crash(ctx context.Context) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if err := s.pg.Kill(); err != nil {
		return fmt.Errorf("fault: %w", err)
	}
	if err := s.pg.Up(context.WithoutCancel(ctx)); err != nil {
		return fmt.Errorf("fault: %w", err)
	}
	return nil
}

// link is a new proxy in front of the server.
func (s *Server) link() (*Link, error) { return NewLink("tcp", s.pg.Addr()) }

// through is the URL of a database by way of a link.
func through(dsn string, link *Link) (string, error) {
	u, err := url.Parse(dsn)
	if err != nil {
		return "", fmt.Errorf("fault: %w", err)
	}
	u.Host = link.Address
	return u.String(), nil
}
