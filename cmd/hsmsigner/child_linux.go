// SPDX-License-Identifier: Apache-2.0

package main

import "syscall"

// childAttributes keep Ctrl-C from reaching the child before us, since it must
// outlive the daemon, and end it with us however we end.
func childAttributes() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
