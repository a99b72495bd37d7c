// SPDX-License-Identifier: Apache-2.0

package pkcs11

import "syscall"

// tie has the kernel end the child with us however we end, and keeps Ctrl-C from
// reaching it before us.
func tie() *syscall.SysProcAttr {
	return &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}
