// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/e2e/harness"
)

// lowLoad measures what the daemon adds for one client who waits for each answer:
// the same bytes that it has made and sent go to another node directly afterwards.
func lowLoad(ctx context.Context, b *bench, p *Part) error {
	keys := harness.NewKeys(b.h, 1)
	_, node, through := b.sending("hsmsigner signs and sends", setup{Keys: keys}, 1)
	direct := startSelf(b.h, "stub")
	var signed, bare, syncs []time.Duration
	var hashes []common.Hash
	for round := range b.rounds + 1 {
		a, err := through.target.load(ctx, b.length/2)
		if err != nil {
			return err
		}
		through.kept = append(through.kept, a)
		took, err := replay(ctx, node.address, direct.address, a.Hashes)
		if err != nil {
			return err
		}
		sync, _, err := syncCost(b.h.TempDir())
		if err != nil {
			return err
		}
		if round > 0 {
			signed, bare, syncs = append(signed, a.Took...), append(bare, took...), append(syncs, sync)
			hashes = append(hashes, a.Hashes...)
		}
	}
	for _, times := range [][]time.Duration{signed, bare, syncs} {
		slices.Sort(times)
	}
	p.Samples = []Sample{
		{Name: "the node directly, the same bytes", Count: len(bare), P50: quantile(bare, .5), P99: quantile(bare, .99)},
		{Name: "hsmsigner signs and sends", Count: len(signed), P50: quantile(signed, .5), P99: quantile(signed, .99)},
	}
	sync := quantile(syncs, .5)
	p.atMost(fmt.Sprintf("added at p50; 2 × fdatasync (%s) + 2 ms", short(sync)), ms(quantile(signed, .5)-quantile(bare, .5)), ms(2*sync)+2, "ms")
	p.note("added at p99: %s; %d transactions one after another", short(quantile(signed, .99)-quantile(bare, .99)), len(hashes))
	return sound(node, through)
}

// replay sends what one node has got to another, one after another, over one
// connection.
func replay(ctx context.Context, from, to string, hashes []common.Hash) ([]time.Duration, error) {
	requests := make([][]byte, len(hashes))
	for i, h := range hashes {
		raw, err := call(from, "eth_getRawTransactionByHash", fmt.Sprintf("%q", h.Hex()))
		if err != nil {
			return nil, err
		}
		requests[i] = httpPost(to, fmt.Sprintf(`{"jsonrpc":"2.0","id":1,"method":"eth_sendRawTransaction","params":[%q]}`, raw))
	}
	a, err := target{Addresses: []string{to}, Requests: requests, Conns: 1, Once: true}.load(ctx, time.Minute)
	if err != nil {
		return nil, err
	}
	return a.Took, nil
}

func ms(d time.Duration) float64 { return float64(d) / 1e6 }
