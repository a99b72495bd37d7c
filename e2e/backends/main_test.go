// SPDX-License-Identifier: Apache-2.0

package backends_test

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/hsmsigner/hsmsigner/e2e/harness"
	"github.com/hsmsigner/hsmsigner/e2e/harness/programs"
)

var built programs.Programs

func TestMain(m *testing.M) { os.Exit(built.Main(m)) }

func binaries(t *testing.T) harness.Binaries {
	t.Helper()
	return built.Of(t)
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
