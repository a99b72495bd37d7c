// SPDX-License-Identifier: Apache-2.0

// Package softhsm makes SoftHSM tokens for tests: each in a temporary folder of
// its own, with its own configuration file, so that nothing of this machine's
// SoftHSM is touched. It wants the programs of Debian's package softhsm2, and
// says so if they are missing: there is nothing to fall back on.
//
// It never changes the environment of this process: what a module needs is in
// [Token.Env], for the process that loads it.
package softhsm

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

const install = "the tests of PKCS#11 need SoftHSM: apt-get install softhsm2"

// Token is an initialised token with a user PIN. The user may make keys in it.
type Token struct {
	Module string // full path of the PKCS#11 library
	Label  string
	PIN    string // of the user
	SOPIN  string // of the security officer
	dir    string
}

// New makes a folder with one token. Remove it with Close.
func New(ctx context.Context, label string) (*Token, error) {
	module, err := Module()
	if err != nil {
		return nil, err
	}
	dir, err := os.MkdirTemp("", "softhsm-")
	if err != nil {
		return nil, fmt.Errorf("softhsm: %w", err)
	}
	t := &Token{Module: module, Label: label, PIN: "correct horse 7", SOPIN: "battery staple 9", dir: dir}
	if err := t.prepare(ctx); err != nil {
		return nil, errors.Join(err, t.Close())
	}
	return t, nil
}

func (t *Token) prepare(ctx context.Context) error {
	tokens := filepath.Join(t.dir, "tokens")
	if err := os.Mkdir(tokens, 0o700); err != nil {
		return fmt.Errorf("softhsm: %w", err)
	}
	conf := "directories.tokendir = " + tokens + "\nobjectstore.backend = file\nlog.level = ERROR\nslots.removable = false\n"
	if err := os.WriteFile(t.conf(), []byte(conf), 0o600); err != nil {
		return fmt.Errorf("softhsm: %w", err)
	}
	return t.Init(ctx, t.Label)
}

// Init adds a token to the folder, with the same PINs.
func (t *Token) Init(ctx context.Context, label string) error {
	_, err := t.Util(ctx, "--init-token", "--free", "--label", label, "--so-pin", t.SOPIN, "--pin", t.PIN)
	return err
}

// Util runs softhsm2-util on the folder and gives what it prints.
func (t *Token) Util(ctx context.Context, args ...string) (string, error) {
	program, err := exec.LookPath("softhsm2-util")
	if err != nil {
		return "", errors.New(install)
	}
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Env = append(os.Environ(), t.Env()...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("softhsm: softhsm2-util %s: %w: %s", args[0], err, strings.TrimSpace(string(out)))
	}
	return string(out), nil
}

// Env is what the process that loads the module needs in its environment.
func (t *Token) Env() []string { return []string{"SOFTHSM2_CONF=" + t.conf()} }

func (t *Token) conf() string { return filepath.Join(t.dir, "softhsm2.conf") }

// Dir is the folder; it may hold what else belongs to the token.
func (t *Token) Dir() string { return t.dir }

// Close removes the folder. Processes that use the token must have ended.
func (t *Token) Close() error { return os.RemoveAll(t.dir) }

// Module finds the library of SoftHSM.
func Module() (string, error) {
	patterns := []string{
		"/usr/lib/softhsm/libsofthsm2.so", "/usr/lib/*/softhsm/libsofthsm2.so", "/usr/lib64/softhsm/libsofthsm2.so", "/usr/lib64/pkcs11/libsofthsm2.so",
		"/usr/local/lib/softhsm/libsofthsm2.so", "/opt/homebrew/lib/softhsm/libsofthsm2.so",
	}
	for _, pattern := range patterns {
		found, err := filepath.Glob(pattern)
		if err == nil && len(found) > 0 {
			return found[0], nil
		}
	}
	return "", errors.New(install)
}
