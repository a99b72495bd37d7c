// SPDX-License-Identifier: Apache-2.0

package console

import (
	"context"
	"encoding/json"
	"slices"

	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/platform"
)

// configurationRow is one of the list.
type configurationRow struct {
	*platform.Configuration
	Provider string
	Owner    string
	Wallets  int // that use it
}

func configurations(ctx context.Context, v *visit) (view, error) {
	all, err := list[platform.Configuration](ctx, v, platform.Configurations)
	if err != nil {
		return view{}, err
	}
	users, err := v.users(ctx)
	if err != nil {
		return view{}, err
	}
	owners, err := v.owners(ctx)
	if err != nil {
		return view{}, err
	}
	var rows []configurationRow
	for _, c := range all {
		rows = append(rows, configurationRow{c, titleOfProvider(textIn(c.Details, "provider")), owners[c.MembershipID], len(users[c.ID])})
	}
	return view{page: "configurations", title: "Cloud HSM configurations", section: "configurations", data: rows}, nil
}

// users are the wallets by the configuration or node that they use.
func (v *visit) users(ctx context.Context) (map[string][]*platform.Service, error) {
	all, err := list[platform.Service](ctx, v, platform.Services)
	if err != nil {
		return nil, err
	}
	by := map[string][]*platform.Service{}
	for _, s := range all {
		for _, key := range []string{"cloudhsm_id", "node_id"} {
			if id := textIn(s.Details, key); id != "" {
				by[id] = append(by[id], s)
			}
		}
	}
	return by, nil
}

// owners are the names of memberships, by id.
func (v *visit) owners(ctx context.Context) (map[string]string, error) {
	all, err := listAt[platform.Membership](ctx, v, platform.Memberships, platform.Path{Consortium: v.at.Consortium})
	if err != nil {
		return nil, err
	}
	names := map[string]string{}
	for _, m := range all {
		names[m.ID] = m.OrgName
	}
	return names, nil
}

// ownable are the memberships of which the person is an admin.
func (v *visit) ownable(ctx context.Context) ([]*platform.Membership, error) {
	all, err := listAt[platform.Membership](ctx, v, platform.Memberships, platform.Path{Consortium: v.at.Consortium})
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(all, func(m *platform.Membership) bool { return !v.can(auth.Admin, m.ID) }), nil
}

func textIn(details map[string]any, name string) string {
	s, _ := details[name].(string)
	return s
}

func newConfiguration(ctx context.Context, v *visit) (view, error) {
	return v.configurationForm(ctx, form{Values: v.form}, nil)
}

func makeConfiguration(ctx context.Context, v *visit) (view, error) {
	p, ok := providerNamed(v.form.Get("provider"))
	if !ok {
		return nothingHere(ctx, v)
	}
	body := map[string]any{
		"type": "cloudhsm", "name": v.text("name"), "membership_id": v.form.Get("membership_id"),
		"details": v.details(p, nil),
	}
	is, err := v.create(ctx, platform.Configurations, body)
	if f, ok := v.refusedDetails(err, p); ok {
		return v.configurationForm(ctx, f, nil)
	}
	if err != nil {
		return view{}, err
	}
	made, _ := is.(*platform.Configuration)
	return v.done("configuration-made", "configurations", made.ID), nil
}

// create makes a resource here of what was typed.
func (v *visit) create(ctx context.Context, kind platform.Kind, body map[string]any) (any, error) {
	if err := v.nameIsFree(ctx, kind, "", body); err != nil {
		return nil, err
	}
	text, err := json.Marshal(body)
	if err != nil {
		return nil, err
	}
	defer clear(text)
	at := v.at
	at.ID = ""
	return v.c.cfg.Platform.Create(ctx, v.who, kind, at, text)
}

// update changes a resource here.
func (v *visit) update(ctx context.Context, kind platform.Kind, id string, patch map[string]any) error {
	if err := v.nameIsFree(ctx, kind, id, patch); err != nil {
		return err
	}
	text, err := json.Marshal(patch)
	if err != nil {
		return err
	}
	defer clear(text)
	at := v.at
	at.ID = id
	_, err = v.c.cfg.Platform.Update(ctx, v.who, kind, at, text)
	return err
}

// here is the path of what the URL names.
func (v *visit) here() platform.Path {
	at := v.at
	at.ID = v.r.PathValue("id")
	return at
}

func showConfiguration(ctx context.Context, v *visit) (view, error) {
	was, err := get[platform.Configuration](ctx, v, platform.Configurations, v.here())
	if err != nil {
		return view{}, err
	}
	values := form{Values: map[string][]string{"name": {was.Name}}}
	written(values.Values, "details.", was.Details)
	return v.configurationForm(ctx, values, was)
}

func changeConfiguration(ctx context.Context, v *visit) (view, error) {
	was, err := get[platform.Configuration](ctx, v, platform.Configurations, v.here())
	if err != nil {
		return view{}, err
	}
	p, ok := providerNamed(textIn(was.Details, "provider"))
	if !ok {
		return nothingHere(ctx, v)
	}
	err = v.update(ctx, platform.Configurations, was.ID, map[string]any{"name": v.text("name"), "details": v.details(p, was.Details)})
	if f, ok := v.refusedDetails(err, p); ok {
		return v.configurationForm(ctx, f, was)
	}
	if err != nil {
		return view{}, err
	}
	return v.done("configuration-changed", "configurations", was.ID), nil
}

func deleteConfiguration(ctx context.Context, v *visit) (view, error) {
	if _, err := v.c.cfg.Platform.Delete(ctx, v.who, platform.Configurations, v.here()); err != nil {
		return view{}, err
	}
	return v.done("configuration-deleted", "configurations"), nil
}
