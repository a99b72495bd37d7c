// SPDX-License-Identifier: Apache-2.0

package allowance

import (
	"fmt"
	"math/big"
	"slices"
	"sync"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/policy"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

// memory is what a ledger knows that counts alone ([Config.Alone]): what the
// database says of the limits, and what is reserved of them beyond that. A
// reservation begins here, without a commit of its own. It goes into the row of its
// limit with the commit that stores the transaction, or the intent, that it is for:
// so a process that dies takes with it what nothing can spend, and nothing else.
//
// What is in no row yet and what is in it are added up, and a limit of which
// anything else is being written is counted in the database meanwhile.
type memory struct {
	mu     sync.Mutex
	limits map[string]*limit
	taken  map[string]*taken // by id
	unsure int               // limits of which something is open, or not known
}

// limit is one limit, as a memory has it.
type limit struct {
	state *state // as the database has it, and never changed; nil: not known
	busy  int    // batches on their way that may change it
	ahead *big.Int
}

// taken is what is reserved for an id and in no commit that is known to have
// happened.
type taken struct {
	takes    []policy.Take // one for each part of receipt
	receipt  Receipt
	at       time.Duration // as Ledger.since counts
	doubtful bool          // a commit with it may have happened
	gone     bool          // nobody knew what it was for: it does not count, unless it comes after all
	unused   bool          // it is to be given back, should that commit not have happened
}

func newMemory() *memory {
	return &memory{limits: map[string]*limit{}, taken: map[string]*taken{}}
}

// limit is that of a key. The mutex must be held, as in all that follows.
func (m *memory) limit(key string) *limit {
	lim := m.limits[key]
	if lim == nil {
		lim = &limit{ahead: new(big.Int)}
		m.limits[key] = lim
		m.unsure++
	}
	return lim
}

func (lim *limit) unsure() bool {
	return lim.state == nil || len(lim.state.Open)+len(lim.state.Gone) > 0
}

// set takes over what the database says; nil if that is not known.
func (m *memory) set(key string, s *state) {
	lim := m.limit(key)
	was := lim.unsure()
	lim.state = s
	if is := lim.unsure(); is && !was {
		m.unsure++
	} else if was && !is {
		m.unsure--
	}
}

// count adds what is reserved, or takes it away.
func (m *memory) count(t *taken, add bool) {
	for _, p := range t.receipt {
		lim := m.limit(p.Key)
		if add {
			lim.ahead.Add(lim.ahead, p.Amount)
		} else {
			lim.ahead.Sub(lim.ahead, p.Amount)
		}
	}
}

// forget drops what is reserved for an id.
func (m *memory) forget(id string) {
	if t := m.taken[id]; t != nil {
		if !t.gone {
			m.count(t, false)
		}
		delete(m.taken, id)
	}
}

// reserve is [Ledger.Reserve] where memory suffices: all limits are known, as takes
// have them, and nothing else of them is on its way. It reports whether it did.
func (m *memory) reserve(id string, takes []policy.Take, now int64, since time.Duration) (receipt Receipt, did bool, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	old := m.taken[id]
	if old != nil && !old.gone && old.receipt.Covers(takes) {
		return old.receipt, true, nil
	}
	if old != nil && old.doubtful {
		return nil, false, nil
	}
	for _, t := range takes {
		lim := m.limits[t.Key]
		if lim == nil || lim.state == nil || lim.busy > 0 || lim.state.Window != t.Window.Microseconds() {
			return nil, false, nil
		}
		if _, open := lim.state.Open[id]; open {
			return nil, false, nil
		}
	}
	before := old != nil && !old.gone
	if before {
		m.count(old, false) // it asks for more, in place of that
	}
	receipt = make(Receipt, len(takes))
	for i, t := range takes {
		lim := m.limits[t.Key]
		s := &state{Window: lim.state.Window, Clock: max(lim.state.Clock, now), used: lim.state.usedAt(now), ahead: lim.ahead}
		if err := s.exceeded(t, t.Amount); err != nil {
			if before {
				m.count(old, true)
			}
			return nil, true, err
		}
		receipt[i] = Part{Key: t.Key, Window: s.Window, Slice: s.current(), Gen: lim.state.Gen, Amount: t.Amount}
	}
	t := &taken{takes: takes, receipt: receipt, at: since}
	m.taken[id] = t
	m.count(t, true)
	return receipt, true, nil
}

// settle is [Ledger.Settle] where memory suffices. It reports whether it did.
func (m *memory) settle(id string, have Receipt, use policy.Use) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	if t := m.taken[id]; t != nil {
		switch {
		case use != policy.Unused: // its commit counts it
		case t.doubtful:
			t.unused = true
			return false // the batch that finds it in its rows gives it back there
		default:
			m.forget(id)
		}
		return true
	}
	for _, p := range have {
		lim := m.limits[p.Key]
		if lim == nil || lim.state == nil {
			return false
		}
		if _, open := lim.state.Open[id]; open {
			return false
		}
		if _, gone := lim.state.Gone[id]; gone {
			return false
		}
	}
	return true // nothing is open
}

// sure reports whether nothing is open anywhere.
func (m *memory) sure(id string) bool {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.unsure == 0 || m.taken[id] != nil
}

// begin has the limits of a batch counted in the database from now on, until end.
func (m *memory) begin(batch []*op) (names []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, o := range batch {
		names = append(names, o.names()...)
	}
	for _, name := range names {
		m.limit(name).busy++
	}
	return names
}

// end says what became of that. What a batch has changed is known by then, if it
// was committed.
func (m *memory) end(names []string, err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, name := range names {
		lim := m.limit(name)
		lim.busy--
		if err != nil {
			m.set(name, nil)
		}
		if err == nil && lim.state == nil && lim.busy == 0 && lim.ahead.Sign() == 0 {
			delete(m.limits, name) // its row is gone
			m.unsure--
		}
	}
}

// used is what counts of a limit with that window by row and memory together, if
// that is known.
func (m *memory) used(key string, window, now int64) (used *big.Int, known bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	lim := m.limits[key]
	if lim == nil || lim.state == nil || lim.state.Window != window {
		return nil, false
	}
	used = lim.state.usedAt(now)
	return used.Add(used, lim.ahead), true
}

// aheads is what is reserved in memory, by key.
func (m *memory) aheads() map[string]*big.Int {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := make(map[string]*big.Int)
	for key, lim := range m.limits {
		if lim.ahead.Sign() > 0 {
			all[key] = new(big.Int).Set(lim.ahead)
		}
	}
	return all
}

// over are ids of which nobody has heard for openFor, and those that have been
// given back long ago, which it forgets.
func (m *memory) over(since time.Duration) (ids []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for id, t := range m.taken {
		switch age := since - t.at; {
		case t.gone && age >= goneFor:
			m.forget(id)
		case !t.gone && !t.doubtful && age >= openFor:
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// lose gives back what nobody knows of. Should its transaction come after all, it
// counts again, whatever the limit says.
func (m *memory) lose(id string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if t := m.taken[id]; t != nil && !t.gone && !t.doubtful {
		m.count(t, false)
		t.gone = true
	}
}

// before counts in the database what a transaction of it stores: [store.Counting].
func (l *Ledger) before(w *store.Writer, stored []store.Spender) (err error) {
	type spending struct {
		store.Spender
		*taken
	}
	var all []spending
	l.mem.mu.Lock()
	for _, s := range stored {
		if t := l.mem.taken[s.ID]; t != nil {
			all = append(all, spending{s, t})
		}
	}
	l.mem.mu.Unlock()
	if len(all) == 0 {
		return nil
	}
	now, _ := l.now()
	states := map[string]*state{}
	var names []string
	defer func() {
		if err != nil {
			l.mem.doubt(names) // they are not in the rows as they were known
		}
	}()
	for _, s := range all {
		for i, p := range s.receipt {
			is := states[p.Key]
			if is == nil {
				names = append(names, p.Key)
				if is, err = l.basis(w, p.Key); err != nil {
					return err
				}
				is.advance(now)
				states[p.Key] = is
			}
			is.spend(s.ID, s.takes[i], p, !s.Tx)
		}
	}
	for _, name := range names {
		if err := save(w, name, states[name]); err != nil {
			return err
		}
	}
	return nil
}

// doubt has limits read from their rows before they are counted again.
func (m *memory) doubt(names []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, name := range names {
		m.set(name, nil)
	}
}

// basis is a limit as this transaction has it by now, to be changed.
func (l *Ledger) basis(w *store.Writer, key string) (*state, error) {
	var s *state
	if a, changed := w.Counted(key); changed {
		s, _ = a.Value.(*state)
	} else {
		l.mem.mu.Lock()
		s = l.mem.limit(key).state
		l.mem.mu.Unlock()
	}
	if s != nil {
		return s.clone(), nil
	}
	texts, _, err := w.LockAllowances([]string{key})
	if err != nil {
		return nil, err
	}
	if s = decode(texts[key]); s.broken != nil {
		return nil, fmt.Errorf("allowance: %w: %s: %w", ErrDamaged, key, s.broken)
	}
	return s, nil
}

// after takes over what a commit has changed: [store.Counting].
func (l *Ledger) after(changed []store.Allowance, stored []store.Spender, doubtful bool) {
	m := l.mem
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, a := range changed {
		if a.Name == clockName {
			continue
		}
		s, _ := a.Value.(*state)
		if doubtful {
			s = nil
		}
		m.set(a.Name, s)
	}
	for _, s := range stored {
		if t := m.taken[s.ID]; t == nil {
			continue
		} else if doubtful {
			t.doubtful = true
		} else {
			m.forget(s.ID)
		}
	}
}

// doubts are the ids of which it is not known whether they are in the rows.
func (m *memory) doubts() map[string]*taken {
	m.mu.Lock()
	defer m.mu.Unlock()
	var all map[string]*taken
	for id, t := range m.taken {
		if t.doubtful {
			if all == nil {
				all = map[string]*taken{}
			}
			all[id] = t
		}
	}
	return all
}

// decide says of ids that were doubtful whether they are in the rows.
func (m *memory) decide(landed map[string]bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for id, is := range landed {
		t := m.taken[id]
		switch {
		case t == nil || !t.doubtful:
		case is, t.unused:
			m.forget(id)
		default:
			t.doubtful = false
		}
	}
}

// adds gives the limits of a batch what is reserved of them in memory, and sees to
// it that the batch leaves behind what it has found.
func (m *memory) adds(b book) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for key, s := range b {
		lim := m.limit(key)
		s.ahead = new(big.Int).Set(lim.ahead)
		s.changed = s.changed || lim.state == nil
	}
}

// landed looks for what is in doubt: a transaction in its row, an intent as what is
// open since.
func (b book) landed(w *store.Writer, doubts map[string]*taken) (map[string]bool, error) {
	var landed map[string]bool
	for id, t := range doubts {
		is, err := w.HasTx(id)
		if err != nil {
			return nil, err
		}
		for _, p := range t.receipt {
			_, open := b[p.Key].Open[id]
			is = is || open
		}
		if landed == nil {
			landed = map[string]bool{}
		}
		landed[id] = is
	}
	return landed, nil
}
