// SPDX-License-Identifier: Apache-2.0

package key

import (
	"context"
	"math"

	"golang.org/x/time/rate"
)

// Limit makes a backend sign at most perSecond digests a second, with a burst
// of one second's worth; callers wait their turn in order. It keeps below the
// quota of a service, or leaves some of it to others. Zero or less: backend
// itself.
//
// The optional capabilities of backend are reached through Unwrap.
func Limit(backend Backend, perSecond float64) Backend {
	if perSecond <= 0 {
		return backend
	}
	burst := int(math.Max(1, math.Ceil(perSecond)))
	return &limited{Backend: backend, limiter: rate.NewLimiter(rate.Limit(perSecond), burst)}
}

type limited struct {
	Backend
	limiter *rate.Limiter
}

// SignDigest waits for its turn. If the deadline of ctx would pass first it
// gives a [*ThrottledError] at once, and the backend is not asked.
func (l *limited) SignDigest(ctx context.Context, ref Ref, digest [32]byte) (Signature, error) {
	if err := l.limiter.Wait(ctx); err != nil {
		if ctx.Err() != nil {
			return Signature{}, ctx.Err()
		}
		return Signature{}, &ThrottledError{}
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
