// SPDX-License-Identifier: Apache-2.0

package fault

import (
	"fmt"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"time"

	"github.com/hsmsigner/hsmsigner/e2e/harness"
)

// process is a program that the harness started, and that may be killed, stopped
// and woken. Its output goes to a file, so that nothing of it is lost.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed once it has been waited for
}

// start runs a program with variables added to the environment. Output is
// appended to the file log. It dies with this process (Linux).
func start(log string, env []string, path string, args ...string) (*process, error) {
	out, err := os.OpenFile(log, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("fault: %w", err)
	}
	defer out.Close()
	p := &process{cmd: exec.Command(path, args...), done: make(chan struct{})}
	p.cmd.Stdout, p.cmd.Stderr = out, out
	p.cmd.Env = append(os.Environ(), env...)
	p.cmd.SysProcAttr = harness.DieWithParent()
	if err := p.cmd.Start(); err != nil {
		return nil, fmt.Errorf("fault: start %s: %w", path, err)
	}
	go func() {
		_ = p.cmd.Wait() // what it ended with is in its state
		close(p.done)
	}()
	return p, nil
}

func (p *process) signal(s syscall.Signal) { _ = p.cmd.Process.Signal(s) } // it may have ended

// kill sends SIGKILL and waits until it is gone.
func (p *process) kill() {
	p.signal(syscall.SIGKILL)
	<-p.done
}

// term asks it to end, and kills it if it does not within the time.
func (p *process) term(patience time.Duration) (code int, ended bool) {
	p.signal(syscall.SIGTERM)
	select {
	case <-p.done:
		return p.cmd.ProcessState.ExitCode(), true
	case <-time.After(patience):
		p.kill()
		return -1, false
	}
}

func (p *process) ended() bool {
	select {
	case <-p.done:
		return true
	default:
		return false
	}
}

// stopped reports whether the process is halted by SIGSTOP.
func (p *process) stopped() bool {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", p.cmd.Process.Pid))
	if err != nil {
		return false
	}
	_, rest, ok := strings.Cut(string(text), ") ")
	return ok && strings.HasPrefix(rest, "T")
}
