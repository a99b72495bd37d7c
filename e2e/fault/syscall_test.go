// SPDX-License-Identifier: Apache-2.0

package fault

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// Scenario 23: the kernel fails the daemon's calls on its database, each kind in
// turn and again and again, by strace. Whatever the daemon makes of it, the file is
// sound afterwards, and nothing that was answered is lost.
func TestScenario23FailingSystemCallsCorruptNothing(t *testing.T) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Fatal("this test makes system calls fail by strace: apt-get install strace")
	}
	// strace counts for each thread by itself.
	for _, inject := range []string{
		"pwrite64:error=EIO:when=40+23", "pwrite64:error=ENOSPC:when=60+37", "fsync:error=EIO:when=2+4",
		"pread64:error=EIO:when=6+3", "fcntl:error=ENOLCK:when=30+41",
	} {
		t.Run(inject, func(t *testing.T) {
			// Whether a call comes at all is up to the caches.
			for range 4 {
				if failCalls(t, strace, inject) {
					return
				}
			}
			t.Error("no call has failed")
		})
	}
}

// failCalls runs a load while system calls of the daemon fail, judges it, and
// reports whether any did.
func failCalls(t *testing.T, strace, inject string) bool {
	c := begin(t, Options{Senders: 1, Timeout: 2 * time.Second})
	daemon := c.Replicas[0]
	daemon.Down(true)
	db := filepath.Join(c.data, "hsmsigner.db")
	// -D: the daemon is our child, and strace looks on from beside it.
	daemon.wrap = []string{
		strace, "-D", "-f", "-qq", "-A", "-o", filepath.Join(c.dir, "strace"), "-P", db, "-P", db + "-wal", "-P", db + "-shm",
		"-e", "trace=pwrite64,fsync,pread64,fcntl", "-e", "inject=" + inject,
	}
	if err := daemon.Start(nil, time.Second); err != nil {
		t.Fatal(err)
	}
	load := Load{Requests: 48, Clients: 24, Spread: time.Second, Patience: 2 * time.Second}
	requests := send(t.Context(), load, c.seed, c.urls(), c.Senders)
	daemon.Down(false)
	daemon.wrap = nil
	if err := daemon.Start(nil, time.Second); err != nil {
		t.Fatal(err)
	}
	// Whoever was left without an answer asks again, now that all is well; so does who
	// had one, asked once more, and was told nothing the second time.
	again := &client{way: "http", balancer: &balancer{urls: c.urls()}, http: httpClient(), dice: newDice(c.seed), end: time.Now().Add(2 * time.Minute)}
	for _, r := range requests {
		if r.Unknown != "" && r.Key != "" {
			again.ask(t.Context(), []*Request{r})
		}
	}
	c.judge(t, requests)
	var verdict string
	if err := c.rows.QueryRowContext(t.Context(), `PRAGMA integrity_check`).Scan(&verdict); err != nil || verdict != "ok" {
		t.Errorf("integrity_check: %s %v", verdict, err)
	}
	trace, err := os.ReadFile(filepath.Join(c.dir, "strace"))
	return err == nil && strings.Contains(string(trace), "(INJECTED)")
}
