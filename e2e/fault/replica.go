// SPDX-License-Identifier: Apache-2.0

package fault

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/faultpoint"
)

// readyTimeout bounds the wait for a daemon. A busy machine takes a while.
const readyTimeout = 2 * time.Minute

// Replica is one daemon: its config file and its directory outlive the processes
// that run it. One that ends, however it came to it, is started again.
type Replica struct {
	Name  string
	URL   string // of the RPC door, http
	dir   string
	bin   string
	plain bool     // it is told nothing of fault points
	wrap  []string // what the daemon is started under, such as strace; nil for nothing
	Node  *NodeProxy
	Link  *Link // to PostgreSQL; nil on SQLite

	mu      sync.Mutex
	process *process
	down    bool          // is not to be started again
	rules   string        // fault points of the next start
	nap     time.Duration // how long it stays stopped when it stops itself
	starts  int
	kills   int
	naps    int
	stop    chan struct{}
	watcher sync.WaitGroup
	admin   string
}

func (r *Replica) path(name string) string { return filepath.Join(r.dir, r.Name+name) }

// Start runs the daemon with rules for its first process, and keeps it running:
// a process that ended is started again without rules, one that has stopped itself
// is woken after nap. It does not wait until it is ready.
func (r *Replica) Start(rules []faultpoint.Rule, nap time.Duration) error {
	var texts []string
	for _, rule := range rules {
		texts = append(texts, rule.String())
	}
	r.mu.Lock()
	r.rules, r.nap, r.stop, r.down = strings.Join(texts, ";"), nap, make(chan struct{}), false
	r.mu.Unlock()
	if err := r.launch(); err != nil {
		return err
	}
	r.watcher.Go(r.watch)
	return nil
}

func (r *Replica) launch() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.down {
		return nil
	}
	env := []string{
		faultpoint.EnvRules + "=" + r.rules, faultpoint.EnvFile + "=" + r.path(".rules"), faultpoint.EnvHits + "=" + r.path(".hits"),
		"GOTRACEBACK=all",
	}
	if r.plain {
		env = nil
	}
	r.rules = ""
	command := append(slices.Clone(r.wrap), r.bin, "serve", "--config", r.path(".yaml"))
	p, err := start(r.path(".log"), env, command[0], command[1:]...)
	if err != nil {
		return err
	}
	r.process = p
	r.starts++
	return nil
}

// watch starts the daemon again when it has ended, and wakes it.
func (r *Replica) watch() {
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	var asleep time.Time
	for {
		select {
		case <-r.stop:
			return
		case <-tick.C:
		}
		r.mu.Lock()
		p, down, nap := r.process, r.down, r.nap
		r.mu.Unlock()
		switch {
		case p.ended() && !down:
			asleep = time.Time{}
			if r.launch() != nil {
				return
			}
		case p.stopped():
			if asleep.IsZero() {
				asleep = time.Now()
				r.mu.Lock()
				r.naps++
				r.mu.Unlock()
			} else if time.Since(asleep) > nap {
				p.signal(syscall.SIGCONT)
			}
		default:
			asleep = time.Time{}
		}
	}
}

// Rules sets rules that hold until they are changed, over restarts too.
func (r *Replica) Rules(rules ...faultpoint.Rule) error {
	if len(rules) == 0 {
		if err := os.Remove(r.path(".rules")); err != nil && !os.IsNotExist(err) {
			return err
		}
		return nil
	}
	var b strings.Builder
	for _, rule := range rules {
		b.WriteString(rule.String() + "\n")
	}
	fresh := r.path(".rules.new")
	if err := os.WriteFile(fresh, []byte(b.String()), 0o600); err != nil {
		return err
	}
	return os.Rename(fresh, r.path(".rules"))
}

// Kill sends SIGKILL; the watcher starts it again.
func (r *Replica) Kill() {
	r.mu.Lock()
	p := r.process
	r.kills++
	r.mu.Unlock()
	p.kill()
}

// Pause sends SIGSTOP, and SIGCONT after nap.
func (r *Replica) Pause(nap time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.nap = nap
	r.process.signal(syscall.SIGSTOP)
}

// Term asks the daemon to end; the watcher starts it again.
func (r *Replica) Term() (code int, ended bool) {
	r.mu.Lock()
	p := r.process
	r.mu.Unlock()
	p.signal(syscall.SIGCONT)
	return p.term(40 * time.Second)
}

// Down ends it for good: politely, or not.
func (r *Replica) Down(politely bool) {
	r.mu.Lock()
	if r.down || r.process == nil {
		r.mu.Unlock()
		return
	}
	r.down = true
	p := r.process
	close(r.stop)
	r.mu.Unlock()
	r.watcher.Wait()
	p.signal(syscall.SIGCONT)
	if politely {
		p.term(40 * time.Second)
	} else {
		p.kill()
	}
}

// Pid is of the present process.
func (r *Replica) Pid() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.process.cmd.Process.Pid
}

// napped is how often it was found stopped.
func (r *Replica) napped() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.naps
}

// Ready asks /readyz once.
func (r *Replica) Ready(ctx context.Context) (status int) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.admin+"/readyz", nil)
	if err != nil {
		return 0
	}
	reply, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0
	}
	reply.Body.Close()
	return reply.StatusCode
}

// WaitReady waits until /readyz says 200.
func (r *Replica) WaitReady(ctx context.Context) error {
	for end := time.Now().Add(readyTimeout); time.Now().Before(end) && ctx.Err() == nil; time.Sleep(10 * time.Millisecond) {
		if r.Ready(ctx) == http.StatusOK {
			return nil
		}
	}
	return fmt.Errorf("fault: %s is not ready after %s: see %s", r.Name, readyTimeout, r.path(".log"))
}
