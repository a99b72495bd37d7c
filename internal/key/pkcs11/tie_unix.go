// SPDX-License-Identifier: Apache-2.0

//go:build unix && !linux

package pkcs11

import "syscall"

// tie keeps Ctrl-C from reaching the child before us. The child ends with us
// because its standard input does.
func tie() *syscall.SysProcAttr { return &syscall.SysProcAttr{Setpgid: true} }
