// SPDX-License-Identifier: Apache-2.0

//go:build unix && !linux

package pgtest

import "syscall"

// tie does nothing where a program cannot be tied to us: one that is killed
// leaves its servers running.
func tie(*syscall.SysProcAttr) {}
