// SPDX-License-Identifier: Apache-2.0

package allowance

import (
	"context"
	"math/big"
	"strings"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/policy"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

// Usage is how much of a limit is used.
type Usage struct {
	Limit  string        // policy.Take.Limit: its name, with the scope of its policy
	Key    string        // policy.Take.Key: what is summed up together
	Asset  string        // native, or the token's address
	Max    *big.Int      // as it was when something was last reserved
	Used   *big.Int      // wei, or the token's units
	Left   *big.Int      // at least 0
	Window time.Duration // 0: in total
}

// Usage is how much is used of the limits whose names begin with prefix, by key.
// What nothing was reserved of for long is not there.
func (l *Ledger) Usage(ctx context.Context, prefix string) ([]Usage, error) {
	now, err := l.meet(ctx)
	if err != nil {
		return nil, err
	}
	var all []Usage
	aheads := l.aheads()
	for after := ""; ; {
		rows, err := l.cfg.Store.AllowancesAfter(ctx, after, page, false)
		if err != nil {
			return nil, err
		}
		for _, r := range rows {
			after = r.Name
			if s := look(r, now); s.broken == nil && s.Limit != "" && strings.HasPrefix(s.Limit, prefix) {
				l.count(s, r.Name, now, aheads)
				all = append(all, Usage{
					Limit: s.Limit, Key: r.Name, Asset: s.Asset, Max: s.Max, Used: s.used, Left: left(s.Max, s.used),
					Window: time.Duration(s.Window) * time.Microsecond,
				})
			}
		}
		if len(rows) < page {
			return all, nil
		}
	}
}

// Look is what each of takes would find, as if nobody else came meanwhile: how
// much of its limit is used, and whether it would still fit. It reserves nothing.
// The answers are in the order of takes, those of one key made one.
func (l *Ledger) Look(ctx context.Context, takes []policy.Take) ([]Look, error) {
	takes = merge(takes)
	names := make([]string, len(takes))
	for i, t := range takes {
		names[i] = t.Key
	}
	now, err := l.meet(ctx)
	if err != nil {
		return nil, err
	}
	aheads := l.aheads()
	rows, _, err := l.cfg.Store.Allowances(ctx, names)
	if err != nil {
		return nil, err
	}
	states := map[string]*state{}
	for _, r := range rows {
		states[r.Name] = look(r, now)
	}
	looks := make([]Look, len(takes))
	for i, t := range takes {
		s := states[t.Key]
		if s == nil {
			s = decode("")
		}
		looks[i] = Look{Take: t, Used: s.used, Err: s.broken}
		if s.broken == nil {
			s.fits(t)
			l.count(s, t.Key, now, aheads)
			looks[i].Used, looks[i].Err = s.used, s.exceeded(t, t.Amount)
		}
	}
	return looks, nil
}

// Look is what a take would find.
type Look struct {
	Take policy.Take
	Used *big.Int
	Err  error // an *ExceededError if it would not fit; nil if it would
}

func look(r store.Allowance, now int64) *state {
	s := decode(r.State)
	s.advance(now)
	return s
}

// count adds to a limit as its row has it what is reserved in memory alone. Where
// memory knows the row as well, it says both of one moment; else what went into the
// row meanwhile counts twice.
func (l *Ledger) count(s *state, key string, now int64, aheads map[string]*big.Int) {
	if l.mem == nil {
		return
	}
	if used, known := l.mem.used(key, s.Window, now); known {
		s.used = used
	} else if ahead := aheads[key]; ahead != nil {
		s.used.Add(s.used, ahead)
	}
}

// aheads is what is reserved in memory alone, by key. It is asked before rows are
// read: so nothing is missing of what goes there meanwhile.
func (l *Ledger) aheads() map[string]*big.Int {
	if l.mem == nil {
		return nil
	}
	return l.mem.aheads()
}
