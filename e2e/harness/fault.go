// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

// BuildFaulty compiles the programs of this module into dir with the tag
// faultpoints, so that the daemon can be made to fail from outside. The
// environment variable FAULT_BIN names a folder with programs that are already
// built so.
func BuildFaulty(dir string) (Binaries, error) {
	if made := os.Getenv("FAULT_BIN"); made != "" {
		dir = made
	} else {
		root, err := Root()
		if err != nil {
			return Binaries{}, err
		}
		cmd := exec.Command("go", "build", "-tags", "faultpoints", "-o", dir+string(os.PathSeparator), "./cmd/hsmsigner", "./cmd/devnet")
		cmd.Dir = root
		if out, err := cmd.CombinedOutput(); err != nil {
			return Binaries{}, fmt.Errorf("harness: %v: %w\n%s", cmd.Args, err, out)
		}
	}
	return Binaries{Hsmsigner: filepath.Join(dir, "hsmsigner"), Devnet: filepath.Join(dir, "devnet")}, nil
}

// DieWithParent are the attributes of a child that the kernel kills when this
// process dies, where the kernel can (Linux).
func DieWithParent() *syscall.SysProcAttr { return dieWithParent() }
