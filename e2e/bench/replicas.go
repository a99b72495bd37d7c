// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"github.com/hsmsigner/hsmsigner/e2e/harness"
)

const (
	replicaCount     = 3
	replicaSlots     = 16
	replicaBackend   = "sign:delay=40ms,limit=16"
	replicaAddresses = 100
	replicaClients   = 300
)

// replicas compares three daemons with one, where the key backend is the limit:
// each has a quota of its own. Every address is asked for at every replica.
func replicas(ctx context.Context, b *bench, p *Part) error {
	one, nodeOne, err := b.group(ctx, "one replica", 1)
	if err != nil {
		return err
	}
	three, nodeThree, err := b.group(ctx, "three replicas", replicaCount)
	if err != nil {
		return err
	}
	if p.Samples, err = b.compare(ctx, b.length, one, three); err != nil {
		return err
	}
	p.atLeast("times the rate of one replica", p.ratio(1, 0), 2.5)
	served := make([]int, replicaAddresses)
	for _, a := range three.counted {
		for i, n := range a.Served {
			served[i%replicaAddresses] += n
		}
	}
	slices.Sort(served)
	p.atLeast("of the middle address's transactions, for the least served address", float64(served[0])/float64(served[len(served)/2]), .5)
	p.note("transactions by address: least %d, middle %d, most %d", served[0], served[len(served)/2], served[len(served)-1])
	return errors.Join(sound(nodeOne, one), sound(nodeThree, three))
}

// group starts n daemons on one new database. Connection i always asks for address
// i modulo the addresses, at daemon i modulo n.
func (b *bench) group(ctx context.Context, name string, n int) (*side, own, error) {
	node := startSelf(b.h, "stub")
	pg, err := b.postgres(ctx)
	if err != nil {
		return nil, node, err
	}
	keys := harness.NewCheapKeys(b.h, replicaAddresses)
	s := &side{name: name, nodes: []process{node.Process, pg}}
	s.target = target{Conns: replicaClients, Pinned: true, Hashes: true}
	for i := range n {
		d := b.startDaemon(setup{
			Node: node.address, Keys: keys, Database: pg.url, Replica: true, Faults: replicaBackend, Concurrency: replicaSlots,
		})
		if i == 0 {
			s.during = b.profiled(fmt.Sprintf("replicas-%d", n), d)
		}
		s.target.Addresses = append(s.target.Addresses, d.Address)
		s.daemons = append(s.daemons, d.Process)
	}
	// The Host header is checked, so a request is made for one daemon.
	for i := range replicaClients {
		one := transfers(s.target.Addresses[i%n], keys.Addresses[i%replicaAddresses:i%replicaAddresses+1])
		s.target.Requests = append(s.target.Requests, one...)
	}
	return s, node, nil
}
