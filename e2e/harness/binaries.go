// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Binaries are the paths of the programs under test.
type Binaries struct {
	Hsmsigner string
	Devnet    string
}

// Build compiles the programs of this module into dir, with the race detector if
// race is set. The daemon is tested as it is shipped: as a process of its own.
// The environment variable E2E_BIN names a folder with programs that are already
// built, such as those of a release.
func Build(dir string, race bool) (Binaries, error) {
	made := os.Getenv("E2E_BIN")
	if made != "" {
		dir = made
	}
	b := Binaries{Hsmsigner: filepath.Join(dir, "hsmsigner"), Devnet: filepath.Join(dir, "devnet")}
	if made != "" {
		return b, nil
	}
	root, err := Root()
	if err != nil {
		return Binaries{}, err
	}
	args := []string{"build", "-o", dir + string(os.PathSeparator)}
	if race {
		args = append(args, "-race")
	}
	cmd := exec.Command("go", append(args, "./cmd/hsmsigner", "./cmd/devnet")...)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return Binaries{}, fmt.Errorf("harness: %v: %w\n%s", cmd.Args, err, out)
	}
	return b, nil
}

// Foundry returns the path of anvil or cast: the one that `npm ci` has installed
// in e2e/clients, else the one on PATH (npm has them for linux/amd64 only).
func Foundry(name string) (string, error) {
	root, err := Root()
	if err != nil {
		return "", err
	}
	local := filepath.Join(root, "e2e", "clients", "node_modules", ".bin", name)
	if _, err := os.Stat(local); err == nil {
		return local, nil
	}
	path, err := exec.LookPath(name)
	if err != nil {
		return "", fmt.Errorf("harness: no %s: run `npm ci` in e2e/clients, or put it on PATH", name)
	}
	return path, nil
}
