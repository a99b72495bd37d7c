// SPDX-License-Identifier: Apache-2.0

package key_test

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/key"
)

// counter is a backend that only counts.
type counter struct {
	key.Backend
	calls int
}

func (c *counter) SignDigest(context.Context, key.Ref, [32]byte) (key.Signature, error) {
	c.calls++
	return key.Signature{}, nil
}

func TestLimitSpreadsSignaturesOverTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &counter{}
		b := key.Limit(c, key.NewQuota(10))
		begun := time.Now()
		for range 30 { // a burst of ten, then ten a second
			if _, err := b.SignDigest(t.Context(), "", [32]byte{}); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(begun); took != 2*time.Second {
			t.Errorf("30 signatures took %s", took)
		}
	})
}

func TestLimitRefusesAtOnceWhatCannotBeInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := &counter{}
		b := key.Limit(c, key.NewQuota(1))
		if _, err := b.SignDigest(t.Context(), "", [32]byte{}); err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		defer cancel()
		_, err := b.SignDigest(ctx, "", [32]byte{})
		var throttled *key.ThrottledError
		if !errors.As(err, &throttled) || c.calls != 1 {
			t.Errorf("got %v after %d calls", err, c.calls)
		}
	})
}

func TestQuotaIsSharedAmongReplicas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, quota := &counter{}, key.NewQuota(30)
		quota.Share(3)
		b := key.Limit(c, quota)
		begun := time.Now()
		for range 60 { // a third of it: what was saved before, then ten a second
			if _, err := b.SignDigest(t.Context(), "", [32]byte{}); err != nil {
				t.Fatal(err)
			}
		}
		if took := time.Since(begun); took < 4*time.Second {
			t.Errorf("60 signatures took %s", took)
		}
	})
}
