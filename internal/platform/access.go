// SPDX-License-Identifier: Apache-2.0

package platform

import (
	"context"
	"errors"

	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

// visible reports whether the caller may know that the resource exists.
func visible(who auth.Access, r row) bool {
	consortium, membership := r.owner()
	switch r.kind() {
	case Consortia, Environments:
		return who.Sees(consortium)
	case APIKeys:
		return mayAll(who, auth.Auditor, r.data.Grants)
	}
	return who.Can(auth.Auditor, consortium, membership)
}

// mayAll reports whether the caller has the role wherever the grants hold.
func mayAll(who auth.Access, role auth.Role, grants []auth.Grant) bool {
	for _, g := range grants {
		if !who.Can(role, g.Consortium, g.Membership) {
			return false
		}
	}
	return len(who.Grants) > 0
}

// allowed refuses a caller who may see the resource but has not the role.
func allowed(who auth.Access, role auth.Role, r row) error {
	if r.kind() == APIKeys {
		if !mayAll(who, role, r.data.Grants) {
			return forbidden(role, "all that the key is for")
		}
		return nil
	}
	consortium, membership := r.owner()
	if who.Can(role, consortium, membership) {
		return nil
	}
	if membership != "" {
		return forbidden(role, "membership "+membership)
	}
	return forbidden(role, "consortium "+consortium)
}

// place checks that the caller may know of what the path leads through.
func (p *Platform) place(ctx context.Context, who auth.Access, kind Kind, at Path) error {
	switch {
	case !kind.known():
		return &Error{Reason: NotFound, Msg: "there is no such collection"}
	case kind == Consortia, kind == APIKeys:
		return nil
	}
	if _, err := p.read(ctx, who, Consortia, Path{ID: at.Consortium}); err != nil {
		return err
	}
	if !kind.inEnvironment() {
		return nil
	}
	_, err := p.read(ctx, who, Environments, Path{Consortium: at.Consortium, ID: at.Environment})
	return err
}

// find reads a resource that the caller may see, where the path says. What is
// another's, stands elsewhere or does not exist is all the same.
func (p *Platform) find(ctx context.Context, who auth.Access, kind Kind, at Path) (row, error) {
	if err := p.place(ctx, who, kind, at); err != nil {
		return row{}, err
	}
	return p.read(ctx, who, kind, at)
}

// read is find without a look at what the path leads through.
func (p *Platform) read(ctx context.Context, who auth.Access, kind Kind, at Path) (row, error) {
	if !isID(at.ID) {
		return row{}, missing(kind, at.ID)
	}
	r, err := p.byID(ctx, at.ID)
	switch {
	case errors.Is(err, store.ErrNotFound):
		return row{}, missing(kind, at.ID)
	case err != nil:
		return row{}, err
	}
	stands := r.kind() == kind
	if kind != Consortia && kind != APIKeys {
		stands = stands && r.Consortium == at.Consortium
	}
	if kind.inEnvironment() {
		stands = stands && r.Environment == at.Environment
	}
	if !stands || !visible(who, r) {
		return row{}, missing(kind, at.ID)
	}
	return r, nil
}

func (p *Platform) byID(ctx context.Context, id string) (row, error) {
	if r, ok := p.declared[id]; ok {
		return p.living(r), nil
	}
	r, err := p.cfg.Store.Resource(ctx, id)
	if err != nil {
		return row{}, err
	}
	return readRow(r)
}

// owned finds the membership that a new resource is to belong to, of which the
// caller must be an admin. One that the caller may not know of is reported as
// one that is not there.
func (p *Platform) owned(ctx context.Context, who auth.Access, consortium, membership string) (row, error) {
	if membership == "" {
		return p.only(ctx, who, consortium)
	}
	m, err := p.read(ctx, who, Memberships, Path{Consortium: consortium, ID: membership})
	if refused := (*Error)(nil); errors.As(err, &refused) {
		return row{}, invalid("membership_id", "%s in this consortium", refused.Msg)
	}
	if err != nil {
		return row{}, err
	}
	return m, allowed(who, auth.Admin, m)
}

// only is the membership of a request that names none: the only one that the
// caller may see.
func (p *Platform) only(ctx context.Context, who auth.Access, consortium string) (row, error) {
	all, err := p.rows(ctx, who, Memberships, Path{Consortium: consortium})
	switch {
	case err != nil:
		return row{}, err
	case len(all) != 1:
		return row{}, invalid("membership_id", "is missing: want the id of the membership that is to own it")
	}
	return all[0], allowed(who, auth.Admin, all[0])
}

// rows lists what the caller may see of a collection, in the order in which it
// was made.
func (p *Platform) rows(ctx context.Context, who auth.Access, kind Kind, at Path) ([]row, error) {
	filter := store.ResourceFilter{Kind: string(kind), Consortium: at.Consortium}
	if kind.inEnvironment() {
		filter.Environment = at.Environment
	}
	if kind == Consortia || kind == APIKeys {
		filter.Consortium = ""
	}
	all, err := p.cfg.Store.Resources(ctx, filter)
	if err != nil {
		return nil, err
	}
	var out []row
	if kind == Services && at.Consortium == DefaultConsortium && at.Environment == DefaultEnvironment {
		for _, id := range p.order {
			if r := p.living(p.declared[id]); visible(who, r) {
				out = append(out, r)
			}
		}
	}
	for _, stored := range all {
		r, err := readRow(stored)
		if err != nil {
			return nil, err
		}
		if visible(who, r) {
			out = append(out, r)
		}
	}
	return out, nil
}
