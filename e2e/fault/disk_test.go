// SPDX-License-Identifier: Apache-2.0

package fault

import (
	"fmt"
	"net/http"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/faultpoint"
)

// Scenario 22: the disk is full. From the first failed commit on nothing is
// signed, /readyz says 503, reads go on; when there is room again the daemon
// recovers by itself.
func TestScenario22FullDiskSignsNothingAndRecovers(t *testing.T) {
	if !rig(t).disk {
		t.Fatal("a full disk needs a file system of its own: run this test where tmpfs can be mounted (as root)")
	}
	c := begin(t, Options{Senders: 1, Timeout: time.Second, Schedule: &Schedule{Events: []Event{{Kind: EventDiskFull, At: time.Hour}}}})
	daemon := c.Replicas[0]
	var requests []*Request
	send := func() reply {
		r := c.request(len(requests))
		requests = append(requests, r)
		return c.sendOne(t, 0, r)
	}
	waitFor(t, "a transaction before", time.Minute, func() bool { got := send(); return got.code == 0 && got.broken == nil })
	free, err := fill(c.data)
	if err != nil {
		t.Fatal(err)
	}
	defer free()
	// What is allocated to the journal may still take a few commits.
	waitFor(t, "/readyz 503", time.Minute, func() bool { send(); return daemon.Ready(t.Context()) == http.StatusServiceUnavailable })
	signed := daemon.hits(t, faultpoint.Sign)
	for range 5 {
		if got := send(); got.code == 0 && got.broken == nil {
			t.Errorf("on a full disk: %+v", got)
		}
	}
	if n := daemon.hits(t, faultpoint.Sign); n != signed {
		t.Errorf("the backend was asked %d times on a full disk", n-signed)
	}
	if got := ask(t, daemon.URL, "eth_blockNumber"); got.code != 0 || got.broken != nil {
		t.Errorf("eth_blockNumber: %+v", got)
	}
	free()
	waitFor(t, "/readyz 200", time.Minute, func() bool { return daemon.Ready(t.Context()) == http.StatusOK })
	waitFor(t, "a transaction after there is room", time.Minute, func() bool { got := send(); return got.code == 0 && got.broken == nil })
	c.judge(t, requests)
}

// peakMemory is the most resident memory that a process has had, in bytes.
func peakMemory(t *testing.T, pid int) int64 { return memory(t, pid, "VmHWM:") }

func memory(t *testing.T, pid int, field string) int64 {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(text)) {
		if rest, ok := strings.CutPrefix(line, field); ok {
			kib, err := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(rest), " kB"), 10, 64)
			if err != nil {
				t.Fatal(err)
			}
			return kib << 10
		}
	}
	t.Fatalf("no %s of process %d", field, pid)
	return 0
}
