// SPDX-License-Identifier: Apache-2.0

//go:build unix

// Package vaulttest runs a private HashiCorp Vault for tests: the real core (the
// program of e2e/vaultcore), on a random port of 127.0.0.1, initialised,
// unsealed, with our secrets engine registered as an external process by its
// SHA-256 and mounted, the shipped policies written, and an audit device. It
// keeps everything in memory and under the temporary directory, and ends with
// the process that started it, however that ends.
package vaulttest

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/hashicorp/vault/api"
)

// Mount is where the engine is mounted at first.
const Mount = "hsmsigner"

const (
	startTimeout = 5 * time.Minute // the first start on a machine reads all of it from the disk
	stopTimeout  = time.Minute
)

// Server is a running Vault. Its methods are safe for concurrent use, except
// Close.
type Server struct {
	dir    string
	url    string
	tls    *Certificates
	key    string // of the seal
	client *api.Client
	stdin  io.Closer
	pid    int
	done   chan error
	log    string
}

// Option changes how a server is started.
type Option func(*Server) error

// WithTLS has the server speak TLS and want a client certificate.
func WithTLS() Option {
	return func(s *Server) (err error) {
		s.tls, err = newCertificates(s.dir)
		return err
	}
}

// Start makes and starts a server. Stop it with Close.
func Start(ctx context.Context, options ...Option) (*Server, error) {
	core, err := buildCore(ctx)
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "vaulttest-")
	if err == nil {
		dir, err = filepath.EvalSymlinks(dir) // Vault takes no plugin from behind a link
	}
	if err != nil {
		return nil, fmt.Errorf("vaulttest: %w", err)
	}
	s := &Server{dir: dir, done: make(chan error, 1), log: filepath.Join(dir, "log")}
	err = os.Mkdir(s.plugins(), 0o700)
	for _, option := range options {
		err = errors.Join(err, option(s))
	}
	if err == nil {
		err = buildPlugin(ctx, s.plugins())
	}
	if err == nil {
		err = s.run(core)
	}
	if err == nil {
		ctx, cancel := context.WithTimeout(ctx, startTimeout)
		defer cancel()
		err = s.setUp(ctx)
	}
	if err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

func (s *Server) plugins() string { return filepath.Join(s.dir, "plugins") }

// run starts the program and waits until it listens.
func (s *Server) run(core string) error {
	log, err := os.OpenFile(s.log, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o600)
	if err != nil {
		return fmt.Errorf("vaulttest: %w", err)
	}
	defer log.Close()
	args := []string{"-plugins", s.plugins()}
	if s.tls != nil {
		args = append(args, "-tls-cert", s.tls.file("server.pem"), "-tls-key", s.tls.file("server.key"), "-tls-clients", s.tls.file("ca.pem"))
	}
	cmd := exec.Command(core, args...) // it ends with its standard input
	cmd.Dir, cmd.Stderr = "/", log
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "TMPDIR=" + s.dir}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		return fmt.Errorf("vaulttest: %w", err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return fmt.Errorf("vaulttest: %w", err)
	}
	if err := cmd.Start(); err != nil {
		return fmt.Errorf("vaulttest: %w", err)
	}
	s.stdin, s.pid = stdin, cmd.Process.Pid
	line, err := bufio.NewReader(stdout).ReadString('\n')
	go func() { s.done <- cmd.Wait() }()
	url, ok := strings.CutPrefix(strings.TrimSpace(line), "ready ")
	if err != nil || !ok {
		return fmt.Errorf("vaulttest: the server did not start: %s", s.Log())
	}
	s.url = url
	return nil
}

// setUp makes the sealed, empty server into one that signs.
func (s *Server) setUp(ctx context.Context) error {
	client, err := s.NewClient("")
	if err != nil {
		return err
	}
	s.client = client
	init, err := client.Sys().InitWithContext(ctx, &api.InitRequest{SecretShares: 1, SecretThreshold: 1})
	if err != nil {
		return fmt.Errorf("vaulttest: init: %w: %s", err, s.Log())
	}
	s.key = init.Keys[0]
	client.SetToken(init.RootToken)
	if err := s.Unseal(ctx); err != nil {
		return err
	}
	binary, err := os.ReadFile(filepath.Join(s.plugins(), pluginName))
	if err != nil {
		return fmt.Errorf("vaulttest: %w", err)
	}
	sum := sha256.Sum256(binary)
	steps := []struct {
		path string
		data map[string]any
	}{
		{"sys/audit/file", map[string]any{"type": "file", "options": map[string]any{"file_path": filepath.Join(s.dir, "audit.log")}}},
		{"sys/plugins/catalog/secret/" + pluginName, map[string]any{"sha256": hex.EncodeToString(sum[:]), "command": pluginName}},
		{"sys/auth/approle", map[string]any{"type": "approle"}},
		{"sys/auth/userpass", map[string]any{"type": "userpass"}},
	}
	for _, step := range steps {
		if err := s.Write(ctx, step.path, step.data); err != nil {
			return err
		}
	}
	return s.MountEngine(ctx, Mount, false)
}

// Unseal unseals the server and waits until it serves requests.
func (s *Server) Unseal(ctx context.Context) error {
	if _, err := s.client.Sys().UnsealWithContext(ctx, s.key); err != nil {
		return fmt.Errorf("vaulttest: unseal: %w", err)
	}
	for {
		h, err := s.client.Sys().HealthWithContext(ctx)
		if err == nil && h.Initialized && !h.Sealed && !h.Standby {
			return nil
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("vaulttest: the server does not become active: %w: %s", ctx.Err(), s.Log())
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// Seal seals the server.
func (s *Server) Seal(ctx context.Context) error {
	if err := s.client.Sys().SealWithContext(ctx); err != nil {
		return fmt.Errorf("vaulttest: seal: %w", err)
	}
	return nil
}

// KillPlugin kills the plugin's process, which Vault starts again when it is
// needed. It reads /proc, so it works on Linux only.
func (s *Server) KillPlugin() error {
	lists, err := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", s.pid))
	if err != nil {
		return fmt.Errorf("vaulttest: %w", err)
	}
	killed := 0
	for _, list := range lists {
		text, _ := os.ReadFile(list)
		for _, field := range strings.Fields(string(text)) {
			pid, err := strconv.Atoi(field)
			if err != nil {
				continue
			}
			if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
				return fmt.Errorf("vaulttest: kill the plugin: %w", err)
			}
			killed++
		}
	}
	if killed == 0 {
		return errors.New("vaulttest: the server has no child process")
	}
	return nil
}

// URL is where the server is reached.
func (s *Server) URL() string { return s.url }

// RootToken is what a test sets things up with, and what the adapter refuses.
func (s *Server) RootToken() string { return s.client.Token() }

// TLS is what the server and its clients know each other by; nil without
// [WithTLS].
func (s *Server) TLS() *Certificates { return s.tls }

// Log is what the server and the plugin have written.
func (s *Server) Log() string {
	text, _ := os.ReadFile(s.log)
	return string(text)
}

// AuditLog is what the audit device has written.
func (s *Server) AuditLog() string {
	text, _ := os.ReadFile(filepath.Join(s.dir, "audit.log"))
	return string(text)
}

// NewClient returns a client of the SDK with a token.
func (s *Server) NewClient(token string) (*api.Client, error) {
	transport := &http.Transport{}
	if s.tls != nil {
		transport.TLSClientConfig = s.tls.clientConfig()
	}
	client, err := api.NewClient(&api.Config{Address: s.url, HttpClient: &http.Client{Transport: transport}, DisableRedirects: true})
	if err != nil {
		return nil, fmt.Errorf("vaulttest: %w", err)
	}
	client.ClearNamespace()
	client.SetToken(token)
	return client, nil
}

// Close stops the server and the plugin and removes its files.
func (s *Server) Close() error {
	var err error
	if s.stdin != nil {
		_ = s.stdin.Close()
		select {
		case err = <-s.done:
		case <-time.After(stopTimeout):
			err = errors.New("it does not end")
		}
		if err != nil {
			err = fmt.Errorf("vaulttest: stop the server: %w: %s", err, s.Log())
		}
		s.stdin = nil
	}
	return errors.Join(err, os.RemoveAll(s.dir))
}
