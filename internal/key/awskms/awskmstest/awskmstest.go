// SPDX-License-Identifier: Apache-2.0

// Package awskmstest runs a private moto server, the nearest thing to AWS KMS
// that runs anywhere, for tests and benchmarks. A server listens on a random port
// of 127.0.0.1 only, keeps its keys in memory, and ends with the process that
// started it, however that ends.
//
// moto is installed once, in a virtual environment of pinned versions (see
// requirements.txt) under the folder that HSMSIGNER_MOTO names, or else under
// the user's cache folder. It needs python3 with venv (Debian: python3-venv) and,
// the first time, a Python package index; without them Start says so.
//
// Three defects of moto are mended in server.py, which says what they are. What
// moto cannot do at all — importing key material, quotas, most key states,
// pages — package awskmsfake does.
package awskmstest

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/freeport"
)

// Region and Account are where moto keeps the keys of [AccessKeyID].
const (
	Region          = "eu-central-1"
	Account         = "123456789012"
	AccessKeyID     = "AKIAIOSFODNN7EXAMPLE"
	SecretAccessKey = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"
)

const (
	startTimeout = 5 * time.Minute // the first start on a machine reads all of it from the disk
	stopTimeout  = time.Minute
)

//go:embed server.py
var program []byte

//go:embed requirements.txt
var requirements []byte

// Server is a moto server of our own.
type Server struct {
	URL string

	dir  string
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
}

// Option changes how a server is started.
type Option func(*options)

type options struct{ args []string }

// AsItIs leaves moto's defects as they are.
func AsItIs() Option { return func(o *options) { o.args = append(o.args, "--as-it-is") } }

// Start installs moto if need be, starts it and waits until it answers. Stop it
// with Close.
func Start(ctx context.Context, opts ...Option) (*Server, error) {
	var o options
	for _, opt := range opts {
		opt(&o)
	}
	python, err := Install(ctx)
	if err != nil {
		return nil, err
	}
	address, err := freeport.Address(ctx)
	if err != nil {
		return nil, fmt.Errorf("awskmstest: %w", err)
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return nil, fmt.Errorf("awskmstest: %w", err)
	}
	s := &Server{URL: "http://" + address, done: make(chan struct{})}
	if s.dir, err = os.MkdirTemp("", "awskmstest-"); err != nil {
		return nil, fmt.Errorf("awskmstest: %w", err)
	}
	script := filepath.Join(s.dir, "server.py")
	if err := os.WriteFile(script, program, 0o600); err != nil {
		return nil, errors.Join(fmt.Errorf("awskmstest: %w", err), s.Close())
	}
	log, err := os.Create(filepath.Join(s.dir, "log"))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("awskmstest: %w", err), s.Close())
	}
	defer log.Close()
	// It outlives ctx, which is for the start alone.
	s.cmd = exec.CommandContext(context.WithoutCancel(ctx), python, append([]string{script, "-H", host, "-p", port}, o.args...)...)
	s.cmd.Dir = s.dir
	s.cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + s.dir, "LC_ALL=C.UTF-8", "TZ=UTC", "PYTHONDONTWRITEBYTECODE=1"}
	s.cmd.Stdout, s.cmd.Stderr = log, log
	if err := s.begin(); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	if err := s.await(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Server) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	for {
		err := s.ask(ctx, http.MethodGet, "/moto-api/")
		if err == nil {
			return nil
		}
		select {
		case <-s.done:
			return fmt.Errorf("awskmstest: moto ended at once: %s", s.Log())
		case <-ctx.Done():
			return fmt.Errorf("awskmstest: moto does not answer: %w: %s", err, s.Log())
		case <-time.After(50 * time.Millisecond):
		}
	}
}

// Reset removes all keys.
func (s *Server) Reset(ctx context.Context) error {
	return s.ask(ctx, http.MethodPost, "/moto-api/reset")
}

func (s *Server) ask(ctx context.Context, method, path string) error {
	r, err := http.NewRequestWithContext(ctx, method, s.URL+path, nil)
	if err != nil {
		return fmt.Errorf("awskmstest: %w", err)
	}
	answer, err := http.DefaultClient.Do(r)
	if err != nil {
		return fmt.Errorf("awskmstest: %w", err)
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("awskmstest: %s answered HTTP %d", path, answer.StatusCode)
	}
	return nil
}

// Log is the end of what the server has written.
func (s *Server) Log() string {
	text, err := os.ReadFile(filepath.Join(s.dir, "log"))
	if err != nil {
		return err.Error()
	}
	return string(text[max(0, len(text)-4000):])
}

// Close ends the server.
func (s *Server) Close() error {
	var errs []error
	if s.cmd != nil && s.cmd.Process != nil {
		_ = s.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-s.done:
		case <-time.After(stopTimeout):
			_ = s.cmd.Process.Kill()
			<-s.done
			errs = append(errs, fmt.Errorf("awskmstest: moto did not end within %v and was killed", stopTimeout))
		}
	}
	errs = append(errs, os.RemoveAll(s.dir))
	return errors.Join(errs...)
}
