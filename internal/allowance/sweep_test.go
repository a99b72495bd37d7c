// SPDX-License-Identifier: Apache-2.0

package allowance

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/audit"
	"github.com/hsmsigner/hsmsigner/internal/policy"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

func sweep(t *testing.T, ledgers ...*Ledger) {
	t.Helper()
	var wg sync.WaitGroup
	for _, l := range ledgers {
		wg.Go(func() {
			if err := l.Sweep(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
}

func write(t *testing.T, db *store.DB, f func(w *store.Writer) error) {
	t.Helper()
	if err := db.Write(t.Context(), f); err != nil {
		t.Fatal(err)
	}
}

// history of a transaction, as the transaction manager and the wallet write it.
type txHistory struct {
	state    store.TxState
	nonce    int64     // of the row; -1: none
	attempts []int64   // their nonces
	outcomes []bool    // of the intent: whether the backend was asked
	stored   bool      // the bytes of the first attempt are stored
	mined    int64     // nonce at which another transaction of the sender is confirmed; -1: none
	ended    time.Time // when
}

func (h txHistory) insert(t *testing.T, db *store.DB, id, clearance string) {
	t.Helper()
	row := store.Tx{
		ID: id, Wallet: "w", Intent: "intent of " + id, Sender: "sender of " + id, Kind: store.UserTx, State: h.state,
		Created: h.ended, Updated: h.ended, Clearance: clearance,
	}
	if h.nonce >= 0 {
		n := uint64(h.nonce)
		row.Nonce = &n
	}
	write(t, db, func(w *store.Writer) error {
		if err := w.InsertTx(row); err != nil {
			return err
		}
		if h.mined >= 0 {
			other, n := row, uint64(h.mined)
			other.ID, other.State, other.Nonce, other.Clearance = "other "+id, store.Confirmed, &n, ""
			if err := w.InsertTx(other); err != nil {
				return err
			}
		}
		for i, nonce := range h.attempts {
			a := store.Attempt{
				ID: fmt.Sprint("attempt ", i, id), Tx: id, Sender: row.Sender, Nonce: uint64(nonce), Kind: store.FirstAttempt,
				Digest: common.Hash{1}, Outcome: store.Void, Created: h.ended,
			}
			if h.stored && i == 0 {
				a.Raw, a.Hash = []byte{1}, common.Hash{byte(i + 1)}
			}
			if err := w.InsertAttempt(a); err != nil {
				return err
			}
		}
		for i, asked := range h.outcomes {
			o := audit.Outcome{ID: fmt.Sprint("outcome ", i, id), Intent: row.Intent, At: h.ended}
			if asked {
				o.Digest = common.Hash{1}
			}
			if err := w.AuditOutcome(o); err != nil {
				return err
			}
		}
		return nil
	})
}

func TestWhatCrashedBeforeItWasStoredIsGivenBackAfterTenMinutes(t *testing.T) {
	everywhere(t, func(t *testing.T, db *store.DB) {
		c := &clock{}
		mustReserve(t, c.ledger(db), "lost", take("window", 60, 100, time.Hour), take("total", 70, 100, 0))
		l := c.ledger(db) // the next process
		c.real += openFor - time.Second
		sweep(t, l)
		if got := [2]int64{used(t, l, "window"), used(t, l, "total")}; got != [2]int64{60, 70} {
			t.Fatalf("used %v before ten minutes are over", got)
		}
		c.real += 2 * time.Second
		sweep(t, l, c.ledger(db), c.ledger(db))
		if got := [2]int64{used(t, l, "window"), used(t, l, "total")}; got != [2]int64{0, 0} {
			t.Fatalf("used %v afterwards", got)
		}
	})
}

func TestACrashWithoutASweepLeaksNothingForLongerThanTheWindow(t *testing.T) {
	c := &clock{}
	db := sqlite(t)
	mustReserve(t, c.ledger(db), "lost", take("k", 100, 100, time.Hour))
	c.real += time.Hour + time.Hour/parts + time.Millisecond
	mustReserve(t, c.ledger(db), "next", take("k", 100, 100, time.Hour))
}

func TestWhatIsStoredStaysUsedAlthoughNobodySettledIt(t *testing.T) {
	everywhere(t, func(t *testing.T, db *store.DB) {
		c := &clock{}
		dead := c.ledger(db)
		mustReserve(t, dead, "sent", take("k", 1, 100, 0))
		mustReserve(t, dead, "signed", take("k", 2, 100, 0))
		mustReserve(t, dead, "perhaps signed", take("k", 4, 100, 0))
		mustReserve(t, dead, "not signed", take("k", 8, 100, 0))
		txHistory{state: store.Queued, nonce: -1, mined: -1, ended: c.wall()}.insert(t, db, "sent", "x")
		write(t, db, func(w *store.Writer) error {
			for _, id := range []string{"signed", "perhaps signed", "not signed"} {
				if err := w.AuditIntent(audit.Intent{ID: id, At: c.wall()}); err != nil {
					return err
				}
			}
			if err := w.AuditOutcome(audit.Outcome{ID: "1", Intent: "signed", At: c.wall(), Digest: common.Hash{1}}); err != nil {
				return err
			}
			return w.AuditOutcome(audit.Outcome{ID: "2", Intent: "not signed", At: c.wall(), Error: "the backend is away"})
		})
		c.real += openFor
		l := c.ledger(db)
		sweep(t, l)
		if got := used(t, l, "k"); got != 7 {
			t.Errorf("%d are used, want 7: all but what was not signed", got)
		}
		c.real += 10 * openFor
		sweep(t, l)
		l.Settle("sent", Receipt{{Key: "k", Amount: take("k", 1, 1, 0).Amount}}, policy.Unused)
		l.finish()
		if got := used(t, l, "k"); got != 7 {
			t.Errorf("%d are used later, want 7", got)
		}
	})
}

func TestSigningAgainAndAgainRegainsNothing(t *testing.T) {
	c := &clock{}
	db := sqlite(t)
	l := c.ledger(db)
	var exceeded *ExceededError
	signed := 0
	for i := range 200 {
		id := fmt.Sprintf("%03d", i)
		receipt, err := l.Reserve(t.Context(), id, []policy.Take{take("day", 7, 1000, 24*time.Hour), take("ever", 7, 500, 0)})
		if errors.As(err, &exceeded) {
			continue
		}
		if err != nil {
			t.Fatal(err)
		}
		signed += 7
		write(t, db, func(w *store.Writer) error {
			if err := w.AuditIntent(audit.Intent{ID: id, At: c.wall(), Action: audit.SignTransaction}); err != nil {
				return err
			}
			return w.AuditOutcome(audit.Outcome{ID: id, Intent: id, At: c.wall(), Digest: common.Hash{1}, Hash: common.Hash{2}})
		})
		switch i % 3 {
		case 0:
			l.Settle(id, receipt, policy.Stored)
		case 1: // it crashes before it can
			l = c.ledger(db)
		case 2: // and settling it otherwise afterwards changes nothing
			l.Settle(id, receipt, policy.Stored)
			l.finish()
			l.Settle(id, receipt, policy.Unused)
		}
		c.real += time.Minute
		if i%10 == 0 {
			sweep(t, l)
		}
	}
	if signed > 500 || signed <= 500-7 {
		t.Errorf("%d were signed for, of 500", signed)
	}
	if got := used(t, l, "ever"); got != int64(signed) {
		t.Errorf("%d are used of what %d was signed for", got, signed)
	}
}

func TestWhatATransactionHadReservedIsGivenBackOnlyIfItCannotBeMined(t *testing.T) {
	cases := map[string]struct {
		history txHistory
		soon    fate // after two minutes
		late    fate // after more than an hour
	}{
		"confirmed":                                  {txHistory{state: store.Confirmed, nonce: 3, attempts: []int64{3}, outcomes: []bool{true}, stored: true, mined: -1}, waits, waits},
		"still on its way":                           {txHistory{state: store.Sent, nonce: 3, attempts: []int64{3}, outcomes: []bool{true}, stored: true, mined: -1}, waits, waits},
		"refused before a signature was wanted":      {txHistory{state: store.Failed, nonce: -1, mined: -1}, back, back},
		"denied at signing":                          {txHistory{state: store.Failed, nonce: -1, attempts: []int64{3}, outcomes: []bool{false}, mined: -1}, back, back},
		"denied at signing, and at another nonce":    {txHistory{state: store.Failed, nonce: -1, attempts: []int64{3, 4}, outcomes: []bool{false, false}, mined: -1}, back, back},
		"a signature may be on its way":              {txHistory{state: store.Failed, nonce: -1, attempts: []int64{3}, mined: -1}, waits, kept},
		"one signature of two may be on its way":     {txHistory{state: store.Failed, nonce: -1, attempts: []int64{3, 4}, outcomes: []bool{false}, mined: -1}, waits, kept},
		"asked, then failed":                         {txHistory{state: store.Failed, nonce: -1, attempts: []int64{3}, outcomes: []bool{true}, mined: -1}, waits, kept},
		"bytes stored, then failed":                  {txHistory{state: store.Failed, nonce: -1, attempts: []int64{3}, stored: true, mined: -1}, waits, kept},
		"asked, then failed, another mined at it":    {txHistory{state: store.Failed, nonce: -1, attempts: []int64{3}, outcomes: []bool{true}, mined: 3}, back, back},
		"asked, then failed, another mined above it": {txHistory{state: store.Failed, nonce: -1, attempts: []int64{3}, outcomes: []bool{true}, mined: 5}, back, back},
		"asked, then failed, another mined below it": {txHistory{state: store.Failed, nonce: -1, attempts: []int64{3}, outcomes: []bool{true}, mined: 2}, waits, kept},
		"cancelled by a transaction at its nonce":    {txHistory{state: store.Failed, nonce: 3, attempts: []int64{3, 3}, outcomes: []bool{true, true}, stored: true, mined: -1}, back, back},
		"replaced":                     {txHistory{state: store.Replaced, nonce: 3, attempts: []int64{3}, outcomes: []bool{true}, stored: true, mined: 3}, back, back},
		"displaced by somebody else's": {txHistory{state: store.Displaced, nonce: 3, attempts: []int64{3}, outcomes: []bool{true}, stored: true, mined: -1}, back, back},
		"displaced, and once signed at a higher nonce":  {txHistory{state: store.Displaced, nonce: 3, attempts: []int64{4, 3}, outcomes: []bool{true, true}, stored: true, mined: -1}, waits, kept},
		"displaced, and once signed at a lower nonce":   {txHistory{state: store.Displaced, nonce: 3, attempts: []int64{2, 3}, outcomes: []bool{true, true}, mined: -1}, back, back},
		"failed, and asked although no attempt is left": {txHistory{state: store.Failed, nonce: -1, outcomes: []bool{true}, mined: 9}, waits, kept},
	}
	dbs := replicas(t, 3)
	c := &clock{}
	ledgers := []*Ledger{c.ledger(dbs[0]), c.ledger(dbs[1]), c.ledger(dbs[2])}
	for name, test := range cases {
		test.history.ended = c.wall()
		for _, settled := range []bool{true, false} {
			id := fmt.Sprint(name, settled)
			receipt := mustReserve(t, ledgers[0], id, take(id, 5, 100, 24*time.Hour), take(id+" ever", 5, 100, 0))
			mustReserve(t, ledgers[0], "beside "+id, take(id, 6, 100, 24*time.Hour), take(id+" ever", 6, 100, 0))
			ledgers[0].Settle("beside "+id, Receipt{{Key: id}, {Key: id + " ever"}}, policy.Stored)
			if settled {
				ledgers[0].Settle(id, receipt, policy.Stored)
			}
			test.history.insert(t, dbs[0], id, Clearance{Receipt: receipt}.String())
		}
	}
	check := func(when string, of func(soon, late fate) fate) {
		t.Helper()
		for name, test := range cases {
			want := int64(11)
			if of(test.soon, test.late) == back {
				want = 6
			}
			for _, id := range []string{name + "true", name + "false"} {
				if got := [2]int64{used(t, ledgers[1], id), used(t, ledgers[1], id+" ever")}; got != [2]int64{want, want} {
					t.Errorf("%s: %s: %v are used, want %d", when, id, got, want)
				}
			}
		}
	}
	sweep(t, ledgers...)
	check("at once", func(fate, fate) fate { return waits })
	for _, when := range []time.Duration{2 * time.Minute, 20 * time.Minute} {
		c.real += when
		sweep(t, ledgers...)
		check(when.String(), func(soon, _ fate) fate { return soon })
	}
	c.real += 2 * giveUpAfter
	sweep(t, ledgers...)
	sweep(t, ledgers...)
	check("at last", func(_, late fate) fate { return late })
	unsettled, err := dbs[0].Unsettled(t.Context(), "", 1000)
	if err != nil || len(unsettled) != 0 {
		t.Errorf("%d transactions are looked at for ever, %v", len(unsettled), err)
	}
}

// What was on its way in a restored backup may be mined although its row failed,
// and although something else is at its nonce there: it is never given back.
func TestWhatARestoredBackupHadReservedStaysUsed(t *testing.T) {
	for name, h := range map[string]txHistory{
		"given up":  {state: store.Failed, nonce: -1, mined: -1},
		"displaced": {state: store.Displaced, nonce: 3, attempts: []int64{3}, outcomes: []bool{true}, stored: true, mined: 4},
	} {
		t.Run(name, func(t *testing.T) {
			c := &clock{}
			db := sqlite(t)
			l := c.ledger(db)
			have := mustReserve(t, l, "tx", take("old", 5, 100, 0))
			l.Settle("tx", have, policy.Stored)
			if err := l.Renew(t.Context(), "tx", []policy.Take{take("old", 5, 100, 0), take("new", 7, 100, 0)}, have); err != nil {
				t.Fatal(err)
			}
			h.ended = c.wall()
			h.insert(t, db, "tx", store.SpentMark+Clearance{Receipt: have}.String())
			for range 4 {
				c.real += 25 * time.Minute
				l.often(t.Context())
				sweep(t, l, c.ledger(db))
			}
			if got := [2]int64{used(t, l, "old"), used(t, l, "new")}; got != [2]int64{5, 7} {
				t.Errorf("%v are used", got)
			}
			if rows, err := db.Unsettled(t.Context(), "", 10); err != nil || len(rows) != 0 {
				t.Errorf("%d transactions are looked at for ever, %v", len(rows), err)
			}
		})
	}
	c, err := ParseClearance(store.SpentMark + `{"p":"a","q":["big"]}`)
	if err != nil || c.Approval != "a" || c.String() != store.SpentMark+`{"p":"a","q":["big"]}` {
		t.Errorf("%s, %v", c, err)
	}
}

func TestWhatComesAfterItWasGivenBackCountsAllTheSame(t *testing.T) {
	c := &clock{}
	db := sqlite(t)
	slow, l := c.ledger(db), c.ledger(db)
	kept := mustReserve(t, slow, "slow", take("k", 60, 100, 24*time.Hour))
	signed := mustReserve(t, slow, "slower", take("k", 40, 100, 24*time.Hour))
	c.real += openFor
	sweep(t, l)
	mustReserve(t, l, "other", take("k", 90, 100, 24*time.Hour))
	// What was promised to be sent is reserved anew before it is signed; if it does
	// not fit any more, it is not signed.
	var exceeded *ExceededError
	if err := slow.Renew(t.Context(), "slower", []policy.Take{take("k", 40, 100, 24*time.Hour)}, signed); !errors.As(err, &exceeded) {
		t.Errorf("it does not fit any more: %v", err)
	}
	// What was signed counts.
	slow.Settle("slow", kept, policy.Stored)
	slow.Settle("slow", kept, policy.Stored)
	slow.finish()
	if got := used(t, l, "k"); got != 150 {
		t.Errorf("%d are used, want 150", got)
	}
}

// A process dies after it has stored a transaction, and before it could say so; the
// next one sees it fail. Told so and swept, in any order, it is given back once.
func TestATransactionThatNobodySettledIsGivenBackOnce(t *testing.T) {
	for _, first := range []string{"told", "swept"} {
		c := &clock{}
		db := sqlite(t)
		l := c.ledger(db)
		mustReserve(t, l, "other", take("k", 50, 100, 0))
		write(t, db, func(w *store.Writer) error { return w.AuditIntent(audit.Intent{ID: "other", At: c.wall()}) })
		receipt := mustReserve(t, l, "tx", take("k", 30, 100, 0))
		txHistory{state: store.Failed, nonce: -1, mined: -1, ended: c.wall()}.insert(t, db, "tx", Clearance{Receipt: receipt}.String())
		l = c.ledger(db)
		c.real += time.Minute
		for i := range 4 {
			if (i%2 == 0) == (first == "told") {
				l.Settle("tx", receipt, policy.Unused)
				l.finish()
			} else {
				sweep(t, l)
			}
			c.real += 2 * openFor * time.Duration(i/2)
		}
		if got := used(t, l, "k"); got != 50 {
			t.Errorf("%s first: %d are used, want 50", first, got)
		}
	}
}

func TestRunWritesWhatWasSettledAndFindsWhatWasNot(t *testing.T) {
	c := &clock{}
	db := sqlite(t)
	mustReserve(t, c.ledger(db), "lost", take("k", 1, 100, 0))
	c.real += openFor
	l := c.ledger(db)
	unused := mustReserve(t, l, "unused", take("k", 10, 100, 0))
	kept := mustReserve(t, l, "kept", take("k", 50, 100, 0))
	ctx, cancel := context.WithCancel(t.Context())
	var wg sync.WaitGroup
	wg.Go(func() { l.Run(ctx) })
	l.Settle("unused", unused, policy.Unused)
	for end := time.Now().Add(time.Minute); used(t, l, "k") != 50; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("%d are used, want 50", used(t, l, "k"))
		}
	}
	l.Settle("kept", kept, policy.Unused)
	cancel()
	wg.Wait()
	if got := used(t, l, "k"); got != 0 {
		t.Errorf("%d are used at the end, want what was settled last to be written", got)
	}
}
