// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/hsmsigner/hsmsigner/e2e/bench/stub"
	"github.com/hsmsigner/hsmsigner/e2e/harness"
)

// addresses compares the same load from one address and from a thousand.
func addresses(ctx context.Context, b *bench, p *Part) error {
	_, node1, one := b.sending("1 address", setup{Keys: harness.NewCheapKeys(b.h, 1)}, senders)
	d, node2, many := b.sending("1,000 addresses", setup{Keys: harness.NewCheapKeys(b.h, 1000)}, senders)
	many.during = b.profiled("addresses", d)
	// A sender is taken up at its first use; that is another cost.
	if err := many.once(ctx, 1); err != nil {
		return err
	}
	var err error
	if p.Samples, err = b.compare(ctx, b.length, one, many); err != nil {
		return err
	}
	if err := errors.Join(sound(node1, one), sound(node2, many)); err != nil {
		return err
	}
	p.atMost("change with 1,000 addresses", 100*math.Abs(1-p.ratio(1, 0)), 20, "%")
	return nil
}

// rows compares the same load on a thousand stored transactions, and on a million
// (or ten).
func rows(ctx context.Context, b *bench, p *Part) error {
	few, nodeF, err := b.withRows(ctx, "10³ stored transactions", 0)
	if err != nil {
		return err
	}
	n := millionRows
	name := "10⁶ stored transactions"
	if b.full {
		n, name = tenMillion, "10⁷ stored transactions"
	}
	full, nodeB, err := b.withRows(ctx, name, n)
	if err != nil {
		return err
	}
	if p.Samples, err = b.compare(ctx, b.length, few, full); err != nil {
		return err
	}
	if err := errors.Join(sound(nodeF, few), sound(nodeB, full)); err != nil {
		return err
	}
	p.atMost("change with "+name, 100*math.Abs(1-p.ratio(1, 0)), 20, "%")
	return nil
}

// withRows starts a daemon with about a thousand stored transactions, and if n is
// not 0, stops it, adds n more, and starts it again.
func (b *bench) withRows(ctx context.Context, name string, n int) (*side, own, error) {
	keys := harness.NewCheapKeys(b.h, seedAddresses)
	d, node, s := b.sending(name, setup{Keys: keys}, senders)
	if err := s.once(ctx, 10); err != nil {
		return nil, node, err
	}
	time.Sleep(12*stub.Interval + 3*time.Second)
	if n == 0 {
		return s, node, nil
	}
	d.Stop()
	started := time.Now()
	if err := seed(ctx, node, keys, d.Data, n); err != nil {
		return nil, node, err
	}
	fmt.Fprintf(b.h.log, "%d stored transactions made in %s\n", n, time.Since(started).Round(time.Second))
	b.seeded = &seeded{keys: keys, data: d.Data, rows: n}
	d.start()
	s.daemons = []process{d.Process}
	return s, node, nil
}

// once sends every request of a side so many times, before it is measured.
func (s *side) once(ctx context.Context, times int) error {
	t := s.target
	t.Requests, t.Once = slices.Repeat(t.Requests, times), true
	a, err := t.load(ctx, time.Minute)
	if err != nil {
		return err
	}
	s.kept = append(s.kept, a)
	return nil
}
