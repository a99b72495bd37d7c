// SPDX-License-Identifier: Apache-2.0

package history

import (
	"sync"
	"testing"
	"time"
)

func TestWhatHappenedIsFoundInItsStep(t *testing.T) {
	now := time.Date(2026, 11, 22, 12, 0, 3, 0, time.UTC)
	r := New(func() time.Time { return now })
	r.Signature("a", "ok")
	r.Signature("a", "throttled")
	r.BackendCall("a", "throttled")
	r.BackendCall("a", "ok")
	r.Stage("a", Sign, 20*time.Millisecond)
	r.Stage("a", "nothing", time.Second)
	r.Event("a", "mined")
	r.Event("a", "failed")
	r.Head("a", 41)
	r.Head("a", 42)
	r.Signature("b", "ok")
	now = now.Add(25 * time.Second)
	r.Signature("a", "ok")

	got := r.Of(Hour(), "a", "unknown")
	if len(got) != 360 || !got[359].At.Equal(time.Date(2026, 11, 22, 12, 0, 20, 0, time.UTC)) {
		t.Fatalf("%d points, the last at %s", len(got), got[len(got)-1].At)
	}
	first, last := got[357], got[359]
	if first.Signatures != 1 || first.Throttled != 1 || first.Blocks != 2 || first.Errors["throttled"] != 1 || first.Errors["failed"] != 1 || len(first.Errors) != 2 {
		t.Errorf("%+v", first)
	}
	if q := first.Stages[Sign].Quantile(0.99); q < 20*time.Millisecond || q > 30*time.Millisecond || len(first.Stages) != 1 {
		t.Errorf("sign %s, %+v", q, first.Stages)
	}
	if last.Signatures != 1 || got[358].Signatures != 0 {
		t.Errorf("%+v, %+v", got[358], last)
	}
	if both := r.Of(Hour(), "a", "b"); both[357].Signatures != 2 {
		t.Errorf("together %d", both[357].Signatures)
	}
	if day := r.Of(Day(), "a"); len(day) != 288 || day[287].Signatures != 2 {
		t.Errorf("of the day %+v", day[287])
	}

	if head, at := r.LastHead("a"); head != 42 || !at.Equal(now.Add(-25*time.Second)) {
		t.Errorf("head %d at %s", head, at)
	}
	now = now.Add(time.Hour)
	for _, p := range r.Of(Hour(), "a") {
		if p.Signatures != 0 {
			t.Errorf("an hour later %+v", p)
		}
	}
	r.Forget("a")
	if day := r.Of(Day(), "a"); day[275].Signatures != 0 {
		t.Error("a forgotten wallet is still there")
	}
}

func TestQuantilesAreWithinAClass(t *testing.T) {
	var l Latencies
	if l.Quantile(0.5) != 0 {
		t.Error("nothing took its time")
	}
	for i := range 1000 {
		l.add(time.Duration(i+1) * time.Millisecond)
	}
	for q, want := range map[float64]time.Duration{0.5: 500 * time.Millisecond, 0.99: 990 * time.Millisecond} {
		if got := l.Quantile(q); got < want || got > want*3/2 {
			t.Errorf("%g: %s, want %s", q, got, want)
		}
	}
	l.add(24 * time.Hour)
	l.add(0)
	if l.Count != 1002 {
		t.Error(l.Count)
	}
}

func TestManyCountAtOnce(t *testing.T) {
	r := New(nil)
	var all sync.WaitGroup
	for range 8 {
		all.Go(func() {
			for range 1000 {
				r.Signature("a", "ok")
				r.Stage("a", Send, time.Millisecond)
				_ = r.Of(Hour(), "a")[0]
			}
		})
	}
	all.Wait()
	sum := 0
	for _, p := range r.Of(Day(), "a") {
		sum += p.Signatures
	}
	if sum != 8000 {
		t.Error(sum)
	}
}

func BenchmarkCount(b *testing.B) {
	r := New(nil)
	for b.Loop() {
		r.Stage("a", Sign, 3*time.Millisecond)
	}
}
