// SPDX-License-Identifier: Apache-2.0

package fault

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
)

// diskSize of the file system of a run whose disk is going to be full.
const diskSize = "24m"

// mount puts an empty file system of its own at dir.
func mount(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("fault: %w", err)
	}
	out, err := exec.Command("mount", "-t", "tmpfs", "-o", "size="+diskSize+",mode=0700", "hsmsigner-fault", dir).CombinedOutput()
	if err != nil {
		return fmt.Errorf("fault: mount tmpfs at %s: %w: %s", dir, err, out)
	}
	return nil
}

func unmount(dir string) error {
	if out, err := exec.Command("umount", dir).CombinedOutput(); err != nil {
		return fmt.Errorf("fault: umount %s: %w: %s", dir, err, out)
	}
	return nil
}

// canMount finds out whether this process may mount.
func canMount(dir string) bool {
	at := filepath.Join(dir, "mount")
	if mount(at) != nil {
		return false
	}
	return unmount(at) == nil
}

// fill takes all room that is left on the file system of dir, and returns what
// gives it back. The writes of others then get ENOSPC from the kernel.
func fill(dir string) (free func(), err error) {
	name := filepath.Join(dir, "filler")
	f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, fmt.Errorf("fault: %w", err)
	}
	for _, chunk := range []int{1 << 20, 4 << 10} { // a write that fits in part is cut
		block := make([]byte, chunk)
		for {
			if _, err = f.Write(block); err != nil {
				break
			}
		}
	}
	free = func() {
		_ = f.Close()
		_ = os.Remove(name)
	}
	if !errors.Is(err, syscall.ENOSPC) && !errors.Is(err, io.ErrShortWrite) {
		free()
		return nil, fmt.Errorf("fault: fill %s: %w", dir, err)
	}
	return free, nil
}
