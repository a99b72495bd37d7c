// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/key/awskms"
	"github.com/hsmsigner/hsmsigner/internal/key/awskms/awskmsfake"
	"github.com/hsmsigner/hsmsigner/internal/key/azure"
	"github.com/hsmsigner/hsmsigner/internal/key/azure/azurefake"
	"github.com/hsmsigner/hsmsigner/internal/key/gcpkms"
	"github.com/hsmsigner/hsmsigner/internal/key/gcpkms/gcpkmsfake"
)

const (
	manyKeys    = 10_000
	callLatency = 20 * time.Millisecond
	// longest is what a discovery may take at best without -full. One that needs
	// longer has fewer keys at the same quota, which is no easier: what it costs
	// besides the quota is shared by fewer.
	longest = 3 * time.Minute
	gcpKeys = 1000
	// shortRounds is how often a discovery of some seconds is measured.
	shortRounds = 3
)

// discovery is the first listing of a service that enforces its documented quota
// and takes callLatency for each call.
type discovery struct {
	name    string
	keys    int
	calls   float64 // of the kind whose quota decides
	quota   float64 // of those, calls a second
	rounds  int
	open    func() (key.Backend, error)
	counted func() int // calls so far
}

// allowed is the time that the quota itself allows.
func (d *discovery) allowed() time.Duration {
	return time.Duration(d.calls / d.quota * float64(time.Second))
}

func (b *bench) discoveries(ctx context.Context, p *Part) error {
	rounds := min(b.rounds, shortRounds)
	for _, open := range []func() (*discovery, error){
		func() (*discovery, error) {
			return b.awsDiscovery("aws by alias", awskms.Discovery{AliasPrefix: "signer/"}, rounds)
		},
		func() (*discovery, error) {
			return b.awsDiscovery("aws by tag", awskms.Discovery{TagKey: "use"}, rounds)
		},
	} {
		d, err := open()
		if err == nil {
			err = d.measure(ctx, b, p)
		}
		if err != nil {
			return err
		}
		b.h.sweep()
	}
	// These wait nearly all the time, so they may do it together. The processor time
	// of each is then that of both.
	azureKeys, err := b.azureDiscovery()
	if err != nil {
		return err
	}
	gcp, err := b.gcpDiscovery()
	if err != nil {
		return err
	}
	long := []*discovery{azureKeys, gcp}
	parts, errs := make([]Part, len(long)), make([]error, len(long))
	var wg sync.WaitGroup
	for i, d := range long {
		wg.Go(func() { errs[i] = d.measure(ctx, b, &parts[i]) })
	}
	wg.Wait()
	for _, part := range parts {
		p.Goals, p.Notes = append(p.Goals, part.Goals...), append(p.Notes, part.Notes...)
	}
	if gcp.keys < manyKeys {
		p.note("gcp: %d keys in place of %d, at the same quota, since those need %s at best: -full measures them", gcp.keys, manyKeys,
			(time.Duration(manyKeys/gcp.keys) * gcp.allowed()).Round(time.Second))
	}
	return errors.Join(errs...)
}

// listing is one run of a discovery.
type listing struct {
	took, own time.Duration // own: processor time of this process, the service's stand-in included
	others    float64       // share of the machine that strangers used, 0 to 1
	calls     int
}

// measure lists with new backends, and takes the middle time. A short listing during
// which strangers used more of the machine than quiet is made again.
func (d *discovery) measure(ctx context.Context, b *bench, p *Part) error {
	var last listing
	var ratios, seconds, others []float64
	for range d.rounds {
		for try := 1; ; try++ {
			var err error
			if last, err = d.list(ctx); err != nil {
				return fmt.Errorf("%s: %w", d.name, err)
			}
			if d.rounds == 1 || b.quiet == 0 || last.others <= b.quiet || try == triesForQuiet {
				break
			}
		}
		ratios = append(ratios, last.took.Seconds()/d.allowed().Seconds())
		seconds, others = append(seconds, last.took.Seconds()), append(others, last.others)
	}
	ratio, spread := middle(ratios)
	took, _ := middle(seconds)
	strangers, _ := middle(others)
	p.atMost(fmt.Sprintf("%s: discovery of %d keys, of the time that the quota allows", d.name, d.keys), ratio, mostDiscovery, "")
	p.note("%s: %d keys in %.1f s (spread of %d %s) with %d calls; %.0f of them at %.0f/s take %.1f s", d.name, d.keys, took, d.rounds, percent(spread), last.calls, d.calls, d.quota, d.allowed().Seconds())
	p.note("%s: %.1f s of processor time, the stand-in included, while strangers used %s of the machine", d.name, last.own.Seconds(), percent(strangers))
	return nil
}

func (d *discovery) list(ctx context.Context) (l listing, err error) {
	backend, err := d.open()
	if err != nil {
		return l, err
	}
	calls, busy, own, started := d.counted(), machineCPU(), ownCPU(), time.Now()
	found, err := listAll(ctx, backend)
	l.took, l.own, l.calls = time.Since(started), ownCPU()-own, d.counted()-calls
	if busy > 0 {
		l.others = max(0, (machineCPU()-busy-l.own).Seconds()/l.took.Seconds()/float64(numCPU()))
	}
	if err := errors.Join(err, backend.Close()); err != nil {
		return l, err
	}
	if found != d.keys {
		return l, fmt.Errorf("%d keys were found, want %d", found, d.keys)
	}
	return l, nil
}

// listAll counts the keys of a backend, none of which may be a problem.
func listAll(ctx context.Context, backend key.Backend) (n int, err error) {
	for cursor := ""; ; {
		page, err := backend.Keys(ctx, cursor)
		if err != nil {
			return 0, err
		}
		if len(page.Problems) > 0 {
			return 0, fmt.Errorf("%d keys cannot be used, the first because %s", len(page.Problems), page.Problems[0].Reason)
		}
		n += len(page.Keys)
		if cursor = page.Next; cursor == "" {
			return n, nil
		}
	}
}

// share is the quota that the daemon keeps to by default.
func share(documented float64) *key.Quota { return key.NewQuota(documented * key.DefaultShare) }

func (b *bench) awsDiscovery(name string, by awskms.Discovery, rounds int) (*discovery, error) {
	fake, config := b.awsFake(awskmsfake.Config{Latency: callLatency, Quotas: awskmsfake.Quotas()})
	fake.AddKeys(manyKeys, "signer/", map[string]string{"use": "signer"})
	fake.AddKeys(manyKeys/20, "other/", nil)
	config.Discovery = by
	d := &discovery{name: name, keys: manyKeys, calls: manyKeys, quota: awskms.ReadPerSecond, rounds: rounds, counted: fake.Total}
	if by.TagKey != "" {
		d.calls, d.quota = manyKeys/100, awskms.TagPagesPerSecond // takes longer than what the keys themselves need
	}
	d.open = func() (key.Backend, error) {
		config.Reads = share(awskms.ReadPerSecond)
		return awskms.Open(context.Background(), config)
	}
	return d, nil
}

// azureDiscovery is that of a vault with HSM-protected keys. Each key costs a call
// for its versions and one for the only version.
func (b *bench) azureDiscovery() (*discovery, error) {
	fake, err := b.azureFake()
	if err != nil {
		return nil, err
	}
	for i := range manyKeys {
		if _, err := fake.Vault.Add(fmt.Sprintf("key-%05d", i), azurefake.Spec{}); err != nil {
			return nil, err
		}
	}
	fake.Vault.SetLatency(callLatency)
	fake.Vault.SetQuota(azurefake.HSMQuota)
	config := fake.Config()
	return &discovery{
		name: "azure", keys: manyKeys, calls: manyKeys/azurefake.PageSize + 2*manyKeys, quota: azure.ReadPerSecond, rounds: 1, counted: fake.Vault.Calls,
		open: func() (key.Backend, error) {
			config.Reads = share(azure.ReadPerSecond)
			return azure.Open(context.Background(), config)
		},
	}, nil
}

// gcpDiscovery is that of keys with one version each. Each costs a read, and one of
// the cryptographic calls, of which there are five times as many.
func (b *bench) gcpDiscovery() (*discovery, error) {
	const page = 100
	keys := manyKeys
	d := &discovery{name: "gcp", quota: gcpkms.ReadPerSecond, rounds: 1}
	if d.calls = float64(keys + keys/page); d.allowed() > longest && !b.full {
		keys = gcpKeys
		d.calls = float64(keys + keys/page)
	}
	fake, config, _, err := b.gcpFake(gcpkmsfake.Options{Latency: callLatency, ReadsPerSecond: gcpkms.ReadPerSecond, CryptoPerSecond: gcpkms.SignPerSecond})
	if err != nil {
		return nil, err
	}
	for i := range keys {
		fake.Add(gcpkmsfake.Key{ID: fmt.Sprintf("key-%05d", i)})
	}
	d.keys, d.counted = keys, func() int { return gcpCalls(fake) }
	d.open = func() (key.Backend, error) {
		config.Reads, config.Crypto = share(gcpkms.ReadPerSecond), share(gcpkms.SignPerSecond)
		return gcpkms.Open(context.Background(), config)
	}
	return d, nil
}
