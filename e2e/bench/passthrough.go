// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"strings"
	"time"

	"github.com/hsmsigner/hsmsigner/e2e/harness"
)

const (
	readers = 32
	rounds  = 3
)

// passThrough compares eth_blockNumber over three ways to the same node. The ways
// take turns, so that whatever else the machine does hits all of them.
func passThrough(ctx context.Context, h *host, bin harness.Binaries, length time.Duration) ([]Sample, error) {
	node := startSelf(h, "node")
	proxy := startSelf(h, "proxy", "http://"+node)
	daemon := startDaemon(h, bin, node)
	ways := []struct{ name, address string }{
		{"the node directly", node},
		{"a bare reverse proxy", proxy},
		{"hsmsigner", strings.TrimPrefix(daemon.URL, "http://")},
	}
	body := []byte(`{"jsonrpc":"2.0","id":1,"method":"eth_blockNumber","params":[]}`)
	next := func() ([]byte, error) { return body, nil }
	samples := make([][]Sample, len(ways))
	for round := range rounds + 1 {
		for i, way := range ways {
			s, err := load(ctx, way.name, way.address, readers, length/rounds, next)
			if err != nil {
				return nil, err
			}
			if round > 0 { // round 0 warms up
				samples[i] = append(samples[i], s)
			}
		}
	}
	result := make([]Sample, len(ways))
	for i := range ways {
		result[i] = median(samples[i])
	}
	return result, nil
}

func startDaemon(h *host, bin harness.Binaries, node string) *harness.Daemon {
	return harness.StartDaemon(h, bin, harness.Options{
		NodeURL: "http://" + node, ChainID: chainID, Keys: harness.NewKeys(h, 1), Window: 4096,
	})
}
