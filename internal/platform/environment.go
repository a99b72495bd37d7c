// SPDX-License-Identifier: Apache-2.0

package platform

import (
	"context"

	"github.com/hsmsigner/hsmsigner/internal/config"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

func (p *Platform) fillEnvironment(ctx context.Context, d *draft, b body) error {
	if err := b.fixed("consortium_id", d.Consortium); err != nil {
		return err
	}
	if err := d.rename(b, "name"); err != nil {
		return err
	}
	if err := d.describe(b); err != nil {
		return err
	}
	for _, f := range []struct {
		field string
		into  *string
	}{{"provider", &d.data.Provider}, {"consensus_type", &d.data.Consensus}} {
		text, err := b.note(f.field, *f.into)
		if err != nil {
			return err
		}
		d.changed.note(f.field, text != *f.into)
		*f.into = text
	}
	if err := p.fillChain(ctx, d, b); err != nil {
		return err
	}
	require, given, err := b.flag("require_hsm")
	if err != nil {
		return err
	}
	if given && require != d.data.RequireHSM {
		d.changed.note("require_hsm", true)
		d.data.RequireHSM, d.settle = require, true
	}
	return nil
}

// fillChain pins the chain of an environment, which has to be that of the nodes
// in it.
func (p *Platform) fillChain(ctx context.Context, d *draft, b body) error {
	chain, given, err := b.number("chain_id", config.MaxChainID)
	if err != nil || !given || chain == d.data.ChainID {
		return err
	}
	nodes, err := p.cfg.Store.Resources(ctx, store.ResourceFilter{Kind: string(Nodes), Environment: d.ID})
	if err != nil {
		return err
	}
	for _, stored := range nodes {
		n, err := readRow(stored)
		if err != nil {
			return err
		}
		if chain != 0 && n.data.ChainID != chain {
			return conflict("chain_id %d is not that of node %q (%s), which is %d", chain, n.Name, n.ID, n.data.ChainID)
		}
	}
	d.changed.note("chain_id", true)
	d.data.ChainID = chain
	return nil
}
