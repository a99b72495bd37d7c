// SPDX-License-Identifier: Apache-2.0

package auth

import (
	"context"
	"hash/maphash"
	"log/slog"
	"net/http"
	"net/netip"
	"sync/atomic"
	"time"
)

const (
	guardSlots  = 4096
	guardHeld   = 1024                   // refusals kept waiting at the same time
	defaultHold = 250 * time.Millisecond // of each
	reportEvery = 10 * time.Second
)

func badLogins() rate { return rate{perSecond: 1, burst: 20} }

// Guard slows those who guess. It is asked only about secrets that were wrong,
// so that nobody's mistakes or malice ever stand in the way of a right one: it
// counts by address and by name, and over the limit of either it keeps the
// refusal waiting for a moment and makes it a *LimitError. There is nothing to
// unlock, because nothing is ever locked.
//
// Its memory is of fixed size. Names and addresses that share a place in it
// share a count, at which only wrong secrets are slowed.
type Guard struct {
	hold   time.Duration
	record func(context.Context, Event)
	start  time.Time
	seed   maphash.Seed

	addresses, names [guardSlots]bucket
	held             atomic.Int32
	unreported       atomic.Int64
}

// NewGuard makes a guard. record may be nil: then events go to the log, which
// may be nil, too.
func NewGuard(record func(context.Context, Event), log *slog.Logger) *Guard {
	if record == nil {
		if log == nil {
			log = slog.New(slog.DiscardHandler)
		}
		record = LogEvents(log)
	}
	return &Guard{hold: defaultHold, record: record, start: time.Now(), seed: maphash.MakeSeed()}
}

// Bad is to be called for every wrong secret, with the name that it was tried
// for, if any; known says whether it may be shown. It returns what to refuse the caller
// with: ErrCredentials or a *LimitError.
func (g *Guard) Bad(r *http.Request, name string, known bool) error {
	address := addressOf(r)
	now := int64(time.Since(g.start))
	wait := g.slot(&g.addresses, address).take(now, 1, badLogins())
	if name != "" {
		wait = max(wait, g.slot(&g.names, name).take(now, 1, badLogins()))
	}
	if wait == 0 {
		if !known {
			name = ""
		}
		g.record(r.Context(), Event{At: time.Now(), Kind: BadLogin, Who: name, Remote: address, Count: 1})
		return ErrCredentials
	}
	g.unreported.Add(1)
	g.pause(r.Context())
	return &LimitError{Reason: "too many bad logins", RetryAfter: wait}
}

func (g *Guard) slot(all *[guardSlots]bucket, key string) *bucket {
	return &all[maphash.String(g.seed, key)%guardSlots]
}

// pause makes a guesser wait, who would else try as fast as we can answer. So
// many wait at most, for each costs memory.
func (g *Guard) pause(ctx context.Context) {
	if g.held.Add(1) <= guardHeld {
		t := time.NewTimer(g.hold)
		select {
		case <-t.C:
		case <-ctx.Done():
		}
		t.Stop()
	}
	g.held.Add(-1)
}

// Run reports from time to time how many bad logins were not reported one by
// one, until ctx ends.
func (g *Guard) Run(ctx context.Context) {
	tick := time.NewTicker(reportEvery)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			g.report(ctx)
		case <-ctx.Done():
			g.report(context.WithoutCancel(ctx))
			return
		}
	}
}

func (g *Guard) report(ctx context.Context) {
	if n := g.unreported.Swap(0); n > 0 {
		g.record(ctx, Event{At: time.Now(), Kind: BadLogin, Reason: "over the limit, slowed", Count: int(n)})
	}
}

// addressOf is where a request comes from, without the port. An IPv6 caller has
// a whole /64 to send from, so that is what counts.
func addressOf(r *http.Request) string {
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return r.RemoteAddr
	}
	ip := from.Addr().Unmap().WithZone("")
	if ip.Is6() {
		if p, err := ip.Prefix(64); err == nil {
			return p.String()
		}
	}
	return ip.String()
}
