// SPDX-License-Identifier: Apache-2.0

package main

import (
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"
)

// childPatience is how long a child may take to end after SIGTERM.
const childPatience = 10 * time.Second

// child is a program that runs beside this one.
type child struct {
	cmd   *exec.Cmd
	log   string        // file with what it prints
	ended chan struct{} // closed when it has ended
}

// startChild starts a program whose output goes to a file.
func startChild(logPath, path string, args ...string) (*child, error) {
	logFile, err := os.OpenFile(logPath, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return nil, err
	}
	defer logFile.Close()              // the child has its own handle
	cmd := exec.Command(path, args...) //nolint:noctx // stop ends it, in its turn
	cmd.Stdout, cmd.Stderr = logFile, logFile
	cmd.SysProcAttr = childAttributes()
	// Linux kills the child when the thread that started it ends: keep this
	// goroutine's thread, which is the main one, for good.
	runtime.LockOSThread()
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	c := &child{cmd: cmd, log: logPath, ended: make(chan struct{})}
	go func() {
		_ = cmd.Wait() // how it ended does not matter: its log says why
		close(c.ended)
	}()
	return c, nil
}

// stop ends the child and waits for it.
func (c *child) stop() {
	_ = c.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-c.ended:
	case <-time.After(childPatience):
		_ = c.cmd.Process.Kill()
		<-c.ended
	}
}
