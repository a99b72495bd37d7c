// SPDX-License-Identifier: Apache-2.0

// Package programs gives a test binary the programs that it tests: compiled when a
// test first wants them, and removed when the last has ended.
package programs

import (
	"fmt"
	"os"
	"sync"
	"testing"

	"github.com/hsmsigner/hsmsigner/e2e/harness"
)

// Programs are those of one test binary; with the race detector if E2E_RACE is 1.
// Safe for concurrent use.
type Programs struct {
	once sync.Once
	dir  string
	made harness.Binaries
	err  error
}

// Main is what TestMain exits with.
func (p *Programs) Main(m *testing.M) int {
	dir, err := os.MkdirTemp("", "hsmsigner-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	p.dir = dir
	return m.Run()
}

// Of returns them, or ends the test.
func (p *Programs) Of(t *testing.T) harness.Binaries {
	t.Helper()
	p.once.Do(func() { p.made, p.err = harness.Build(p.dir, os.Getenv("E2E_RACE") == "1") })
	if p.err != nil {
		t.Fatal(p.err)
	}
	return p.made
}
