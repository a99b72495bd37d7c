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

	"github.com/hsmsigner/hsmsigner/internal/audit"
	"github.com/hsmsigner/hsmsigner/internal/policy"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

// alone is the ledger of the only process of a database, which starts now by c.
func (c *clock) alone(db *store.DB) *Ledger {
	l := New(Config{Store: db, Alone: true})
	start := c.real
	l.since = func() time.Duration { return c.real - start }
	l.wall = func(time.Time) time.Time { return c.wall() }
	return l
}

// accept stores a transaction with what is reserved for it.
func accept(db *store.DB, id string, receipt Receipt) func(w *store.Writer) error {
	row := store.Tx{ID: id, Wallet: "w", Intent: "intent of " + id, Sender: "s", Kind: store.UserTx, State: store.Queued, Clearance: Clearance{Receipt: receipt}.String()}
	return func(w *store.Writer) error {
		if err := w.AuditIntent(audit.Intent{ID: row.Intent, At: time.Now()}); err != nil {
			return err
		}
		return w.InsertTx(row)
	}
}

// memorised has a limit in the ledger's memory, so that what follows is reserved there.
func memorised(t testing.TB, l *Ledger, takes ...policy.Take) {
	t.Helper()
	for i := range takes {
		takes[i].Amount = new(big.Int)
	}
	receipt := mustReserve(t, l, "to be known", takes...)
	l.Settle("to be known", receipt, policy.Unused)
	l.finish()
}

func inMemory(l *Ledger) int {
	l.mem.mu.Lock()
	defer l.mem.mu.Unlock()
	return len(l.mem.taken)
}

// rows is what the database alone says of a limit.
func rows(t testing.TB, db *store.DB, key string) int64 {
	t.Helper()
	return used(t, New(Config{Store: db}), key)
}

func TestWhatIsReservedInMemoryIsWrittenByTheCommitThatSpendsIt(t *testing.T) {
	var mu sync.Mutex
	commits := 0
	db := openStore(t, store.Config{Dir: t.TempDir(), OnCommit: func(int, time.Duration) { mu.Lock(); commits++; mu.Unlock() }})
	count := func() int { mu.Lock(); defer mu.Unlock(); return commits }
	c := &clock{}
	l := c.alone(db)
	memorised(t, l, take("k", 0, 100, time.Hour), take("ever", 0, 100, 0))
	before := count()
	receipt := mustReserve(t, l, "tx", take("k", 60, 100, time.Hour), take("ever", 70, 100, 0))
	if got := count() - before; got != 0 {
		t.Errorf("to reserve took %d commits", got)
	}
	if got := [2]int64{used(t, l, "k"), used(t, l, "ever")}; got != [2]int64{60, 70} {
		t.Errorf("%v are used", got)
	}
	if got := [2]int64{rows(t, db, "k"), rows(t, db, "ever")}; got != [2]int64{} {
		t.Errorf("%v are in the rows before anything is stored", got)
	}
	var exceeded *ExceededError
	if _, err := l.Reserve(t.Context(), "more", []policy.Take{take("k", 41, 100, time.Hour)}); !errors.As(err, &exceeded) || exceeded.Used.Int64() != 60 {
		t.Errorf("one more than is left: %v", err)
	}
	write(t, db, accept(db, "tx", receipt))
	l.Settle("tx", receipt, policy.Stored)
	l.finish()
	if got := count() - before; got != 1 {
		t.Errorf("to reserve, store and settle took %d commits", got)
	}
	for name, l := range map[string]*Ledger{"this": l, "the next": c.ledger(db)} {
		if got := [2]int64{used(t, l, "k"), used(t, l, "ever")}; got != [2]int64{60, 70} {
			t.Errorf("%v are used by what %s process knows", got, name)
		}
	}
	if inMemory(l) != 0 || !l.Counts("tx") {
		t.Error("it is still open")
	}
}

// A process that dies takes its memory with it: nothing can spend what was there.
func TestACrashBetweenReservationAndCommitLeaksNothing(t *testing.T) {
	c := &clock{}
	db := sqlite(t)
	l := c.alone(db)
	memorised(t, l, take("ever", 0, 100, 0))
	mustReserve(t, l, "lost", take("ever", 60, 100, 0))
	stored := mustReserve(t, l, "stored", take("ever", 40, 100, 0))
	write(t, db, accept(db, "stored", stored)) // and killed before it could say so
	l = c.alone(db)
	if got := used(t, l, "ever"); got != 40 {
		t.Errorf("after a crash %d are used, want those of what is stored", got)
	}
	mustReserve(t, l, "next", take("ever", 60, 100, 0))
	c.real += 2 * openFor
	sweep(t, l)
	sweep(t, l)
	if got := rows(t, db, "ever"); got != 40 && got != 100 {
		t.Errorf("%d are in the rows", got)
	}
}

func TestACommitThatFailsSpendsNothing(t *testing.T) {
	c := &clock{}
	db := sqlite(t)
	l := c.alone(db)
	memorised(t, l, take("k", 0, 100, 0))
	receipt := mustReserve(t, l, "tx", take("k", 60, 100, 0))
	no := errors.New("no")
	for range 3 {
		if err := db.Write(t.Context(), func(w *store.Writer) error {
			if err := accept(db, "tx", receipt)(w); err != nil {
				return err
			}
			return no
		}); !errors.Is(err, no) {
			t.Fatal(err)
		}
		// Beside others, that go on.
		other := fmt.Sprint(time.Now().UnixNano())
		write(t, db, accept(db, other, mustReserve(t, l, other, take("k", 1, 100, 0))))
	}
	if got := [2]int64{used(t, l, "k"), rows(t, db, "k")}; got != [2]int64{63, 3} {
		t.Errorf("%v are used and in the rows", got)
	}
	// It is tried again, or given up.
	write(t, db, accept(db, "tx", receipt))
	l.Settle("tx", receipt, policy.Unused) // too late
	given := mustReserve(t, l, "given up", take("k", 20, 100, 0))
	l.Settle("given up", given, policy.Unused)
	if got := [2]int64{used(t, l, "k"), rows(t, db, "k")}; got != [2]int64{63, 63} {
		t.Errorf("in the end %v are used and in the rows", got)
	}
}

// Of a commit of unknown outcome everything counts until it is known, and then what
// is true.
func TestACommitOfUnknownOutcomeCountsUntilItIsKnown(t *testing.T) {
	for _, landed := range []bool{true, false} {
		for _, unused := range []bool{true, false} {
			c := &clock{}
			db := sqlite(t)
			l := c.alone(db)
			memorised(t, l, take("k", 0, 100, 0), take("signed", 0, 100, 0))
			receipt := mustReserve(t, l, "tx", take("k", 60, 100, 0))
			intent := mustReserve(t, l, "intent", take("signed", 70, 100, 0))
			stored := []store.Spender{{ID: "tx", Tx: true}, {ID: "intent"}}
			changed := []store.Allowance{{Name: "k"}, {Name: "signed"}}
			if landed {
				after := l.after
				db.Count(store.Counting{Before: l.before, After: func(a []store.Allowance, s []store.Spender, _ bool) { after(a, s, true) }})
				write(t, db, accept(db, "tx", receipt))
				write(t, db, func(w *store.Writer) error { return w.AuditIntent(audit.Intent{ID: "intent", At: c.wall()}) })
				db.Count(store.Counting{Before: l.before, After: l.after})
			} else {
				l.after(changed, stored, true)
			}
			if unused {
				l.Settle("tx", receipt, policy.Unused)
			}
			var exceeded *ExceededError
			if _, err := l.Reserve(t.Context(), "too much", []policy.Take{take("k", 41, 100, 0)}); !errors.As(err, &exceeded) {
				t.Errorf("landed %v, unused %v: it was forgotten: %v", landed, unused, err)
			}
			mustReserve(t, l, "one", take("signed", 1, 1000, 0))
			want := [2]int64{60, 71}
			if unused && !landed {
				want[0] = 0
			}
			if got := [2]int64{used(t, l, "k"), used(t, l, "signed")}; got != want {
				t.Errorf("landed %v, unused %v: %v are used, want %v", landed, unused, got, want)
			}
			l.Settle("intent", intent, policy.Stored)
			l.finish()
			if landed && rows(t, db, "k") != 60 {
				t.Errorf("%d are in the rows", rows(t, db, "k"))
			}
		}
	}
}

// What is signed at once, without a transaction, has an intent: after that it stays
// used until it is known that no backend was asked.
func TestWhatIsSignedAtOnceIsReservedByItsIntent(t *testing.T) {
	c := &clock{}
	db := sqlite(t)
	l := c.alone(db)
	memorised(t, l, take("k", 0, 100, 0))
	for i, use := range []policy.Use{policy.Stored, policy.Unused} {
		id := fmt.Sprint("intent", i)
		receipt := mustReserve(t, l, id, take("k", 30, 100, 0))
		write(t, db, func(w *store.Writer) error { return w.AuditIntent(audit.Intent{ID: id, At: c.wall()}) })
		if l.Counts(id) {
			t.Error("what is open is not settled yet")
		}
		l.Settle(id, receipt, use)
		l.finish()
	}
	if got := rows(t, db, "k"); got != 30 {
		t.Errorf("%d are in the rows, want what was signed", got)
	}
	// A crash before anybody could say so: the sweep looks at the outcomes.
	for _, id := range []string{"asked", "not asked", "who knows"} {
		mustReserve(t, l, id, take("k", 10, 100, 0))
		write(t, db, func(w *store.Writer) error {
			if err := w.AuditIntent(audit.Intent{ID: id, At: c.wall()}); err != nil || id == "who knows" {
				return err
			}
			o := audit.Outcome{ID: "of " + id, Intent: id, At: c.wall()}
			o.Digest[0] = byte(len(id) - len("not asked")) // 0 if it was not
			return w.AuditOutcome(o)
		})
	}
	l = c.alone(db)
	c.real += openFor
	sweep(t, l)
	if got := used(t, l, "k"); got != 50 {
		t.Errorf("after a crash %d are used, want 30, 10 and 10", got)
	}
}

func TestWhatNobodyKnowsOfIsGivenBackAndCountsShouldItCome(t *testing.T) {
	c := &clock{}
	db := sqlite(t)
	l := c.alone(db)
	memorised(t, l, take("k", 0, 100, 24*time.Hour))
	late := mustReserve(t, l, "late", take("k", 60, 100, 24*time.Hour))
	c.real += openFor - time.Second
	sweep(t, l)
	if got := used(t, l, "k"); got != 60 {
		t.Errorf("%d are used before its time is over", got)
	}
	c.real += time.Second
	sweep(t, l)
	if got := used(t, l, "k"); got != 0 {
		t.Errorf("%d are used", got)
	}
	other := mustReserve(t, l, "other", take("k", 90, 100, 24*time.Hour))
	write(t, db, accept(db, "other", other))
	write(t, db, accept(db, "late", late))
	if got := [2]int64{used(t, l, "k"), rows(t, db, "k")}; got != [2]int64{150, 150} {
		t.Errorf("%v are used and in the rows, want 150", got)
	}
	mustReserve(t, l, "forgotten", take("other", 1, 100, 0))
	c.real += openFor
	sweep(t, l)
	c.real += goneFor
	sweep(t, l)
	if inMemory(l) != 0 {
		t.Error("it is remembered for ever")
	}
}

// The row of a limit of which nothing counts is forgotten. What is reserved in
// memory then brings it back.
func TestALimitThatWasForgottenComesBack(t *testing.T) {
	c := &clock{}
	db := sqlite(t)
	l := c.alone(db)
	receipt := mustReserve(t, l, "first", take("k", 1, 100, time.Minute))
	write(t, db, accept(db, "first", receipt))
	l.Settle("first", receipt, policy.Stored)
	c.real += 2 * tidyEvery
	receipt = mustReserve(t, l, "second", take("k", 60, 100, time.Minute))
	sweep(t, l) // it tidies
	if err := db.WriteAllowance(t.Context(), func(w *store.Writer) error { return w.DropAllowance("k") }); err != nil {
		t.Fatal(err)
	}
	write(t, db, accept(db, "second", receipt))
	if got := used(t, c.ledger(db), "k"); got != 60 {
		t.Errorf("%d are in the rows", got)
	}
	c.real += 2 * tidyEvery
	sweep(t, l)
	if left, err := db.AllowancesAfter(t.Context(), clockName, 10, false); err != nil || len(left) != 0 {
		t.Errorf("%v, %v are left", left, err)
	}
	if len(l.mem.limits) != 0 || l.mem.unsure != 0 {
		t.Errorf("%d limits are remembered, %d of them unsure", len(l.mem.limits), l.mem.unsure)
	}
}

// 500 at once, by memory and by the rows: with commits that fail, requests that are
// given up, windows that change and signatures that renew, what is stored never
// passes a limit by one wei, and the rows say exactly what is stored.
func TestFiveHundredAtOnceInMemoryNeverPassALimitByOneWei(t *testing.T) {
	const limit = 1_000_000
	db := sqlite(t)
	l := New(Config{Store: db, Alone: true})
	var mu sync.Mutex
	sum := map[string]*big.Int{"a": {}, "b": {}, "ever": {}}
	counts := map[string]int{}
	no := errors.New("no")
	for round := range 3 {
		var wg sync.WaitGroup
		for n := range 500 {
			wg.Go(func() {
				id := fmt.Sprintf("%d-%d", round, n)
				takes := []policy.Take{take("a", 1+rand.Int64N(limit/50), limit, time.Hour)}
				if n%3 == 0 {
					takes = append(takes, take("b", 1+rand.Int64N(limit/50), limit/3, 24*time.Hour))
				}
				if n%4 == 0 {
					takes = append(takes, take("ever", 1+rand.Int64N(limit/50), limit/5, 0))
				}
				receipt, err := l.Reserve(t.Context(), id, takes)
				var exceeded *ExceededError
				if err != nil && !errors.As(err, &exceeded) {
					t.Errorf("%s: %v", id, err)
				}
				what := [...]string{"stored", "given up", "failed", "stored", "renewed", "signed"}[n%6]
				if err != nil {
					what = "refused"
				}
				mu.Lock()
				counts[what]++
				mu.Unlock()
				switch what {
				case "refused":
					return
				case "given up":
					l.Settle(id, receipt, policy.Unused)
					return
				case "failed":
					if err := db.Write(t.Context(), func(w *store.Writer) error { return errors.Join(accept(db, id, receipt)(w), no) }); !errors.Is(err, no) {
						t.Error(err)
					}
					l.Settle(id, receipt, policy.Unused)
					return
				case "signed":
					err = db.Write(t.Context(), func(w *store.Writer) error { return w.AuditIntent(audit.Intent{ID: id, At: time.Now()}) })
				default:
					err = db.Write(t.Context(), accept(db, id, receipt))
				}
				if err != nil {
					t.Error(err)
				}
				l.Settle(id, receipt, policy.Stored)
				if what == "renewed" {
					if err := l.Renew(t.Context(), id, takes, receipt); err != nil && !errors.As(err, &exceeded) {
						t.Error(err)
					}
				}
				mu.Lock()
				defer mu.Unlock()
				for _, take := range takes {
					sum[take.Key].Add(sum[take.Key], take.Amount)
				}
			})
		}
		wg.Wait()
		l.finish()
		for key, most := range map[string]int64{"a": limit, "b": limit / 3, "ever": limit / 5} {
			if got := sum[key].Int64(); got > most {
				t.Errorf("%s: %d was let through, and the limit is %d", key, got, most)
			}
			if got := [2]int64{used(t, l, key), rows(t, db, key)}; got != [2]int64{sum[key].Int64(), sum[key].Int64()} {
				t.Errorf("round %d, %s: %v are used and in the rows, and %s was let through", round, key, got, sum[key])
			}
		}
		if round == 1 {
			l = New(Config{Store: db, Alone: true}) // a restart
		}
	}
	for _, what := range []string{"refused", "given up", "failed", "stored", "renewed", "signed"} {
		if counts[what] == 0 {
			t.Errorf("none was %s: %v", what, counts)
		}
	}
	for _, key := range []string{"a", "b", "ever"} {
		most := map[string]int64{"a": limit, "b": limit / 3, "ever": limit / 5}[key]
		window := map[string]time.Duration{"a": time.Hour, "b": 24 * time.Hour}[key]
		if left := most - used(t, l, key); left > 0 {
			mustReserve(t, l, "the rest of "+key, take(key, left, most, window))
		}
		var exceeded *ExceededError
		if _, err := l.Reserve(t.Context(), "one more of "+key, []policy.Take{take(key, 1, most, window)}); !errors.As(err, &exceeded) {
			t.Errorf("%s: one wei above the limit: %v", key, err)
		}
	}
}

// The same histories as by the rows alone.
func TestInMemoryARollingLimitAgreesWithExactBookkeeping(t *testing.T) {
	for seed := range rounds(t, 3) {
		random := rand.New(rand.NewPCG(uint64(seed), 7))
		window := time.Duration(1+random.Int64N(100)) * time.Minute
		limit := 1 + random.Int64N(10_000)
		c := &clock{}
		db := sqlite(t)
		l := c.alone(db)
		var all []spent
		for i := range 200 {
			c.real += time.Duration(random.Int64N(int64(window)/6 + 1))
			id, amount := fmt.Sprint(i), 1+random.Int64N(limit/2+1)
			receipt, err := l.Reserve(t.Context(), id, []policy.Take{take("k", amount, limit, window)})
			var exceeded *ExceededError
			switch {
			case errors.As(err, &exceeded):
				longest := window + window/parts + 2*time.Microsecond
				if sum := within(all, c.real, longest); sum+amount <= limit {
					t.Fatalf("seed %d, step %d: %d was refused although only %d of %d were used in %v", seed, i, amount, sum, limit, longest)
				}
			case err != nil:
				t.Fatal(err)
			case random.IntN(5) == 0:
				l.Settle(id, receipt, policy.Unused)
				l.finish()
			default:
				all = append(all, spent{c.real, amount})
				write(t, db, accept(db, id, receipt))
				l.Settle(id, receipt, policy.Stored)
			}
			if sum := within(all, c.real, window); sum > limit {
				t.Fatalf("seed %d, step %d: %d of %d were let through in %v", seed, i, sum, limit, window)
			}
			if err := l.tick(t.Context()); err != nil {
				t.Fatal(err)
			}
			if random.IntN(20) == 0 { // killed
				mustReserveSome(t, l, fmt.Sprint("lost", i), take("k", 1, limit, window))
				l = c.alone(db)
			}
		}
	}
}

// mustReserveSome reserves if there is room.
func mustReserveSome(t testing.TB, l *Ledger, id string, take policy.Take) {
	t.Helper()
	var exceeded *ExceededError
	if _, err := l.Reserve(t.Context(), id, []policy.Take{take}); err != nil && !errors.As(err, &exceeded) {
		t.Fatal(err)
	}
}
