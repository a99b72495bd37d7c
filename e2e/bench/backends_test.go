// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"io"
	"testing"
	"testing/synctest"
	"time"
)

func TestTurnsCompareTheSecondKindWithTheFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var order []int
		kind := func(n int, length time.Duration) func(context.Context, [32]byte) error {
			return func(context.Context, [32]byte) error {
				order = append(order, n)
				time.Sleep(length)
				return nil
			}
		}
		all, err := inTurns(t.Context(), 2, 30*time.Millisecond, kind(0, time.Millisecond), kind(1, 5*time.Millisecond))
		if err != nil {
			t.Fatal(err)
		}
		for _, ratio := range all.ratios() {
			if ratio < 1.5 {
				t.Errorf("a call of 5 ms takes %.2f times as long as one of 1 ms", ratio)
			}
		}
		first, second := all.sample(0, "first"), all.sample(1, "second")
		if len(all) != 2 || first.Count != second.Count || first.Count == 0 || first.P50 >= second.P50 {
			t.Errorf("%d rounds, %+v, %+v", len(all), first, second)
		}
		for i := 0; i+3 < len(order); i += 4 {
			if [4]int(order[i:i+4]) != [4]int{0, 1, 1, 0} {
				t.Fatalf("turns %v", order[i:i+4])
			}
		}
	})
}

// Each stand-in takes the bare call as well as the adapter's, and counts one call
// for a signature on a connection that is there.
func TestBareCallAndAdapterAskTheSameService(t *testing.T) {
	h, err := newHost(t.TempDir(), io.Discard)
	if err != nil {
		t.Fatal(err)
	}
	defer h.close()
	b := &bench{h: h, rounds: 1, length: time.Millisecond}
	for _, open := range []func(context.Context) (*provider, error){b.awsKMS, b.azureVault, b.gcpKMS} {
		pr, err := open(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		if calls, fresh, err := pr.count(t.Context()); err != nil || calls != 1 || fresh != 0 {
			t.Errorf("%s: %.2f calls per signature, %.0f new connections, %v", pr.name, calls, fresh, err)
		}
		if _, err := inTurns(t.Context(), b.rounds, b.length, pr.bare, pr.sign); err != nil { // the first bare call may fetch a token
			t.Errorf("%s: %v", pr.name, err)
		}
		before, err := pr.calls()
		if err != nil {
			t.Fatal(err)
		}
		if err := pr.bare(t.Context(), digestOf(1)); err != nil {
			t.Errorf("%s: %v", pr.name, err)
		}
		if after, err := pr.calls(); err != nil || after != before+1 {
			t.Errorf("%s: the bare call is %d calls, %v", pr.name, after-before, err)
		}
	}
}
