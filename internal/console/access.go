// SPDX-License-Identifier: Apache-2.0

package console

import (
	"context"
	"net/http"

	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/platform"
)

// accessPage is the data of the pages about who may come in.
type accessPage[T any] struct {
	form
	All         []T
	Owners      map[string]string
	Memberships []*platform.Membership // that the person may make something for
	Roles       []auth.Role
	Made        *T // just made: its secret is shown this once
}

func memberships(ctx context.Context, v *visit) (view, error) {
	return v.memberships(ctx, form{Values: v.form})
}

func (v *visit) memberships(ctx context.Context, f form) (view, error) {
	all, err := listAt[platform.Membership](ctx, v, platform.Memberships, platform.Path{Consortium: v.at.Consortium})
	if err != nil {
		return view{}, err
	}
	return formView(view{page: "memberships", title: "Memberships", section: "memberships", data: accessPage[*platform.Membership]{form: f, All: all}}, f), nil
}

// formView is a view whose status says whether the form in it was refused.
func formView(is view, f form) view {
	if f.Problem != "" || len(f.Problems) > 0 {
		is.status = http.StatusUnprocessableEntity
	}
	return is
}

func makeMembership(ctx context.Context, v *visit) (view, error) {
	_, err := v.create(ctx, platform.Memberships, map[string]any{"org_name": v.text("org_name")})
	if f, ok := v.refused(err, "org_name"); ok {
		return v.memberships(ctx, f)
	}
	if err != nil {
		return view{}, err
	}
	return v.done("membership-made", "memberships"), nil
}

func deleteMembership(ctx context.Context, v *visit) (view, error) {
	at := platform.Path{Consortium: v.at.Consortium, ID: v.r.PathValue("id")}
	if _, err := v.c.cfg.Platform.Delete(ctx, v.who, platform.Memberships, at); err != nil {
		return view{}, err
	}
	return v.done("membership-deleted", "memberships"), nil
}

func credentials(ctx context.Context, v *visit) (view, error) {
	return v.credentials(ctx, form{Values: v.form}, nil)
}

func (v *visit) credentials(ctx context.Context, f form, made *platform.AppCred) (view, error) {
	data := accessPage[platform.AppCred]{form: f, Made: made}
	all, err := list[platform.AppCred](ctx, v, platform.AppCreds)
	if err != nil {
		return view{}, err
	}
	for _, c := range all {
		data.All = append(data.All, *c)
	}
	if data.Owners, err = v.owners(ctx); err != nil {
		return view{}, err
	}
	if data.Memberships, err = v.ownable(ctx); err != nil {
		return view{}, err
	}
	return formView(view{page: "credentials", title: "App credentials", section: "credentials", data: data}, f), nil
}

func makeCredential(ctx context.Context, v *visit) (view, error) {
	body := map[string]any{"name": v.text("name"), "membership_id": v.form.Get("membership_id")}
	if identity := v.text("username"); identity != "" {
		body["auth_type"], body["username"] = "mtls", identity
	}
	is, err := v.create(ctx, platform.AppCreds, body)
	if f, ok := v.refused(err, "name", "membership_id", "username"); ok {
		return v.credentials(ctx, f, nil)
	}
	if err != nil {
		return view{}, err
	}
	made, _ := is.(*platform.AppCred)
	return v.credentials(ctx, form{}, made)
}

func regenerateCredential(ctx context.Context, v *visit) (view, error) {
	made, err := v.c.cfg.Platform.Regenerate(ctx, v.who, v.here())
	if err != nil {
		return view{}, err
	}
	return v.credentials(ctx, form{}, made)
}

func deleteCredential(ctx context.Context, v *visit) (view, error) {
	if _, err := v.c.cfg.Platform.Delete(ctx, v.who, platform.AppCreds, v.here()); err != nil {
		return view{}, err
	}
	return v.done("credential-deleted", "credentials"), nil
}

func apiKeys(ctx context.Context, v *visit) (view, error) {
	return v.apiKeys(ctx, form{Values: v.form}, nil)
}

func (v *visit) apiKeys(ctx context.Context, f form, made *platform.APIKey) (view, error) {
	data := accessPage[platform.APIKey]{form: f, Made: made, Roles: auth.Roles()}
	all, err := listAt[platform.APIKey](ctx, v, platform.APIKeys, platform.Path{})
	if err != nil {
		return view{}, err
	}
	for _, k := range all {
		data.All = append(data.All, *k)
	}
	if data.Owners, err = v.owners(ctx); err != nil {
		return view{}, err
	}
	if data.Memberships, err = v.ownable(ctx); err != nil {
		return view{}, err
	}
	return formView(view{page: "keys", title: "API keys", section: "keys", data: data}, f), nil
}

func makeAPIKey(ctx context.Context, v *visit) (view, error) {
	grant := map[string]any{"role": v.form.Get("role")}
	switch scope := v.form.Get("scope"); scope {
	case "deployment":
	case "consortium":
		grant["consortium_id"] = v.at.Consortium
	default:
		grant["consortium_id"], grant["membership_id"] = v.at.Consortium, scope
	}
	is, err := v.create(ctx, platform.APIKeys, map[string]any{"name": v.text("name"), "grants": []any{grant}})
	if f, ok := v.refused(err, "name", "role", "scope"); ok {
		return v.apiKeys(ctx, f, nil)
	}
	if err != nil {
		return view{}, err
	}
	made, _ := is.(*platform.APIKey)
	return v.apiKeys(ctx, form{}, made)
}

func deleteAPIKey(ctx context.Context, v *visit) (view, error) {
	if _, err := v.c.cfg.Platform.Delete(ctx, v.who, platform.APIKeys, platform.Path{ID: v.r.PathValue("id")}); err != nil {
		return view{}, err
	}
	return v.done("key-deleted", "keys"), nil
}

// MayDeployment reports whether the person may give rights in the whole deployment.
func (p *page) MayDeployment() bool { return p.v.who.Can(auth.Admin, "", "") }

// MayConsortium reports whether the person is an admin of the whole consortium.
func (p *page) MayConsortium() bool { return p.v.who.Can(auth.Admin, p.v.at.Consortium, "") }

// Where says in words where a grant holds.
func (p *page) Where(g auth.Grant, owners map[string]string) string {
	switch {
	case g.Consortium == "":
		return "the whole deployment"
	case g.Consortium != p.v.at.Consortium:
		return "consortium " + g.Consortium
	case g.Membership == "":
		return "this consortium"
	}
	if name := owners[g.Membership]; name != "" {
		return name
	}
	return "membership " + g.Membership
}

// MayRevoke reports whether the person is an admin wherever a key's grants hold.
func (p *page) MayRevoke(grants []auth.Grant) bool {
	for _, g := range grants {
		if !p.v.who.Can(auth.Admin, g.Consortium, g.Membership) {
			return false
		}
	}
	return true
}

// IsOwn reports whether an API key is the one that this session was begun with.
func (p *page) IsOwn(id string) bool { return p.v.who.Principal.Name == "key:"+id }
