// SPDX-License-Identifier: Apache-2.0

package allowance

import (
	"context"
	"encoding/json"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/store"
)

const (
	// settleAfter is how long a transaction has ended before it is looked at: a
	// signature that was on its way is on record by then.
	settleAfter = 10 * time.Second
	// giveUpAfter is when nobody waits any more for what else becomes of a signature
	// that nobody has sent.
	giveUpAfter = time.Hour
	tidyEvery   = time.Hour
	page        = 256
)

// Clearance is what a transaction keeps of the verdict that it was accepted by.
type Clearance struct {
	Revision string   `json:"r,omitempty"` // of the rules that were judged by
	At       int64    `json:"t,omitempty"` // when; seconds since 1970
	Approval string   `json:"p,omitempty"` // id of the approval
	Asked    []string `json:"q,omitempty"` // the rules that it satisfied
	Receipt  Receipt  `json:"k,omitempty"`

	spent bool // see store.SpentMark
}

// String is how it is stored; empty if there is nothing to remember.
func (c Clearance) String() string {
	mark := ""
	if c.spent {
		mark = store.SpentMark
	}
	if c.Approval == "" && len(c.Receipt) == 0 {
		return mark
	}
	text, _ := json.Marshal(c) // cannot fail: texts and integers
	return mark + string(text)
}

// ParseClearance reads what String has written.
func ParseClearance(text string) (Clearance, error) {
	var c Clearance
	text, c.spent = strings.CutPrefix(text, store.SpentMark)
	if text == "" {
		return c, nil
	}
	err := json.Unmarshal([]byte(text), &c)
	return c, err
}

// fate is what becomes of what a transaction has reserved.
type fate int

const (
	waits fate = iota // it is not known yet
	kept              // it was spent, or might be
	back              // nothing was signed, or nothing that was signed can be mined
)

// fateOf decides about a transaction that may have ended.
func fateOf(e store.Ending, now time.Time) fate {
	switch e.State {
	case store.Confirmed:
		return kept
	case store.Failed, store.Replaced, store.Displaced:
	default:
		return waits
	}
	since := now.Sub(e.Updated)
	switch {
	case strings.HasPrefix(e.Clearance, store.SpentMark):
		return kept
	case since < settleAfter:
		return waits
	case !e.Asked && e.Outcomes >= e.Attempts:
		return back
	case e.Attempts > 0 && e.Highest <= e.Used:
		return back // something else is mined at each nonce that it was signed for
	case since < giveUpAfter:
		return waits
	}
	return kept
}

// often looks at what is few and waited for: the rest is for Sweep.
func (l *Ledger) often(ctx context.Context) { l.sweepOnce(ctx, l.sweepEnded) }

func (l *Ledger) sweepOnce(ctx context.Context, sweep func(context.Context) error) {
	if err := sweep(ctx); err != nil && ctx.Err() == nil {
		l.cfg.Logger.Warn("reserved allowances could not be looked through; it is tried again", "err", err)
	}
}

// Sweep finds out what became of what nobody has settled. Run does it. Any number of replicas may do it at once.
func (l *Ledger) Sweep(ctx context.Context) error {
	l.flush()
	if err := l.sweepMemory(ctx); err != nil {
		return err
	}
	if err := l.sweepOpen(ctx); err != nil { // first: it looks at clearances that sweepEnded drops
		return err
	}
	if err := l.sweepEnded(ctx); err != nil {
		return err
	}
	return l.tidy(ctx)
}

// tidy forgets limits of which nothing counts any more, once in a while: those
// that are counted per account or token may be many.
func (l *Ledger) tidy(ctx context.Context) error {
	l.clock.Lock()
	due := l.since() >= l.tidied+tidyEvery
	if due {
		l.tidied = l.since()
	}
	l.clock.Unlock()
	if !due {
		return nil
	}
	now, err := l.meet(ctx)
	if err != nil {
		return err
	}
	for after := ""; ; {
		rows, err := l.cfg.Store.AllowancesAfter(ctx, after, page, false)
		if err != nil {
			return err
		}
		for _, r := range rows {
			after = r.Name
			if s := look(r, now); s.broken != nil || !s.idle() {
				continue
			}
			if err := l.do(ctx, &op{kind: tidy, keys: []string{r.Name}}); err != nil {
				return err
			}
		}
		if len(rows) < page {
			return nil
		}
	}
}

// sweepEnded looks at transactions that ended without being mined.
func (l *Ledger) sweepEnded(ctx context.Context) error {
	for after := ""; ; {
		rows, err := l.cfg.Store.Unsettled(ctx, after, page)
		if err != nil {
			return err
		}
		for _, e := range rows {
			after = e.ID
			what := fateOf(e, l.today())
			if what == waits || strings.HasPrefix(e.Clearance, store.SpentMark) && l.today().Sub(e.Updated) < giveUpAfter {
				continue // sweepOpen has to see the mark, too
			}
			c, err := ParseClearance(e.Clearance)
			if err != nil {
				l.cfg.Logger.Error("the clearance of a transaction cannot be read; what it has reserved stays used", "tx", e.ID)
			}
			if err := l.do(ctx, &op{kind: ended, id: e.ID, clearance: e.Clearance, receipt: c.Receipt, back: what == back}); err != nil {
				return err
			}
		}
		if len(rows) < page {
			return nil
		}
	}
}

// sweepOpen looks at what has been open for long.
func (l *Ledger) sweepOpen(ctx context.Context) error {
	now, err := l.meet(ctx)
	if err != nil {
		return err
	}
	for after := ""; ; {
		rows, err := l.cfg.Store.AllowancesAfter(ctx, after, page, true)
		if err != nil {
			return err
		}
		open, late := map[string][]string{}, map[string][]string{}
		for _, r := range rows {
			after = r.Name
			s := look(r, now)
			for id, e := range s.Open {
				if s.Clock-e.At >= openFor.Microseconds() {
					open[id] = append(open[id], r.Name)
				}
			}
			for id := range s.Late {
				late[id] = append(late[id], r.Name)
			}
		}
		if err := l.settleOpen(ctx, open, late); err != nil {
			return err
		}
		if len(rows) < page {
			return nil
		}
	}
}

// sweepMemory finds out what became of what is in doubt, and gives back what has been
// in no commit for long.
func (l *Ledger) sweepMemory(ctx context.Context) error {
	if l.mem == nil {
		return nil
	}
	if l.mem.doubts() != nil {
		if err := l.do(ctx, &op{kind: known}); err != nil { // every batch looks for them
			return err
		}
	}
	ids := l.mem.over(l.since())
	if len(ids) == 0 {
		return nil
	}
	// What waits to be written is, after this, which is written behind it.
	if err := l.cfg.Store.WriteAllowance(ctx, func(*store.Writer) error { return nil }); err != nil {
		return err
	}
	txs, err := l.cfg.Store.Endings(ctx, ids)
	if err != nil {
		return err
	}
	intents, err := l.cfg.Store.IntentsAsked(ctx, ids)
	if err != nil {
		return err
	}
	for _, id := range ids {
		_, isTx := txs[id]
		if _, isIntent := intents[id]; !isTx && !isIntent {
			l.mem.lose(id)
		}
	}
	return nil
}

func (l *Ledger) settleOpen(ctx context.Context, open, lates map[string][]string) error {
	ids := append(slices.Sorted(maps.Keys(open)), slices.Sorted(maps.Keys(lates))...)
	if len(ids) == 0 {
		return nil
	}
	txs, err := l.cfg.Store.Endings(ctx, ids)
	if err != nil {
		return err
	}
	intents, err := l.cfg.Store.IntentsAsked(ctx, slices.Collect(maps.Keys(open)))
	if err != nil {
		return err
	}
	for id, keys := range open {
		o := &op{kind: unknown, id: id, keys: keys}
		_, isTx := txs[id]
		asked, isIntent := intents[id]
		switch {
		case isTx || isIntent && asked:
			o.kind = known
		case isIntent:
			o.kind = unasked
		}
		if err := l.do(ctx, o); err != nil {
			return err
		}
	}
	for id, keys := range lates {
		what := kept // its row is pruned
		if e, there := txs[id]; there {
			what = fateOf(e, l.today())
		}
		if what == waits {
			continue
		}
		if err := l.do(ctx, &op{kind: late, id: id, keys: keys, back: what == back}); err != nil {
			return err
		}
	}
	return nil
}

// today is the time by the clock that rows are written by.
func (l *Ledger) today() time.Time { return l.wall(time.Now()) }
