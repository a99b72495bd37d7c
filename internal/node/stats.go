// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"errors"
	"sync"
	"time"
)

// Stats is what a client has seen of its node, for metrics and health pages.
type Stats struct {
	Requests    uint64        // HTTP requests ended
	Failures    uint64        // of those, without an answer
	Latency     time.Duration // moving average over answered requests
	LastSuccess time.Time     // zero: never
	LastFailure time.Time     // zero: never
	LastError   error         // of LastFailure
}

type recorder struct {
	mu sync.Mutex
	s  Stats
}

// record notes the end of one HTTP request. A caller who gave up says nothing
// about the node.
func (r *recorder) record(start time.Time, err error) {
	if errors.Is(err, context.Canceled) {
		return
	}
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	r.s.Requests++
	if err != nil {
		r.s.Failures++
		r.s.LastFailure, r.s.LastError = now, err
		return
	}
	r.s.LastSuccess = now
	took := now.Sub(start)
	if r.s.Latency == 0 {
		r.s.Latency = took
	}
	r.s.Latency += (took - r.s.Latency) / 8
}

func (r *recorder) snapshot() Stats {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.s
}

// Stats returns a snapshot: requests and failures of all endpoints together,
// so that the numbers only rise, and the rest of the active one. Endpoints has
// those of each.
func (c *Client) Stats() Stats {
	active := c.active()
	sum := active.stats.snapshot()
	for _, e := range c.endpoints {
		if e != active {
			s := e.stats.snapshot()
			sum.Requests += s.Requests
			sum.Failures += s.Failures
		}
	}
	return sum
}

// Health asks the active node once and reports whether it answers and serves the
// pinned chain.
func (c *Client) Health(ctx context.Context) error { return c.VerifyChain(ctx) }
