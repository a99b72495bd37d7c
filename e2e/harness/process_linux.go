// SPDX-License-Identifier: Apache-2.0

package harness

import "syscall"

// dieWithParent lets the kernel kill the child when the test process dies without
// running its cleanups (a timeout of `go test` panics).
func dieWithParent() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
}
