// SPDX-License-Identifier: Apache-2.0

package auth

import (
	"context"
	"time"
)

// SetHold sets how long a guesser's refusal is kept waiting.
func (g *Guard) SetHold(d time.Duration) { g.hold = d }

// Restart has the limits count from now on: in a bubble of synctest, by its time.
func (d *Directory) Restart() { d.start, d.guard.start = time.Now(), time.Now() }

// Report reports now what was not reported one by one.
func (g *Guard) Report(ctx context.Context) { g.report(ctx) }

// Bucket is a bucket for tests of its own.
type Bucket = bucket

// Take takes from a bucket of so many per second and so many at once.
func (b *Bucket) Take(now time.Duration, n, perSecond, burst int) time.Duration {
	return b.take(int64(now), n, rate{perSecond, burst})
}

// Give gives back to it.
func (b *Bucket) Give(n, perSecond, burst int) { b.give(n, rate{perSecond, burst}) }
