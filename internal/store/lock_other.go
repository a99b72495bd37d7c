// SPDX-License-Identifier: Apache-2.0

//go:build !(darwin || dragonfly || freebsd || linux || netbsd || openbsd)

package store

import (
	"fmt"
	"os"
	"runtime"
)

// lockDir refuses: without flock two daemons could give out one nonce twice.
func lockDir(dir string) (*os.File, error) {
	return nil, fmt.Errorf("store: lock %s: %s has no flock(2); the SQLite store needs it", dir, runtime.GOOS)
}

// fileIdentity knows nothing here; the store cannot be opened anyway.
func fileIdentity(string) string { return "" }
