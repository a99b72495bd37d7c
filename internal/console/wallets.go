// SPDX-License-Identifier: Apache-2.0

package console

import (
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/platform"
)

// walletRow is a wallet with how it does.
type walletRow struct {
	*platform.Service
	Owner         string
	Configuration string
	Node          string
	Status        platform.ServiceStatus
}

func wallets(ctx context.Context, v *visit) (view, error) {
	rows, err := v.walletRows(ctx)
	if err != nil {
		return view{}, err
	}
	return view{page: "wallets", title: "Cloud HSM wallets", section: "wallets", data: rows, fragment: v.wantsFragment()}, nil
}

func (v *visit) walletRows(ctx context.Context) ([]walletRow, error) {
	all, err := list[platform.Service](ctx, v, platform.Services)
	if err != nil {
		return nil, err
	}
	owners, err := v.owners(ctx)
	if err != nil {
		return nil, err
	}
	names, err := v.names(ctx)
	if err != nil {
		return nil, err
	}
	rows := make([]walletRow, len(all))
	for i, s := range all {
		at := v.at
		at.ID = s.ID
		status, err := v.c.cfg.Platform.Status(ctx, v.who, at)
		if err != nil {
			return nil, err
		}
		rows[i] = walletRow{s, owners[s.MembershipID], names[textIn(s.Details, "cloudhsm_id")], names[textIn(s.Details, "node_id")], status}
	}
	return rows, nil
}

// names are those of the configurations and nodes here, by id.
func (v *visit) names(ctx context.Context) (map[string]string, error) {
	names := map[string]string{}
	configurations, err := list[platform.Configuration](ctx, v, platform.Configurations)
	if err != nil {
		return nil, err
	}
	for _, c := range configurations {
		names[c.ID] = c.Name
	}
	nodes, err := list[platform.Node](ctx, v, platform.Nodes)
	if err != nil {
		return nil, err
	}
	for _, n := range nodes {
		names[n.ID] = n.Name
	}
	return names, nil
}

// walletPage is the data of every page inside of a wallet.
type walletPage struct {
	form
	walletRow
	Tab        string
	MayOperate bool
	MayAdmin   bool
	Content    any
	Pictures   *pictures
	Head       uint64 // of the node; zero if not known
	HeadAt     time.Time
	Frozen     *platform.FreezeState // nil: it is not
}

// wallet reads the wallet that the URL names.
func (v *visit) wallet(ctx context.Context, tab string) (walletPage, error) {
	s, err := get[platform.Service](ctx, v, platform.Services, v.here())
	if err != nil {
		return walletPage{}, err
	}
	status, err := v.c.cfg.Platform.Status(ctx, v.who, v.here())
	if err != nil {
		return walletPage{}, err
	}
	owners, err := v.owners(ctx)
	if err != nil {
		return walletPage{}, err
	}
	names, err := v.names(ctx)
	if err != nil {
		return walletPage{}, err
	}
	return walletPage{
		form:       form{Values: v.form},
		walletRow:  walletRow{s, owners[s.MembershipID], names[textIn(s.Details, "cloudhsm_id")], names[textIn(s.Details, "node_id")], status},
		Tab:        tab,
		Frozen:     v.frozen(ctx, nil),
		MayOperate: v.can(auth.Operates, s.MembershipID), MayAdmin: v.can(auth.Admin, s.MembershipID) && !s.ReadOnly,
	}, nil
}

// inside is a page of a wallet.
func (v *visit) inside(p walletPage, page, title string) view {
	is := view{page: page, title: p.Name + ": " + title, section: "wallets", data: p, fragment: v.wantsFragment()}
	if p.Problem != "" || len(p.Problems) > 0 {
		is.status = http.StatusUnprocessableEntity
	}
	return is
}

func showWallet(ctx context.Context, v *visit) (view, error) {
	p, err := v.wallet(ctx, "overview")
	if err != nil {
		return view{}, err
	}
	recent, err := v.c.cfg.Platform.Transactions(ctx, v.who, v.here(), platform.TransactionQuery{Limit: 8})
	if err != nil {
		return view{}, err
	}
	p.Content, p.Pictures = recent, v.pictures(p.Service)
	if v.c.cfg.Past != nil {
		p.Head, p.HeadAt = v.c.cfg.Past.LastHead(runName(p.Service))
	}
	return v.inside(p, "wallet", "overview"), nil
}

func resetWallet(ctx context.Context, v *visit) (view, error) {
	if _, err := v.c.cfg.Platform.Reset(ctx, v.who, platform.Services, v.here()); err != nil {
		return view{}, err
	}
	return v.done("wallet-reset", "wallets", v.r.PathValue("id")), nil
}

// walletForm is the data of the page on which a wallet is made.
type walletForm struct {
	form
	Memberships    []*platform.Membership
	Owners         map[string]string // names of memberships, by id
	Configurations []configurationRow
	Nodes          []*platform.Node
}

func newWallet(ctx context.Context, v *visit) (view, error) {
	return v.walletForm(ctx, form{Values: v.form})
}

func (v *visit) walletForm(ctx context.Context, f form) (view, error) {
	data := walletForm{form: f}
	var err error
	if data.Memberships, err = v.ownable(ctx); err != nil {
		return view{}, err
	}
	all, err := list[platform.Configuration](ctx, v, platform.Configurations)
	if err != nil {
		return view{}, err
	}
	mine := func(id string) bool { return v.can(auth.Admin, id) }
	owners, err := v.owners(ctx)
	if err != nil {
		return view{}, err
	}
	data.Owners = owners
	for _, c := range all {
		if mine(c.MembershipID) {
			data.Configurations = append(data.Configurations, configurationRow{c, titleOfProvider(textIn(c.Details, "provider")), owners[c.MembershipID], 0})
		}
	}
	if data.Nodes, err = list[platform.Node](ctx, v, platform.Nodes); err != nil {
		return view{}, err
	}
	data.Nodes = slices.DeleteFunc(data.Nodes, func(n *platform.Node) bool { return !mine(n.MembershipID) })
	is := view{page: "wallet-new", title: "New wallet", section: "wallets", data: data}
	if f.Problem != "" || len(f.Problems) > 0 {
		is.status = http.StatusUnprocessableEntity
	}
	return is, nil
}

func makeWallet(ctx context.Context, v *visit) (view, error) {
	details := map[string]any{"cloudhsm_id": v.form.Get("details.cloudhsm_id")}
	if node := v.form.Get("details.node_id"); node != "" {
		details["node_id"] = node
	}
	is, err := v.create(ctx, platform.Services, map[string]any{
		"service": "cloudhsm", "name": v.text("name"), "membership_id": v.form.Get("membership_id"), "details": details,
	})
	if f, ok := v.refused(err, "name", "membership_id", "details.cloudhsm_id", "details.node_id"); ok {
		return v.walletForm(ctx, f)
	}
	if err != nil {
		return view{}, err
	}
	made, _ := is.(*platform.Service)
	return v.done("wallet-made", "wallets", made.ID), nil
}

func walletSettings(ctx context.Context, v *visit) (view, error) {
	p, err := v.wallet(ctx, "settings")
	if err != nil {
		return view{}, err
	}
	p.Values = map[string][]string{"name": {p.Name}}
	return v.inside(p, "wallet-settings", "settings"), nil
}

func changeWallet(ctx context.Context, v *visit) (view, error) {
	p, err := v.wallet(ctx, "settings")
	if err != nil {
		return view{}, err
	}
	err = v.update(ctx, platform.Services, p.ID, map[string]any{"name": v.text("name")})
	if f, ok := v.refused(err, "name"); ok {
		p.form = f
		return v.inside(p, "wallet-settings", "settings"), nil
	}
	if err != nil {
		return view{}, err
	}
	return v.done("wallet-changed", "wallets", p.ID, "settings"), nil
}

func deleteWallet(ctx context.Context, v *visit) (view, error) {
	if _, err := v.c.cfg.Platform.Delete(ctx, v.who, platform.Services, v.here()); err != nil {
		return view{}, err
	}
	return v.done("wallet-deleted", "wallets"), nil
}
