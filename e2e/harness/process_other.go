// SPDX-License-Identifier: Apache-2.0

//go:build !linux

package harness

import "syscall"

// dieWithParent has no portable equivalent: cleanups alone end the children here.
func dieWithParent() *syscall.SysProcAttr { return nil }
