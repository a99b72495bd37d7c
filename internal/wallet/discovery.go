// SPDX-License-Identifier: Apache-2.0

package wallet

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/key"
)

const (
	firstRetry  = time.Second            // after a failed discovery; doubles up to the interval
	changeDelay = 200 * time.Millisecond // lets a burst of changes become one discovery
	takeAtOnce  = 16                     // wallets that take over what was found at the same time
)

// changer is the optional capability of a backend to notice that its keys
// have changed.
type changer interface {
	// Changed yields a value after keys were added, removed or altered.
	Changed() <-chan struct{}
}

// Discovery lists the keys of one backend for all wallets that share it: at
// once, at intervals, whenever the backend says that its keys have changed (by an
// optional method Changed() <-chan struct{}), and when a wallet asks. However many
// wallets there are, the backend is listed once. It is safe for concurrent use.
type Discovery struct {
	cfg     DiscoveryConfig
	shared  bool // several wallets may join
	refresh refresher
	going   progress
	came    chan struct{} // one slot: wallets have joined
	stop    context.CancelFunc
	stopped chan struct{} // closed when no discovery runs any more
	close   func() error

	mu      sync.Mutex
	members map[*Wallet]bool // true: it has been given a listing
	last    *listing         // the last good one, where shared
}

// DiscoveryConfig is what a [Discovery] is made of.
type DiscoveryConfig struct {
	Backend  key.Backend   // closed by [Discovery.Close]
	Interval time.Duration // between discoveries; default 5 min
	Logger   *slog.Logger  // nil discards
}

// NewDiscovery begins to list the keys of a backend. Wallets join it by
// [Config.Discovery]. It owns the backend from then on.
func NewDiscovery(cfg DiscoveryConfig) *Discovery {
	cfg.Backend, _ = key.Unlimit(cfg.Backend)
	if cfg.Interval <= 0 {
		cfg.Interval = defaultRefreshInterval
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	d := newDiscovery(cfg)
	d.shared = true
	d.start(context.Background())
	return d
}

func newDiscovery(cfg DiscoveryConfig) *Discovery {
	d := &Discovery{
		cfg: cfg, refresh: refresher{kick: make(chan struct{}, 1)}, came: make(chan struct{}, 1),
		stopped: make(chan struct{}), members: map[*Wallet]bool{},
	}
	d.close = sync.OnceValue(func() error {
		d.end()
		return cfg.Backend.Close()
	})
	return d
}

func (d *Discovery) start(ctx context.Context) {
	ctx, d.stop = context.WithCancel(ctx)
	go d.run(ctx)
}

// end stops a discovery that is under way, and all later ones.
func (d *Discovery) end() {
	d.stop()
	<-d.stopped
}

// Close ends the discovery, once its wallets are closed, and closes the backend.
// Further calls return what the first did.
func (d *Discovery) Close() error { return d.close() }

// join has a wallet told of what is found from now on, and of what was found
// last.
func (d *Discovery) join(w *Wallet) {
	d.mu.Lock()
	d.members[w] = false
	d.mu.Unlock()
	select {
	case d.came <- struct{}{}:
	default:
	}
}

func (d *Discovery) leave(w *Wallet) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.members, w)
}

// run discovers, one time after the other, until ctx ends.
func (d *Discovery) run(ctx context.Context) {
	defer close(d.stopped)
	var changed <-chan struct{}
	if c, ok := d.cfg.Backend.(changer); ok {
		changed = c.Changed()
	}
	timer := time.NewTimer(0) // the first discovery is at once
	defer timer.Stop()
	retry := firstRetry
	for {
		select {
		case <-ctx.Done():
			return
		case <-d.came:
			d.welcome(ctx)
			continue
		case <-timer.C:
		case <-d.refresh.kick:
		case _, open := <-changed:
			if !open {
				changed = nil
				continue
			}
			if sleep(ctx, changeDelay) != nil {
				return
			}
		}
		current := d.refresh.begin()
		failed := d.discover(ctx, current)
		if ctx.Err() != nil {
			return
		}
		close(current.done)
		if failed != nil {
			d.cfg.Logger.Warn("account discovery incomplete; the last good accounts stay in use",
				"err", cause(failed), "retry_in", retry)
			timer.Reset(retry)
			retry = min(2*retry, d.cfg.Interval)
			continue
		}
		retry = min(firstRetry, d.cfg.Interval)
		// Backends that were opened together must not be asked together.
		timer.Reset(d.cfg.Interval - rand.N(d.cfg.Interval/10+1))
	}
}

// discover lists the backend's keys and gives them to all wallets. What it
// returns is what keeps the discovery from being complete.
func (d *Discovery) discover(ctx context.Context, current *run) (failed error) {
	d.going.begin()
	stop := d.report()
	defer func() {
		stop()
		d.going.end(failed)
	}()
	found, err := d.list(ctx)
	d.mu.Lock()
	members := make([]*Wallet, 0, len(d.members))
	for w := range d.members {
		members = append(members, w)
		d.members[w] = d.members[w] || err == nil
	}
	if err == nil && d.shared {
		d.last = found
	}
	d.mu.Unlock()
	return d.hand(ctx, current, members, found, err)
}

// welcome gives what was found last to the wallets that have come since.
func (d *Discovery) welcome(ctx context.Context) {
	d.mu.Lock()
	var members []*Wallet
	for w, given := range d.members {
		if !given && d.last != nil {
			d.members[w] = true
			members = append(members, w)
		}
	}
	last := d.last
	d.mu.Unlock()
	if err := d.hand(ctx, nil, members, last, nil); err != nil && ctx.Err() == nil {
		d.cfg.Logger.Warn("accounts could not be stored; they are with the next discovery", "err", cause(err))
	}
}

// hand gives wallets what was found, or tells them why nothing was, and keeps
// for those who wait what each made of it.
func (d *Discovery) hand(ctx context.Context, current *run, members []*Wallet, found *listing, err error) error {
	if err != nil && len(members) == 0 {
		return err
	}
	var mu sync.Mutex
	var failed error
	slots := make(chan struct{}, takeAtOnce)
	var wg sync.WaitGroup
	for _, w := range members {
		slots <- struct{}{}
		wg.Go(func() {
			defer func() { <-slots }()
			var t taken
			if err != nil {
				t.err = w.missed(err)
			} else {
				t.report, t.err = w.take(ctx, found, d.shared)
			}
			mu.Lock()
			defer mu.Unlock()
			if current != nil {
				current.taken[w] = t
			}
			if failed == nil && t.err != nil {
				failed = fmt.Errorf("wallet %s: %w", w.cfg.Name, t.err)
			}
		})
	}
	wg.Wait()
	return failed
}

// refresher lets callers share discoveries. A caller joins the run that has
// not begun, never one that has: that one may have listed the keys before the
// caller made a new one.
type refresher struct {
	mu   sync.Mutex
	next *run
	kick chan struct{} // one slot
}

// run is one discovery. taken is complete before done is closed.
type run struct {
	done  chan struct{}
	taken map[*Wallet]taken
}

// taken is what a wallet made of a discovery.
type taken struct {
	report Report
	err    error
}

func newRun() *run { return &run{done: make(chan struct{}), taken: map[*Wallet]taken{}} }

func (r *refresher) join() *run {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.next == nil {
		r.next = newRun()
	}
	select {
	case r.kick <- struct{}{}:
	default:
	}
	return r.next
}

// begin takes the run that callers are waiting for, or a new one. What has asked for
// it has been heard by that, though it may have begun for another reason.
func (r *refresher) begin() *run {
	r.mu.Lock()
	defer r.mu.Unlock()
	select {
	case <-r.kick:
	default:
	}
	begun := r.next
	r.next = nil
	if begun == nil {
		begun = newRun()
	}
	return begun
}

// sleep waits for d or the end of ctx.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// listing is everything that a backend listed, as it did.
type listing struct {
	keys     []key.Key
	problems []key.Problem
	at       time.Time
}

// problem lists what could not be used, in a slice of the caller's own.
func (l *listing) problem() []key.Problem { return slices.Clone(l.problems) }
