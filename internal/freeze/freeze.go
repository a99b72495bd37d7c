// SPDX-License-Identifier: Apache-2.0

// Package freeze is the stop switch: what of this deployment may sign nothing
// and send nothing now, on every replica.
//
// It guarantees that a freeze is in force in the process that took it as soon as
// [Switch.Freeze] returns, and in every other process on the same store within
// 2 s: who cannot read for so long what is frozen counts everything as frozen.
// Each change is on the audit trail, in the commit that makes it.
//
// It only says what is frozen. That nothing leaves is seen to by packages wallet
// and txmgr, which ask it before every signature and before all that is sent.
package freeze

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/audit"
	"github.com/hsmsigner/hsmsigner/internal/policy"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

// FrozenError is the refusal of what is asked for while it is frozen. Nothing
// was stored and no backend was asked. Where nobody has frozen anything, and only
// the store does not say so, it is a [*policy.UndecidedError] as well.
type FrozenError struct {
	Why     string
	unknown bool
}

func (e *FrozenError) Error() string { return "frozen: " + e.Why }

func (e *FrozenError) Unwrap() error {
	if e.unknown {
		return &policy.UndecidedError{Why: e.Why}
	}
	return nil
}

// Config is what a [Switch] is made of.
type Config struct {
	Store *store.DB
	// Shared says that other processes freeze and release on the same store, so
	// that it is read again and again.
	Shared bool
	Poll   time.Duration // how often it is read if shared; default 500 ms
	// Stale is how old the last reading may be if shared: after that everything
	// counts as frozen. Default 1.5 s.
	Stale  time.Duration
	Logger *slog.Logger // nil discards
}

// Entry is one thing that is frozen.
type Entry struct {
	Scope     Scope
	Reason    string
	Principal string // who froze it
	Authority string // in whose name: empty for the deployment's, consortium:<id> or membership:<id>
	At        time.Time
}

// By is who freezes or releases.
type By struct {
	Principal string
	// Over are the authorities whose freezes he may change, his own first: the
	// deployment's is empty, the others are consortium:<id> and membership:<id>. Nil:
	// the deployment's, over all.
	Over []string
}

// authority is in whose name he freezes.
func (b By) authority() string {
	if len(b.Over) == 0 {
		return ""
	}
	return b.Over[0]
}

// ErrAbove says that something was frozen by somebody above, so that the caller
// can neither release it nor freeze it anew.
var ErrAbove = store.ErrAbove

// Switch is safe for concurrent use. A nil Switch has nothing frozen.
type Switch struct {
	cfg   Config
	log   *slog.Logger
	state atomic.Pointer[state]

	mu      sync.Mutex // held while what is read is taken over
	asked   uint64     // of the newest reading that was begun
	taken   uint64     // of the newest that was taken over
	hear    []func()
	unknown bool        // the last that the listeners were told
	stale   *time.Timer // tells them when the newest reading is too old
}

// state is what was read last.
type state struct {
	at          time.Time // when the reading was begun
	nothing     bool      // is frozen
	entries     []Entry
	everything  string // why; empty if it is not
	memberships map[string]string
	wallets     map[string]string
	accounts    map[account]string
	addresses   map[account]string // by membership
}

type account struct {
	of      string // wallet, or membership
	address common.Address
}

// New makes a switch. Until it has been read once, by [Switch.Load] or
// [Switch.Run], everything is frozen.
func New(cfg Config) *Switch {
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Poll <= 0 {
		cfg.Poll = 500 * time.Millisecond
	}
	if cfg.Stale <= 0 {
		cfg.Stale = 1500 * time.Millisecond
	}
	return &Switch{cfg: cfg, log: cfg.Logger, unknown: true}
}

// notKnown is why everything is frozen that nobody has frozen.
const notKnown = "it is not known what is frozen, since the store does not answer"

// Frozen reports whether an account of a wallet may neither sign nor send now,
// and why, in words for its caller.
func (s *Switch) Frozen(o policy.Owner, address common.Address) (why string, frozen bool) {
	if s == nil {
		return "", false
	}
	is := s.state.Load()
	if is == nil || s.cfg.Shared && time.Since(is.at) > s.cfg.Stale {
		return notKnown, true
	}
	if is.nothing {
		return "", false
	}
	return is.find(o, address)
}

func (is *state) find(o policy.Owner, address common.Address) (why string, frozen bool) {
	if is.everything != "" {
		return is.everything, true
	}
	if why, frozen = is.memberships[o.Membership]; frozen {
		return why, true
	}
	for _, name := range []string{o.Wallet, o.Service} {
		if name == "" {
			continue
		}
		if why, frozen = is.wallets[name]; frozen {
			return why, true
		}
		if why, frozen = is.accounts[account{name, address}]; frozen {
			return why, true
		}
	}
	why, frozen = is.addresses[account{o.Membership, address}]
	return why, frozen
}

// Idle reports whether nothing at all is frozen.
func (s *Switch) Idle() bool {
	if s == nil {
		return true
	}
	is := s.state.Load()
	return is != nil && is.nothing && !(s.cfg.Shared && time.Since(is.at) > s.cfg.Stale)
}

// Check is Frozen as an error: a [*FrozenError], or nil.
func (s *Switch) Check(o policy.Owner, address common.Address) error {
	if why, frozen := s.Frozen(o, address); frozen {
		return &FrozenError{Why: why, unknown: why == notKnown}
	}
	return nil
}

// Known reports whether it is known what is frozen. As long as it is not,
// everything counts as frozen.
func (s *Switch) Known() bool {
	if s == nil {
		return true
	}
	is := s.state.Load()
	return is != nil && !(s.cfg.Shared && time.Since(is.at) > s.cfg.Stale)
}

// List returns what was frozen when it was last read, by scope.
func (s *Switch) List() []Entry {
	if s == nil {
		return nil
	}
	if is := s.state.Load(); is != nil {
		return append([]Entry(nil), is.entries...)
	}
	return nil
}

// OnChange has f called whenever something may have been frozen or released,
// and when it is known again what is. f returns at once.
func (s *Switch) OnChange(f func()) {
	if s == nil {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hear = append(s.hear, f)
}

// Freeze stops what scope names. It is in force here when it returns, and on all
// replicas within 2 s. What is frozen already stays so, with the new reason; if that
// was done by somebody above, as it was: [ErrAbove]. Any other error means that it
// may not be frozen.
func (s *Switch) Freeze(ctx context.Context, by By, scope Scope, reason string) error {
	if err := scope.check(); err != nil {
		return err
	}
	if reason == "" {
		return errors.New("a freeze needs a reason")
	}
	now := time.Now()
	return s.change(ctx, event("freeze", by.Principal, scope, reason, now), func(w *store.Writer) error {
		return w.PutFrozen(store.Frozen{Scope: scope.stored(), Reason: reason, Principal: by.Principal, Authority: by.authority(), At: now}, by.Over)
	})
}

// Release lets what scope names go on. It is an error that wraps
// [store.ErrNotFound] if the scope is not frozen itself, and [ErrAbove] if somebody
// above has frozen it; what is frozen by another scope as well stays so.
func (s *Switch) Release(ctx context.Context, by By, scope Scope, reason string) error {
	if err := scope.check(); err != nil {
		return err
	}
	return s.change(ctx, event("release", by.Principal, scope, reason, time.Now()), func(w *store.Writer) error {
		return w.RemoveFrozen(scope.stored(), by.Over)
	})
}

func event(kind, principal string, scope Scope, reason string, now time.Time) audit.Event {
	detail, _ := json.Marshal(struct { // it has two strings
		Scope  string `json:"scope"`
		Reason string `json:"reason"`
	}{scope.String(), reason})
	o := scope.Owner
	return audit.Event{
		ID: store.NewID(), At: now, Principal: principal, Kind: kind,
		Consortium: o.Consortium, Environment: o.Environment, Membership: o.Membership, Wallet: o.Wallet,
		Subject: scope.String(), Detail: string(detail),
	}
}
