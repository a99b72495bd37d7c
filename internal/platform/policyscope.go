// SPDX-License-Identifier: Apache-2.0

package platform

import (
	"context"

	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/config"
)

// deployment is the scope of what counts for everything.
const deployment = "deployment"

// policyScope is where rules hold.
type policyScope struct {
	name string // as in table policy
	row  row    // zero for the whole deployment
	// declared are the rules of the config file for the same scope.
	declared config.Policy
	around   []string // the wider scopes, the widest first
}

// scopeAt finds the scope of a path, for a caller with the role there. No kind
// is the whole deployment.
func (p *Platform) scopeAt(ctx context.Context, who auth.Access, role auth.Role, kind Kind, at Path) (policyScope, error) {
	if kind == "" {
		if !who.Can(role, "", "") {
			return policyScope{}, forbidden(role, "the deployment")
		}
		return policyScope{name: deployment, declared: p.cfg.DeclaredPolicy}, nil
	}
	r, err := p.find(ctx, who, kind, at)
	if err != nil {
		return policyScope{}, err
	}
	if err := allowed(who, role, r); err != nil {
		return policyScope{}, err
	}
	s := policyScope{row: r, around: []string{deployment}}
	if r.Consortium != "" {
		s.around = append(s.around, "consortium:"+r.Consortium)
	}
	switch kind {
	case Consortia:
		s.name = "consortium:" + r.ID
	case Memberships:
		s.name = "membership:" + r.ID
	case Services:
		s.name = "service:" + r.ID
		s.around = append(s.around, "membership:"+r.Membership)
		if r.declared != nil {
			s.declared = r.declared.Policy
		}
	case AppCreds:
		s.name = "credential:" + r.ID
		s.around = append(s.around, "membership:"+r.Membership)
	default:
		return policyScope{}, &Error{Reason: NotFound, Msg: "there are no rules for a " + kind.one()}
	}
	return s, nil
}

// consortium is the one whose setting says how many have to agree; empty for the
// whole deployment, whose admins nobody stands above.
func (s policyScope) consortium() string {
	consortium, _ := s.row.owner()
	return consortium
}

// seesScope reports whether the caller may read the rules of a scope, which holds
// for the service r.
func seesScope(who auth.Access, scope string, r row) bool {
	switch scope {
	case deployment, declaredScope:
		return who.Can(auth.Auditor, "", "")
	case "consortium:" + r.Consortium:
		return who.Can(auth.Auditor, r.Consortium, "")
	}
	// The membership's own, and what stands in it: whoever sees the service is
	// somebody of the membership.
	return true
}

// declaredScope is what package judge calls the rules at the top of the config
// file.
const declaredScope = "declared"
