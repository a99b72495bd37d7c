// SPDX-License-Identifier: Apache-2.0

// Package harness runs the real programs for the end-to-end tests and the bench:
// it builds hsmsigner and devnet once, starts them and anvil as processes on free
// loopback ports, speaks JSON-RPC to them as strangers would, and reads the chain
// afterwards to say what truly happened.
//
// It guarantees that every process that it has started is gone when the test ends,
// and that every wait has an end. It never looks inside the daemon: what it knows
// comes from the RPC door, the admin door, and the blocks of the node.
package harness

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"

	"github.com/hsmsigner/hsmsigner/internal/freeport"
)

// T is what the harness needs of *testing.T, so that the bench, which is not a
// test, can use it as well.
type T interface {
	Helper()
	Logf(format string, args ...any)
	Fatalf(format string, args ...any)
	Failed() bool
	Cleanup(func())
	TempDir() string
}

// Root is the folder of the module's go.mod, whatever the working directory is.
func Root() (string, error) {
	out, err := exec.Command("go", "env", "GOMOD").Output()
	if err != nil {
		return "", fmt.Errorf("harness: go env GOMOD: %w", err)
	}
	mod := strings.TrimSpace(string(out))
	if mod == "" || mod == os.DevNull {
		return "", fmt.Errorf("harness: not inside the module")
	}
	return filepath.Dir(mod), nil
}

// FreeAddress returns a loopback address nobody listened on a moment ago, and that no
// other test is given meanwhile ([freeport.Address]).
func FreeAddress(t T) string {
	t.Helper()
	address, err := freeport.Address(context.Background())
	if err != nil {
		t.Fatalf("harness: %v", err)
	}
	return address
}
