// SPDX-License-Identifier: Apache-2.0

package allowance

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/audit"
	"github.com/hsmsigner/hsmsigner/internal/policy"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

// doubtful has what write commits told as a commit of which nobody knows whether it
// happened.
func doubtful(db *store.DB, l *Ledger, write func()) {
	db.Count(store.Counting{Before: l.before, After: func(changed []store.Allowance, stored []store.Spender, _ bool) { l.after(changed, stored, true) }})
	write()
	db.Count(store.Counting{Before: l.before, After: l.after})
}

func TestAReservationThatIsRefusedMoreKeepsWhatItHas(t *testing.T) {
	for _, alone := range []bool{true, false} {
		c := &clock{}
		db := sqlite(t)
		l := c.ledger(db)
		if alone {
			l = c.alone(db)
			memorised(t, l, take("k", 0, 100, 0), take("other", 0, 100, 0))
		}
		receipt := mustReserve(t, l, "a", take("k", 60, 100, 0))
		var exceeded *ExceededError
		more := []policy.Take{take("k", 70, 100, 0), take("other", 101, 100, 0)}
		if _, err := l.Reserve(t.Context(), "a", more); !errors.As(err, &exceeded) {
			t.Fatalf("alone %v: %v", alone, err)
		}
		write(t, db, accept(db, "a", receipt))
		l.Settle("a", receipt, policy.Stored)
		l.finish()
		if got := used(t, l, "k"); got != 60 {
			t.Errorf("alone %v: 60 are stored, and %d used", alone, got)
		}
		mustReserve(t, l, "b", take("k", 10, 100, 0))
		if grown := mustReserve(t, l, "b", take("k", 40, 100, 0)); grown[0].Amount.Int64() != 40 || used(t, l, "k") != 100 {
			t.Errorf("alone %v: %v, and %d used", alone, grown, used(t, l, "k"))
		}
	}
}

// A commit that did not happen, and after which the limit is known again by what a
// neighbour has stored, leaves nothing behind.
func TestDoubtEndsThoughNoBatchComes(t *testing.T) {
	c := &clock{}
	db := sqlite(t)
	l := c.alone(db)
	memorised(t, l, take("k", 0, 100, 0))
	mustReserve(t, l, "lost", take("k", 60, 100, 0))
	other := mustReserve(t, l, "other", take("k", 10, 100, 0))
	l.after([]store.Allowance{{Name: "k"}}, []store.Spender{{ID: "lost", Tx: true}}, true)
	write(t, db, accept(db, "other", other))
	if got := used(t, l, "k"); got != 70 {
		t.Fatalf("%d are used while it is in doubt", got)
	}
	sweep(t, l) // it is not stored, which is known now
	c.real += 2 * openFor
	sweep(t, l) // and nobody has heard of it
	if got := [2]int64{used(t, l, "k"), int64(inMemory(l))}; got[0] != 10 {
		t.Errorf("%d are used, %d in memory", got[0], got[1])
	}
}

// An intent whose commit failed and is in the rows all the same is given back there.
func TestAnIntentThatWasInDoubtIsGivenBack(t *testing.T) {
	for _, landed := range []bool{true, false} {
		c := &clock{}
		db := sqlite(t)
		l := c.alone(db)
		memorised(t, l, take("k", 0, 100, 0))
		receipt := mustReserve(t, l, "intent", take("k", 60, 100, 0))
		if landed {
			doubtful(db, l, func() {
				write(t, db, func(w *store.Writer) error { return w.AuditIntent(audit.Intent{ID: "intent", At: c.wall()}) })
			})
		} else {
			l.after([]store.Allowance{{Name: "k"}}, []store.Spender{{ID: "intent"}}, true)
		}
		l.Settle("intent", receipt, policy.Unused)
		l.finish()
		if got := [2]int64{used(t, l, "k"), rows(t, db, "k")}; got != [2]int64{} || inMemory(l) != 0 {
			t.Errorf("landed %v: %v are used and in the rows, %d in memory", landed, got, inMemory(l))
		}
	}
}

func TestWhatGoesIntoItsRowWhileSomebodyLooksCountsOnce(t *testing.T) {
	c := &clock{}
	db := sqlite(t)
	l := c.alone(db)
	memorised(t, l, take("k", 0, 100, time.Hour))
	receipt := mustReserve(t, l, "tx", take("k", 60, 100, time.Hour))
	aheads := l.aheads()
	write(t, db, accept(db, "tx", receipt))
	row, _, err := db.Allowances(t.Context(), []string{"k"})
	if err != nil || len(row) != 1 {
		t.Fatal(row, err)
	}
	now, _ := l.now()
	s := look(row[0], now)
	if l.count(s, "k", now, aheads); s.used.Int64() != 60 {
		t.Errorf("%s are used", s.used)
	}
}

// A row that is gone beside the daemon is made again, with what memory has to spend.
func TestALimitWhoseRowIsGoneIsMadeAgain(t *testing.T) {
	dir := t.TempDir()
	db := openStore(t, store.Config{Dir: dir})
	c := &clock{}
	l := c.alone(db)
	memorised(t, l, take("k", 0, 100, 0))
	beside, err := store.OpenBeside(t.Context(), store.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	defer beside.Close()
	if err := beside.WriteAllowance(t.Context(), func(w *store.Writer) error { return w.DropAllowance("k") }); err != nil {
		t.Fatal(err)
	}
	failed := 0
	for i := range 3 {
		id := fmt.Sprint("tx", i)
		receipt := mustReserve(t, l, id, take("k", 10, 100, 0))
		if db.Write(t.Context(), accept(db, id, receipt)) != nil {
			failed++
		}
	}
	if failed > 1 {
		t.Errorf("%d of 3 could not be stored", failed)
	}
	if got := rows(t, db, "k"); got != int64(10*(3-failed)) {
		t.Errorf("the row says %d", got)
	}
}

// Nobody is taken for lost while what stores him waits to be written.
func TestWhatWaitsToBeWrittenIsNotLost(t *testing.T) {
	c := &clock{}
	db := sqlite(t)
	l := c.alone(db)
	memorised(t, l, take("k", 0, 100, 0))
	receipt := mustReserve(t, l, "slow", take("k", 60, 100, 0))
	begun, release, done := make(chan struct{}), make(chan struct{}), make(chan error, 2)
	go func() {
		done <- db.Write(t.Context(), func(w *store.Writer) error {
			close(begun)
			<-release // the disk hangs
			return accept(db, "slow", receipt)(w)
		})
	}()
	<-begun
	c.real += 2 * openFor
	go func() { done <- l.sweepMemory(t.Context()) }()
	time.Sleep(50 * time.Millisecond) // it has time to go wrong; right is it after any time
	if got := used(t, l, "k"); got != 60 {
		t.Errorf("%d are used while the disk hangs", got)
	}
	close(release)
	for range 2 {
		if err := <-done; err != nil {
			t.Error(err)
		}
	}
	if got := used(t, l, "k"); got != 60 {
		t.Errorf("%d are used", got)
	}
}

// What was reserved of a limit whose row was forgotten since gives nothing back out
// of what others have reserved of the next.
func TestAReceiptOfAForgottenRowGivesNothingBack(t *testing.T) {
	c := &clock{}
	db := sqlite(t)
	l := c.ledger(db)
	old := mustReserve(t, l, "old", take("k", 60, 100, 0))
	write(t, db, accept(db, "old", old))
	l.Settle("old", old, policy.Stored)
	l.finish()
	write(t, db, func(w *store.Writer) error {
		return w.ExpectTx("old", []store.TxState{store.Queued}, store.TxUpdate{State: store.Failed})
	})
	window := mustReserve(t, l, "window", take("k", 0, 100, time.Minute)) // by the minute from now on
	l.Settle("window", window, policy.Unused)
	l.finish()
	c.real += time.Hour + time.Minute
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(l.do(t.Context(), &op{kind: tidy, keys: []string{"k"}})) // nothing counts any more
	if all, _, err := db.Allowances(t.Context(), []string{"k"}); err != nil || len(all) != 0 {
		t.Fatalf("the row is not forgotten: %+v, %v", all, err)
	}
	mustReserve(t, l, "new", take("k", 100, 100, 0))
	must(l.do(t.Context(), &op{kind: ended, id: "old", clearance: Clearance{Receipt: old}.String(), receipt: old, back: true}))
	if got := used(t, l, "k"); got != 100 {
		t.Errorf("%d of 100 are used", got)
	}
}
