// SPDX-License-Identifier: Apache-2.0

//go:build cgo && unix && !linux

package token

import "syscall"

// replace makes a file number mean another file.
func replace(fd, by int) error { return syscall.Dup2(fd, by) }
