// SPDX-License-Identifier: Apache-2.0

package key

import "context"

// Limit gives a backend its quota: it is asked for no more signatures than the
// quota allows, and callers wait their turn in order. Package wallet takes the two
// apart again by [Unlimit], to wait outside the time that it gives to one call.
//
// The optional capabilities of backend are found by [Capability].
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
	sig, err := l.Backend.SignDigest(ctx, ref, digest)
	l.quota.Answered(err)
	return sig, err
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

// Unlimit takes apart what [Limit] made. The quota is nil if there is none.
func Unlimit(b Backend) (Backend, *Quota) {
	if l, ok := b.(*limited); ok {
		return l.Backend, l.quota
	}
	return b, nil
}

// Capability finds an optional capability (a [Creator], an [Importer], …) of a
// backend or of what it wraps. It goes round the quota.
func Capability[T any](b Backend) (T, bool) {
	for b != nil {
		if c, ok := b.(T); ok {
			return c, true
		}
		w, ok := b.(interface{ Unwrap() Backend })
		if !ok {
			break
		}
		b = w.Unwrap()
	}
	var none T
	return none, false
}
