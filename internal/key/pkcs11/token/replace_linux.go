// SPDX-License-Identifier: Apache-2.0

//go:build cgo

package token

import "syscall"

// replace makes a file number mean another file. Not every architecture of Linux has dup2.
func replace(fd, by int) error { return syscall.Dup3(fd, by, 0) }
