// SPDX-License-Identifier: Apache-2.0

package platform

import (
	"context"

	"github.com/hsmsigner/hsmsigner/internal/auth"
)

// Gateway is a service's gateway for contracts, and what a caller may do there.
type Gateway struct {
	Wallet      string // name of the service's wallet in store, txmgr and audit
	Environment string // id
	Membership  string // id
	// MayChange says that the caller may have something changed and sent, and not only
	// look: admins may, who could make a credential for it anyway.
	MayChange bool
}

// Gateway finds the gateway of a service for a caller who may see the service.
func (p *Platform) Gateway(ctx context.Context, who auth.Access, at Path) (Gateway, error) {
	r, err := p.service(ctx, who, auth.Auditor, at)
	if err != nil {
		return Gateway{}, err
	}
	consortium, membership := r.owner()
	return Gateway{
		Wallet: r.wallet(), Environment: r.Environment, Membership: membership,
		MayChange: who.Can(auth.Admin, consortium, membership),
	}, nil
}
