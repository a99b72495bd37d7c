// SPDX-License-Identifier: Apache-2.0

package awskms

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws/middleware"
	smithy "github.com/aws/smithy-go/middleware"

	"github.com/hsmsigner/hsmsigner/internal/key"
)

const (
	firstBackoff = 100 * time.Millisecond
	maxBackoff   = 5 * time.Second
	// outages is how often in a row a read is tried while AWS is away.
	outages = 4
	// throttles is how often one is tried that AWS throttles each time, some eight
	// minutes; the deadline of ctx usually comes first.
	throttles = 100
)

// call makes one request, and explains its error.
func call[T any](ctx context.Context, b *Backend, op string, ref key.Ref, request func(context.Context) (T, error)) (T, error) {
	var none T
	if b.closed.Load() {
		return none, &failure{call: &key.CallError{Op: op, Ref: ref, Kind: key.ErrUnavailable, Why: "the backend is closed"}}
	}
	if err := ctx.Err(); err != nil {
		return none, fmt.Errorf("awskms: %s: %w", op, err)
	}
	mark := b.creds.mark()
	answer, err := request(ctx)
	if err != nil {
		return none, b.explain(ctx, op, ref, mark, err)
	}
	return answer, nil
}

// read is call for everything but signing: it waits for the quota of reads and
// asks again while AWS throttles, and a few times while it is away.
func read[T any](ctx context.Context, b *Backend, op string, ref key.Ref, request func(context.Context) (T, error)) (T, error) {
	var none T
	backoff, away := firstBackoff, 0
	for try := 1; ; try++ {
		if err := b.cfg.Reads.Wait(ctx); err != nil {
			return none, fmt.Errorf("awskms: %s: wait for the quota of reads: %w", op, err)
		}
		answer, err := call(ctx, b, op, ref, request)
		var throttled *key.ThrottledError
		switch {
		case err == nil:
			b.cfg.Reads.Succeeded()
			return answer, nil
		case errors.As(err, &throttled):
			b.cfg.Reads.Throttled(throttled.RetryAfter)
			if try == throttles {
				return none, err
			}
		case errors.Is(err, key.ErrUnavailable) && code(err) != invalidState && ctx.Err() == nil && !b.closed.Load():
			if away++; away == outages {
				return none, err
			}
		default:
			return none, err
		}
		delay := backoff/2 + rand.N(backoff/2+1)
		if throttled != nil {
			delay = max(delay, throttled.RetryAfter)
		}
		if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= delay {
			return none, err // this says more than "timeout" would
		}
		select {
		case <-time.After(delay):
		case <-ctx.Done():
			return none, fmt.Errorf("awskms: %s: %w", op, ctx.Err())
		}
		backoff = min(2*backoff, maxBackoff)
	}
}

// requestID is the id of an answered request, as CloudTrail shows it.
func requestID(metadata smithy.Metadata) string {
	id, _ := middleware.GetRequestIDMetadata(metadata)
	return id
}

// failure is a CallError with the code that AWS gave, which decides what a
// listing does about it.
type failure struct {
	call *key.CallError
	code string
}

func (f *failure) Error() string { return f.call.Error() }

func (f *failure) Unwrap() error { return f.call }

// code is the error code of AWS behind err; empty if there is none.
func code(err error) string {
	var f *failure
	if errors.As(err, &f) {
		return f.code
	}
	return ""
}

// bad is an answer that cannot be right.
func bad(op string, ref key.Ref, id, format string, args ...any) error {
	return &failure{call: &key.CallError{Op: op, Ref: ref, Kind: key.ErrBadResponse, Why: fmt.Sprintf(format, args...), RequestID: id}}
}
