// SPDX-License-Identifier: Apache-2.0

package webhook

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/store"
)

// leaseName is the row of table lease that says who delivers. No sender has
// such an id.
const leaseName = "webhook"

const (
	sweepEvery = time.Hour
	countEvery = 15 * time.Second
)

// Run delivers events until ctx ends, whenever this process has the lease. Then
// it lets tries that are on their way end within half of the lease's time, and
// lets go of the lease.
func (h *Hooks) Run(ctx context.Context) {
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(func() { h.sweep(ctx) })
	if len(h.pumps) == 0 {
		return
	}
	for ctx.Err() == nil {
		asked := time.Now()
		lease, err := h.cfg.Store.AcquireLease(ctx, leaseName, h.cfg.Owner, h.cfg.LeaseTTL)
		switch {
		case err == nil:
			h.hold(ctx, lease, asked.Add(h.cfg.LeaseTTL))
		case !errors.Is(err, store.ErrLeaseHeld) && ctx.Err() == nil:
			h.log.Warn("webhooks are not delivered: no lease", "err", err)
		}
		sleep(ctx, h.cfg.LeaseTTL/3)
	}
}

// hold delivers while the lease lasts. until is when it ends, if it is not
// renewed, by this process's clock.
func (h *Hooks) hold(ctx context.Context, lease store.Lease, until time.Time) {
	h.log.Debug("delivering webhooks", "epoch", lease.Epoch)
	hard, kill := context.WithCancel(context.WithoutCancel(ctx))
	defer kill()
	soft, stop := context.WithCancel(ctx)
	defer stop()

	var wg sync.WaitGroup
	for _, p := range h.pumps {
		wg.Go(func() { p.run(soft, hard) })
	}
	fence := store.Fence{Sender: lease.Sender, Owner: lease.Owner, Epoch: lease.Epoch}
	if h.keep(ctx, fence, until) {
		stop()
		grace := time.AfterFunc(h.cfg.LeaseTTL/2, kill)
		defer grace.Stop()
	} else {
		kill() // another may deliver from now on
		stop()
	}
	wg.Wait()
	release, cancel := context.WithTimeout(context.WithoutCancel(ctx), 5*time.Second)
	defer cancel()
	if err := h.cfg.Store.ReleaseLease(release, fence); err != nil {
		h.log.Warn("the lease of the webhooks is not released", "err", err)
	}
}

// keep renews the lease until ctx ends (true) or the lease is lost (false).
func (h *Hooks) keep(ctx context.Context, fence store.Fence, until time.Time) bool {
	renew := time.NewTicker(h.cfg.LeaseTTL / 3)
	defer renew.Stop()
	var counted time.Time
	for {
		if time.Since(counted) > countEvery {
			counted = time.Now()
			h.count(ctx)
		}
		select {
		case <-ctx.Done():
			return true
		case <-renew.C:
		}
		asked := time.Now()
		attempt, cancel := context.WithDeadline(ctx, until)
		_, err := h.cfg.Store.RenewLease(attempt, fence, h.cfg.LeaseTTL)
		cancel()
		switch {
		case err == nil:
			until = asked.Add(h.cfg.LeaseTTL)
		case ctx.Err() != nil:
			return true
		case errors.Is(err, store.ErrLeaseLost) || !time.Now().Before(until):
			h.log.Warn("the lease of the webhooks is lost", "err", err)
			return false
		}
	}
}

func (h *Hooks) count(ctx context.Context) {
	counts, err := h.cfg.Store.EventCounts(ctx)
	if err != nil {
		return // the next time
	}
	for _, p := range h.pumps {
		if _, some := counts[p.key]; !some {
			counts[p.key] = 0
		}
	}
	h.obs.Pending(counts)
}

// sweep drops what nobody will deliver any more: events of hooks that are no
// longer configured. Those of the others are given up an hour earlier.
func (h *Hooks) sweep(ctx context.Context) {
	for sleep(ctx, sweepEvery) {
		n, err := h.cfg.Store.DropEvents(ctx, time.Now().Add(-h.cfg.GiveUp-2*h.cfg.MaxBackoff))
		switch {
		case ctx.Err() != nil:
		case err != nil:
			h.log.Warn("old events are not dropped", "err", err)
		case n > 0:
			h.log.Error("events were never delivered, and are dropped", "events", n)
		}
	}
}

// sleep reports whether ctx went on for so long.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}
