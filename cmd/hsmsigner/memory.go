// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"os"
	"runtime/debug"
	"runtime/metrics"
	"time"
)

// heapFloor is how large the heap may always grow before it is collected, in
// bytes. What is live is a few MiB in a small daemon; with Go's default it
// would be collected ten times a second under load, a tenth of the work.
const heapFloor = 64 << 20

// paceGC lets the heap grow to heapFloor, or to twice what is live if that is
// more, before it is collected. GOGC in the environment switches it off. It
// returns when ctx ends.
func paceGC(ctx context.Context) {
	if os.Getenv("GOGC") != "" {
		return
	}
	sample := []metrics.Sample{{Name: "/gc/heap/live:bytes"}}
	tick := time.NewTicker(2 * time.Second)
	defer tick.Stop()
	now := 100
	for {
		metrics.Read(sample)
		live := max(sample[0].Value.Uint64(), 1<<20)
		percent := max(100, int(heapFloor*100/live)-100)
		if percent > now*5/4 || percent < now*4/5 { // each change stops the world for a moment
			now = percent
			debug.SetGCPercent(percent)
		}
		select {
		case <-ctx.Done():
			debug.SetGCPercent(100)
			return
		case <-tick.C:
		}
	}
}
