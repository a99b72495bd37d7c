// SPDX-License-Identifier: Apache-2.0

package freeport

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"syscall"
)

// mine are the ports that this process has been given. Their bytes of a file that all
// test processes share are locked until it ends.
var mine struct {
	mu    sync.Mutex
	file  *os.File // opened once, since closing it anywhere would end its locks
	given map[int64]bool
}

// taken tells whether somebody else has been given a port; if not, it is this
// process's from now on.
func taken(port int64) (_ bool, err error) {
	mine.mu.Lock()
	defer mine.mu.Unlock()
	if mine.file == nil {
		if mine.file, err = os.OpenFile(filepath.Join(os.TempDir(), fmt.Sprintf("hsmsigner-ports-%d", os.Getuid())), os.O_CREATE|os.O_RDWR, 0o600); err != nil {
			return false, err
		}
		mine.given = map[int64]bool{}
	}
	if mine.given[port] {
		return true, nil
	}
	lock := syscall.Flock_t{Type: syscall.F_WRLCK, Whence: io.SeekStart, Start: port, Len: 1}
	err = syscall.FcntlFlock(mine.file.Fd(), syscall.F_SETLK, &lock)
	if errors.Is(err, syscall.EAGAIN) || errors.Is(err, syscall.EACCES) {
		return true, nil
	}
	mine.given[port] = err == nil
	return false, err
}
