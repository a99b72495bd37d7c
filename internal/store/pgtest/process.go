// SPDX-License-Identifier: Apache-2.0

//go:build unix

package pgtest

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// process is a server program that ends when we do.
type process struct {
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended
}

// program finds a program of the server's package: on the PATH, or where Debian
// and its kin put those of the newest version.
func program(name string) (string, error) {
	places, _ := filepath.Glob("/usr/lib/postgresql/*/bin/" + name)
	slices.SortFunc(places, func(a, b string) int { return version(b) - version(a) })
	places = append(places, "/usr/sbin/"+name)
	if path, err := exec.LookPath(name); err == nil {
		places = append([]string{path}, places...)
	}
	for _, path := range places {
		if _, err := os.Stat(path); err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("pgtest: no program %s on this machine: apt-get install postgresql pgbouncer", name)
}

func version(path string) int {
	n, _ := strconv.Atoi(filepath.Base(filepath.Dir(filepath.Dir(path))))
	return n
}

// credential is whom the servers run as: they refuse to be root.
func credential() (*syscall.Credential, error) {
	if os.Getuid() != 0 {
		return nil, nil
	}
	for _, name := range []string{"postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
		gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
		if err1 == nil && err2 == nil {
			return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, nil
		}
	}
	return nil, fmt.Errorf("pgtest: a server does not run as root, and there is neither a user postgres nor nobody")
}

// own gives files to the user that the servers run as.
func own(paths ...string) error {
	c, err := credential()
	if err != nil || c == nil {
		return err
	}
	for _, path := range paths {
		if err := os.Chown(path, int(c.Uid), int(c.Gid)); err != nil {
			return fmt.Errorf("pgtest: %w", err)
		}
	}
	return nil
}

func command(ctx context.Context, name string, args ...string) (*exec.Cmd, error) {
	c, err := credential()
	if err != nil {
		return nil, err
	}
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = "/"
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "LC_ALL=C", "TZ=UTC"}
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: c, Setpgid: true}
	tie(cmd.SysProcAttr)
	return cmd, nil
}

// run runs a program to its end.
func run(ctx context.Context, name string, args ...string) error {
	cmd, err := command(ctx, name, args...)
	if err != nil {
		return err
	}
	runtime.LockOSThread() // the signal comes when the thread ends that started it
	defer runtime.UnlockOSThread()
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("pgtest: %s: %w: %s", filepath.Base(name), err, out)
	}
	return nil
}

// begin starts a server that writes to a log.
func begin(name, log string, args ...string) (*process, error) {
	file, err := os.OpenFile(log, os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("pgtest: %w", err)
	}
	defer file.Close()
	cmd, err := command(context.Background(), name, args...)
	if err != nil {
		return nil, err
	}
	cmd.Stdout, cmd.Stderr = file, file
	p := &process{cmd: cmd, done: make(chan struct{})}
	started := make(chan error, 1)
	go func() {
		defer close(p.done)
		// The kernel signals the server when this very thread ends.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		started <- err
		if err == nil {
			_ = cmd.Wait()
		}
	}()
	if err := <-started; err != nil {
		return nil, fmt.Errorf("pgtest: start %s: %w", filepath.Base(name), err)
	}
	return p, nil
}

func (p *process) end(sig syscall.Signal, within time.Duration) error {
	_ = p.cmd.Process.Signal(syscall.SIGCONT)
	_ = p.cmd.Process.Signal(sig)
	select {
	case <-p.done:
		return nil
	case <-time.After(within):
	}
	_ = syscall.Kill(-p.cmd.Process.Pid, syscall.SIGKILL)
	<-p.done
	return fmt.Errorf("pgtest: the server did not end within %v and was killed", within)
}

// signalAll signals the server and the processes that it has started, each of
// which leads a group of its own.
func (p *process) signalAll(sig syscall.Signal) error {
	pids, err := children(p.cmd.Process.Pid)
	if err != nil {
		return err
	}
	pids = append(pids, p.cmd.Process.Pid)
	for _, pid := range pids {
		if err := syscall.Kill(pid, sig); err != nil && err != syscall.ESRCH {
			return fmt.Errorf("pgtest: signal %d: %w", pid, err)
		}
	}
	return nil
}

// children are the processes that pid has started.
func children(pid int) ([]int, error) {
	list, err := os.ReadFile(fmt.Sprintf("/proc/%d/task/%d/children", pid, pid))
	if err != nil {
		return nil, fmt.Errorf("pgtest: %w", err)
	}
	var pids []int
	for _, field := range strings.Fields(string(list)) {
		if pid, err := strconv.Atoi(field); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids, nil
}

// clockTick is USER_HZ, in which /proc counts; 100 on all of Linux's platforms.
const clockTick = time.Second / 100

// cpu is the time that a process has used, and those that it has waited for if
// ended is set (proc(5), /proc/pid/stat).
func cpu(pid int, ended bool) time.Duration {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0 // it has ended
	}
	fields := strings.Fields(string(text[strings.LastIndexByte(string(text), ')')+1:]))
	var sum time.Duration
	last := 13 // utime, stime
	if ended {
		last = 15 // cutime, cstime
	}
	for _, field := range fields[11:last] {
		n, _ := strconv.Atoi(field)
		sum += time.Duration(n) * clockTick
	}
	return sum
}
