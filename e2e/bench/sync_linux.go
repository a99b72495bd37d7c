// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"syscall"
)

// syncData is what SQLite calls at a commit.
func syncData(f *os.File) error { return syscall.Fdatasync(int(f.Fd())) }
