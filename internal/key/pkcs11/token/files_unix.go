// SPDX-License-Identifier: Apache-2.0

//go:build cgo && unix

package token

import (
	"fmt"
	"os"
	"syscall"
)

// setAside moves the two pipes away from the numbers that every library knows.
func setAside(stdin, stdout *os.File) (in, out *os.File, err error) {
	inFD, err := syscall.Dup(int(stdin.Fd()))
	if err != nil {
		return nil, nil, err
	}
	outFD, err := syscall.Dup(int(stdout.Fd()))
	if err != nil {
		return nil, nil, err
	}
	syscall.CloseOnExec(inFD)
	syscall.CloseOnExec(outFD)
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = null.Close() }()
	if err := replace(int(null.Fd()), syscall.Stdin); err != nil {
		return nil, nil, err
	}
	if err := replace(syscall.Stderr, syscall.Stdout); err != nil {
		return nil, nil, err
	}
	return os.NewFile(uintptr(inFD), "requests"), os.NewFile(uintptr(outFD), "replies"), nil
}

func noCoreDump() { _ = syscall.Setrlimit(syscall.RLIMIT_CORE, &syscall.Rlimit{}) }

// laneFiles gives the sockets that the parent has opened for so many lanes.
func laneFiles(n int) (files []*os.File, err error) {
	const first = 3 // after standard input, output and error
	for fd := first; fd < first+n; fd++ {
		var is syscall.Stat_t
		if err := syscall.Fstat(fd, &is); err != nil {
			return nil, err
		}
		if is.Mode&syscall.S_IFMT != syscall.S_IFSOCK {
			return nil, fmt.Errorf("file %d is no lane", fd)
		}
		syscall.CloseOnExec(fd) // not for what the module starts
		files = append(files, os.NewFile(uintptr(fd), "lane"))
	}
	return files, nil
}
