// SPDX-License-Identifier: Apache-2.0

package platform

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/store"
	"github.com/hsmsigner/hsmsigner/internal/strictjson"
)

const maxGrants = 50

func (p *Platform) fillAPIKey(ctx context.Context, who auth.Access, d *draft, b body, fresh bool) error {
	if err := d.rename(b, "name"); err != nil {
		return err
	}
	v := b.Get("grants")
	if !fresh && !v.Present() {
		return nil
	}
	grants, err := readGrants(v)
	if err != nil {
		return err
	}
	if !fresh {
		if !slices.Equal(grants, d.data.Grants) {
			return invalid("grants", "cannot be changed: make another key")
		}
		return nil
	}
	for i, g := range grants {
		if err := p.grantable(ctx, who, fmt.Sprintf("grants[%d]", i), g); err != nil {
			return err
		}
	}
	d.data.Grants = grants
	if d.data.Makers, err = makersOf(func(id string) (store.Resource, error) { return p.cfg.Store.Resource(ctx, id) }, who); err != nil {
		return err
	}
	secret := auth.NewSecret()
	d.secret = d.ID + "-" + secret
	d.Verifier = auth.StoredKey(p.cfg.Verifier, d.ID, grants, secret)
	return nil
}

func readGrants(v strictjson.Value) ([]auth.Grant, error) {
	if v.Kind != strictjson.Array || len(v.Elems) == 0 || len(v.Elems) > maxGrants {
		return nil, invalid("grants", `want a list of 1 to %d grants, like [{"role": "admin"}]`, maxGrants)
	}
	grants := make([]auth.Grant, len(v.Elems))
	for i, e := range v.Elems {
		field := fmt.Sprintf("grants[%d]", i)
		if e.Kind != strictjson.Object {
			return nil, invalid(field, "want an object, not %s", e.Kind)
		}
		b := body{e}
		var role string
		for _, f := range []struct {
			name string
			into *string
		}{{"role", &role}, {"consortium_id", &grants[i].Consortium}, {"membership_id", &grants[i].Membership}} {
			s, _, err := b.text(f.name)
			if err != nil {
				return nil, invalid(field+"."+f.name, "want text")
			}
			*f.into = s
		}
		grants[i].Role = auth.Role(role)
		switch {
		case !slices.Contains(auth.Roles(), grants[i].Role):
			return nil, invalid(field+".role", "is not one of ours: want auditor, operator or admin")
		case grants[i].Membership != "" && grants[i].Consortium == "":
			return nil, invalid(field+".consortium_id", "is missing: want that of the membership")
		}
		// A misspelt scope must not become a wider one.
		for _, m := range e.Members {
			if m.Name != "role" && m.Name != "consortium_id" && m.Name != "membership_id" {
				return nil, invalid(field, "has a member that is none of role, consortium_id and membership_id")
			}
		}
	}
	return grants, nil
}

// grantable refuses what is not the caller's to give: he has to be an admin
// where the grant holds.
func (p *Platform) grantable(ctx context.Context, who auth.Access, field string, g auth.Grant) error {
	if g.Consortium != "" {
		if err := p.named(ctx, who, field+".consortium_id", Consortia, Path{ID: g.Consortium}); err != nil {
			return err
		}
	}
	if g.Membership != "" {
		if err := p.named(ctx, who, field+".membership_id", Memberships, Path{Consortium: g.Consortium, ID: g.Membership}); err != nil {
			return err
		}
	}
	if who.Can(auth.Admin, g.Consortium, g.Membership) {
		return nil
	}
	return &Error{Forbidden, field, "grants more than you may: only an admin of a scope gives roles in it"}
}

func (p *Platform) named(ctx context.Context, who auth.Access, field string, kind Kind, at Path) error {
	_, err := p.read(ctx, who, kind, at)
	var refused *Error
	if errors.As(err, &refused) {
		return invalid(field, "%s", refused.Msg)
	}
	return err
}

// rules of a deployment: somebody has to be left who may do everything.
func isRoot(grants []auth.Grant) bool {
	return slices.Contains(grants, auth.Grant{Role: auth.Admin})
}

// lastRoot reports whether the key is the only one with the role admin for the
// whole deployment.
func lastRoot(w *store.Writer, key row) (bool, error) {
	if !isRoot(key.data.Grants) {
		return false, nil
	}
	all, err := w.Resources(store.ResourceFilter{Kind: string(APIKeys)})
	if err != nil {
		return false, err
	}
	for _, stored := range all {
		other, err := readRow(stored)
		if err != nil {
			return false, err
		}
		if other.ID != key.ID && isRoot(other.data.Grants) {
			return false, nil
		}
	}
	return true, nil
}
