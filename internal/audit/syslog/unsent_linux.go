// SPDX-License-Identifier: Apache-2.0

package syslog

import (
	"net"
	"syscall"
	"unsafe"
)

// unsent is how many bytes of a connection the other side has not acknowledged
// (tcp(7), SIOCOUTQ). That is not known of one that is closed.
func unsent(conn net.Conn) (n int, known bool) {
	c, ok := conn.(syscall.Conn)
	if !ok {
		return 0, false
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, false
	}
	var out int32
	var failed syscall.Errno
	err = raw.Control(func(fd uintptr) {
		_, _, failed = syscall.Syscall(syscall.SYS_IOCTL, fd, syscall.TIOCOUTQ, uintptr(unsafe.Pointer(&out))) // #nosec G103 -- the kernel writes an int
	})
	return int(out), err == nil && failed == 0
}
