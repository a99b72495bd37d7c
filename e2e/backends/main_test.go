// SPDX-License-Identifier: Apache-2.0

package backends_test

import (
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/hsmsigner/hsmsigner/e2e/harness"
)

// build compiles the programs when a test first needs them.
var build func() (harness.Binaries, error)

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "hsmsigner-backends-")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	build = sync.OnceValues(func() (harness.Binaries, error) {
		return harness.Build(dir, os.Getenv("E2E_RACE") == "1")
	})
	return m.Run()
}

func binaries(t *testing.T) harness.Binaries {
	t.Helper()
	b, err := build()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// secretFile writes a secret where only its owner can read it.
func secretFile(t *testing.T, name, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(path, []byte(content+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
