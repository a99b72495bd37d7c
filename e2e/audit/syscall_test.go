// SPDX-License-Identifier: Apache-2.0

package audit_test

import (
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
)

// Each system call by which the daemon writes its database fails, one place after
// the other: what was answered is on record, nothing on the chain is not, and the
// log is sound after the next start.
func TestEachFailedSystemCallLeavesTheTrailWhole(t *testing.T) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Fatal("this test makes system calls fail by strace: apt-get install strace")
	}
	r := newRig(t)
	r.mustStart() // makes the database: what fails then is the writer's work, not the first start
	var returned []common.Hash
	hash, err := r.send()
	must(t, err)
	returned = append(returned, hash)
	injected, tried := 0, 0
	// The calls of one transaction, its log entry and its messages, and then more of
	// them: strace counts for each thread by itself, so that steps overlap.
	for i := range rounds(t, "E2E_AUDIT_CALLS", 2) {
		for _, call := range []string{"pwrite64:error=EIO", "pwrite64:error=ENOSPC", "fsync:error=EIO", "fdatasync:error=EIO"} {
			tried++
			r.daemon.Kill9()
			trace := filepath.Join(t.TempDir(), "strace")
			db := filepath.Join(r.data, "hsmsigner.db")
			name, _, _ := strings.Cut(call, ":")
			r.start(strace, "-D", "-f", "-qq", "-o", trace, "-P", db, "-P", db+"-wal", "-P", db+"-shm",
				"-e", "trace="+name, "-e", fmt.Sprintf("inject=%s:when=%d+%d", call, 3+i, 5+3*i))
			r.await(http.StatusOK, 15*time.Second)
			r.patience = 3 * time.Second // some are never answered
			for n := range 6 {
				if hash, err := r.send(); err == nil {
					returned = append(returned, hash)
				}
				_ = r.sign(fmt.Sprintf("%s %d %d", call, i, n))
			}
			if text, err := os.ReadFile(trace); err == nil && strings.Contains(string(text), "(INJECTED)") {
				injected++
			}
		}
	}
	r.daemon.Kill9()
	r.patience = unhurried
	r.mustStart()
	if err := r.sign("all is well"); err != nil {
		t.Errorf("after all of it: %v", err)
	}
	if injected < tried/2 {
		t.Errorf("a call failed in %d of %d runs only", injected, tried)
	}
	time.Sleep(2 * time.Second)
	r.judge(returned)
	t.Logf("calls failed in %d of %d runs", injected, tried)
}
