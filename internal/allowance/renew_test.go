// SPDX-License-Identifier: Apache-2.0

package allowance

import (
	"context"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/policy"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

func TestALimitThatIsNewAtSigningIsTakenFromOnce(t *testing.T) {
	for name, end := range map[string]struct {
		history txHistory
		want    int64
	}{
		"then mined":    {txHistory{state: store.Confirmed, nonce: 1, mined: -1}, 5},
		"then given up": {txHistory{state: store.Failed, nonce: -1, mined: -1}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			c := &clock{}
			db := sqlite(t)
			l := c.ledger(db)
			have := mustReserve(t, l, "tx", take("old", 5, 100, 0))
			l.Settle("tx", have, policy.Stored)
			txHistory{state: store.Assigned, nonce: 1, mined: -1, ended: c.wall()}.insert(t, db, "tx", "")
			takes := []policy.Take{take("old", 5, 100, 0), take("new", 5, 100, 0)}
			for range 5 { // signed at several nonces, by several processes
				if err := l.Renew(t.Context(), "tx", takes, have); err != nil {
					t.Fatal(err)
				}
				l.Settle("tx", have, policy.Stored)
				l.finish()
				c.real += 2 * openFor
				sweep(t, l)
				l = c.ledger(db)
			}
			if got := [2]int64{used(t, l, "old"), used(t, l, "new")}; got != [2]int64{5, 5} {
				t.Fatalf("%v are used, want 5 of each", got)
			}
			state, text := end.history.state, ""
			write(t, db, func(w *store.Writer) error {
				_, err := w.UpdateTx("tx", nil, store.TxUpdate{State: state, Error: &text})
				return err
			})
			c.off = time.Since(c.wall()) + 5*time.Minute // the row says by the real clock when that was
			sweep(t, l)
			if got := used(t, l, "new"); got != end.want {
				t.Errorf("%d are used of the new limit at last, want %d", got, end.want)
			}
		})
	}
}

func TestALimitThatSankBelowWhatIsUsedDeniesAtSigning(t *testing.T) {
	l := New(Config{Store: sqlite(t)})
	have := mustReserve(t, l, "tx", take("k", 50, 100, time.Hour))
	mustReserve(t, l, "other", take("k", 30, 100, time.Hour))
	var exceeded *ExceededError
	for limit, allowed := range map[int64]bool{100: true, 80: true, 79: false, 50: false, 0: false} {
		err := l.Renew(t.Context(), "tx", []policy.Take{take("k", 50, limit, time.Hour)}, have)
		if allowed && err != nil || !allowed && !errors.As(err, &exceeded) {
			t.Errorf("limit %d: %v", limit, err)
		}
	}
	if got := used(t, l, "k"); got != 80 {
		t.Errorf("%d are used, want 80", got)
	}
}

func TestAWindowThatIsChangedForgetsNothing(t *testing.T) {
	windows := []time.Duration{time.Minute, time.Hour, 24 * time.Hour, 7 * time.Minute, 0}
	c := &clock{}
	l := c.ledger(sqlite(t))
	for _, from := range windows {
		for _, to := range windows {
			key := fmt.Sprint(from, to)
			want := func(when string, want int64) {
				t.Helper()
				if got := used(t, l, key); got != want {
					t.Errorf("%v to %v: %s %d are used, want %d", from, to, when, got, want)
				}
			}
			mustReserve(t, l, "a"+key, take(key, 40, 100, from))
			have := mustReserve(t, l, "b"+key, take(key, 30, 100, from))
			mustReserve(t, l, "c"+key, take(key, 20, 100, to))
			want("after the change", 90)
			l.Settle("b"+key, have, policy.Unused)
			l.finish()
			want("without b", 60)
			if to > 0 {
				c.real += to - time.Second
				want("a second before anything may be forgotten", 60)
				c.real += max(to, from)/parts + to/parts + 2*time.Second
				want("in the end", 0)
			}
		}
	}
}

// What was reserved before the window was changed may have been forgotten since:
// that it is given back must not take from what others have reserved.
func TestWhatWasReservedBeforeTheWindowChangedIsNotTakenFromOthers(t *testing.T) {
	for _, windows := range [][3]time.Duration{{0, time.Minute, 0}, {time.Minute, time.Minute, 24 * time.Hour}, {time.Hour, time.Minute, 24 * time.Hour}} {
		for _, open := range []bool{false, true} {
			db := sqlite(t)
			c := &clock{}
			l := c.ledger(db)
			a := mustReserve(t, l, "a", take("k", 60, 100, windows[0]))
			if !open {
				txHistory{state: store.Failed, nonce: -1, mined: -1, ended: c.wall().Add(-time.Hour)}.insert(t, db, "a", Clearance{Receipt: a}.String())
				l.Settle("a", a, policy.Stored)
				l.finish()
			}
			mustReserve(t, l, "x", take("k", 1, 100, windows[1]))
			c.real += windows[0]/parts + windows[1] + windows[1]/parts + 4*time.Second // a counts no more
			mustReserve(t, l, "y", take("k", 1, 100, windows[1]))
			mustReserve(t, l, "b", take("k", 60, 100, windows[2]))
			if open {
				l.Settle("a", a, policy.Unused)
			}
			before := used(t, l, "k")
			sweep(t, l)
			if after := used(t, l, "k"); after != before || after < 61 {
				t.Errorf("%v, open %v: %d are used, then %d, of which b has 60 and y 1", windows, open, before, after)
			}
		}
	}
}

func TestADamagedLimitLetsNothingThroughAndDisturbsNoOther(t *testing.T) {
	db := sqlite(t)
	l := New(Config{Store: db})
	for _, text := range []string{`{`, `{"slices":[{"n":1}]}`, `{"slices":[{"n":1,"a":-5}]}`, `{"open":{"x":{"s":1}}}`} {
		mustReserve(t, l, "a"+text, take("bad", 1, 1000, 0))
		if err := db.WriteAllowance(t.Context(), func(w *store.Writer) error {
			return w.SetAllowance(store.Allowance{Name: "bad", State: text})
		}); err != nil {
			t.Fatal(err)
		}
		if _, err := l.Reserve(t.Context(), "b"+text, []policy.Take{take("bad", 1, 1000, 0)}); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", text, err)
		}
		if _, err := l.Reserve(t.Context(), "c"+text, []policy.Take{take("good", 1, 1000, 0), take("bad", 1, 1000, 0)}); !errors.Is(err, ErrDamaged) {
			t.Errorf("%s: %v", text, err)
		}
		mustReserve(t, l, "d"+text, take("good", 1, 1000, 0))
		if err := db.WriteAllowance(t.Context(), func(w *store.Writer) error { return w.DropAllowance("bad") }); err != nil {
			t.Fatal(err)
		}
	}
	if got := used(t, l, "good"); got != 4 {
		t.Errorf("%d are used, want 4", got)
	}
}

func TestAnUnlimitedAmountExceedsEverything(t *testing.T) {
	l := New(Config{Store: sqlite(t)})
	huge := new(big.Int).Lsh(big.NewInt(1), 300)
	unlimited := policy.Take{Limit: "deployment/k", Key: "k", Asset: "0xtoken", Max: huge}
	var exceeded *ExceededError
	if _, err := l.Reserve(t.Context(), "a", []policy.Take{unlimited}); !errors.As(err, &exceeded) || !strings.Contains(err.Error(), "unlimited") {
		t.Errorf("%v", err)
	}
	// Together with an amount for the same limit, too; and amounts add up.
	some := unlimited
	some.Amount = new(big.Int).Rsh(huge, 1)
	if _, err := l.Reserve(t.Context(), "b", []policy.Take{some, unlimited}); !errors.As(err, &exceeded) {
		t.Errorf("%v", err)
	}
	mustReserve(t, l, "c", some, some)
	some.Amount = big.NewInt(1)
	if _, err := l.Reserve(t.Context(), "d", []policy.Take{some}); !errors.As(err, &exceeded) || exceeded.Left().Sign() != 0 {
		t.Errorf("%v", err)
	}
}

func TestWhoGivesUpWaitingLeavesNothingReserved(t *testing.T) {
	l := New(Config{Store: sqlite(t)})
	mustReserve(t, l, "first", take("k", 1, 1000, 0))
	kept := int64(1)
	for i := range 200 {
		ctx, cancel := context.WithTimeout(t.Context(), time.Duration(i)*10*time.Microsecond)
		if _, err := l.Reserve(ctx, time.Duration(i).String(), []policy.Take{take("k", 1, 1000, 0)}); err == nil {
			kept++
		}
		cancel()
	}
	mustReserve(t, l, "last", take("k", 1, 1000, 0))
	l.finish()
	if got := used(t, l, "k"); got != kept+1 {
		t.Errorf("%d are used by the %d who got an answer", got, kept+1)
	}
}

func TestTheSameIDIsReservedOnce(t *testing.T) {
	l := New(Config{Store: sqlite(t)})
	for _, amount := range []int64{5, 5, 3, 8} {
		mustReserve(t, l, "tx", take("k", amount, 8, time.Hour))
	}
	if got := used(t, l, "k"); got != 8 {
		t.Errorf("%d are used, want 8", got)
	}
}

func TestWhatIsUsedUpDisappearsFromTheStore(t *testing.T) {
	c := &clock{}
	db := sqlite(t)
	l := c.ledger(db)
	receipt := mustReserve(t, l, "tx", take("k", 5, 8, time.Hour), take("ever", 5, 8, 0))
	l.Settle("tx", receipt, policy.Stored)
	c.real += 3 * time.Hour
	sweep(t, l)
	left, err := db.AllowancesAfter(t.Context(), "", 10, false)
	if err != nil || len(left) != 1 || left[0].Name != "ever" {
		t.Errorf("%v, %v are left, want the limit that counts for ever", left, err)
	}
}
