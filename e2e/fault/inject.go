// SPDX-License-Identifier: Apache-2.0

package fault

import (
	"context"
	"slices"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/faultpoint"
)

// inject makes one event happen when its time has come, and ends it.
func (c *Case) inject(ctx context.Context, e Event) error {
	sleep(ctx, e.At)
	if ctx.Err() != nil {
		return nil
	}
	r := c.Replicas[e.Replica]
	switch {
	case slices.Contains(NodeFaults(), NodeFault(e.Kind)):
		r.Node.Set(NodeFault(e.Kind), e.P) // counts by itself
		sleep(ctx, e.For)
		r.Node.Set(NodeFault(e.Kind), 0)
		return nil
	case slices.Contains(LinkFaults(), LinkFault(e.Kind)):
		r.Link.Set(LinkFault(e.Kind))
		sleep(ctx, e.For)
		r.Link.Set(LinkUp)
	}
	c.mu.Lock()
	c.struck[e.Kind]++
	c.mu.Unlock()
	switch e.Kind {
	case EventKill:
		r.Kill()
	case EventPause:
		r.Pause(e.For)
	case EventTerm:
		r.Term()
	case EventDatabase:
		return c.o.Postgres.Crash(ctx)
	case EventDiskFull:
		free, err := fill(c.data)
		if err != nil {
			return err
		}
		sleep(ctx, e.For)
		free()
	case EventBackend:
		return c.rule(ctx, r, e.For, faultpoint.Rule{Point: faultpoint.Sign, Action: faultpoint.Fail, Kind: "unavailable", P: e.P, Seed: c.seed})
	case EventDenied:
		return c.rule(ctx, r, e.For, faultpoint.Rule{Point: faultpoint.Sign, Action: faultpoint.Fail, Kind: "denied", P: e.P / 10, Seed: c.seed})
	case EventLatency:
		return c.rule(ctx, r, e.For, faultpoint.Rule{Point: faultpoint.Sign, Action: faultpoint.Delay, Delay: 40 * time.Millisecond, Sigma: 0.5, Limit: 16, Seed: c.seed})
	}
	return nil
}

// rule has a fault point act for a time.
func (c *Case) rule(ctx context.Context, r *Replica, during time.Duration, rule faultpoint.Rule) error {
	if err := r.Rules(rule); err != nil {
		return err
	}
	sleep(ctx, during)
	return r.Rules()
}
