// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"log/slog"
	"slices"
	"sync"
	"time"
)

// monitor watches the endpoints of a client that has several, and changes the
// active one when it has to.
//
// The active endpoint is left
//   - at once, when it serves another chain id or first block than the pinned
//     one;
//   - when it has not answered for Config.DownAfter, in at least two checks;
//   - when in three checks in a row it was more than Config.MaxLag blocks
//     behind another one that advanced meanwhile, or did not itself have the
//     blocks that it claimed; but not within Config.Dwell after a change.
//
// The first healthy one in configured order takes over, after it has shown
// the pinned chain once more. There is no way back but by the same rules. If
// no other is healthy, the active one stays.
//
// Heights are claims. One counts only while the endpoint has the claimed
// block's parent, by its hash, one below; and before it makes another one look
// late, the endpoint must show blocks beyond that one's reach, by number and
// linked by their hashes. An endpoint that merely says a large number is
// ignored. One that goes to the length of inventing linked blocks on a chain
// with the right first block is beyond what a client can tell.
//
// An endpoint's lag is measured against what others were seen to have before
// it was asked itself, so that blocks that come while the checks are under way
// do not count.
type monitor struct {
	c         *Client
	ctx       context.Context // of all checks; ends with stop
	cancel    context.CancelFunc
	wg        sync.WaitGroup
	wake      chan struct{} // something was learnt
	listeners listeners
	watches   []*watch // as Client.endpoints

	mu      sync.Mutex // of the watches' findings too
	changed time.Time  // of the active endpoint; zero: never
}

// strikes is how many checks in a row must find an endpoint behind.
const strikes = 3

// cause says why the active endpoint has to be left.
type cause string

const (
	causeNone    cause = ""
	causeChain   cause = "serves another chain"
	causeDown    cause = "does not answer"
	causeLag     cause = "is behind"
	causeUnshown cause = "does not have the blocks that it claims"
)

func startMonitor(c *Client) *monitor {
	m := &monitor{c: c, wake: make(chan struct{}, 1)}
	m.ctx, m.cancel = context.WithCancel(context.Background())
	m.listeners.add(c.feed.moved)
	for _, e := range c.endpoints {
		e.watch = &watch{m: m, e: e, kick: make(chan struct{}, 1)}
		m.watches = append(m.watches, e.watch)
	}
	for _, w := range m.watches {
		m.wg.Go(w.run)
	}
	m.wg.Go(m.run)
	return m
}

func (m *monitor) stop() {
	m.cancel()
	m.wg.Wait()
}

func (m *monitor) run() {
	for {
		select {
		case <-m.ctx.Done():
			return
		case <-m.wake:
			m.judge()
		}
	}
}

// judge changes the active endpoint if it must and can.
func (m *monitor) judge() {
	active := m.c.active().watch
	m.mu.Lock()
	why := m.complaint(active)
	m.mu.Unlock()
	var reach uint64
	switch why {
	case causeNone:
		return
	case causeLag:
		reach = m.beyond(active)
	default:
		m.exposeLeader(active)
	}
	for _, w := range m.watches {
		if w == active || m.ctx.Err() != nil {
			continue
		}
		m.mu.Lock()
		fit := m.fit(w, active, why)
		m.mu.Unlock()
		if !fit || why == causeLag && !m.shows(w, reach) || !w.confirm() {
			continue
		}
		m.change(active, w, why)
		return
	}
}

// complaint is why the active endpoint has to be left. Callers hold mu.
func (m *monitor) complaint(active *watch) cause {
	now := time.Now()
	switch {
	case active.foreignChain() != nil:
		return causeChain
	case active.fails > 1 && now.Sub(active.failing) >= m.c.cfg.DownAfter:
		return causeDown
	case !m.changed.IsZero() && now.Sub(m.changed) < m.c.cfg.Dwell:
		return causeNone
	case active.unshown >= strikes:
		return causeUnshown
	case active.late >= strikes:
		return causeLag
	}
	return causeNone
}

// fit says whether an endpoint may take over. Callers hold mu.
func (m *monitor) fit(w, active *watch, why cause) bool {
	if why == causeLag {
		// To change to one that is hardly ahead would not help, nor to one
		// that stands still.
		return w.usable() && w.head.Number > active.head.Number+m.c.cfg.MaxLag && w.rose.After(active.lateSince)
	}
	return w.usable() && w.lagNow() <= m.c.cfg.MaxLag
}

// exposeLeader makes the endpoint that is far ahead of all others show its
// blocks, lest a lie about a height leaves it as the only candidate.
func (m *monitor) exposeLeader(active *watch) {
	for range m.watches {
		m.mu.Lock()
		var leader, second *watch
		for _, w := range m.watches {
			switch {
			case w == active || !w.usable():
			case leader == nil || w.head.Number > leader.head.Number:
				leader, second = w, leader
			case second == nil || w.head.Number > second.head.Number:
				second = w
			}
		}
		alone := second == nil || leader.head.Number <= second.head.Number+m.c.cfg.MaxLag
		var reach uint64
		if !alone {
			reach = second.head.Number + m.c.cfg.MaxLag + 1
		}
		m.mu.Unlock()
		if alone || m.shows(leader, reach) {
			return
		}
	}
}

// beyond is the height of a block that the active endpoint, as high as it is
// now, lacks only if it is behind.
func (m *monitor) beyond(active *watch) uint64 {
	ctx, cancel := context.WithTimeout(m.ctx, m.patience())
	defer cancel()
	now, err := active.e.headAt(ctx, "latest")
	m.mu.Lock()
	defer m.mu.Unlock()
	if err != nil {
		now = active.head
	}
	return max(now.Number, active.head.Number) + m.c.cfg.MaxLag + 1
}

// shows makes an endpoint show the blocks up to a height, and remembers if it
// cannot.
func (m *monitor) shows(w *watch, height uint64) bool {
	ctx, cancel := context.WithTimeout(m.ctx, m.patience())
	defer cancel()
	ok, err := w.e.shows(ctx, height)
	if err == nil && !ok {
		m.mu.Lock()
		w.doubted = height
		w.say()
		m.mu.Unlock()
	}
	return err == nil && ok
}

func (m *monitor) change(from, to *watch, why cause) {
	next := &tenure{to.e, m.c.Generation() + 1} // only this goroutine changes it
	m.mu.Lock()
	m.changed = time.Now()
	m.mu.Unlock()
	m.c.current.Store(next)
	m.c.log.LogAttrs(m.ctx, slog.LevelWarn, "node changed",
		slog.String("from", from.e.name), slog.String("to", to.e.name),
		slog.String("reason", from.e.name+" "+string(why)), slog.Uint64("generation", next.generation))
	m.listeners.call()
}

// patience is how long an endpoint may take to answer a check.
func (m *monitor) patience() time.Duration {
	return min(m.c.cfg.Timeout, max(m.c.cfg.DownAfter/2, time.Millisecond))
}

// soonest is the shortest time from one check of an endpoint to the next.
func (m *monitor) soonest() time.Duration { return min(m.c.cfg.Check, m.c.cfg.DownAfter/4) }

func (m *monitor) poke() {
	select {
	case m.wake <- struct{}{}:
	default:
	}
}

// listeners are the functions that want to hear of a change, in the order in
// which they came.
type listeners struct {
	mu   sync.Mutex
	list []*func()
}

func (l *listeners) add(f func()) (remove func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.list = append(l.list, &f)
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.list = slices.DeleteFunc(l.list, func(other *func()) bool { return other == &f })
	}
}

func (l *listeners) call() {
	l.mu.Lock()
	list := slices.Clone(l.list)
	l.mu.Unlock()
	for _, f := range list {
		(*f)()
	}
}
