// SPDX-License-Identifier: Apache-2.0

// Package pgtest runs a private PostgreSQL server, and pgbouncer in front of it,
// for tests and benchmarks. A server listens on a random port of 127.0.0.1 only,
// syncs to disk as one in production does, keeps its data under the temporary
// directory, and ends with the process that started it, however that ends. It
// wants the programs of the server's package, and says so if they are missing:
// there is nothing to fall back on.
package pgtest

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/hsmsigner/hsmsigner/internal/freeport"
)

const (
	role         = "hsmsigner"
	startTimeout = 60 * time.Second
	stopTimeout  = 20 * time.Second
)

// Server is a PostgreSQL server of our own. Its methods are for one goroutine.
type Server struct {
	dir      string
	port     int
	password string
	conf     []string
	proc     *process // nil while it is down
	poolers  []*Pooler
	serial   *atomic.Int64
}

// Option changes how a server is started.
type Option func(*Server)

// WithSetting sets a parameter of postgresql.conf.
func WithSetting(name, value string) Option {
	return func(s *Server) {
		s.conf = append(s.conf, name+" = '"+strings.ReplaceAll(value, "'", "''")+"'")
	}
}

// Start makes a new, empty server and starts it. Stop it with Close.
func Start(ctx context.Context, options ...Option) (*Server, error) {
	initdb, err := program("initdb")
	if err != nil {
		return nil, err
	}
	s := &Server{password: secret(), serial: new(atomic.Int64)}
	for _, option := range options {
		option(s)
	}
	if s.dir, err = os.MkdirTemp("", "pgtest-"); err != nil {
		return nil, fmt.Errorf("pgtest: %w", err)
	}
	if s.port, err = freePort(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	pwfile := filepath.Join(s.dir, "password")
	if err := os.WriteFile(pwfile, []byte(s.password+"\n"), 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("pgtest: %w", err), s.Close())
	}
	if err := own(s.dir, pwfile); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	err = run(ctx, initdb, "-D", s.data(), "-U", role, "--pwfile", pwfile, "--auth", "scram-sha-256", "--locale", "C", "--encoding", "UTF8", "--no-sync")
	if err == nil {
		err = s.Up(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Server) data() string { return filepath.Join(s.dir, "data") }

// Up starts the server again after Stop or Kill, on the same port, and waits
// until it answers.
func (s *Server) Up(ctx context.Context) error {
	if s.proc != nil {
		return nil
	}
	postgres, err := program("postgres")
	if err != nil {
		return err
	}
	args := []string{"-D", s.data(), "-p", strconv.Itoa(s.port)}
	for _, setting := range append([]string{
		"listen_addresses = '127.0.0.1'", "unix_socket_directories = ''", "max_connections = '200'", "shared_buffers = '128MB'",
		"timezone = 'UTC'", "log_timezone = 'UTC'", "logging_collector = 'off'", "max_wal_size = '4GB'",
	}, s.conf...) {
		name, value, _ := strings.Cut(setting, " = ")
		args = append(args, "-c", name+"="+strings.Trim(value, "'"))
	}
	if s.proc, err = begin(postgres, filepath.Join(s.dir, "log"), args...); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		conn, err := pgx.Connect(ctx, s.URL("postgres"))
		if err == nil {
			return conn.Close(ctx)
		}
		select {
		case <-s.proc.done:
			s.proc = nil
			return fmt.Errorf("pgtest: the server ended at once: %s", s.Log())
		case <-ctx.Done():
			return fmt.Errorf("pgtest: the server does not answer: %w: %s", err, s.Log())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// URL is where a database of the server is reached.
func (s *Server) URL(database string) string {
	return address(s.password, s.port, database)
}

// Addr is host and port.
func (s *Server) Addr() string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(s.port)) }

func address(password string, port int, database string) string {
	u := url.URL{
		Scheme: "postgres", User: url.UserPassword(role, password), Host: net.JoinHostPort("127.0.0.1", strconv.Itoa(port)),
		Path: "/" + database, RawQuery: "sslmode=disable",
	}
	return u.String()
}

// NewDatabase makes an empty database and returns its URL. Safe for concurrent
// use.
func (s *Server) NewDatabase(ctx context.Context) (string, error) {
	name := "test" + strconv.FormatInt(s.serial.Add(1), 10)
	if err := s.Exec(ctx, "postgres", "CREATE DATABASE "+name+" TEMPLATE template0"); err != nil {
		return "", err
	}
	return s.URL(name), nil
}

// Exec runs SQL as superuser.
func (s *Server) Exec(ctx context.Context, database, text string) error {
	conn, err := pgx.Connect(ctx, s.URL(database))
	if err != nil {
		return fmt.Errorf("pgtest: %w", err)
	}
	defer conn.Close(context.WithoutCancel(ctx))
	if _, err = conn.Exec(ctx, text); err != nil {
		return fmt.Errorf("pgtest: %s: %w", text, err)
	}
	return nil
}

// Stop shuts the server down; connections are cut, transactions rolled back.
func (s *Server) Stop() error { return s.end(syscall.SIGINT) }

// Kill is a crash: no word to anybody, and recovery at the next start.
func (s *Server) Kill() error { return s.end(syscall.SIGQUIT) }

// Pause stops the server's processes where they are, as a machine that hangs,
// until Resume. Connections stay.
func (s *Server) Pause() error { return s.proc.signalAll(syscall.SIGSTOP) }

// Resume ends a Pause.
func (s *Server) Resume() error { return s.proc.signalAll(syscall.SIGCONT) }

func (s *Server) end(sig syscall.Signal) error {
	if s.proc == nil {
		return nil
	}
	err := s.proc.end(sig, stopTimeout)
	s.proc = nil
	return err
}

// Close ends the server and its poolers, and removes its data.
func (s *Server) Close() error {
	var errs []error
	for _, p := range s.poolers {
		errs = append(errs, p.Close())
	}
	errs = append(errs, s.end(syscall.SIGQUIT))
	if s.dir != "" {
		errs = append(errs, os.RemoveAll(s.dir))
	}
	return errors.Join(errs...)
}

// Log is the end of what the server has written to its log.
func (s *Server) Log() string { return tail(filepath.Join(s.dir, "log")) }

// DataDir is where the server keeps its files, for tests that change them while
// it is down.
func (s *Server) DataDir() string { return s.data() }

// CPU is the processor time that the server has used since it was started, all
// of its processes together; for benchmarks. It counts in steps of 10 ms.
func (s *Server) CPU() (time.Duration, error) {
	pid := s.proc.cmd.Process.Pid
	pids, err := children(pid)
	if err != nil {
		return 0, err
	}
	sum := cpu(pid, true)
	for _, pid := range pids {
		sum += cpu(pid, false)
	}
	return sum, nil
}

func tail(path string) string {
	text, err := os.ReadFile(path)
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-4000):])
}

func secret() string {
	b := make([]byte, 12)
	_, _ = rand.Read(b) // never fails
	return hex.EncodeToString(b)
}

// freePort finds a port that nobody uses now.
func freePort(ctx context.Context) (int, error) {
	address, err := freeport.Address(ctx)
	if err != nil {
		return 0, fmt.Errorf("pgtest: %w", err)
	}
	_, port, _ := net.SplitHostPort(address)
	return strconv.Atoi(port)
}
