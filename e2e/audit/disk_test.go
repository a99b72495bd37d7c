// SPDX-License-Identifier: Apache-2.0

package audit_test

import (
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
)

// On a full disk nothing is signed and /readyz says so; with room again the daemon
// goes on by itself, and the log is whole.
func TestAFullDiskSignsNothingAndTheTrailIsWhole(t *testing.T) {
	r := newRig(t)
	must(t, os.MkdirAll(r.data, 0o700))
	if out, err := exec.CommandContext(t.Context(), "mount", "-t", "tmpfs", "-o", "size=24m,mode=0700", "hsmsigner-audit", r.data).CombinedOutput(); err != nil {
		t.Fatalf("a full disk needs a file system of its own: run this test where tmpfs can be mounted (as root): %v %s", err, out)
	}
	t.Cleanup(func() {
		r.daemon.Kill9()
		if out, err := exec.Command("umount", r.data).CombinedOutput(); err != nil {
			t.Errorf("umount: %v %s", err, out)
		}
	})
	r.mustStart()
	hash, err := r.send()
	must(t, err)
	returned := []common.Hash{hash}
	must(t, r.sign("before"))

	filler := filepath.Join(r.data, "filler")
	must(t, fill(filler))
	r.patience = time.Second
	// What is allocated to the journal may still take a few commits.
	full := false
	for i := 0; i < 300 && !full; i++ {
		if hash, err := r.send(); err == nil {
			returned = append(returned, hash)
		}
		full = r.ready() == http.StatusServiceUnavailable
	}
	if !full {
		t.Fatal("/readyz does not say that the disk is full")
	}
	signed := 0
	for i := range 3 {
		if hash, err := r.send(); err == nil {
			returned = append(returned, hash)
			signed++
		}
		if r.sign(fmt.Sprintf("full %d", i)) == nil {
			signed++
		}
	}
	if signed > 0 {
		t.Errorf("%d signatures on a full disk", signed)
	}
	must(t, os.Remove(filler))
	r.patience = unhurried
	if !r.await(http.StatusOK, 2*time.Minute) {
		t.Fatalf("not ready although there is room\n%s", r.daemon.Output())
	}
	if err := r.sign("after"); err != nil {
		t.Errorf("with room again: %v", err)
	}
	time.Sleep(time.Second)
	r.judge(returned)
}

// fill takes all the room that is left.
func fill(name string) error {
	f, err := os.OpenFile(name, os.O_CREATE|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	for _, size := range []int{1 << 20, 4 << 10} {
		block := make([]byte, size)
		for {
			if _, err = f.Write(block); err != nil {
				break
			}
		}
	}
	if e := f.Close(); e != nil && !errors.Is(e, syscall.ENOSPC) {
		return e
	}
	if !errors.Is(err, syscall.ENOSPC) {
		return err
	}
	return nil
}
