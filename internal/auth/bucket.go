// SPDX-License-Identifier: Apache-2.0

package auth

import (
	"sync/atomic"
	"time"
)

// rate is how often something may happen: so often per second, and so many
// times at once after a pause. The zero rate is no limit.
type rate struct {
	perSecond int
	burst     int
}

// bucket counts against a rate. It is one number, the time at which the bucket
// will be full again (GCRA), so it needs no lock. The zero bucket is full.
type bucket struct{ fullAt atomic.Int64 } // nanoseconds on the clock of now

// take takes n tokens, or none and says how long until n would be there. More
// than the burst are taken as if they were the burst: else they could never be.
func (b *bucket) take(now int64, n int, r rate) (wait time.Duration) {
	if r.perSecond <= 0 {
		return 0
	}
	each := int64(time.Second) / int64(r.perSecond)
	most := each * int64(r.burst)
	cost := each * int64(min(n, r.burst))
	for {
		was := b.fullAt.Load()
		next := max(was, now) + cost
		if over := next - now - most; over > 0 {
			return time.Duration(over)
		}
		if b.fullAt.CompareAndSwap(was, next) {
			return 0
		}
	}
}

// give gives n tokens back.
func (b *bucket) give(n int, r rate) {
	if r.perSecond > 0 {
		b.fullAt.Add(-int64(time.Second) / int64(r.perSecond) * int64(min(n, r.burst)))
	}
}
