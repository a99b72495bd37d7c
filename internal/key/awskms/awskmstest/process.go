// SPDX-License-Identifier: Apache-2.0

//go:build unix

package awskmstest

import (
	"fmt"
	"os"
	"runtime"
	"syscall"
)

// begin starts the server from a thread of its own, which lives as long as it.
func (s *Server) begin() error {
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	tie(s.cmd.SysProcAttr)
	started := make(chan error, 1)
	go func() {
		defer close(s.done)
		// The kernel signals the server when this very thread ends.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := s.cmd.Start()
		started <- err
		if err == nil {
			_ = s.cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		return fmt.Errorf("awskmstest: start moto: %w", err)
	}
	return nil
}

// lock waits until no other process holds the file.
func lock(path string) (unlock func(), err error) {
	file, err := os.OpenFile(path, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("awskmstest: %w", err)
	}
	if err := syscall.Flock(int(file.Fd()), syscall.LOCK_EX); err != nil {
		_ = file.Close()
		return nil, fmt.Errorf("awskmstest: lock %s: %w", path, err)
	}
	return func() { _ = file.Close() }, nil
}
