// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"slices"
	"time"
)

const (
	mostOverhead  = 1.10 // of a bare call of the SDK
	mostDiscovery = 1.20 // of the time that the quota itself allows
)

// backends measures what the adapters of the key providers cost beside the
// providers' own SDKs, and how near to the documented quotas they list many keys.
func backends(ctx context.Context, b *bench, p *Part) error {
	for _, open := range []func(context.Context) (*provider, error){b.awsKMS, b.azureVault, b.gcpKMS, b.hashicorpVault, b.pkcs11Token} {
		pr, err := open(ctx)
		if err != nil {
			return err
		}
		if err := b.overhead(ctx, p, pr); err != nil {
			return fmt.Errorf("%s: %w", pr.name, err)
		}
		b.h.sweep()
	}
	p.note("bare and adapter take turns, one call at a time; the services of aws, azure and gcp are stand-ins inside this process, and answer at once")
	if err := b.discoveries(ctx, p); err != nil {
		return err
	}
	p.note("the start of a daemon that knows 10,000 keys already is in the part memory")
	return nil
}

// overhead compares an adapter with the bare call, and counts what its signatures
// cost the service.
func (b *bench) overhead(ctx context.Context, p *Part, pr *provider) error {
	// Counting comes first, since it warms everything up.
	calls, fresh, err := pr.count(ctx)
	if err != nil {
		return err
	}
	t, err := inTurns(ctx, b.rounds, b.length, pr.bare, pr.sign)
	if err != nil {
		return err
	}
	bare, adapter := t.sample(0, pr.name+": "+pr.call), t.sample(1, pr.name+": the adapter")
	p.Samples = append(p.Samples, bare, adapter)
	ratio, spread := middle(t.ratios())
	added := adapter.P50 - bare.P50
	p.atMost(pr.name+": of the bare SDK call, at p50", ratio, mostOverhead, "")
	p.note("%s: the adapter adds %.0f µs at p50; spread of the %d rounds' ratios %s", pr.name, us(added), b.rounds, percent(spread))
	if pr.local {
		const usual = time.Millisecond
		p.atMost(pr.name+": of a signature that takes 1 ms, worked out from what the adapter adds", float64(usual+added)/float64(usual), mostOverhead, "")
	}
	p.atMost(pr.name+": "+pr.countedCall+" per signature", calls, 1, "")
	p.atMost(pr.name+": "+pr.countedLink+" for signatures when warm", fresh, 0, "")
	return nil
}

// turns is how long two kinds of calls took that were made in turns.
type turns [][2][]time.Duration // by round

// inTurns makes single calls, one of each kind and then the same the other way
// round, for so many rounds of a length, so that whatever else the machine does
// hits both. A first round warms up.
func inTurns(ctx context.Context, rounds int, length time.Duration, kinds ...func(context.Context, [32]byte) error) (turns, error) {
	var all turns
	n := uint64(0)
	for round := range rounds + 1 {
		var took [2][]time.Duration
		for end := time.Now().Add(length); time.Now().Before(end); n++ {
			for turn := range 4 {
				kind := [4]int{0, 1, 1, 0}[turn]
				digest := digestOf(4*n + uint64(turn)) // what is asked for again is checked, which is no usual call
				started := time.Now()
				if err := kinds[kind](ctx, digest); err != nil {
					return nil, err
				}
				took[kind] = append(took[kind], time.Since(started))
			}
		}
		if round > 0 {
			all = append(all, took)
		}
	}
	return all, nil
}

func (t turns) sample(kind int, name string) Sample {
	var all []time.Duration
	for _, round := range t {
		all = append(all, round[kind]...)
	}
	slices.Sort(all)
	return Sample{Name: name, Count: len(all), P50: quantile(all, .5), P99: quantile(all, .99)}
}

// ratios are those of the second kind's p50 to the first one's, in each round.
func (t turns) ratios() []float64 {
	var ratios []float64
	for _, round := range t {
		a, b := slices.Sorted(slices.Values(round[0])), slices.Sorted(slices.Values(round[1]))
		ratios = append(ratios, float64(quantile(b, .5))/float64(quantile(a, .5)))
	}
	return ratios
}
