// SPDX-License-Identifier: Apache-2.0

package allowance

import (
	"encoding/json"
	"errors"
	"maps"
	"math/big"
	"slices"

	"github.com/hsmsigner/hsmsigner/internal/policy"
)

// parts is into how many slices a window is cut. What was reserved within one
// slice counts together, until the window after the slice's end has passed.
const parts = 60

// state is what is known of one limit: the JSON in table allowance. Times are
// microseconds as [Ledger.now] counts them.
type state struct {
	Limit string   `json:"limit"` // with the scope of its policy
	Asset string   `json:"asset"`
	Max   *big.Int `json:"max"` // of whoever reserved last; for people

	Window int64 `json:"window"` // microseconds; 0: in total
	Clock  int64 `json:"clock"`  // how far time has come for it
	// Gen is when the row was made, or the window changed last: a slice's number means
	// nothing to who reserved before that. 0: made by an earlier version.
	Gen int64 `json:"gen,omitempty"`

	Slices []slice `json:"slices,omitempty"` // by number; in total: one of number 0

	// Open is what is not known to be stored, by the id of what it is for. Late is
	// what was reserved only when a stored transaction was signed: it stays open
	// until that has ended. Both count in Slices.
	Open map[string]entry `json:"open,omitempty"`
	Late map[string]entry `json:"late,omitempty"`
	// Gone is what was given back since nobody knew of it, and when: whoever comes
	// with it after all is told.
	Gone map[string]int64 `json:"gone,omitempty"`

	broken  error // why it cannot be read
	used    *big.Int
	ahead   *big.Int // reserved of it in memory, and in no row; nil: nothing
	drop    bool     // its row goes if nothing is in it
	changed bool
}

type slice struct {
	N      int64    `json:"n"`
	Amount *big.Int `json:"a"`
}

type entry struct {
	Slice  int64    `json:"s"`
	Amount *big.Int `json:"a"`
	At     int64    `json:"t"`
}

// decode reads what encode has written; "" is a limit that is new. A limit that
// cannot be read is broken, and lets nothing through.
func decode(text string) *state {
	s := &state{used: new(big.Int)}
	if text == "" {
		return s
	}
	if err := json.Unmarshal([]byte(text), s); err != nil {
		return &state{used: new(big.Int), broken: err}
	}
	for _, l := range s.Slices {
		if l.Amount == nil || l.Amount.Sign() < 0 {
			s.broken = errDamaged
			return s
		}
		s.used.Add(s.used, l.Amount)
	}
	for _, entries := range []map[string]entry{s.Open, s.Late} {
		for _, e := range entries {
			if e.Amount == nil || e.Amount.Sign() < 0 {
				s.broken = errDamaged
			}
		}
	}
	return s
}

var errDamaged = errors.New("an amount is missing or below 0")

func (s *state) encode() (string, error) {
	text, err := json.Marshal(s)
	return string(text), err
}

// advance sets the clock and forgets what has passed.
func (s *state) advance(now int64) {
	s.Clock = max(s.Clock, now)
	for id, at := range s.Gone {
		if at+goneFor.Microseconds() < s.Clock {
			delete(s.Gone, id)
		}
	}
	if s.Window == 0 {
		return
	}
	s.Slices = slices.DeleteFunc(s.Slices, func(l slice) bool {
		gone := s.ends(l.N)+s.Window <= s.Clock
		if gone {
			s.used.Sub(s.used, l.Amount)
		}
		return gone
	})
}

// width is how long a slice is, rounded up.
func (s *state) width() int64 { return (s.Window + parts - 1) / parts }

// ends is when a slice ends.
func (s *state) ends(n int64) int64 { return (n + 1) * s.width() }

// current is the number of the slice that is now.
func (s *state) current() int64 {
	if s.Window == 0 {
		return 0
	}
	return s.Clock / s.width()
}

// fits makes the state one of that limit, whose window may have changed since.
// What counts goes on to count for at least as long as it would have by either
// window: nothing is forgotten, and what is in a sum has no time any more.
func (s *state) fits(t policy.Take) {
	window := t.Window.Microseconds()
	if s.Limit == "" {
		s.begin(window)
	}
	s.Limit, s.Asset, s.Max = t.Limit, t.Asset, t.Max
	if s.Window == window {
		return
	}
	old := *s
	s.Window, s.Slices, s.Gen = window, nil, max(s.Gen+1, s.Clock)
	for _, entries := range []map[string]entry{s.Open, s.Late} {
		maps.DeleteFunc(entries, func(_ string, e entry) bool { return !old.counts(e.Slice) }) // nothing of it is left to give back
	}
	place := func(n int64) int64 { return recut(old.Window, window, n, s.Clock) }
	for _, l := range old.Slices {
		s.put(place(l.N), l.Amount)
	}
	for _, entries := range []map[string]entry{s.Open, s.Late} {
		for id, e := range entries {
			e.Slice = place(e.Slice)
			entries[id] = e
		}
	}
	s.used = new(big.Int)
	for _, l := range s.Slices {
		s.used.Add(s.used, l.Amount)
	}
}

// begin makes a new limit. There may have been a row of it before, which was
// forgotten: what was reserved then has nothing to give back here.
func (s *state) begin(window int64) { s.Window, s.Gen = window, s.Clock }

// counts reports whether what was reserved in a slice still counts.
func (s *state) counts(n int64) bool {
	return slices.ContainsFunc(s.Slices, func(l slice) bool { return l.N == n })
}

// recut is where slice n of one window is in another.
func recut(from, to, n, now int64) int64 {
	was, is := state{Window: from}, state{Window: to, Clock: now}
	if from == 0 || to == 0 {
		return is.current()
	}
	return (was.ends(n) - 1) / is.width()
}

// put adds an amount to a slice, without counting it.
func (s *state) put(n int64, amount *big.Int) {
	i, found := slices.BinarySearchFunc(s.Slices, n, func(l slice, n int64) int { return int(min(max(l.N-n, -1), 1)) })
	if !found {
		s.Slices = slices.Insert(s.Slices, i, slice{N: n, Amount: new(big.Int)})
	}
	s.Slices[i].Amount = new(big.Int).Add(s.Slices[i].Amount, amount) // the old one may be a clone's, too
}

// add counts an amount from now on.
func (s *state) add(amount *big.Int) entry {
	n := s.current()
	s.put(n, amount)
	s.used.Add(s.used, amount)
	s.changed = true
	return entry{Slice: n, Amount: amount, At: s.Clock}
}

// giveBack takes an amount out of the slice it is counted in. A slice that has
// passed has nothing to give.
func (s *state) giveBack(n int64, amount *big.Int) {
	for i, l := range s.Slices {
		if l.N != n {
			continue
		}
		if amount.Cmp(l.Amount) > 0 {
			amount = l.Amount
		}
		s.used.Sub(s.used, amount)
		s.Slices[i].Amount = new(big.Int).Sub(l.Amount, amount)
		if s.Slices[i].Amount.Sign() == 0 {
			s.Slices = slices.Delete(s.Slices, i, i+1)
		}
		s.changed = true
		return
	}
}

// exceeded is the error if more does not fit, nil if it does.
func (s *state) exceeded(t policy.Take, more *big.Int) error {
	used := new(big.Int).Set(s.used)
	if s.ahead != nil {
		used.Add(used, s.ahead)
	}
	if more != nil && new(big.Int).Add(used, more).Cmp(t.Max) <= 0 {
		return nil
	}
	return &ExceededError{Limit: t.Limit, Asset: t.Asset, Amount: t.Amount, Used: used, Max: t.Max, Window: t.Window}
}

// idle reports whether nothing is lost when the row is.
func (s *state) idle() bool {
	return len(s.Slices)+len(s.Open)+len(s.Late)+len(s.Gone) == 0 && (s.ahead == nil || s.ahead.Sign() == 0)
}

// clone is a copy that can be changed.
func (s *state) clone() *state {
	c := *s
	c.Slices, c.Open, c.Late, c.Gone = slices.Clone(s.Slices), maps.Clone(s.Open), maps.Clone(s.Late), maps.Clone(s.Gone)
	c.used = new(big.Int).Set(s.used)
	c.ahead, c.drop, c.changed = nil, false, false
	return &c
}

// usedAt is what counts at a time, if nothing is added until then.
func (s *state) usedAt(now int64) *big.Int {
	used := new(big.Int).Set(s.used)
	if s.Window == 0 {
		return used
	}
	for _, l := range s.Slices {
		if s.ends(l.N)+s.Window > max(s.Clock, now) {
			break // so do those behind it
		}
		used.Sub(used, l.Amount)
	}
	return used
}

// spend counts what was reserved in memory, in the slice in which it was. With open
// it stays open, until somebody says what became of it.
func (s *state) spend(id string, t policy.Take, p Part, open bool) {
	if s.Limit == "" {
		s.begin(p.Window)
	}
	n := p.Slice
	if p.Window != s.Window || p.Gen != s.Gen {
		n = s.current() // the window has changed since, and a slice's number with it
	}
	s.Limit, s.Asset, s.Max = t.Limit, t.Asset, t.Max
	s.put(n, p.Amount)
	s.used.Add(s.used, p.Amount)
	s.changed = true
	if open {
		if s.Open == nil {
			s.Open = map[string]entry{}
		}
		s.Open[id] = entry{Slice: n, Amount: p.Amount, At: s.Clock}
	}
}
