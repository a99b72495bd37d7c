// SPDX-License-Identifier: Apache-2.0

package key

import (
	"context"
	"math"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// Quota is how many digests a second a service may be asked to sign. Several
// processes that ask the same service share it.
type Quota struct {
	perSecond float64

	mu      sync.Mutex
	limiter *rate.Limiter
}

// NewQuota allows perSecond digests a second, above zero, with a burst of one
// second's worth.
func NewQuota(perSecond float64) *Quota {
	return &Quota{perSecond: perSecond, limiter: rate.NewLimiter(rate.Limit(perSecond), burst(perSecond))}
}

// Share leaves this process one part in n.
func (q *Quota) Share(n int) {
	q.mu.Lock()
	defer q.mu.Unlock()
	part := q.perSecond / float64(max(1, n))
	q.limiter.SetLimit(rate.Limit(part))
	q.limiter.SetBurst(burst(part))
}

// Wait waits for the turn of one call. If the deadline of ctx would pass first it
// gives a [*ThrottledError] at once. A nil quota lets everybody through.
func (q *Quota) Wait(ctx context.Context) error {
	if q == nil {
		return ctx.Err()
	}
	if err := q.limiter.Wait(ctx); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return &ThrottledError{}
	}
	return nil
}

// Throttled tells the quota that the service has refused a call for now, and how
// long it asked to be left alone (zero if it did not say).
func (q *Quota) Throttled(time.Duration) {}

// Succeeded tells the quota that the service has answered a call.
func (q *Quota) Succeeded() {}

func burst(perSecond float64) int { return int(math.Max(1, math.Ceil(perSecond))) }

// Limit makes a backend sign no more than the quota allows; callers wait their
// turn in order. It keeps below what a service allows, or leaves some of it to
// others.
//
// The optional capabilities of backend are reached through Unwrap.
func Limit(backend Backend, quota *Quota) Backend {
	return &limited{Backend: backend, quota: quota}
}

type limited struct {
	Backend
	quota *Quota
}

// SignDigest waits for its turn. If the deadline of ctx would pass first it
// gives a [*ThrottledError] at once, and the backend is not asked.
func (l *limited) SignDigest(ctx context.Context, ref Ref, digest [32]byte) (Signature, error) {
	if err := l.quota.Wait(ctx); err != nil {
		return Signature{}, err
	}
	return l.Backend.SignDigest(ctx, ref, digest)
}

// Changed reports what the backend under it reports; nil if it cannot.
func (l *limited) Changed() <-chan struct{} {
	if c, ok := l.Backend.(interface{ Changed() <-chan struct{} }); ok {
		return c.Changed()
	}
	return nil
}

// Unwrap gives the backend under the limit.
func (l *limited) Unwrap() Backend { return l.Backend }
