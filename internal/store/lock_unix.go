// SPDX-License-Identifier: Apache-2.0

//go:build darwin || dragonfly || freebsd || linux || netbsd || openbsd

package store

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
)

// lockDir takes the exclusive lock on a data directory. The kernel lets go of
// it when the process ends, however it ends, so a lock is never stale. The
// file stays: removing it would let two daemons lock two different files.
func lockDir(dir string) (*os.File, error) {
	path := filepath.Join(dir, lockName)
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("store: open lock file: %w", err)
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err != nil {
		defer file.Close()
		if errors.Is(err, syscall.EWOULDBLOCK) {
			return nil, inUse(dir, file)
		}
		return nil, fmt.Errorf("store: lock %s: %w", path, err)
	}
	// The pid is only for the error message of the daemon that comes second.
	if err := file.Truncate(0); err == nil {
		_, _ = file.WriteAt([]byte(strconv.Itoa(os.Getpid())+"\n"), 0)
	}
	return file, nil
}

func inUse(dir string, file *os.File) error {
	who := "another hsmsigner daemon"
	buf := make([]byte, 32)
	if n, _ := file.ReadAt(buf, 0); n > 0 {
		if pid, err := strconv.Atoi(strings.TrimSpace(string(buf[:n]))); err == nil {
			who += fmt.Sprintf(" (process %d)", pid)
		}
	}
	return fmt.Errorf("%w: %s is used by %s; stop it first, or give this one a data directory of its own", ErrInUse, dir, who)
}

// fileIdentity tells a file from a copy of it: its inode. Moving it within one
// file system keeps it; "" if it is not known.
func fileIdentity(path string) string {
	info, err := os.Stat(path)
	if err != nil {
		return ""
	}
	if s, ok := info.Sys().(*syscall.Stat_t); ok {
		return fmt.Sprintf("inode %d", s.Ino)
	}
	return ""
}
