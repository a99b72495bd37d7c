// SPDX-License-Identifier: Apache-2.0

package platform

import (
	"context"
	"errors"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

// goneWithin is how long a request waits for a service that has nothing under
// way to be gone.
const goneWithin = 2 * time.Second

// Delete removes a resource that nothing uses. gone is false for a service that
// still has transactions under way, or that other replicas have not let go of
// yet: it takes nothing new, and goes by itself.
func (p *Platform) Delete(ctx context.Context, who auth.Access, kind Kind, at Path) (gone bool, err error) {
	r, err := p.find(ctx, who, kind, at)
	if err != nil {
		return false, err
	}
	if err := p.deletable(who, r); err != nil {
		return false, err
	}
	if kind == Services {
		return p.deleteService(ctx, who, at)
	}
	d := &draft{row: r}
	err = p.commit(ctx, who, "delete", d, func(w *store.Writer, _ store.Resource) error {
		if err := w.DeleteResource(r.ID); err != nil {
			return err
		}
		switch {
		case kind == Memberships: // and so are no services left, nor streams
			return w.DeleteContractsOf("", r.ID)
		case kind == Environments:
			return w.DeleteContractsOf(r.ID, "")
		case kind != APIKeys, who.Principal == auth.Operator:
			return nil
		}
		last, err := lastRoot(w, r)
		if err == nil && last {
			err = conflict("the key is the last with the role admin for the whole deployment: make another first, or have the operator delete it by hsmsigner admin")
		}
		return err
	})
	return err == nil, err
}

// deletable checks the role, and what can never be deleted.
func (p *Platform) deletable(who auth.Access, r row) error {
	role := allowed(who, auth.Admin, r)
	if r.kind() == Memberships && !who.Can(auth.Admin, r.Consortium, "") {
		role = forbidden(auth.Admin, "consortium "+r.Consortium)
	}
	switch {
	case role != nil:
		return role
	case r.declared != nil:
		return conflict("the service stands in the operator's config file: take it out there")
	case r.ID == DefaultConsortium, r.ID == DefaultMembership, r.ID == DefaultEnvironment:
		return conflict("the default %s cannot be deleted: the wallets of the config file stand in it", r.kind().one())
	}
	return nil
}

// deleteService lets a service take nothing new, and waits a moment for it to be
// gone.
func (p *Platform) deleteService(ctx context.Context, who auth.Access, at Path) (gone bool, err error) {
	for try := range attempts {
		r, err := p.find(ctx, who, Services, at)
		if err != nil {
			return false, err
		}
		if r.State == Deleting {
			return p.gone(ctx, r.ID)
		}
		d := &draft{row: r, changed: changes{"state"}}
		d.State, d.Reason, d.Updated = Deleting, "", instant()
		d.data.Shown++
		err = p.commit(ctx, who, "delete", d, func(w *store.Writer, stored store.Resource) error { return w.UpdateResource(stored) })
		if errors.Is(err, store.ErrRevision) {
			giveWay(ctx, try)
			continue
		}
		if err != nil {
			return false, err
		}
		return p.gone(ctx, r.ID)
	}
	return false, conflict("the service is being changed by others: try again")
}

// gone waits for Run to remove a service.
func (p *Platform) gone(ctx context.Context, id string) (bool, error) {
	deadline := time.NewTimer(goneWithin)
	defer deadline.Stop()
	began := p.passes.begun() // may have read the rows before the change
	for {
		passed, settled := p.passes.next(began, id)
		_, err := p.cfg.Store.Resource(ctx, id)
		if errors.Is(err, store.ErrNotFound) {
			return true, nil
		}
		if err != nil || !p.running.Load() {
			return false, err
		}
		if settled {
			// It takes nothing new. What is under way takes as long as blocks take.
			live, err := p.live(ctx, row{Resource: store.Resource{ID: id}})
			if err != nil || live > 0 || p.cfg.Shared {
				return false, err
			}
		}
		select {
		case <-passed:
		case <-deadline.C:
			return false, nil
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
}

// unfinished are the states of a transaction that is under way.
func unfinished() []store.TxState {
	return []store.TxState{
		store.Offered, store.Queued, store.Held, store.Assigned, store.Signed, store.Sent, store.Mined, store.Superseded,
	}
}

// live counts the transactions of a service that are under way.
func (p *Platform) live(ctx context.Context, r row) (int, error) {
	n, err := p.cfg.Runtime.Live(ctx, r.wallet())
	if errors.Is(err, ErrNotRunning) {
		return p.cfg.Store.Unfinished(ctx, r.wallet())
	}
	return n, err
}
