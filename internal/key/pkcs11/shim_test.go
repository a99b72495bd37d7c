// SPDX-License-Identifier: Apache-2.0

//go:build cgo

package pkcs11_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/hsmsigner/hsmsigner/internal/key/pkcs11"
	"github.com/hsmsigner/hsmsigner/internal/key/pkcs11/softhsm"
)

// shim stands before SoftHSM and misbehaves as it is told: testdata/shim.c.
type shim struct{ path, control, log, module string }

func newShim(t *testing.T, token *softhsm.Token) shim {
	t.Helper()
	dir := t.TempDir()
	s := shim{filepath.Join(dir, "shim.so"), filepath.Join(dir, "control"), filepath.Join(dir, "log"), token.Module}
	gcc, err := exec.LookPath("gcc")
	if err != nil {
		t.Fatal("the tests of a misbehaving PKCS#11 module need a C compiler: apt-get install gcc")
	}
	if out, err := exec.CommandContext(t.Context(), gcc, "-shared", "-fPIC", "-O1", "-Wall", "-Wno-format-truncation", "-o", s.path, "testdata/shim.c", "-ldl", "-lpthread").CombinedOutput(); err != nil {
		t.Fatalf("gcc: %v\n%s", err, out)
	}
	return s
}

// config is a config that uses the shim.
func (s shim) config(token *softhsm.Token) pkcs11.Config {
	c := configOf(token)
	c.Module = s.path
	c.Env = append(c.Env, "SHIM_MODULE="+s.module, "SHIM_CONTROL="+s.control, "SHIM_LOG="+s.log)
	return c
}

// tell has the shim misbehave from now on; no order: it behaves.
func (s shim) tell(t *testing.T, orders ...string) {
	t.Helper()
	if len(orders) == 0 {
		_ = os.Remove(s.control)
		return
	}
	// Renamed into place, so that no call reads half an order.
	next := s.control + ".next"
	if err := os.WriteFile(next, []byte(strings.Join(orders, "\n")+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(next, s.control); err != nil {
		t.Fatal(err)
	}
}

// calls counts the calls of a function so far.
func (s shim) calls(t *testing.T, function string) int {
	t.Helper()
	log, err := os.ReadFile(s.log)
	if err != nil && !os.IsNotExist(err) {
		t.Fatal(err)
	}
	n := 0
	for line := range strings.Lines(string(log)) {
		if line == function+"\n" {
			n++
		}
	}
	return n
}
