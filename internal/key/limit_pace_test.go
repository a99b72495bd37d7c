// SPDX-License-Identifier: Apache-2.0

package key_test

import (
	"context"
	"math"
	"math/rand/v2"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/key"
)

func TestQuotaNeverLetsMoreThroughInASecondThanIsDocumented(t *testing.T) {
	for _, documented := range []float64{1, 3, 5, 10, 33, 200, 1000} {
		synctest.Test(t, func(t *testing.T) {
			q := key.NewQuota(documented * key.DefaultShare)
			var mu sync.Mutex
			var turns []time.Time
			var callers sync.WaitGroup
			for range int(documented * 4) {
				callers.Go(func() {
					time.Sleep(rand.N(6 * time.Second)) // with pauses, in which a turn is saved up
					if err := q.Wait(t.Context()); err != nil {
						t.Error(err)
					}
					mu.Lock()
					defer mu.Unlock()
					turns = append(turns, time.Now())
				})
			}
			callers.Wait()
			first := 0
			for i, at := range turns {
				for at.Sub(turns[first]) >= time.Second {
					first++
				}
				if n := i - first + 1; n > int(documented) {
					t.Fatalf("%d turns in a second, of %v", n, documented)
				}
			}
		})
	}
}

// run lets callers use q without a break for a while, with the answers of a
// service, and returns how many calls were answered and how many throttled.
func run(t *testing.T, q *key.Quota, callers int, d time.Duration, serve func() error) (answered, throttled int) {
	t.Helper()
	var mu sync.Mutex
	var all sync.WaitGroup
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	for range callers {
		all.Go(func() {
			for {
				if q.Wait(ctx) != nil {
					return
				}
				time.Sleep(20 * time.Millisecond)
				mu.Lock()
				err := serve()
				if err == nil {
					answered++
				} else {
					throttled++
				}
				mu.Unlock()
				q.Answered(err)
			}
		})
	}
	all.Wait()
	return answered, throttled
}

// bucket is a service that takes rate calls a second and says nothing more.
func bucket(rate float64) func() error {
	tokens, filled := rate, time.Now()
	return func() error {
		tokens = min(rate, tokens+time.Since(filled).Seconds()*rate)
		filled = time.Now()
		if tokens < 1 {
			return &key.ThrottledError{}
		}
		tokens--
		return nil
	}
}

func TestRateFollowsAServiceThatTakesLessThanItsQuota(t *testing.T) {
	for _, quota := range []float64{200, math.Inf(1)} { // documented too high; nothing known
		synctest.Test(t, func(t *testing.T) {
			q := key.NewQuota(quota)
			serve := bucket(60)
			run(t, q, 64, 10*time.Second, serve)
			answered, throttled := run(t, q, 64, 60*time.Second, serve)
			if answered < 60*60*8/10 {
				t.Errorf("quota %v: %d calls in a minute were answered, of 3600 allowed", quota, answered)
			}
			if throttled > answered/10 {
				t.Errorf("quota %v: %d calls were throttled beside %d answered", quota, throttled, answered)
			}
			if rate := q.State().Rate; rate < 40 || rate > 80 {
				t.Errorf("quota %v: rate %v", quota, rate)
			}
		})
	}
}

func TestManyThrottledRepliesOfOneMomentAreOneDecrease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := key.NewQuota(1000)
		for range 500 {
			q.Throttled(0)
		}
		time.Sleep(500 * time.Millisecond)
		if rate := q.State().Rate; rate != 500 {
			t.Errorf("rate %v, want half of 1000", rate)
		}
		for range 500 { // replies of calls that were under way
			q.Throttled(0)
		}
		time.Sleep(200 * time.Millisecond)
		if rate := q.State().Rate; rate != 500 {
			t.Errorf("rate %v, want still 500", rate)
		}
		if n := q.State().Throttled; n != 1000 {
			t.Errorf("%d throttled calls were counted", n)
		}
	})
}

func TestRateComesBackAndNeverBeyondItsShare(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := key.NewQuota(100)
		for range 60 {
			q.Throttled(0)
			time.Sleep(100 * time.Millisecond)
		}
		if rate := q.State().Rate; rate != 10 {
			t.Fatalf("rate %v after throttling for long, want a tenth", rate)
		}
		time.Sleep(10 * time.Second)
		if rate := q.State().Rate; rate < 50 || rate > 65 {
			t.Errorf("rate %v after 10 s, want 5 more for each", rate)
		}
		time.Sleep(time.Minute)
		if rate := q.State().Rate; rate != 100 {
			t.Errorf("rate %v, want the share", rate)
		}
	})
}

func TestStrayThrottledReplyCostsLittle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := key.NewQuota(100)
		for range 50 {
			q.Succeeded()
		}
		q.Throttled(0)
		time.Sleep(200 * time.Millisecond)
		if rate := q.State().Rate; rate >= 100 || rate < 90 {
			t.Errorf("rate %v", rate)
		}
	})
}

func TestRetryAfterHoldsEverybodyBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, quota := range []*key.Quota{key.NewQuota(100), key.NewQuota(math.Inf(1))} {
			begun := time.Now()
			quota.Throttled(3 * time.Second)
			quota.Throttled(time.Second) // a shorter one does not shorten it
			var callers sync.WaitGroup
			for range 5 {
				callers.Go(func() {
					if err := quota.Wait(t.Context()); err != nil {
						t.Error(err)
					}
					if took := time.Since(begun); took < 3*time.Second || took > 4*time.Second {
						t.Errorf("through after %s", took)
					}
				})
			}
			callers.Wait()
			quota.Throttled(24 * time.Hour)
			if p := quota.State().Paused; p > 5*time.Minute {
				t.Errorf("left alone for %s", p)
			}
		}
	})
}

func TestRateDoesNotGrowWhileTheServiceIsLeftAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		q := key.NewQuota(100)
		for range 60 {
			q.Throttled(time.Minute)
		}
		time.Sleep(time.Second)
		if rate := q.State().Rate; rate != 50 {
			t.Errorf("rate %v", rate)
		}
		time.Sleep(59 * time.Second)
		if rate := q.State().Rate; rate != 50 {
			t.Errorf("rate %v, want still the half", rate)
		}
		time.Sleep(3 * time.Second)
		if rate := q.State().Rate; rate <= 50 || rate > 65 {
			t.Errorf("rate %v afterwards", rate)
		}
	})
}
