// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"os"
	"path/filepath"
	"syscall"
)

// Turn waits until no other test on this machine has the turn of that name, and keeps
// it until the test ends: for what can be there only once at a time, like a program
// that looks for fixed ports first. Packages of tests are processes of their own.
func Turn(t T, name string) {
	t.Helper()
	file, err := os.OpenFile(filepath.Join(os.TempDir(), "hsmsigner-turn-"+name), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		t.Fatalf("harness: the turn of %s: %v", name, err)
	}
	t.Cleanup(func() { _ = file.Close() })
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX); err != nil {
		t.Fatalf("harness: the turn of %s: %v", name, err)
	}
}
