// SPDX-License-Identifier: Apache-2.0

package allowance

import (
	"errors"
	"fmt"
	"math/big"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/policy"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

// race has many ask at once for more than there is, some of two limits, and
// settles half of what they get as unused.
func race(t *testing.T, dbs []*store.DB, each int) {
	const limit = 1_000_000_000_000_000_000
	ledgers := make([]*Ledger, len(dbs))
	for i, db := range dbs {
		ledgers[i] = New(Config{Store: db})
	}
	var mu sync.Mutex
	granted := map[string]*big.Int{"a": {}, "b": {}}
	counts := map[bool]int{}
	round := func(name string, giveBack bool) {
		var wg sync.WaitGroup
		for i, l := range ledgers {
			for n := range each {
				wg.Go(func() {
					amount := 1 + rand.Int64N(4*limit/int64(each))
					takes := []policy.Take{take("a", amount, limit, time.Hour)}
					if n%3 == 0 {
						takes = append(takes, take("b", amount, limit/3, 0))
					}
					if n%2 == 0 && len(takes) == 2 {
						takes[0], takes[1] = takes[1], takes[0]
					}
					id := fmt.Sprintf("%s-%d-%d", name, i, n)
					receipt, err := l.Reserve(t.Context(), id, takes)
					var exceeded *ExceededError
					if err != nil && !errors.As(err, &exceeded) {
						t.Errorf("%s: %v", id, err)
						return
					}
					mu.Lock()
					defer mu.Unlock()
					counts[err == nil]++
					switch {
					case err != nil:
					case giveBack && n%2 == 0:
						l.Settle(id, receipt, policy.Unused)
						l.Settle(id, receipt, policy.Unused)
					default:
						l.Settle(id, receipt, policy.Stored)
						l.Settle(id, receipt, policy.Unused) // too late: it counts
						for _, take := range takes {
							granted[take.Key].Add(granted[take.Key], take.Amount)
						}
					}
				})
			}
		}
		wg.Wait()
		for _, l := range ledgers {
			l.finish()
		}
	}
	round("first", true)
	round("second", false)
	if counts[true] == 0 || counts[false] == 0 {
		t.Fatalf("granted and refused: %v; the test wants both", counts)
	}
	for key, most := range map[string]int64{"a": limit, "b": limit / 3} {
		if granted[key].Cmp(big.NewInt(most)) > 0 {
			t.Errorf("%s: %s was let through, and the limit is %d", key, granted[key], most)
		}
		for _, l := range ledgers {
			if got := used(t, l, key); granted[key].Cmp(big.NewInt(got)) != 0 {
				t.Errorf("%s: %d counts, and %s was let through", key, got, granted[key])
			}
		}
	}
	left := limit - used(t, ledgers[0], "a")
	if left > 0 {
		mustReserve(t, ledgers[0], "the rest", take("a", left, limit, time.Hour))
	}
	var exceeded *ExceededError
	if _, err := ledgers[len(ledgers)-1].Reserve(t.Context(), "one more", []policy.Take{take("a", 1, limit, time.Hour)}); !errors.As(err, &exceeded) {
		t.Errorf("one wei above the limit: %v", err)
	}
}

func TestFiveHundredAtOnceOnThreeReplicasNeverPassALimitByOneWei(t *testing.T) {
	race(t, replicas(t, 3), 500)
}

func TestFiveHundredAtOnceNeverPassALimitByOneWeiOnSQLite(t *testing.T) {
	race(t, []*store.DB{sqlite(t)}, 500)
}

func TestManyAtOnceShareFewCommits(t *testing.T) {
	var mu sync.Mutex
	commits := 0
	db := openStore(t, store.Config{Dir: t.TempDir(), OnCommit: func(int, time.Duration) {
		mu.Lock()
		commits++
		mu.Unlock()
	}})
	l := New(Config{Store: db})
	mustReserve(t, l, "first", take("k", 1, 1000, time.Hour))
	var wg sync.WaitGroup
	begin := make(chan struct{})
	for i := range 500 {
		wg.Go(func() {
			<-begin
			receipt, err := l.Reserve(t.Context(), fmt.Sprint(i), []policy.Take{take("k", 1, 1000, time.Hour)})
			if err != nil {
				t.Error(err)
			}
			l.Settle(fmt.Sprint(i), receipt, policy.Stored)
		})
	}
	mu.Lock()
	before := commits
	mu.Unlock()
	close(begin)
	wg.Wait()
	mu.Lock()
	defer mu.Unlock()
	if n := commits - before; n > 50 {
		t.Errorf("500 at once took %d commits", n)
	}
	t.Logf("%d commits", commits-before)
}
