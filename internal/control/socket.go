// SPDX-License-Identifier: Apache-2.0

package control

import (
	"fmt"
	"os"
	"path/filepath"
	"runtime"
)

const socketName = "control.sock"

// maxSocketPath is the longest path that bind(2) takes: sun_path has 104 bytes
// on BSD and macOS, 108 on Linux, one of them for the closing NUL.
const maxSocketPath = 103

// SocketPath is where the daemon of a data directory listens.
func SocketPath(dir string) string { return filepath.Join(dir, socketName) }

// address returns a path to the socket of dir that is short enough for the
// kernel. Linux can name a long directory by an open handle of it; release
// closes that and is called when the address is no longer used.
func address(dir string) (path string, release func(), err error) {
	path = SocketPath(dir)
	if len(path) <= maxSocketPath {
		return path, func() {}, nil
	}
	if runtime.GOOS != "linux" {
		return "", nil, fmt.Errorf("the path %s has %d bytes, a socket may have %d: use a data directory with a shorter path", path, len(path), maxSocketPath)
	}
	d, err := os.Open(dir)
	if err != nil {
		return "", nil, err
	}
	return fmt.Sprintf("/proc/self/fd/%d/%s", d.Fd(), socketName), func() { _ = d.Close() }, nil
}
