// SPDX-License-Identifier: Apache-2.0

package platform

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/store"
	"github.com/hsmsigner/hsmsigner/internal/strictjson"
)

const serviceMember = "member"

func (p *Platform) fillService(ctx context.Context, who auth.Access, d *draft, b body, fresh bool) error {
	if err := d.stays(b); err != nil {
		return err
	}
	if err := d.rename(b, "name"); err != nil {
		return err
	}
	for _, f := range []struct{ field, want string }{{"service", typeCloudHSM}, {"service_type", serviceMember}} {
		s, given, err := b.text(f.field)
		switch {
		case err != nil:
			return err
		case s == "" && fresh && f.field == "service":
			return invalid("service", "is missing: want cloudhsm")
		case given && s != "" && s != f.want:
			return invalid(f.field, "is not one of ours: want %s", f.want)
		}
	}
	patch, given, err := b.object("details")
	if err != nil {
		return err
	}
	if !given {
		if fresh {
			return invalid("details", `is missing: want {"cloudhsm_id": "<id of a configuration>"}`)
		}
		return nil
	}
	return p.fillBinding(ctx, who, d, patch.Value, fresh)
}

// fillBinding binds the service to a configuration and a node.
func (p *Platform) fillBinding(ctx context.Context, who auth.Access, d *draft, patch strictjson.Value, fresh bool) error {
	whole, changed := merge(d.data.Details, patch)
	if len(changed) == 0 && !fresh {
		return nil
	}
	shown, secret := split(whole)
	for name := range secret {
		return invalid("details."+name, "sounds like a secret, and a service has none: want it in the details of a configuration")
	}
	configuration, err := p.bound(ctx, who, d, shown, "cloudhsm_id", Configurations)
	if err != nil {
		return err
	}
	var node row
	if shown["node_id"] == nil {
		node, err = p.onlyNode(ctx, d)
	} else {
		node, err = p.bound(ctx, who, d, shown, "node_id", Nodes)
	}
	if err != nil {
		return err
	}
	if err := p.sameChain(ctx, d, node, fresh); err != nil {
		return err
	}
	shown["node_id"] = node.ID
	d.data.Details = shown
	d.Uses = []string{d.Environment, d.Membership, configuration.ID, node.ID}
	for _, name := range changed {
		d.changed.note("details."+name, true)
	}
	d.settle = true
	return nil
}

// bound finds the resource that details name: of the service's own membership
// and environment.
func (p *Platform) bound(ctx context.Context, who auth.Access, d *draft, details map[string]any, field string, kind Kind) (row, error) {
	id, ok := details[field].(string)
	if details[field] == nil {
		return row{}, invalid("details."+field, "is missing: want the id of a %s of membership %s", kind.one(), d.Membership)
	}
	if !ok {
		return row{}, invalid("details."+field, "want text: the id of a %s", kind.one())
	}
	r, err := p.read(ctx, who, kind, Path{d.Consortium, d.Environment, id})
	var refused *Error
	switch {
	case errors.As(err, &refused):
		return row{}, invalid("details."+field, "%s in this environment", refused.Msg)
	case err != nil:
		return row{}, err
	case r.Membership != d.Membership:
		return row{}, invalid("details."+field, "is a %s of membership %s: want one of membership %s, as the service", kind.one(), r.Membership, d.Membership)
	}
	return r, nil
}

// onlyNode is the node of a service that names none: the only one of its
// membership in the environment.
func (p *Platform) onlyNode(ctx context.Context, d *draft) (row, error) {
	all, err := p.cfg.Store.Resources(ctx, store.ResourceFilter{
		Kind: string(Nodes), Consortium: d.Consortium, Environment: d.Environment, Membership: d.Membership,
	})
	if err != nil {
		return row{}, err
	}
	switch len(all) {
	case 0:
		return row{}, invalid("details.node_id", "is missing, and membership %s has no node in this environment: make one first", d.Membership)
	case 1:
		return readRow(all[0])
	}
	names := make([]string, 0, maxListed+1)
	for i, n := range all {
		if i == maxListed {
			names = append(names, "…")
			break
		}
		names = append(names, fmt.Sprintf("%s (%q)", n.ID, n.Name))
	}
	return row{}, invalid("details.node_id", "is missing, and membership %s has several nodes in this environment: want one of %s", d.Membership, strings.Join(names, ", "))
}

// maxListed bounds how many resources an error names.
const maxListed = 10

// sameChain keeps a service from leaving its chain while transactions of it are
// under way there.
func (p *Platform) sameChain(ctx context.Context, d *draft, node row, fresh bool) error {
	if fresh || node.ID == d.data.Details["node_id"] {
		return nil
	}
	was, _ := d.data.Details["node_id"].(string)
	before, err := p.byID(ctx, was)
	if err != nil || before.data.ChainID == node.data.ChainID {
		return err
	}
	live, err := p.live(ctx, d.row)
	if err != nil {
		return err
	}
	if live > 0 {
		return conflict("transactions of the service are under way on chain %d: details.node_id can name a node of chain %d when they are done", before.data.ChainID, node.data.ChainID)
	}
	return nil
}
