// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"bytes"
	"os"
	"os/exec"
	"sync"
	"syscall"
	"time"
)

// stopTimeout is well above the 30 s that the daemon allows itself for a graceful
// stop, which begin only once it is given the processor.
const stopTimeout = 90 * time.Second

// Process is a running program. Its output is kept (the last 64 KiB) and shown
// when the test fails.
type Process struct {
	t      T
	name   string
	cmd    *exec.Cmd
	output *tail
	done   chan struct{} // closed once the process has been waited for
	err    error         // of Wait; readable after done
}

// Start runs a program and arranges that it is killed when the test ends, and by
// the kernel if the test process itself dies (Linux).
func Start(t T, name, path string, args ...string) *Process {
	t.Helper()
	p := &Process{t: t, name: name, cmd: exec.Command(path, args...), output: &tail{}, done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = p.output, p.output
	p.cmd.SysProcAttr = dieWithParent()
	// A child of the child that keeps the pipe open must not block Wait.
	p.cmd.WaitDelay = 10 * time.Second
	if err := p.cmd.Start(); err != nil {
		t.Fatalf("harness: start %s: %v", name, err)
	}
	go func() {
		p.err = p.cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(func() {
		p.Kill9()
		if t.Failed() {
			t.Logf("output of %s:\n%s", name, p.Output())
		}
	})
	return p
}

// Kill9 sends SIGKILL and returns when the process is gone. Killing a process
// that has ended does nothing.
func (p *Process) Kill9() {
	_ = p.cmd.Process.Kill() // the only error is "already finished"
	<-p.done
}

// Stop asks the process to end (SIGTERM) and returns its exit code. One that does
// not end fails the test.
func (p *Process) Stop() int {
	p.t.Helper()
	_ = p.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-p.done:
	case <-time.After(stopTimeout):
		p.Kill9()
		p.t.Fatalf("harness: %s still ran %s after SIGTERM", p.name, stopTimeout)
	}
	return p.cmd.ProcessState.ExitCode()
}

// Interrupt sends SIGINT, as Ctrl-C does.
func (p *Process) Interrupt() { _ = p.cmd.Process.Signal(os.Interrupt) }

// Ended tells whether the process has ended, for whatever reason.
func (p *Process) Ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// Pid is the process id, of interest while the process runs.
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Output is the last part of what the process wrote to stdout and stderr.
func (p *Process) Output() string { return p.output.String() }

// tail keeps the last 64 KiB written to it.
type tail struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

const tailBytes = 64 << 10

func (w *tail) Write(b []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.buf.Write(b)
	if over := w.buf.Len() - tailBytes; over > tailBytes {
		w.buf.Next(over)
	}
	return len(b), nil
}

func (w *tail) String() string {
	w.mu.Lock()
	defer w.mu.Unlock()
	b := w.buf.Bytes()
	return string(b[max(0, len(b)-tailBytes):])
}
