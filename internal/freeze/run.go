// SPDX-License-Identifier: Apache-2.0

package freeze

import (
	"context"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/audit"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

// readTimeout bounds one reading. A store that needs longer is asked anew, since
// its answer would be of no use.
const readTimeout = time.Second

// Run keeps the switch as the store has it, until ctx is done. Where nobody else
// writes to the store it returns once it was read.
func (s *Switch) Run(ctx context.Context) {
	tick := time.NewTicker(s.cfg.Poll)
	defer tick.Stop()
	defer s.forgetStale()
	failing := false
	for {
		err := s.read(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil && !failing:
			s.log.Error("cannot read what is frozen; soon everything counts as frozen", "err", err)
		case err == nil && failing:
			s.log.Info("what is frozen can be read again")
		}
		failing = err != nil
		s.tell(false)
		if err == nil && !s.cfg.Shared {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
	}
}

// Load reads once what is frozen.
func (s *Switch) Load(ctx context.Context) error {
	err := s.read(ctx)
	s.tell(false)
	return err
}

func (s *Switch) read(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	s.mu.Lock()
	s.asked++
	number := s.asked
	s.mu.Unlock()
	begun := time.Now() // what is committed later may be missing
	rows, err := s.cfg.Store.Frozen(ctx)
	if err != nil {
		return err
	}
	s.take(number, begun, rows)
	return nil
}

// take makes what was read the state, unless a later reading has been before it.
func (s *Switch) take(number uint64, begun time.Time, rows []store.Frozen) {
	next := s.stateOf(begun, rows)
	s.mu.Lock()
	if number < s.taken {
		s.mu.Unlock()
		return
	}
	s.taken = number
	changed := !same(s.state.Load(), next)
	s.state.Store(next)
	s.tellWhenStale(begun)
	s.mu.Unlock()
	s.tell(changed)
}

// tellWhenStale has the listeners look as soon as what was read at begun is too
// old, even if the next reading hangs then. s.mu is held.
func (s *Switch) tellWhenStale(begun time.Time) {
	if !s.cfg.Shared {
		return
	}
	if s.stale != nil {
		s.stale.Stop()
	}
	s.stale = time.AfterFunc(time.Until(begun)+s.cfg.Stale+time.Millisecond, func() { s.tell(false) })
}

func (s *Switch) forgetStale() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.stale != nil {
		s.stale.Stop()
	}
}

// tell has the listeners look, if something has changed or it has become known,
// or unknown, what is frozen.
func (s *Switch) tell(changed bool) {
	s.mu.Lock()
	unknown := !s.Known()
	changed = changed || unknown != s.unknown
	s.unknown = unknown
	hear := s.hear
	s.mu.Unlock()
	if !changed {
		return
	}
	for _, f := range hear {
		f()
	}
}

func (s *Switch) stateOf(begun time.Time, rows []store.Frozen) *state {
	next := &state{at: begun, nothing: len(rows) == 0, memberships: map[string]string{}, wallets: map[string]string{}, accounts: map[account]string{}, addresses: map[account]string{}}
	for _, row := range rows {
		scope, err := ParseScope(row.Scope)
		if err != nil {
			// Of a later version of this program: it means to stop something.
			s.log.Error("what is frozen cannot be read; everything counts as frozen", "err", err)
			next.everything = "it is not known what is frozen: " + row.Scope
			continue
		}
		next.entries = append(next.entries, Entry{Scope: scope, Reason: row.Reason, Principal: row.Principal, Authority: row.Authority, At: row.At})
		switch scope.Kind {
		case Everything:
			next.everything = why("everything", row)
		case Membership:
			next.memberships[scope.Owner.Membership] = why("the membership", row)
		case Wallet:
			next.wallets[scope.Owner.Wallet] = why("the wallet", row)
		case Account:
			next.accounts[account{scope.Owner.Wallet, scope.Account}] = why("the account", row)
			if m := scope.Owner.Membership; m != "" {
				next.addresses[account{m, scope.Account}] = why("the account", row)
			}
		}
	}
	return next
}

// why is what a caller is told. Who froze it is the operator's business.
func why(what string, row store.Frozen) string {
	return what + " is frozen since " + row.At.UTC().Format(time.RFC3339) + ": " + row.Reason
}

func same(a, b *state) bool {
	if a == nil || len(a.entries) != len(b.entries) || a.everything != b.everything {
		return false
	}
	for i := range a.entries {
		if a.entries[i] != b.entries[i] {
			return false
		}
	}
	return true
}

// change commits a change together with its event, and reads what holds then.
func (s *Switch) change(ctx context.Context, e audit.Event, write func(*store.Writer) error) error {
	err := s.cfg.Store.Write(ctx, func(w *store.Writer) error {
		if err := write(w); err != nil {
			return err
		}
		return w.AuditEvent(e)
	})
	if err != nil {
		return err
	}
	s.log.Warn("stop switch", "change", e.Kind, "scope", e.Subject, "principal", e.Principal)
	return s.Load(ctx)
}
