// SPDX-License-Identifier: Apache-2.0

package platform

import (
	"context"

	"github.com/hsmsigner/hsmsigner/internal/auth"
)

// draft is a row as a request wants it, and what has to happen with it.
type draft struct {
	row
	changed changes
	// settle says that the services which use the resource, or the service
	// itself, have to be opened anew before they are started again.
	settle bool
	// unique says that no other resource of its kind may have its username.
	unique bool
	// secret is the new credential, which is shown once.
	secret string
}

// fill puts what the body says into a draft, of which everything but the body's
// part is there. It is called for new resources and for changes alike: fresh
// tells which.
func (p *Platform) fill(ctx context.Context, who auth.Access, d *draft, b body, fresh bool) error {
	switch d.kind() {
	case Consortia:
		return d.fillConsortium(who, b)
	case Memberships:
		return d.fillMembership(b)
	case Environments:
		return p.fillEnvironment(ctx, d, b)
	case Nodes:
		return p.fillNode(ctx, d, b, fresh)
	case Configurations:
		return p.fillConfiguration(ctx, d, b)
	case Services:
		return p.fillService(ctx, who, d, b, fresh)
	case AppCreds:
		return p.fillAppCred(d, b, fresh)
	default:
		return p.fillAPIKey(ctx, who, d, b, fresh)
	}
}

func (d *draft) fillConsortium(who auth.Access, b body) error {
	if err := d.rename(b, "name"); err != nil {
		return err
	}
	if err := d.describe(b); err != nil {
		return err
	}
	needed, given, err := b.number("policy_approvals", 1)
	if err != nil || !given || int(needed) == d.data.PolicyApprovals {
		return err
	}
	// Else one admin could take the other out of the way.
	if int(needed) < d.data.PolicyApprovals && !who.Can(auth.Admin, "", "") {
		return &Error{Forbidden, "policy_approvals", "can be lowered by an admin of the deployment only"}
	}
	d.changed.note("policy_approvals", true)
	d.data.PolicyApprovals = int(needed)
	return nil
}

func (d *draft) fillMembership(b body) error {
	if err := b.fixed("consortium_id", d.Consortium); err != nil {
		return err
	}
	return d.rename(b, "org_name")
}

func (d *draft) rename(b body, field string) error {
	name, err := b.name(field, d.Name)
	if err != nil {
		return err
	}
	d.changed.note(field, name != d.Name)
	d.Name = name
	return nil
}

func (d *draft) describe(b body) error {
	text, err := b.note("description", d.data.Description)
	if err != nil {
		return err
	}
	d.changed.note("description", text != d.data.Description)
	d.data.Description = text
	return nil
}

// stays refuses to move a resource to another place or tenant.
func (d *draft) stays(b body) error {
	for _, f := range []struct{ field, is string }{
		{"consortium_id", d.Consortium}, {"environment_id", d.Environment}, {"membership_id", d.Membership},
	} {
		if d.Revision == 0 && b.Get(f.field).Text == "" {
			continue // as if it were left out
		}
		if err := b.fixed(f.field, f.is); err != nil {
			return err
		}
	}
	return nil
}
