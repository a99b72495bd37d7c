// SPDX-License-Identifier: Apache-2.0

package platform

import (
	"context"

	"github.com/hsmsigner/hsmsigner/internal/auth"
)

// Status is how a service does in this process. It makes no call to its backend
// or node.
func (p *Platform) Status(ctx context.Context, who auth.Access, at Path) (ServiceStatus, error) {
	r, err := p.find(ctx, who, Services, at)
	if err != nil {
		return ServiceStatus{}, err
	}
	s := ServiceStatus{
		State: r.State, Status: r.State, Reason: r.Reason, Release: p.cfg.Release,
		URLs: flat(p.cfg.URLs(r.ID)),
	}
	run, ok := p.cfg.Runtime.Status(r.wallet())
	if !ok {
		s.Backend.Reason, s.Node.Reason = "not opened yet", "not opened yet"
		return s, nil
	}
	s.Accounts, s.Usable = run.Accounts, run.Usable
	s.Ready = run.Ready && r.State == Started
	s.Backend, s.Node = health(run.Backend), health(run.Node)
	s.Listing = Listing{Running: run.Discovery.Running, Keys: run.Discovery.Keys, Problems: run.Discovery.Problems}
	if at := run.Discovery.Started; !at.IsZero() {
		s.Listing.Started = at.UTC()
	}
	if at := run.Discovery.Finished; !at.IsZero() {
		s.Listing.Finished = at.UTC()
	}
	return s, nil
}

func health(d Dependency) Health {
	h := Health{OK: d.OK, Checked: d.Checked}
	if !d.Checked.IsZero() {
		h.Checked = d.Checked.UTC()
	}
	if d.OK {
		return h
	}
	if h.Reason, _ = reasonOf(d.Err); h.Reason == "" {
		h.Reason = "has not answered yet"
	}
	return h
}

// service finds a service on which the caller may act, and that runs here.
func (p *Platform) service(ctx context.Context, who auth.Access, role auth.Role, at Path) (row, error) {
	r, err := p.find(ctx, who, Services, at)
	if err != nil {
		return row{}, err
	}
	return r, allowed(who, role, r)
}
