// SPDX-License-Identifier: Apache-2.0

package platform

import (
	"maps"
	"slices"

	"github.com/hsmsigner/hsmsigner/internal/auth"
)

// view is the resource as callers see it: a pointer to a struct of resource.go.
func (p *Platform) view(r row) any {
	d := r.data
	switch r.kind() {
	case Consortia:
		return &Consortium{Meta: r.meta(), Name: r.Name, Description: d.Description, PolicyApprovals: d.PolicyApprovals}
	case Memberships:
		return &Membership{Meta: r.meta(), ConsortiumID: r.Consortium, OrgName: r.Name}
	case Environments:
		return &Environment{
			Meta: r.meta(), ConsortiumID: r.Consortium, Name: r.Name, Description: d.Description,
			Provider: d.Provider, Consensus: d.Consensus, ChainID: d.ChainID, RequireHSM: d.RequireHSM,
		}
	case Nodes:
		return &Node{
			Meta: r.meta(), ConsortiumID: r.Consortium, EnvironmentID: r.Environment, MembershipID: r.Membership,
			Name: r.Name, ChainID: d.ChainID, URLs: flat(d.URLs),
		}
	case Configurations:
		return &Configuration{
			Meta: r.meta(), ConsortiumID: r.Consortium, EnvironmentID: r.Environment, MembershipID: r.Membership,
			Name: r.Name, Type: typeCloudHSM, Details: details(d.Details),
		}
	case Services:
		return &Service{
			Meta: r.meta(), ConsortiumID: r.Consortium, EnvironmentID: r.Environment, MembershipID: r.Membership,
			Name: r.Name, Service: typeCloudHSM, ServiceType: serviceMember, Details: details(d.Details),
			URLs: flat(p.cfg.URLs(r.ID)),
		}
	case AppCreds:
		return &AppCred{
			Meta: r.meta(), ConsortiumID: r.Consortium, EnvironmentID: r.Environment, MembershipID: r.Membership,
			Name: r.Name, AuthType: d.AuthType, Username: d.Username,
		}
	default:
		grants := slices.Clone(d.Grants)
		if grants == nil {
			grants = []auth.Grant{}
		}
		return &APIKey{Meta: r.meta(), Name: r.Name, Grants: grants}
	}
}

// flat is a copy that is never nil: Kaleido's Terraform provider wants an object
// of texts.
func flat(m map[string]string) map[string]string {
	out := make(map[string]string, len(m))
	maps.Copy(out, m)
	return out
}

func details(m map[string]any) map[string]any {
	out := make(map[string]any, len(m))
	maps.Copy(out, m)
	return out
}
