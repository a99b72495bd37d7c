// SPDX-License-Identifier: Apache-2.0

package platform

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

// Change is one change of a resource, or an order to a service, as it is told to
// [Config.Record]. The audit trail has it, too: in the same commit.
type Change struct {
	At         time.Time
	Who        auth.Principal
	Verb       string // create, update, delete, reset, regenerate, refresh, …
	Kind       Kind
	Path       Path
	Membership string
	Name       string
	Fields     []string // what was changed, never to what
}

// attempts bounds how often a change is tried anew because of others.
const attempts = 20

// giveWay waits a little before a change is tried anew, longer each time, so that
// many who change one resource do not meet again and again.
func giveWay(ctx context.Context, try int) {
	timer := time.NewTimer(rand.N(time.Duration(try+1) * 2 * time.Millisecond))
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-ctx.Done():
	}
}

// revise is the way of every change to a resource that is there: it finds it as
// the caller may see it, checks the role, lets edit change it, and stores it,
// again from the start if somebody else was faster.
func (p *Platform) revise(ctx context.Context, who auth.Access, kind Kind, at Path, verb string, role auth.Role, edit func(*draft) error) (row, error) {
	for try := range attempts {
		r, err := p.find(ctx, who, kind, at)
		if err != nil {
			return row{}, err
		}
		if err := allowed(who, role, r); err != nil {
			return row{}, err
		}
		if err := changeable(r); err != nil {
			return row{}, err
		}
		d := &draft{row: r}
		if err := edit(d); err != nil {
			return row{}, err
		}
		if len(d.changed) == 0 {
			return r, nil
		}
		d.data.Shown++
		d.Updated = instant()
		if d.settle {
			d.data.Epoch++
			if kind == Services {
				d.State, d.Reason = Provisioning, ""
			}
		}
		err = p.commit(ctx, who, verb, d, func(w *store.Writer, stored store.Resource) error {
			if err := w.UpdateResource(stored); err != nil {
				return err
			}
			if !d.settle || kind == Services {
				return nil
			}
			return p.unsettle(w, d.row)
		})
		if errors.Is(err, store.ErrRevision) {
			giveWay(ctx, try)
			continue
		}
		d.Revision++
		return d.row, err
	}
	return row{}, conflict("the %s is being changed by others: try again", kind.one())
}

// unsettle has the services that use a resource opened anew before they are
// started again.
func (p *Platform) unsettle(w *store.Writer, r row) error {
	return w.SetStateOfUsers(r.ID, string(Services), Provisioning, Deleting)
}

func changeable(r row) error {
	switch {
	case r.declared != nil:
		return conflict("the %s stands in the operator's config file: change it there", r.kind().one())
	case r.State == Deleting:
		return conflict("the %s is being deleted", r.kind().one())
	}
	return nil
}

// commit stores a change, and tells of it.
func (p *Platform) commit(ctx context.Context, who auth.Access, verb string, d *draft, write func(*store.Writer, store.Resource) error) error {
	stored, err := d.stored()
	if err != nil {
		return err
	}
	event := eventOf(who.Principal, verb, d.row, d.changed)
	err = p.cfg.Store.Write(ctx, func(w *store.Writer) error {
		// Written first, and judged then: whoever writes at the same time waits for
		// this to be done.
		if err := write(w, stored); err != nil {
			return err
		}
		if d.unique {
			if err := p.free(w, d.row); err != nil {
				return err
			}
		}
		if verb == "create" {
			if err := p.roomFor(w, d.row); err != nil {
				return err
			}
		}
		return w.AuditEvent(event)
	})
	if err != nil {
		return p.explain(ctx, d.row, err)
	}
	p.record(ctx, who, verb, d.row, d.changed)
	p.kick()
	if k := d.kind(); k == AppCreds || k == APIKeys || verb == "delete" {
		p.cfg.Changed()
	}
	return nil
}

// free refuses the identity of a certificate that another credential of the same
// membership and environment has. What those of others have nobody is told.
func (p *Platform) free(w *store.Writer, r row) error {
	all, err := w.Resources(store.ResourceFilter{Kind: string(AppCreds)})
	if err != nil {
		return err
	}
	for _, stored := range all {
		other, err := readRow(stored)
		if err != nil {
			return err
		}
		if other.ID != r.ID && other.Environment == r.Environment && other.Membership == r.Membership &&
			other.data.AuthType == r.data.AuthType && other.data.Username == r.data.Username {
			return conflict("the identity is that of another app credential of this membership in this environment")
		}
	}
	return nil
}

// explain words what the store refuses.
func (p *Platform) explain(ctx context.Context, r row, err error) error {
	var used *store.InUseError
	switch {
	case errors.As(err, &used):
		return conflict("the %s is used by %s", r.kind().one(), p.names(ctx, used.By))
	case errors.Is(err, store.ErrNotFound):
		return conflict("the %s, or what it uses, was deleted meanwhile", r.kind().one())
	}
	return err
}

// names lists resources for people.
func (p *Platform) names(ctx context.Context, ids []string) string {
	var names []string
	for i, id := range ids {
		if i == maxListed {
			names = append(names, fmt.Sprintf("and %d more", len(ids)-i))
			break
		}
		r, err := p.byID(ctx, id)
		if err != nil {
			names = append(names, id)
			continue
		}
		names = append(names, fmt.Sprintf("%s %q (%s)", r.kind().one(), r.Name, id))
	}
	return strings.Join(names, ", ")
}

// noteOrder puts on record what somebody wants done that is no change of a resource,
// before it is done: what cannot be put on record is not done.
func (p *Platform) noteOrder(ctx context.Context, who auth.Access, verb string, r row, about []string) error {
	event := eventOf(who.Principal, verb, r, about)
	if err := p.cfg.Store.Write(ctx, func(w *store.Writer) error { return w.AuditEvent(event) }); err != nil {
		return fmt.Errorf("platform: put %s on record: %w", verb, err)
	}
	p.record(ctx, who, verb, r, about)
	return nil
}

// record tells of a change that is on the audit trail.
func (p *Platform) record(ctx context.Context, who auth.Access, verb string, r row, fields []string) {
	c := Change{
		At: time.Now(), Who: who.Principal, Verb: verb, Kind: r.kind(), Path: r.path(),
		Membership: r.Membership, Name: r.Name, Fields: fields,
	}
	p.cfg.Logger.InfoContext(ctx, "resource changed", "verb", verb, "kind", string(c.Kind), "id", r.ID, "name", r.Name,
		"consortium", r.Consortium, "environment", r.Environment, "membership", r.Membership, "by", who.Principal.Name, "fields", fields)
	p.cfg.Record(context.WithoutCancel(ctx), c)
}

// kick has Run look at the resources now.
func (p *Platform) kick() {
	select {
	case p.wake <- struct{}{}:
	default:
	}
}
