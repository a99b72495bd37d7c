// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"errors"
	"log/slog"
	"time"
)

// againEvery is after how many checks an endpoint is asked again for its first
// block, though nothing speaks for a change, and for blocks that it could not
// show.
const againEvery = 30

// watch looks at one endpoint, again and again. What it found is guarded by
// the monitor's mutex.
type watch struct {
	m    *monitor
	e    *endpoint
	kick chan struct{} // asks for a check now

	count     int       // checks so far
	sighting            // at the last check that was answered
	known     bool      // that chain is what it serves; not since it was out of reach
	rose      time.Time // when head last rose
	lag       uint64    // blocks behind the best of the others, at the last check
	late      int       // checks in a row that found it behind
	lateSince time.Time // the first of them
	unshown   int       // checks in a row that found it without the parent of head
	doubted   uint64    // the height up to which it could not show blocks; its own counts for nothing until it can, or claims less
	fails     int       // checks in a row without an answer
	failing   time.Time // when the first of them began
	err       error     // of the last of them
	said      condition // that was logged
}

func (w *watch) run() {
	timer := time.NewTimer(0)
	defer timer.Stop()
	var last time.Time
	for {
		select {
		case <-w.m.ctx.Done():
			return
		case <-timer.C:
		case <-w.kick:
			// Many calls may fail at once; they ask for one check.
			if early := w.m.soonest() - time.Since(last); early > 0 {
				timer.Reset(early)
				continue
			}
		}
		last = time.Now()
		w.check(last)
		select {
		case <-w.kick: // by the check's own failure, or answered by it
		default:
		}
		w.m.poke()
		timer.Reset(max(0, w.pause()-time.Since(last)))
	}
}

// pause is the time from one check to the next: shorter while it fails, so
// that DownAfter is not overrun by much.
func (w *watch) pause() time.Duration {
	w.m.mu.Lock()
	defer w.m.mu.Unlock()
	if w.fails > 0 {
		return w.m.soonest()
	}
	return w.m.c.cfg.Check
}

// doubt is told that a call got no answer.
func (w *watch) doubt(err error) {
	if errors.Is(err, ErrUnavailable) || errors.Is(err, ErrTimeout) {
		w.look()
	}
}

// look asks for a check now.
func (w *watch) look() {
	select {
	case w.kick <- struct{}{}:
	default:
	}
}

func (w *watch) check(start time.Time) {
	m := w.m
	m.mu.Lock()
	best := m.best(w)
	old, known := w.sighting, w.known && w.count%againEvery != 0
	doubted, again := w.doubted > 0, w.count%againEvery == 0
	reach := max(w.doubted, best+m.c.cfg.MaxLag+1)
	m.mu.Unlock()

	ctx, cancel := context.WithTimeout(m.ctx, m.patience())
	defer cancel()
	seen, err := w.e.sight(ctx, old, known)
	cleared := err == nil && doubted && (seen.head.Number < reach || again && m.shows(w, reach))
	if m.ctx.Err() != nil {
		return // not the endpoint's fault
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	w.count++
	if cleared {
		w.doubted = 0
	}
	if err != nil {
		w.failed(start, err)
		return
	}
	if m.c.active() == w.e && m.c.pin.foreign(seen.chain) == nil {
		m.c.pin.adopt(seen.chain)
	}
	w.found(start, seen, best)
}

// failed notes a check without an answer. Callers hold mu.
func (w *watch) failed(start time.Time, err error) {
	if w.fails++; w.fails == 1 {
		w.failing = start
	}
	w.err = err
	w.known = false // who comes back may be another
	w.late, w.unshown = 0, 0
	w.say()
}

// found notes an answered check. best is the height that others had before it
// began. Callers hold mu.
func (w *watch) found(start time.Time, seen sighting, best uint64) {
	if seen.head.Number > w.head.Number {
		w.rose = time.Now()
	}
	w.sighting, w.known = seen, true
	w.e.newest.Store(seen.head.Number)
	w.fails, w.err = 0, nil
	w.lag = best - min(best, seen.head.Number)
	if w.lag <= w.m.c.cfg.MaxLag {
		w.late = 0
	} else if w.late++; w.late == 1 {
		w.lateSince = start
	}
	if w.unshown++; seen.shown {
		w.unshown = 0
	}
	w.say()
}

// confirm asks once more, now, whether the endpoint serves the pinned chain,
// and pins its chain if none is yet.
func (w *watch) confirm() bool {
	start := time.Now()
	ctx, cancel := context.WithTimeout(w.m.ctx, w.m.patience())
	defer cancel()
	chain, err := w.e.identity(ctx)
	if w.m.ctx.Err() != nil {
		return false
	}
	w.m.mu.Lock()
	defer w.m.mu.Unlock()
	if err != nil {
		w.failed(start, err)
		return false
	}
	w.chain, w.known = chain, true
	if w.foreignChain() != nil {
		w.say()
		return false
	}
	w.m.c.pin.adopt(chain)
	return true
}

// foreign says why the endpoint, as far as is known, does not serve the pinned
// chain.
func (w *watch) foreign() error {
	w.m.mu.Lock()
	defer w.m.mu.Unlock()
	return w.foreignChain()
}

// foreignChain is foreign for callers who hold mu.
func (w *watch) foreignChain() error {
	if !w.known {
		return nil
	}
	return w.m.c.pin.foreign(w.chain)
}

// usable says whether the endpoint answers, serves the pinned chain and has
// the height that it claims. Callers hold mu.
func (w *watch) usable() bool {
	return w.count > 0 && w.fails == 0 && w.known && w.foreignChain() == nil && w.shown && w.doubted == 0
}

// lagNow is how far the endpoint is behind: as it was found, or less if the
// height that it was compared with counts no more. Callers hold mu.
func (w *watch) lagNow() uint64 {
	best := w.m.best(w)
	return min(w.lag, best-min(best, w.head.Number))
}

// best is the greatest height among the usable endpoints but one. Callers hold
// mu.
func (m *monitor) best(except *watch) uint64 {
	var best uint64
	for _, w := range m.watches {
		if w != except && w.usable() {
			best = max(best, w.head.Number)
		}
	}
	return best
}

// say logs that the endpoint became healthy or ceased to be. Callers hold mu.
func (w *watch) say() {
	is, reason := w.condition()
	if is == w.said {
		return
	}
	was := w.said
	w.said = is
	switch {
	case is != conditionHealthy:
		w.m.c.log.LogAttrs(w.m.ctx, slog.LevelWarn, "node unhealthy", slog.String("node", w.e.name), slog.String("reason", reason))
	case was != conditionUnknown:
		w.m.c.log.LogAttrs(w.m.ctx, slog.LevelInfo, "node healthy", slog.String("node", w.e.name))
	}
}
