// SPDX-License-Identifier: Apache-2.0

package platform

import (
	"context"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/config"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

const (
	eager     = 100 * time.Millisecond // between looks at services that are being opened
	patience  = 15 * time.Second       // until what does not work is called failed
	firstWait = time.Second            // after a service could not be opened; doubles
	maxWait   = 5 * time.Minute
	reworded  = 10 * time.Second // between new reasons for the same state
	// letGo is how long other replicas may take to learn that a service takes
	// nothing new.
	letGo = 3 * time.Second
)

// Run keeps what runs in this process as the resources say, until ctx ends: it
// opens services, writes their states, and removes those that were deleted and
// have nothing under way. What takes its time is done beside, so that no service
// waits for another's backend, node or key. Changes made here take effect at once, those of other
// replicas within [Config.Poll] and the time that it takes to read them.
func (p *Platform) Run(ctx context.Context) error {
	k := &keeper{p: p, crew: newCrew(), services: make(map[string]*served)}
	defer k.crew.stop()
	p.running.Store(true)
	defer p.running.Store(false)
	kicked := true
	for {
		wait := k.pass(ctx, kicked)
		timer := time.NewTimer(wait)
		kicked = false
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-p.wake:
			kicked = true
		case <-k.crew.done:
			time.Sleep(gather)
		case <-timer.C:
		}
		timer.Stop()
	}
}

// keeper is what Run knows. Only its goroutine uses it, but for crew, backends and
// nodes.
type keeper struct {
	p        *Platform
	crew     *crew
	version  int64
	looked   time.Time // at the version
	stale    bool      // there may be changes
	next     time.Time // before which the rows are not read again
	rows     map[string]row
	services map[string]*served
	order    []string
	backends known[config.Details]
	nodes    known[config.Node]
	current  map[Version]bool // of which there are rows
}

// served is one service.
type served struct {
	row     row
	key     string    // of what was opened last; empty: nothing
	since   time.Time // when what it should be was first tried
	want    string    // key of what it should be
	err     error     // why that could not be opened
	wait    time.Duration
	retry   time.Time
	written time.Time // when its state was
	leaving time.Time // when it was found to be deleted
	counted time.Time // when its transactions were
	busy    bool      // something is being done for it
	gone    bool      // its row is
}

// pass looks at everything once, and returns when to look again.
func (k *keeper) pass(ctx context.Context, kicked bool) time.Duration {
	now := time.Now()
	answered := k.crew.heard(now)
	k.stale = k.stale || kicked || now.Sub(k.looked) >= k.p.cfg.Poll
	read := false
	if k.stale && !now.Before(k.next) {
		k.p.passes.begin()
		err := k.refresh(ctx, now)
		if read = err == nil; !read && ctx.Err() == nil {
			k.p.cfg.Logger.WarnContext(ctx, "resources cannot be read; what runs goes on", "err", err)
		}
	}
	if answered || read {
		k.backends.forget(k.current)
		k.nodes.forget(k.current)
	}
	for _, id := range k.order {
		if ctx.Err() != nil {
			return 0
		}
		if s := k.services[id]; s != nil && !s.gone {
			k.open(ctx, s, now)
		}
	}
	k.settle(ctx, now)
	k.remove(ctx, now)
	k.p.passes.end(read, k.busy())
	return k.rest(now)
}

// rest is the time until the next pass.
func (k *keeper) rest(now time.Time) time.Duration {
	wait := k.p.cfg.Poll
	if k.stale {
		wait = min(wait, max(time.Until(k.next), time.Millisecond))
	}
	for _, s := range k.services {
		if s.row.State != Started && now.Sub(s.since) < 2*patience {
			wait = min(wait, eager)
		}
	}
	return wait
}

// busy is the ids of services for which something is being done, and of what they
// use.
func (k *keeper) busy() map[string]bool {
	ids := make(map[string]bool)
	for id, s := range k.services {
		if s.busy {
			l := s.row.lane()
			ids[id], ids[l.configuration], ids[l.node], ids[s.row.Environment] = true, true, true, true
		}
	}
	return ids
}

// refresh reads the rows if any of them has changed.
func (k *keeper) refresh(ctx context.Context, now time.Time) error {
	version, err := k.p.cfg.Store.ResourceVersion(ctx)
	if err != nil {
		return err
	}
	if k.rows != nil && version == k.version {
		k.looked, k.stale = now, false
		return nil
	}
	rows := make(map[string]row)
	var order []string
	// Services first: what they use is then as new as they are, or newer.
	for _, kind := range []Kind{Services, Configurations, Nodes, Environments} {
		all, err := k.p.cfg.Store.Resources(ctx, store.ResourceFilter{Kind: string(kind)})
		if err != nil {
			return err
		}
		for _, stored := range all {
			r, err := readRow(stored)
			if err != nil {
				return err
			}
			rows[r.ID] = r
			if kind == Services {
				order = append(order, r.ID)
			}
		}
	}
	k.rows, k.version, k.order, k.looked, k.stale = rows, version, order, now, false
	// Many changes one after the other must not cost a reading each.
	k.next = time.Now().Add(min(4*time.Since(now), time.Second))
	k.adopt()
	return nil
}

// adopt takes the rows over.
func (k *keeper) adopt() {
	for _, id := range k.order {
		s := k.services[id]
		if s == nil {
			s = &served{}
			k.services[id] = s
		}
		s.row, s.gone = k.rows[id], false
	}
	for id, s := range k.services {
		if _, ok := k.rows[id]; !ok {
			s.gone = true
		}
	}
	k.crew.keep(k.services)
	k.current = make(map[Version]bool)
	for _, r := range k.rows {
		k.current[version(r, false)], k.current[version(r, true)] = true, true
	}
}
