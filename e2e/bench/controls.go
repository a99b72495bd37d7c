// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"

	"github.com/hsmsigner/hsmsigner/e2e/harness"
)

// The rule lets the load pass; the limit is one that it never reaches.
const (
	theRule  = `rules: [{name: pay, effect: allow, actions: [transaction], data: none, value: {max: 1 ether}}]`
	theLimit = `limits: [{name: hourly, asset: native, per: account, max: 1000000 ether, window: 1h}]`
)

// controls measures what overseeing every signature costs: the audit trail's rows,
// the log over them, rules, and a limit over time, each beside the daemon without
// any of them, which no build of these sources is but the one made here.
func controls(ctx context.Context, b *bench, p *Part) error {
	sides := []struct {
		name string
		setup
	}{
		{"no audit trail, no policy", setup{Without: withoutAudit}},
		{"audit rows", setup{Without: withoutLog}},
		{"audit rows and log", setup{}},
		{"audit and a rule", setup{Policy: `{version: hsmsigner-policy-v1, ` + theRule + `}`}},
		{"audit, a rule and a limit", setup{Policy: `{version: hsmsigner-policy-v1, ` + theRule + `, ` + theLimit + `}`}},
	}
	var loads []*side
	var nodes []own
	for _, s := range sides {
		s.Keys = harness.NewKeys(b.h, 1)
		d, node, load := b.sending(s.name, s.setup, senders)
		load.during = b.profiled("controls-"+s.name, d)
		loads, nodes = append(loads, load), append(nodes, node)
	}
	var err error
	if p.Samples, err = b.compare(ctx, b.length, loads...); err != nil {
		return err
	}
	p.atLeast("of the rate without audit and policy", p.ratio(4, 0), .85)
	for i, what := range []string{"audit rows", "the log", "a rule", "a limit"} {
		before, after := p.Samples[i].CPU.Daemon, p.Samples[i+1].CPU.Daemon
		p.note("%s: %.3f of the rate without, %+.1f µs of the daemon's processor time", what, p.ratio(i+1, i), us(after-before))
	}
	p.note("all of it: the daemon's processor time is %.3f of that without", float64(p.Samples[4].CPU.Daemon)/float64(p.Samples[0].CPU.Daemon))
	for i, load := range loads {
		err = errors.Join(err, sound(nodes[i], load))
	}
	return err
}
