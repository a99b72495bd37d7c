// SPDX-License-Identifier: Apache-2.0

package platform

import (
	"context"
	"strings"
)

// names finds what people call principals, once each: a principal's own name is an
// id, or a subject of the identity provider. It is for one request.
type names struct {
	p     *Platform
	known map[string]string
}

func (p *Platform) callNames() names { return names{p, map[string]string{}} }

// of is what an API key or app credential is called, and the name with which a
// person has signed in last. It is empty for those who have no other name, and for
// who is deleted or has not signed in for long: the audit trail has both where they
// acted.
func (n names) of(ctx context.Context, principal string) string {
	if name, known := n.known[principal]; known {
		return name
	}
	name := n.find(ctx, principal)
	n.known[principal] = name
	return name
}

func (n names) find(ctx context.Context, principal string) string {
	kind, id, _ := strings.Cut(principal, ":")
	switch kind {
	case "key", "app":
		r, err := n.p.cfg.Store.Resource(ctx, id)
		if err == nil && (r.Kind == string(APIKeys) || r.Kind == string(AppCreds)) {
			return r.Name
		}
	case "person":
		if all, err := n.p.cfg.Store.SignIns(ctx, id); err == nil && len(all) > 0 {
			return all[0].Name
		}
	}
	return ""
}
