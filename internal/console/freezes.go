// SPDX-License-Identifier: Apache-2.0

package console

import (
	"context"
	"slices"
	"strings"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/platform"
)

func freezeRoutes(get, post func(path string, serve handler)) {
	get("/freeze", showFreezes)
	post("/freeze", freezeNow)
	post("/freeze/release", releaseNow)
}

// What can be frozen, as the forms call it.
const (
	freezeEverything = "everything"
	freezeMembership = "membership"
	freezeWallet     = "wallet"
	freezeAccount    = "account"
)

// frozenRow is something that is frozen.
type frozenRow struct {
	platform.Freeze
	Kind       string // one of the above
	Of         string // name of the membership or the wallet
	ID         string // of the membership or the service
	Here       bool   // it stands in this environment, or is everything
	MayRelease bool
}

// freezesPage is the data of the page.
type freezesPage struct {
	form
	All           []frozenRow
	Known         bool
	Names         map[string]string
	Memberships   []*platform.Membership // that the person may freeze
	Wallets       []*platform.Service    // likewise
	MayEverything bool
	MayAnything   bool
}

func showFreezes(ctx context.Context, v *visit) (view, error) {
	return v.freezes(ctx, form{Values: v.form})
}

func (v *visit) freezes(ctx context.Context, f form) (view, error) {
	data := freezesPage{form: f, Known: true, Names: v.people(ctx), MayEverything: v.who.Can(auth.Operates, "", "")}
	memberships, err := listAt[platform.Membership](ctx, v, platform.Memberships, platform.Path{Consortium: v.at.Consortium})
	if err != nil {
		return view{}, err
	}
	services, err := list[platform.Service](ctx, v, platform.Services)
	if err != nil {
		return view{}, err
	}
	all, err := v.c.cfg.Platform.Freezes(ctx, v.who)
	if err != nil {
		return view{}, err
	}
	for _, one := range all {
		data.All = append(data.All, v.frozenRow(one, memberships, services))
	}
	for _, m := range memberships {
		if v.can(auth.Operates, m.ID) {
			data.Memberships = append(data.Memberships, m)
		}
	}
	for _, s := range services {
		if v.can(auth.Operates, s.MembershipID) {
			data.Wallets = append(data.Wallets, s)
		}
	}
	data.MayAnything = data.MayEverything || len(data.Memberships)+len(data.Wallets) > 0
	if len(services) > 0 {
		data.Known = v.knowsFrozen(ctx, services[0].ID)
	}
	return formView(view{page: "freeze", title: "Freeze", section: "freeze", data: data, fragment: v.wantsFragment()}, f), nil
}

func (v *visit) knowsFrozen(ctx context.Context, service string) bool {
	at := v.at
	at.ID = service
	state, err := v.c.cfg.Platform.FreezeState(ctx, v.who, platform.FreezeTarget{Kind: platform.Services, At: at})
	return err == nil && state.Known
}

func (v *visit) frozenRow(one platform.Freeze, memberships []*platform.Membership, services []*platform.Service) frozenRow {
	r := frozenRow{Freeze: one}
	kind, of, _ := strings.Cut(one.Scope, ":")
	r.Kind, r.Of = kind, of
	switch kind {
	case freezeEverything:
		r.Here, r.MayRelease = true, v.who.Can(auth.Admin, "", "")
	case freezeMembership:
		if i := slices.IndexFunc(memberships, func(m *platform.Membership) bool { return m.ID == of }); i >= 0 {
			r.Of, r.ID, r.Here, r.MayRelease = memberships[i].OrgName, of, true, v.can(auth.Admin, of)
		}
	default:
		r.Of, _, _ = strings.Cut(of, ":")
		if i := slices.IndexFunc(services, func(s *platform.Service) bool { return s.ID == one.Service }); i >= 0 {
			r.Of, r.ID, r.Here, r.MayRelease = services[i].Name, one.Service, true, v.can(auth.Admin, services[i].MembershipID)
		}
	}
	r.MayRelease = r.MayRelease && !one.Above
	return r
}

// freezeTarget is what a form is about.
func (v *visit) freezeTarget(ctx context.Context) ([]platform.FreezeTarget, error) {
	at := v.at
	at.ID = v.form.Get("id")
	switch v.form.Get("what") {
	case freezeEverything:
		return []platform.FreezeTarget{{}}, nil
	case freezeMembership:
		return []platform.FreezeTarget{{Kind: platform.Memberships, At: platform.Path{Consortium: v.at.Consortium, ID: at.ID}}}, nil
	case freezeWallet:
		return []platform.FreezeTarget{{Kind: platform.Services, At: at}}, nil
	case freezeAccount:
		return v.accountTargets(ctx, at)
	}
	return nil, &platform.Error{Reason: platform.NotFound, Msg: "there is nothing that could be frozen by that name"}
}

// accountTargets are the wallets here that have an account: a key may be in
// several.
func (v *visit) accountTargets(ctx context.Context, at platform.Path) ([]platform.FreezeTarget, error) {
	text := v.text("address")
	if !common.IsHexAddress(text) {
		return nil, &platform.Error{Reason: platform.Invalid, Field: "address", Msg: "want an address: 0x and 40 hex digits"}
	}
	address := common.HexToAddress(text)
	if at.ID != "" {
		return []platform.FreezeTarget{{Kind: platform.Services, At: at, Account: &address}}, nil
	}
	services, err := list[platform.Service](ctx, v, platform.Services)
	if err != nil {
		return nil, err
	}
	var targets []platform.FreezeTarget
	for _, s := range services {
		at.ID = s.ID
		if _, err := v.c.cfg.Platform.Account(ctx, v.who, at, address, platform.AccountQuery{}); err == nil {
			targets = append(targets, platform.FreezeTarget{Kind: platform.Services, At: at, Account: &address})
		}
	}
	if targets == nil {
		return nil, &platform.Error{Reason: platform.Invalid, Field: "address", Msg: "no wallet here has this account: check it, or freeze the wallet"}
	}
	return targets, nil
}

func freezeNow(ctx context.Context, v *visit) (view, error) {
	targets, err := v.freezeTarget(ctx)
	for i := 0; err == nil && i < len(targets); i++ {
		_, err = v.c.cfg.Platform.Freeze(ctx, v.who, targets[i], v.text("reason"))
	}
	return v.afterFreeze(ctx, err, "frozen")
}

func releaseNow(ctx context.Context, v *visit) (view, error) {
	targets, err := v.freezeTarget(ctx)
	for i := 0; err == nil && i < len(targets); i++ {
		_, err = v.c.cfg.Platform.Release(ctx, v.who, targets[i], v.text("reason"))
	}
	return v.afterFreeze(ctx, err, "released")
}

func (v *visit) afterFreeze(ctx context.Context, err error, done string) (view, error) {
	if f, ok := v.refused(err, "reason", "address"); ok {
		return v.freezes(ctx, f)
	}
	if err != nil {
		return view{}, err
	}
	return v.done(done, "freeze"), nil
}

// frozen is why a wallet, or an account of it, signs nothing; nil if it may.
func (v *visit) frozen(ctx context.Context, account *common.Address) *platform.FreezeState {
	state, err := v.c.cfg.Platform.FreezeState(ctx, v.who, platform.FreezeTarget{Kind: platform.Services, At: v.here(), Account: account})
	if err != nil || !state.Frozen {
		return nil // a process without the switch has nothing that it could stop
	}
	return &state
}

// stopped is the freeze of everything, if there is one.
func (v *visit) stopped(ctx context.Context) *platform.Freeze {
	all, _ := v.c.cfg.Platform.Freezes(ctx, v.who) // a process without the switch stops nothing
	if i := slices.IndexFunc(all, func(f platform.Freeze) bool { return f.Scope == freezeEverything }); i >= 0 {
		return &all[i]
	}
	return nil
}

// freezeWords says what a freeze holds, on a page of a wallet.
func freezeWords(f platform.Freeze) string {
	kind, _, _ := strings.Cut(f.Scope, ":")
	switch kind {
	case freezeEverything:
		return "Everything is frozen"
	case freezeMembership:
		return "The whole membership is frozen"
	case freezeWallet:
		return "This wallet is frozen"
	}
	return "This account is frozen"
}
