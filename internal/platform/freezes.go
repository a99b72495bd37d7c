// SPDX-License-Identifier: Apache-2.0

package platform

import (
	"context"
	"errors"
	"slices"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/freeze"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

// Freezer is the stop switch; *freeze.Switch is one.
type Freezer interface {
	Freeze(ctx context.Context, by freeze.By, scope freeze.Scope, reason string) error
	Release(ctx context.Context, by freeze.By, scope freeze.Scope, reason string) error
	List() []freeze.Entry
	Known() bool
}

// FreezeTarget is what a freeze is about: with no Kind everything, else the
// membership or service at At, or one account of the service.
type FreezeTarget struct {
	Kind    Kind // "", Memberships or Services
	At      Path
	Account *common.Address // nil: all of the service
}

// Freezes lists what is frozen, as far as the caller may see it. That everything
// is, everybody may know: nothing of theirs goes on.
func (p *Platform) Freezes(ctx context.Context, who auth.Access) ([]Freeze, error) {
	if err := p.switchable(); err != nil {
		return nil, err
	}
	type found struct {
		row   row
		known bool
	}
	rows := map[string]found{} // by the names of membership and wallet: many freezes are of one
	out := []Freeze{}
	for _, e := range p.cfg.Freeze.List() {
		name := e.Scope.Owner.Membership + "/" + e.Scope.Owner.Wallet
		f, read := rows[name]
		if !read {
			var err error
			if f.row, f.known, err = p.frozenRow(ctx, e.Scope); err != nil {
				return nil, err
			}
			rows[name] = f
		}
		if e.Scope.Kind != freeze.Everything && !(f.known && visible(who, f.row)) && !who.Can(auth.Auditor, "", "") {
			continue
		}
		out = append(out, viewFreeze(who, e, f.row))
	}
	return out, nil
}

// maxFrozenAccounts bounds the freezes of accounts of one service: every replica
// holds all of them in memory.
const maxFrozenAccounts = 1000

// room refuses a freeze of one account too many. An address need not be one that
// the wallet has, for its backend may be away just then.
func (p *Platform) room(scope freeze.Scope) error {
	others := 0
	for _, e := range p.cfg.Freeze.List() {
		if e.Scope.Kind != freeze.Account || e.Scope.Owner.Wallet != scope.Owner.Wallet {
			continue
		}
		if e.Scope.Account == scope.Account {
			return nil
		}
		others++
	}
	if others >= maxFrozenAccounts {
		return conflict("%d accounts of the service are frozen one by one: freeze the service itself", others)
	}
	return nil
}

// FreezeState is whether a target is frozen now, here.
func (p *Platform) FreezeState(ctx context.Context, who auth.Access, t FreezeTarget) (FreezeState, error) {
	_, r, err := p.freezeScope(ctx, who, auth.Auditor, t)
	if err != nil {
		return FreezeState{}, err
	}
	return p.frozen(who, t, r), nil
}

// Freeze stops a target: nothing of it is signed or sent any more, here at once and
// on all replicas within two seconds. Operators may: stopping does no harm that a
// release does not mend, and who is there at night must be able to.
func (p *Platform) Freeze(ctx context.Context, who auth.Access, t FreezeTarget, reason string) (FreezeState, error) {
	if reason == "" || !printable(reason, maxDescription) {
		return FreezeState{}, invalid("reason", "is missing: want 1 to %d letters, digits, spaces and signs but < and >", maxDescription)
	}
	scope, r, err := p.freezeScope(ctx, who, auth.Operates, t)
	if err != nil {
		return FreezeState{}, err
	}
	if scope.Kind == freeze.Account {
		if err := p.room(scope); err != nil {
			return FreezeState{}, err
		}
	}
	err = p.cfg.Freeze.Freeze(ctx, by(who, auth.Operates, r), scope, reason)
	if errors.Is(err, freeze.ErrAbove) {
		return FreezeState{}, conflict("it is frozen already, by somebody above: that stays as it is")
	}
	return p.frozen(who, t, r), err
}

// Release lets a target go on. It takes an admin: what was stopped may have been
// stopped because an operator's key is in wrong hands. And what somebody above has
// frozen, only somebody above releases.
func (p *Platform) Release(ctx context.Context, who auth.Access, t FreezeTarget, reason string) (FreezeState, error) {
	if !printable(reason, maxDescription) {
		return FreezeState{}, invalid("reason", "want at most %d letters, digits, spaces and signs but < and >", maxDescription)
	}
	scope, r, err := p.freezeScope(ctx, who, auth.Admin, t)
	if err != nil {
		return FreezeState{}, err
	}
	err = p.cfg.Freeze.Release(ctx, by(who, auth.Admin, r), scope, reason)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return FreezeState{}, conflict("it is not frozen itself")
	case errors.Is(err, freeze.ErrAbove):
		return FreezeState{}, &Error{Reason: Forbidden, Msg: "it was frozen by somebody above its admins, who alone can release it"}
	}
	return p.frozen(who, t, r), err
}

func (p *Platform) switchable() error {
	if p.cfg.Freeze == nil {
		return unavailable("this process has no stop switch")
	}
	return nil
}

// freezeScope finds a target for a caller with the role there.
func (p *Platform) freezeScope(ctx context.Context, who auth.Access, role auth.Role, t FreezeTarget) (freeze.Scope, row, error) {
	var scope freeze.Scope
	if t.Kind == "" {
		if !who.Can(role, "", "") {
			return scope, row{}, forbidden(role, "the deployment")
		}
		scope.Kind = freeze.Everything
		return scope, row{}, p.switchable()
	}
	if t.Kind != Memberships && t.Kind != Services {
		return scope, row{}, &Error{Reason: NotFound, Msg: "a " + t.Kind.one() + " cannot be frozen"}
	}
	r, err := p.find(ctx, who, t.Kind, t.At)
	if err != nil {
		return scope, row{}, err
	}
	if err := allowed(who, role, r); err != nil {
		return scope, row{}, err
	}
	scope.Owner.Consortium, scope.Owner.Membership = r.owner()
	scope.Owner.Environment = r.Environment
	switch {
	case t.Kind == Memberships:
		scope.Kind = freeze.Membership
	case t.Account == nil:
		scope.Kind = freeze.Wallet
	default:
		scope.Kind, scope.Account = freeze.Account, *t.Account
	}
	if t.Kind == Services {
		scope.Owner.Wallet, scope.Owner.Service = r.wallet(), r.ID
	}
	return scope, r, p.switchable()
}

// by is in whose name the caller acts on a resource: that of the widest scope
// around it where he has the role.
func by(who auth.Access, role auth.Role, r row) freeze.By {
	consortium, membership := r.owner()
	over := []string{"", "consortium:" + consortium, "membership:" + membership}
	switch {
	case who.Can(role, "", ""):
	case who.Can(role, consortium, ""):
		over = over[1:]
	default:
		over = over[2:]
	}
	return freeze.By{Principal: who.Principal.Name, Over: over}
}

// frozenRow finds the resource that is frozen. It may be gone.
func (p *Platform) frozenRow(ctx context.Context, s freeze.Scope) (row, bool, error) {
	id := s.Owner.Wallet
	switch s.Kind {
	case freeze.Everything:
		return row{}, false, nil
	case freeze.Membership:
		id = s.Owner.Membership
	default:
		for _, r := range p.declared {
			if r.Name == id {
				return r, true, nil
			}
		}
	}
	r, err := p.byID(ctx, id)
	if errors.Is(err, store.ErrNotFound) {
		return row{}, false, nil
	}
	return r, err == nil, err
}

// frozen is what holds for a target, the widest scope first.
func (p *Platform) frozen(who auth.Access, t FreezeTarget, r row) FreezeState {
	out := FreezeState{By: []Freeze{}, Known: p.cfg.Freeze.Known()}
	_, membership := r.owner()
	all := p.cfg.Freeze.List()
	for _, kind := range []freeze.Kind{freeze.Everything, freeze.Membership, freeze.Wallet, freeze.Account} {
		for _, e := range all {
			if e.Scope.Kind == kind && holds(e.Scope, t, r, membership) {
				out.By = append(out.By, viewFreeze(who, e, r))
			}
		}
	}
	out.Frozen = len(out.By) > 0 || !out.Known
	return out
}

// holds reports whether a freeze is about a target.
func holds(s freeze.Scope, t FreezeTarget, r row, membership string) bool {
	wallet := t.Kind == Services && slices.Contains([]string{r.wallet(), r.ID}, s.Owner.Wallet)
	switch s.Kind {
	case freeze.Everything:
		return true
	case freeze.Membership:
		return t.Kind != "" && s.Owner.Membership == membership
	case freeze.Wallet:
		return wallet
	default:
		// An address is one key, whichever services of the membership have it.
		return t.Kind == Services && t.Account != nil && s.Account == *t.Account && (wallet || membership != "" && s.Owner.Membership == membership)
	}
}

// viewFreeze is a freeze as the caller sees it. Who of those above has frozen
// something is not told.
func viewFreeze(who auth.Access, e freeze.Entry, r row) Freeze {
	consortium, membership := r.owner()
	v := Freeze{Scope: e.Scope.String(), Reason: e.Reason, By: e.Principal, At: e.At.UTC()}
	if r.kind() == Services && (e.Scope.Kind != freeze.Account || slices.Contains([]string{r.wallet(), r.ID}, e.Scope.Owner.Wallet)) {
		v.Service = r.ID
	}
	if e.Scope.Kind == freeze.Account {
		v.Address = e.Scope.Account.Hex()
	}
	above := map[string]bool{
		"":                         !who.Can(auth.Auditor, "", ""),
		"consortium:" + consortium: !who.Can(auth.Auditor, consortium, ""),
		"membership:" + membership: false,
	}
	if v.Above = above[e.Authority]; v.Above {
		v.By = ""
	}
	return v
}
