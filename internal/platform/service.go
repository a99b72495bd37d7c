// SPDX-License-Identifier: Apache-2.0

package platform

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/config"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

// Platform is safe for concurrent use.
type Platform struct {
	cfg      Config
	declared map[string]row // services of the config file, by id
	trials   chan struct{}  // held while a policy is tested
	order    []string       // their ids as they stand there
	wake     chan struct{}  // one slot: something was changed here
	passes   passes         // tells when Run has looked at everything once more
	running  atomic.Bool
	owners   owners // of wallets, for the audit trail
}

// New opens the resources. The consortium, environment and membership that have
// to be there are made if they are missing.
func New(ctx context.Context, cfg Config) (*Platform, error) {
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	p := &Platform{cfg: cfg, declared: make(map[string]row), trials: make(chan struct{}, 1), wake: make(chan struct{}, 1)}
	if err := p.makeDefaults(ctx); err != nil {
		return nil, err
	}
	root, err := p.byID(ctx, DefaultConsortium)
	if err != nil {
		return nil, err
	}
	for _, w := range cfg.Declared {
		r := declaredRow(w, root.Created)
		p.declared[r.ID] = r
		p.order = append(p.order, r.ID)
	}
	return p, nil
}

// makeDefaults is what a deployment has from its first start, so that whoever is
// its only tenant need not set anything up.
func (p *Platform) makeDefaults(ctx context.Context) error {
	now := instant()
	defaults := []row{
		{Resource: store.Resource{ID: DefaultConsortium, Kind: string(Consortia), Name: "default"}},
		{Resource: store.Resource{ID: DefaultMembership, Kind: string(Memberships), Consortium: DefaultConsortium, Name: "default", Uses: []string{DefaultConsortium}}},
		{Resource: store.Resource{ID: DefaultEnvironment, Kind: string(Environments), Consortium: DefaultConsortium, Name: "default", Uses: []string{DefaultConsortium}}},
	}
	for _, r := range defaults {
		if _, err := p.cfg.Store.Resource(ctx, r.ID); err == nil {
			continue
		} else if !errors.Is(err, store.ErrNotFound) {
			return err
		}
		r.State, r.Created, r.Updated, r.data.Shown = Started, now, now, 1
		stored, err := r.stored()
		if err != nil {
			return err
		}
		err = p.cfg.Store.Write(ctx, func(w *store.Writer) error { return w.InsertResource(stored) })
		if err != nil && !errors.Is(err, store.ErrExists) { // by another replica, meanwhile
			return fmt.Errorf("platform: make the default %s: %w", r.kind().one(), err)
		}
	}
	return nil
}

// declaredRow is a wallet of the config file as a service.
func declaredRow(w config.Wallet, created time.Time) row {
	return row{
		declared: &w,
		Resource: store.Resource{
			ID: DeclaredID(w.Name), Kind: string(Services), Consortium: DefaultConsortium, Environment: DefaultEnvironment,
			Membership: DefaultMembership, Name: w.Name, State: Provisioning, Created: created, Updated: created,
		},
		data: data{Shown: 1, Details: map[string]any{"provider": string(w.Details.Provider), "chain_id": w.Node.ChainID}},
	}
}

// living is a service of the config file in the state that it has now.
func (p *Platform) living(r row) row {
	if run, ok := p.cfg.Runtime.Status(r.wallet()); ok {
		r.State, r.Reason = settledState(run, false)
	}
	return r
}

// List returns what the caller may see of a collection, in the order in which it
// was made.
func (p *Platform) List(ctx context.Context, who auth.Access, kind Kind, at Path) ([]any, error) {
	if err := p.place(ctx, who, kind, at); err != nil {
		return nil, err
	}
	all, err := p.rows(ctx, who, kind, at)
	if err != nil {
		return nil, err
	}
	views := make([]any, len(all))
	for i, r := range all {
		views[i] = p.view(r)
	}
	return views, nil
}

// Get returns one resource.
func (p *Platform) Get(ctx context.Context, who auth.Access, kind Kind, at Path) (any, error) {
	r, err := p.find(ctx, who, kind, at)
	if err != nil {
		return nil, err
	}
	return p.view(r), nil
}

// Create makes a resource of a collection. The answer shows a new credential's
// secret, and nothing else ever does.
func (p *Platform) Create(ctx context.Context, who auth.Access, kind Kind, at Path, text []byte) (any, error) {
	if err := p.place(ctx, who, kind, at); err != nil {
		return nil, err
	}
	b, err := parseBody(text)
	if err != nil {
		return nil, err
	}
	for range 3 { // an id that is taken is rare, and twice is not
		d, err := p.blank(ctx, who, kind, at, b)
		if err != nil {
			return nil, err
		}
		if err := p.fill(ctx, who, d, b, true); err != nil {
			return nil, err
		}
		err = p.commit(ctx, who, "create", d, func(w *store.Writer, r store.Resource) error { return w.InsertResource(r) })
		if errors.Is(err, store.ErrExists) {
			continue
		}
		if err != nil {
			return nil, err
		}
		shown := p.view(d.row)
		switch v := shown.(type) {
		case *AppCred:
			v.Password = d.secret
		case *APIKey:
			v.Key = d.secret
		}
		return shown, nil
	}
	return nil, unavailable("no free id was found")
}

// blank is a new resource of which the body has said nothing yet. The caller has
// to be an admin where it stands.
func (p *Platform) blank(ctx context.Context, who auth.Access, kind Kind, at Path, b body) (*draft, error) {
	now := instant()
	d := &draft{row: row{Resource: store.Resource{ID: newID(p.cfg.Region), Kind: string(kind), State: Started, Created: now, Updated: now}}}
	d.data.Shown = 1
	switch {
	case kind == Consortia:
		if !who.Can(auth.Admin, "", "") {
			return nil, forbidden(auth.Admin, "the deployment")
		}
	case kind == APIKeys: // each grant is looked at
	case !kind.inEnvironment():
		d.Consortium, d.Uses = at.Consortium, []string{at.Consortium}
		if !who.Can(auth.Admin, at.Consortium, "") {
			return nil, forbidden(auth.Admin, "consortium "+at.Consortium)
		}
	default:
		id, _, err := b.text("membership_id")
		if err != nil {
			return nil, err
		}
		owner, err := p.owned(ctx, who, at.Consortium, id)
		if err != nil {
			return nil, err
		}
		d.Consortium, d.Environment, d.Membership = at.Consortium, at.Environment, owner.ID
		d.Uses = []string{at.Environment, owner.ID}
	}
	if kind == Services {
		d.State = Provisioning
	}
	return d, nil
}

// Update changes the fields that patch names; those of details one by one. A
// patch that changes nothing leaves the revision as it was.
func (p *Platform) Update(ctx context.Context, who auth.Access, kind Kind, at Path, patch []byte) (any, error) {
	b, err := parseBody(patch)
	if err != nil {
		return nil, err
	}
	wanted, err := b.revision()
	if err != nil {
		return nil, err
	}
	settles := false
	r, err := p.revise(ctx, who, kind, at, "update", auth.Admin, func(d *draft) error {
		defer func() { settles = d.settle }()
		if wanted != 0 && wanted != d.data.Shown {
			return conflict("the %s was changed meanwhile: its revision is %d, not %d; read it again", kind.one(), d.data.Shown, wanted)
		}
		return p.fill(ctx, who, d, b, false)
	})
	if err != nil {
		return nil, err
	}
	if settles {
		p.pass(ctx, r.ID)
	}
	return p.view(r), nil
}

// resetPause is how long one reset stands for further ones: each has a new login at
// the provider and a new connection for every service of a node.
const resetPause = 2 * time.Second

// Reset connects a service anew, or all services of a node.
func (p *Platform) Reset(ctx context.Context, who auth.Access, kind Kind, at Path) (any, error) {
	if kind != Services && kind != Nodes {
		return nil, &Error{Reason: NotFound, Msg: "there is no such route"}
	}
	r, err := p.revise(ctx, who, kind, at, "reset", auth.Operates, func(d *draft) error {
		if time.Since(d.data.Reset) < resetPause {
			return nil // it is being connected anew as it is
		}
		d.data.Reset = instant()
		d.data.Resets++
		d.settle = true
		d.changed.note("resets", true)
		return nil
	})
	if err != nil {
		return nil, err
	}
	return p.view(r), nil
}
