// SPDX-License-Identifier: Apache-2.0

package platform

import (
	"context"
	"maps"

	"github.com/hsmsigner/hsmsigner/internal/config"
	"github.com/hsmsigner/hsmsigner/internal/strictjson"
)

const typeCloudHSM = "cloudhsm"

func (p *Platform) fillConfiguration(ctx context.Context, d *draft, b body) error {
	if err := d.stays(b); err != nil {
		return err
	}
	if err := d.rename(b, "name"); err != nil {
		return err
	}
	kind, given, err := b.text("type")
	fresh := d.Revision == 0
	switch {
	case err != nil:
		return err
	case fresh && kind == "":
		return invalid("type", "is missing: want cloudhsm")
	case (given || fresh) && kind != typeCloudHSM:
		return invalid("type", "is not one of ours: want cloudhsm")
	}
	patch, given, err := b.object("details")
	if err != nil {
		return err
	}
	if !given {
		if fresh {
			return invalid("details", "is missing: want the provider and its credentials")
		}
		return nil
	}
	return p.fillDetails(ctx, d, patch.Value)
}

// fillDetails merges details into those that there are, and divides what comes
// of it into what is shown and what is sealed.
func (p *Platform) fillDetails(ctx context.Context, d *draft, patch strictjson.Value) error {
	m, err := p.mergeDetails(ctx, d.row, patch)
	if err != nil || len(m.changed) == 0 && d.Revision != 0 && !m.altered {
		return err
	}
	var secret map[string]any
	d.data.Details, secret = split(m.whole)
	if d.Sealed, err = p.seal(ctx, d.row, secret); err != nil {
		return err
	}
	d.changed.note("details", m.altered)
	for _, name := range m.changed {
		d.changed.note("details."+name, true)
	}
	d.settle = true
	return nil
}

// merged is what details come to.
type merged struct {
	whole   map[string]any // with the secrets
	parsed  config.Details
	changed []string
	altered bool // others than the API have changed the row
}

// mergeDetails merges details into those of a configuration, and checks what comes
// of it.
func (p *Platform) mergeDetails(ctx context.Context, r row, patch strictjson.Value) (merged, error) {
	was, err := p.open(ctx, r)
	if err != nil {
		return merged{}, err
	}
	// What was sealed counts, whatever others than the API made of the row.
	m := merged{altered: was.altered(r)}
	whole := join(was.Details, was.Secret)
	if v := patch.Get("provider"); v.Kind == strictjson.String && r.Revision != 0 && v.Text != whole["provider"] {
		// Another provider, other credentials: none is shown to it that was not
		// meant for it.
		whole = maps.Clone(was.Details)
	}
	before := whole
	m.whole, m.changed = merge(whole, patch)
	if err := unasked(before, m.whole, patch, "details."); err != nil {
		return merged{}, err
	}
	environment, err := p.byID(ctx, r.Environment)
	if err != nil {
		return merged{}, err
	}
	m.parsed, err = p.parseDetails(r.Membership, m.whole, p.imposed(environment))
	return m, err
}

// imposed reports whether only keys in hardware may be used in an environment.
func (p *Platform) imposed(environment row) bool {
	return p.cfg.RequireHSM || environment.data.RequireHSM
}
