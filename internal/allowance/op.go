// SPDX-License-Identifier: Apache-2.0

package allowance

import (
	"fmt"
	"math/big"

	"github.com/hsmsigner/hsmsigner/internal/policy"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

// kind is what is done to the limits that an op names.
type kind int

const (
	reserve kind = iota // reserve takes, if all fit
	renew               // reserve what receipt does not have of takes, if all fit
	stored              // what is open for id is stored
	unused              // what is open for id is given back
	known               // what is open for id is stored; by keys
	unasked             // what is open for id is given back; by keys
	unknown             // likewise, since there is nothing that it could be for; noted
	ended               // the transaction id has ended: drop its clearance, and give receipt back if back
	late                // likewise for what was reserved when it was signed
	tidy                // forget a limit of which nothing counts
)

// op is one thing to be done to some limits, all in one commit with others.
type op struct {
	kind      kind
	id        string
	takes     []policy.Take // of reserve and renew; one for each key
	receipt   Receipt       // of reserve: made; of all others: given
	keys      []string      // of known, unasked, unknown, late and tidy
	clearance string        // of ended
	back      bool          // of ended and late

	err  error
	done chan struct{} // nil: nobody waits
	left bool          // whoever waited has gone; guarded by Ledger.queue
}

// names are the keys of the limits that it is about.
func (o *op) names() []string {
	names := append([]string(nil), o.keys...)
	for _, t := range o.takes {
		names = append(names, t.Key)
	}
	for _, p := range o.receipt {
		names = append(names, p.Key)
	}
	return names
}

// book is the limits of one commit, by key. All are there, and their clocks set.
type book map[string]*state

// run does o. It may be done anew after a commit that did not happen.
func (b book) run(w *store.Writer, o *op) error {
	for _, name := range o.names() {
		if err := b[name].broken; err != nil {
			o.err = fmt.Errorf("allowance: %w: %s: %w", ErrDamaged, name, err)
			return nil
		}
	}
	switch o.kind {
	case reserve:
		o.receipt, o.err = b.reserve(o.id, o.takes)
	case renew:
		o.err = b.renew(o.id, o.takes, o.receipt)
	case stored:
		b.stored(o.id, o.receipt)
	case unused:
		return b.unused(w, o)
	case known:
		for _, key := range o.keys {
			s := b[key]
			delete(s.Open, o.id)
			s.changed = true
		}
	case unasked:
		for _, key := range o.keys {
			b[key].close(o.id)
		}
	case unknown:
		for _, key := range o.keys {
			if s := b[key]; s.close(o.id) {
				s.note(o.id)
			}
		}
	case ended:
		return b.ended(w, o)
	case late:
		for _, key := range o.keys {
			b[key].endLate(o.id, o.back)
		}
	}
	return nil
}

func (b book) reserve(id string, takes []policy.Take) (Receipt, error) {
	for _, t := range takes {
		s := b[t.Key]
		s.fits(t)
		if err := s.exceeded(t, missing(t.Amount, s.Open[id].Amount)); err != nil {
			return nil, err
		}
	}
	receipt := make(Receipt, 0, len(takes))
	for _, t := range takes {
		s := b[t.Key]
		e, open := s.Open[id]
		if !open || e.Amount.Cmp(t.Amount) < 0 {
			s.close(id)
			e = s.add(t.Amount)
			if s.Open == nil {
				s.Open = map[string]entry{}
			}
			s.Open[id] = e
			delete(s.Gone, id)
		}
		receipt = append(receipt, Part{Key: t.Key, Window: s.Window, Slice: e.Slice, Gen: s.Gen, Amount: e.Amount})
	}
	return receipt, nil
}

func (b book) renew(id string, takes []policy.Take, have Receipt) error {
	for _, t := range takes {
		s := b[t.Key]
		s.fits(t)
		if err := s.exceeded(t, missing(missing(t.Amount, s.has(id, have, t.Key)), s.Late[id].Amount)); err != nil {
			return err
		}
	}
	for _, t := range takes {
		s := b[t.Key]
		need := missing(t.Amount, s.has(id, have, t.Key))
		if old := s.Late[id]; missing(need, old.Amount).Sign() > 0 {
			if old.Amount != nil {
				s.giveBack(old.Slice, old.Amount)
			}
			if s.Late == nil {
				s.Late = map[string]entry{}
			}
			s.Late[id] = s.add(need)
		}
	}
	return nil
}

// has is what a receipt has reserved of a limit, nil for nothing.
func (s *state) has(id string, have Receipt, key string) *big.Int {
	if _, gone := s.Gone[id]; gone {
		return nil
	}
	for _, p := range have {
		if p.Key == key {
			return p.Amount
		}
	}
	return nil
}

// missing is what want is above have, at least 0; nil if want is unlimited.
func missing(want, have *big.Int) *big.Int {
	switch {
	case want == nil, have == nil:
		return want
	case have.Cmp(want) >= 0:
		return new(big.Int)
	}
	return new(big.Int).Sub(want, have)
}

// stored closes what is open, and goes on to count it. What the sweep has given
// back meanwhile counts again, whatever the limit says: it may be signed.
func (b book) stored(id string, have Receipt) {
	for _, p := range have {
		s := b[p.Key]
		if _, open := s.Open[id]; open {
			delete(s.Open, id)
			s.changed = true
		}
		if _, gone := s.Gone[id]; gone {
			delete(s.Gone, id)
			s.add(p.Amount)
		}
	}
}

// unused gives back what is open, unless a transaction of that id is stored: what
// becomes of that one is found in its row, once.
func (b book) unused(w *store.Writer, o *op) error {
	open := false
	for _, p := range o.receipt {
		_, is := b[p.Key].Open[o.id]
		open = open || is
	}
	if !open {
		return nil
	}
	kept, err := w.HasTx(o.id)
	if err != nil || kept {
		return err
	}
	for _, p := range o.receipt {
		b[p.Key].close(o.id)
	}
	return nil
}

// close gives back what is open for id, and reports whether anything was.
func (s *state) close(id string) bool {
	e, open := s.Open[id]
	if open {
		s.giveBack(e.Slice, e.Amount)
		delete(s.Open, id)
		s.changed = true
	}
	return open
}

// note remembers that what was reserved for id was given back.
func (s *state) note(id string) {
	if s.Gone == nil {
		s.Gone = map[string]int64{}
	}
	s.Gone[id] = s.Clock
}

func (s *state) endLate(id string, back bool) {
	e, there := s.Late[id]
	if !there {
		return
	}
	if back {
		s.giveBack(e.Slice, e.Amount)
	}
	delete(s.Late, id)
	s.changed = true
}

// ended drops the clearance of a transaction in the same commit in which what it
// had reserved is given back, so that it is given back once.
func (b book) ended(w *store.Writer, o *op) error {
	dropped, err := w.DropClearance(o.id, o.clearance)
	if err != nil || !dropped {
		return err
	}
	for _, p := range o.receipt {
		s := b[p.Key]
		if _, gone := s.Gone[o.id]; gone {
			continue // it is back
		}
		if _, open := s.Open[o.id]; open {
			delete(s.Open, o.id)
			s.changed = true
		}
		if o.back && p.Window == s.Window && p.Gen == s.Gen {
			s.giveBack(p.Slice, p.Amount)
		} // else the window has changed since, and nobody knows whether it still counts
	}
	return nil
}
