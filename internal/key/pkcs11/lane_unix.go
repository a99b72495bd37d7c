// SPDX-License-Identifier: Apache-2.0

//go:build unix

package pkcs11

import (
	"os"
	"syscall"
	"time"
)

// laneFiles gives the two ends of a lane. Reads and writes of both block their
// thread: the poller of the Go runtime knows nothing of them.
func laneFiles() (here, there *os.File, err error) {
	syscall.ForkLock.RLock()
	ends, err := syscall.Socketpair(syscall.AF_UNIX, syscall.SOCK_STREAM, 0)
	if err == nil {
		syscall.CloseOnExec(ends[0])
		syscall.CloseOnExec(ends[1])
	}
	syscall.ForkLock.RUnlock()
	if err != nil {
		return nil, nil, os.NewSyscallError("socketpair", err)
	}
	if err := setWait(ends[0], patience); err != nil {
		_ = syscall.Close(ends[0])
		_ = syscall.Close(ends[1])
		return nil, nil, err
	}
	return os.NewFile(uintptr(ends[0]), "lane"), os.NewFile(uintptr(ends[1]), "lane of the child"), nil
}

func setWait(fd int, limit time.Duration) error {
	t := syscall.NsecToTimeval(limit.Nanoseconds())
	return os.NewSyscallError("setsockopt", syscall.SetsockoptTimeval(fd, syscall.SOL_SOCKET, syscall.SO_RCVTIMEO, &t))
}

// wait sets after how long a read gives up with EAGAIN; zero: never.
func (ln *lane) wait(limit time.Duration) {
	ln.control(func(fd int) { _ = setWait(fd, limit) }) // a socket refuses no time
}

// end has every read and write of the lane return now; what has come is still read.
func (ln *lane) end() { ln.control(func(fd int) { _ = syscall.Shutdown(fd, syscall.SHUT_RDWR) }) }

func (ln *lane) control(do func(fd int)) {
	if c, err := ln.file.SyscallConn(); err == nil {
		_ = c.Control(func(fd uintptr) { do(int(fd)) })
	}
}
