// SPDX-License-Identifier: Apache-2.0

// Package history remembers what wallets have done in the last hour and the last
// day, so that the console can draw it without another program. It is this
// process's memory and ends with it; Prometheus is for longer.
//
// Counting costs a lock and a few additions, a wallet at rest nothing. Clocks that
// jump move what follows, and never what was counted.
package history

import (
	"sync"
	"time"
)

// The stages of a transaction, as package txmgr calls them.
const (
	Accept = "accept"
	Sign   = "sign"
	Send   = "send"
	Mine   = "mine"
)

// Stages lists them, in their order.
func Stages() []string { return []string{Accept, Sign, Send, Mine} }

// Span is how far back one looks, and in what steps.
type Span struct {
	Step  time.Duration
	Steps int
}

// Hour is the last 60 minutes, in steps of ten seconds.
func Hour() Span { return Span{10 * time.Second, 360} }

// Day is the last 24 hours, in steps of five minutes.
func Day() Span { return Span{5 * time.Minute, 288} }

// Point is what a wallet did in one step.
type Point struct {
	At         time.Time      // its beginning
	Signatures int            // good ones
	Throttled  int            // calls that the key backend turned away as too many
	Errors     map[string]int // by kind
	Stages     map[string]Latencies
	Blocks     int // that its node showed
}

// Recorder counts for all wallets of this process. It is safe for concurrent use.
type Recorder struct {
	now func() time.Time

	mu      sync.Mutex
	wallets map[string]*wallet
}

// wallet has a ring of points for each span.
type wallet struct {
	hour, day ring
	head      uint64
	headAt    time.Time
}

// New makes a recorder. now is the clock; nil: that of the system.
func New(now func() time.Time) *Recorder {
	if now == nil {
		now = time.Now
	}
	return &Recorder{now: now, wallets: map[string]*wallet{}}
}

// Signature counts a request to sign: outcome is "ok", or what went wrong.
func (r *Recorder) Signature(name, outcome string) {
	r.count(name, func(p *point) {
		if outcome == "ok" {
			p.signatures++
			return
		}
		p.wrong(outcome)
	})
}

// BackendCall counts a call to a key backend.
func (r *Recorder) BackendCall(name, outcome string) {
	if outcome == "ok" {
		return
	}
	r.count(name, func(p *point) {
		if outcome == "throttled" {
			p.throttled++
		}
	})
}

// Stage notes how long a transaction spent in a stage.
func (r *Recorder) Stage(name, stage string, took time.Duration) {
	i := stageOf(stage)
	if i < 0 {
		return
	}
	r.count(name, func(p *point) { p.stages[i].add(took) })
}

// Event counts something that happened to a transaction; only what is an error is
// remembered.
func (r *Recorder) Event(name, kind string) {
	switch kind {
	case "failed", "displaced", "rejected", "parked":
		r.count(name, func(p *point) { p.wrong(kind) })
	}
}

// Head notes a new block of a wallet's node. There are many of them, also for
// wallets at rest: they are kept apart from the rest, small.
func (r *Recorder) Head(name string, number uint64) {
	now := r.now()
	r.mu.Lock()
	defer r.mu.Unlock()
	w := r.wallet(name)
	w.head, w.headAt = max(w.head, number), now
	w.hour.block(now)
	w.day.block(now)
}

// LastHead is the highest block that a wallet's node has shown, and when it showed
// one last.
func (r *Recorder) LastHead(name string) (number uint64, at time.Time) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if w := r.wallets[name]; w != nil {
		return w.head, w.headAt
	}
	return 0, time.Time{}
}

// Forget drops a wallet that is gone.
func (r *Recorder) Forget(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.wallets, name)
}

func (r *Recorder) count(name string, f func(*point)) {
	now := r.now()
	r.mu.Lock()
	defer r.mu.Unlock()
	w := r.wallet(name)
	f(w.hour.at(now))
	f(w.day.at(now))
}

// wallet is called with the lock held.
func (r *Recorder) wallet(name string) *wallet {
	w := r.wallets[name]
	if w == nil {
		w = &wallet{hour: newRing(Hour()), day: newRing(Day())}
		r.wallets[name] = w
	}
	return w
}

// Of is what some wallets did together in a span, oldest step first. Steps in which
// nothing happened are there, and empty.
func (r *Recorder) Of(span Span, names ...string) []Point {
	last := r.now().Truncate(span.Step)
	out := make([]Point, span.Steps)
	for i := range out {
		out[i].At = last.Add(-time.Duration(span.Steps-1-i) * span.Step)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, name := range names {
		w := r.wallets[name]
		if w == nil {
			continue
		}
		of := &w.hour
		if span == Day() {
			of = &w.day
		}
		for i := range out {
			if p := of.find(out[i].At); p != nil {
				p.addTo(&out[i])
			}
			out[i].Blocks += of.blocksAt(out[i].At)
		}
	}
	return out
}
