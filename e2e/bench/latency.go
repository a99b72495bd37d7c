// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"math"

	"github.com/hsmsigner/hsmsigner/e2e/harness"
)

// The simulated key backend, at the fault point "sign" of a daemon that was built
// with the tag faultpoints.
const (
	backendSlots    = 64
	backendDelay    = .040 // s
	constantBackend = "sign:delay=40ms,limit=64"
	variableBackend = "sign:delay=40ms,sigma=0.5,limit=64,seed=1"
	latencyClients  = 256
)

// latency shows that signatures overlap: a backend that takes 40 ms, 64 at a time,
// gives at most 1,600 a second, or fewer where the processor is the limit.
func latency(ctx context.Context, b *bench, p *Part) error {
	var sides []*side
	var nodes []own
	for _, v := range []struct{ name, faults string }{
		{"no latency", "sign:delay=1ns"}, {"constant 40 ms", constantBackend}, {"log-normal, median 40 ms, σ 0.5", variableBackend},
	} {
		d, node, s := b.sending(v.name, setup{Keys: harness.NewKeys(b.h, 1), Faults: v.faults, Concurrency: backendSlots}, latencyClients)
		if v.faults == constantBackend {
			s.during = b.profiled("latency", d)
		}
		sides, nodes = append(sides, s), append(nodes, node)
	}
	var err error
	if p.Samples, err = b.compare(ctx, b.length, sides...); err != nil {
		return err
	}
	quota := backendSlots / backendDelay
	p.atLeast("constant: of the lower of 1,600/s and the rate without latency", p.Samples[1].PerSecond/math.Min(quota, p.Samples[0].PerSecond), .8)
	// The mean of a log-normal time is its median × exp(σ²/2).
	mean := quota / math.Exp(.5*.5/2)
	p.note("log-normal: %.2f of the lower of %.0f/s, which its mean allows, and the rate without latency", p.Samples[2].PerSecond/math.Min(mean, p.Samples[0].PerSecond), mean)
	for i, s := range sides {
		err = errors.Join(err, sound(nodes[i], s))
	}
	return err
}
