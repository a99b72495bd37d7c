// SPDX-License-Identifier: Apache-2.0

package gcpkms

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/hsmsigner/hsmsigner/internal/key"
)

const (
	firstPause = 200 * time.Millisecond
	maxPause   = 5 * time.Second
	// Tries of one call that lists or describes; signatures are repeated by
	// package wallet. A throttled call waits, and the caller's deadline ends it.
	triesUnavailable = 4
	triesThrottled   = 100
	// Google: discard what came back damaged and try a limited number of times
	// (https://cloud.google.com/kms/docs/data-integrity-guidelines, and the fields
	// AsymmetricSignResponse.signature_crc32c and verified_digest_crc32c).
	triesDamaged = 3
)

// reason returns an id for one call. Cloud KMS gives calls no id of its own,
// but what is sent in X-Goog-Request-Reason stands in its audit log, as
// protoPayload.requestMetadata.requestAttributes.reason
// (https://cloud.google.com/apis/docs/system-parameters).
func reason() string {
	var b [12]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return "hsmsigner-" + hex.EncodeToString(b[:])
}

// call makes one call with the current token. If the service refuses the token
// the call is made once more with a fresh one: the first did nothing. The error
// is a [*key.CallError] or the context's.
func (b *Backend) call(ctx context.Context, op string, ref key.Ref, id string, do func(context.Context) error) error {
	var refused string
	for try := 1; ; try++ {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("%s: %w", op, err)
		}
		if b.closed.Load() {
			return fmt.Errorf("%s: %w", op, errClosed)
		}
		headers := []string{"x-goog-request-reason", id}
		var t token
		if b.tokens != nil {
			var err error
			if t, err = b.tokens.get(ctx, refused); err != nil {
				return fmt.Errorf("%s: %w", op, everywhereError{err})
			}
			if try > 1 && t.value == refused { // there is no other
				return everywhereError{&key.CallError{Op: op, Ref: ref, Kind: key.ErrDenied, Why: whyUnauthenticated, RequestID: id}}
			}
			headers = append(headers, "authorization", "Bearer "+t.value)
			if t.project != "" {
				headers = append(headers, "x-goog-user-project", t.project)
			}
		}
		err := do(metadata.AppendToOutgoingContext(ctx, headers...))
		switch {
		case err == nil:
			return nil
		case b.closed.Load():
			return fmt.Errorf("%s: %w", op, errClosed)
		case status.Code(err) != codes.Unauthenticated || b.tokens == nil || try > 1:
			return b.translate(ctx, op, ref, id, err)
		}
		b.log.Warn("Cloud KMS refused a token; the credential is read anew", "op", op, "request_id", id)
		refused = t.value
	}
}

// read makes a call that lists or describes, at the pace of its quota, and
// repeats it as long as the failure may pass by itself.
func (b *Backend) read(ctx context.Context, quota *key.Quota, op string, ref key.Ref, do func(context.Context) error) error {
	pause := firstPause
	damaged, unavailable := 0, 0
	for try := 1; ; try++ {
		if err := quota.Wait(ctx); err != nil {
			return fmt.Errorf("%s: %w", op, err)
		}
		err := b.call(ctx, op, ref, reason(), do)
		if err == nil {
			quota.Succeeded()
			return nil
		}
		var throttled *key.ThrottledError
		delay := pause/2 + mathrand.N(pause/2+1)
		switch {
		case ctx.Err() != nil:
			return err
		case errors.As(err, &throttled):
			quota.Throttled(throttled.RetryAfter)
			delay += throttled.RetryAfter
			if try >= triesThrottled {
				return err
			}
		case isDamaged(err):
			if damaged++; damaged >= triesDamaged {
				return err
			}
		case errors.Is(err, key.ErrUnavailable):
			if unavailable++; unavailable >= triesUnavailable {
				return err
			}
		default:
			return err
		}
		if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= delay {
			return err
		}
		if sleep(ctx, delay) != nil {
			return err
		}
		pause = min(2*pause, maxPause)
	}
}

func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
