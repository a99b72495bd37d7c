// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"time"

	"github.com/hsmsigner/hsmsigner/e2e/harness"
)

const readers = 32

// passThrough compares eth_blockNumber over three ways to the same node, which is
// devnet: go-ethereum's own server, as in geth.
func passThrough(ctx context.Context, b *bench, p *Part) error {
	keys := harness.NewKeys(b.h, 1)
	bin, err := harness.Build(b.h.TempDir(), false)
	if err != nil {
		return err
	}
	node := harness.StartDevnet(b.h, bin, time.Second, keys.Addresses...)
	address := node.URL[len("http://"):]
	proxy := startSelf(b.h, "proxy", node.URL)
	d := b.startDaemon(setup{Node: address, Keys: keys, ChainID: node.ChainID})
	way := func(name, address string, daemons, nodes []process) *side {
		body := httpPost(address, `{"jsonrpc":"2.0","id":1,"method":"eth_blockNumber","params":[]}`)
		return &side{name: name, daemons: daemons, nodes: nodes, target: target{Addresses: []string{address}, Requests: [][]byte{body}, Conns: readers}}
	}
	through := way("hsmsigner", d.Address, []process{d.Process}, []process{node.Process})
	through.during = b.profiled("passthrough", d)
	p.Samples, err = b.compare(ctx, b.length/2,
		way("devnet directly", address, nil, []process{node.Process}),
		way("a bare httputil.ReverseProxy", proxy.address, nil, []process{node.Process, proxy.Process}),
		through)
	if err != nil {
		return err
	}
	p.atLeast("of the bare proxy's rate", p.ratio(2, 1), 1.0)
	p.atLeast("of the rate of going directly", p.ratio(2, 0), 0.5)
	return nil
}

// ratio of the rates of two samples. Sides take turns, so it is that of the
// middle of the rounds' own ratios.
func (p *Part) ratio(i, j int) float64 {
	var ratios []float64
	for round, rate := range p.Samples[i].Rounds {
		ratios = append(ratios, rate/p.Samples[j].Rounds[round])
	}
	median, _ := middle(ratios)
	return median
}
