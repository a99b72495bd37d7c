// SPDX-License-Identifier: Apache-2.0

// Package allowance counts what limits allow. What a signature would spend is
// reserved before it is made, in one commit over all limits that it counts for, so
// that of any number of requests on any number of replicas those that are let
// through never pass a limit by one unit together. Requests that wait at the same
// time share a commit.
//
// # What counts, and how long
//
// An amount that was reserved at t counts until t + window, and at most a 60th of
// the window longer; in a limit without a window it counts for ever. It is given
// back only if nothing can have been signed by it, or if what was signed can never
// be mined: [Ledger.Settle] with [policy.Unused], or what the sweep of [Ledger.Run]
// finds out from the rows. What is reserved by a process that then ends stays
// reserved until somebody knows better: if there is no transaction and no audit
// intent of that id ten minutes later, it is given back.
//
// A transaction is reserved for when it is accepted, not when it is signed or mined:
// what a freeze or a slow backend has held back can leave within one window together
// with what was accepted later.
//
// # Time
//
// The time by which limits count only goes forward: by what running processes
// measure, whatever happens to the clocks of their machines. Only while none runs
// does the clock of the database (with SQLite: of the machine) say how long that
// was. So a clock that jumps while the program runs changes nothing, and one that
// goes back never makes anything count shorter. Of a clock that is set forward while
// the program is down nobody can know that it is wrong: what was reserved counts
// shorter by as much. Replicas tell each other the time every ten seconds.
package allowance

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/big"
	"sync"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/policy"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

const (
	// openFor is how long something may be open before the sweep asks whether it
	// was ever stored. No request takes nearly as long.
	openFor = 10 * time.Minute
	// goneFor is how long it is remembered what such a sweep gave back.
	goneFor = 24 * time.Hour
	// flushEvery bounds how long something that was settled is not written.
	flushEvery = 250 * time.Millisecond
	sweepEvery = time.Minute
	// tries is how often a commit is tried whose outcome is not known.
	tries = 3
	// commitTimeout bounds one commit, for which nobody else may wait any more.
	commitTimeout = 15 * time.Second
)

// Config is what a ledger is made of.
type Config struct {
	Store  *store.DB
	Logger *slog.Logger // nil discards
	// Alone says that no other ledger counts in Store, of this process or another:
	// what is reserved is then kept in memory until it is spent, which saves a commit
	// for each. It counts only if the store says so, too ([store.DB.Alone]).
	Alone bool
}

// Ledger is safe for concurrent use.
type Ledger struct {
	cfg   Config
	since func() time.Duration // what this process has measured
	wall  func(time.Time) time.Time

	queue  sync.Mutex
	busy   bool      // somebody writes what waits
	idle   sync.Cond // nobody does any more
	waits  []*op     // to be written at once
	lazily []*op     // to be written with the next, or by Run
	mem    *memory   // nil: everything is in the rows

	clock  sync.Mutex
	met    bool          // this process knows the time
	base   int64         // it was that
	at     time.Duration // when the process was that old
	tidied time.Duration
}

// New makes a ledger. It counts without Run, too, but then nothing is swept.
func New(cfg Config) *Ledger {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	start := time.Now()
	l := &Ledger{
		cfg:   cfg,
		since: func() time.Duration { return time.Since(start) },
		wall:  func(t time.Time) time.Time { return t },
	}
	l.idle.L = &l.queue
	if cfg.Alone && cfg.Store.Alone() {
		l.mem = newMemory()
		cfg.Store.Count(store.Counting{Before: l.before, After: l.after})
	}
	return l
}

// Part is what is reserved of one limit, and where it is counted.
type Part struct {
	Key    string   `json:"k"`
	Window int64    `json:"w,omitempty"` // microseconds; 0: in total
	Slice  int64    `json:"s,omitempty"`
	Gen    int64    `json:"g,omitempty"` // of the limit; see state
	Amount *big.Int `json:"a"`
}

// Receipt says what is reserved for one id.
type Receipt []Part

// Covers reports whether all of takes is reserved.
func (r Receipt) Covers(takes []policy.Take) bool {
	for _, t := range merge(takes) {
		covered := false
		for _, p := range r {
			covered = covered || p.Key == t.Key && t.Amount != nil && p.Amount != nil && p.Amount.Cmp(t.Amount) >= 0
		}
		if !covered {
			return false
		}
	}
	return true
}

// ErrDamaged says that what is written of a limit cannot be read: it lets nothing
// through until somebody has mended it.
var ErrDamaged = errors.New("what is written of a limit is damaged")

// ExceededError says which limit does not allow an amount.
type ExceededError struct {
	Limit  string   // policy.Take.Limit
	Asset  string   // native, or the token's address
	Amount *big.Int // that was asked for; nil: unlimited
	Used   *big.Int // what counts already
	Max    *big.Int
	Window time.Duration // 0: in total
}

func (e *ExceededError) Error() string {
	amount, over := "an unlimited amount", "in total"
	if e.Amount != nil {
		amount = e.Amount.String()
	}
	if e.Window > 0 {
		over = "in " + e.Window.String()
	}
	return fmt.Sprintf("%s of %s is more than what is left: %s of %s are used %s", amount, e.Asset, e.Used, e.Max, over)
}

// Left is what could still be reserved, at least 0.
func (e *ExceededError) Left() *big.Int { return left(e.Max, e.Used) }

func left(limit, used *big.Int) *big.Int {
	if limit == nil || used.Cmp(limit) >= 0 {
		return new(big.Int)
	}
	return new(big.Int).Sub(limit, used)
}

// Reserve takes amounts off all their limits, or off none: then the error is an
// [*ExceededError], or says that nothing could be written. What is reserved for
// an id already is not reserved again. Nothing is kept of takes, and the receipt
// is to be stored with what they are for.
//
// If ctx ends first, what was perhaps reserved is given back.
func (l *Ledger) Reserve(ctx context.Context, id string, takes []policy.Take) (Receipt, error) {
	if len(takes) == 0 {
		return nil, nil
	}
	if id == "" {
		return nil, errors.New("allowance: something is to be reserved for no id")
	}
	o := &op{kind: reserve, id: id, takes: merge(takes)}
	if l.remembers(o) {
		return o.receipt, o.err
	}
	if err := l.do(ctx, o); err != nil {
		return nil, err
	}
	return o.receipt, nil
}

// Renew sees to it that takes still hold when what they are for, which was stored
// with the receipt have, is signed: what is new since is reserved, and a limit
// that by now is below what is used is exceeded. What have has already is not
// reserved again, unless the sweep found nothing that it could be for.
func (l *Ledger) Renew(ctx context.Context, id string, takes []policy.Take, have Receipt) error {
	if len(takes) == 0 {
		return nil
	}
	if id == "" {
		return errors.New("allowance: something is to be reserved for no id")
	}
	return l.do(ctx, &op{kind: renew, id: id, takes: merge(takes), receipt: have})
}

// Settle says what became of what is reserved. It returns at once, may be told
// anything twice, and is written soon after. Unused counts only until Stored was
// told. After that, and as soon as there is a transaction of that id, the rows alone
// say what becomes of it: the sweep of [Ledger.Run] looks at them.
func (l *Ledger) Settle(id string, have Receipt, use policy.Use) {
	if id == "" || len(have) == 0 {
		return
	}
	if l.mem != nil && l.mem.settle(id, have, use) {
		return
	}
	kind := stored
	if use == policy.Unused {
		kind = unused
	}
	l.queue.Lock()
	defer l.queue.Unlock()
	l.lazily = append(l.lazily, &op{kind: kind, id: id, receipt: have})
}

// Counts reports whether [Ledger.Settle] has nothing to do for what is stored, since
// the commit that stored it has counted it. It is quick, and may be false for what
// it knows nothing of.
func (l *Ledger) Counts(id string) bool { return l.mem != nil && l.mem.sure(id) }

// merge makes one take of those that count together, so that they are compared
// with their limit together. Amounts are copied.
func merge(takes []policy.Take) []policy.Take {
	merged := make([]policy.Take, 0, len(takes))
next:
	for _, t := range takes {
		for i := range merged {
			if m := &merged[i]; m.Key == t.Key {
				if m.Amount == nil || t.Amount == nil {
					m.Amount = nil
				} else {
					m.Amount.Add(m.Amount, t.Amount)
				}
				if t.Max.Cmp(m.Max) < 0 {
					m.Max = t.Max
				}
				continue next
			}
		}
		if t.Amount != nil {
			t.Amount = new(big.Int).Set(t.Amount)
		}
		merged = append(merged, t)
	}
	return merged
}
