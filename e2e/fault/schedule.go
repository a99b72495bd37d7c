// SPDX-License-Identifier: Apache-2.0

package fault

import (
	"fmt"
	"math/rand/v2"
	"sort"
	"strings"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/faultpoint"
)

// Event is one fault of a schedule.
type Event struct {
	At      time.Duration // from the start of the load
	For     time.Duration // how long it lasts; 0 for what has no length
	Kind    string        // a NodeFault, a LinkFault, or one of the kinds below
	Replica int           // whom it meets
	P       float64       // probability of a NodeFault
}

// The kinds of event beside NodeFault and LinkFault.
const (
	EventKill     = "kill-9"
	EventPause    = "sigstop"
	EventTerm     = "sigterm"
	EventDiskFull = "disk-full" // SQLite only
	EventDatabase = "database-crash"
	EventBackend  = "backend-unavailable" // some calls of the key backend fail and may be repeated
	EventDenied   = "backend-denied"      // a few fail for good
	EventLatency  = "backend-slow"
)

// Schedule is everything that will go wrong in a run.
type Schedule struct {
	Seed   uint64
	Rules  [][]faultpoint.Rule // of each replica's first process
	Nap    time.Duration       // how long a process that stops itself sleeps
	Events []Event             // by time
}

func (s Schedule) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "seed %d\n", s.Seed)
	for i, rules := range s.Rules {
		for _, r := range rules {
			fmt.Fprintf(&b, "replica %d: %s\n", i, r)
		}
	}
	for _, e := range s.Events {
		fmt.Fprintf(&b, "%6s for %6s: %s replica %d p %.2f\n", e.At.Round(time.Millisecond), e.For.Round(time.Millisecond), e.Kind, e.Replica, e.P)
	}
	return b.String()
}

// MayRefuse reports whether a request may be refused for good by what the
// schedule does, not only delayed.
func (s Schedule) MayRefuse() bool {
	for _, e := range s.Events {
		switch e.Kind {
		case EventDenied, string(CountHigh):
			return true
		}
	}
	return false
}

// NewSchedule decides by a seed what goes wrong with n replicas within a time.
// Successive seeds take the fault points and the other faults in turn, so that a
// few runs have had each of them.
func NewSchedule(seed uint64, n int, postgres, disk bool, within time.Duration) Schedule {
	dice := rand.New(rand.NewPCG(seed, 0))
	s := Schedule{Seed: seed, Rules: make([][]faultpoint.Rule, n), Nap: 200*time.Millisecond + upTo(dice, 300*time.Millisecond)}
	if n > 1 { // longer than the lease
		s.Nap = 1100*time.Millisecond + upTo(dice, 900*time.Millisecond)
	}
	points := faultpoint.Points()
	for i := range n {
		point := points[(int(seed)+i*5)%len(points)]
		if i > 0 && dice.IntN(2) == 0 {
			continue
		}
		s.Rules[i] = append(s.Rules[i], pointRule(dice, point, n))
		if dice.IntN(3) == 0 {
			s.Rules[i] = append(s.Rules[i], pointRule(dice, points[dice.IntN(len(points))], n))
		}
	}
	kinds := eventKinds(postgres, disk)
	count := 2 + dice.IntN(3)
	for i := range count {
		kind := kinds[dice.IntN(len(kinds))]
		if i == 0 {
			kind = kinds[int(seed)%len(kinds)]
		}
		e := Event{Kind: kind, At: upTo(dice, within), Replica: dice.IntN(n), For: 50*time.Millisecond + upTo(dice, 500*time.Millisecond)}
		switch kind {
		case EventKill, EventTerm, EventDatabase:
			e.For = 0
		case EventPause:
			e.For = s.Nap
		case string(Slow), string(CountLow), string(CountHigh), string(Twice):
			e.P = 0.1 + 0.4*dice.Float64()
		default:
			e.P = 0.1 + 0.7*dice.Float64()
		}
		s.Events = append(s.Events, e)
	}
	sort.SliceStable(s.Events, func(a, b int) bool { return s.Events[a].At < s.Events[b].At })
	return s
}

// pointRule is something that happens once at a fault point. Most often it is
// the end.
func pointRule(dice *rand.Rand, point string, replicas int) faultpoint.Rule {
	most := 60 // hits that a point is sure to have
	switch point {
	case faultpoint.CommitBefore, faultpoint.CommitAfter, faultpoint.Send, faultpoint.Sent:
		most = 15
	}
	if replicas > 1 {
		most = max(1, most/(2*replicas))
	}
	r := faultpoint.Rule{Point: point, Action: faultpoint.Kill, Nth: 1 + dice.Uint64N(uint64(most))}
	switch dice.IntN(8) {
	case 0, 1:
		r.Action = faultpoint.Stop
	case 2:
		r = faultpoint.Rule{Point: point, Action: faultpoint.Delay, Delay: time.Millisecond + upTo(dice, 20*time.Millisecond), P: 0.2, Seed: dice.Uint64() >> 1, Times: 30}
	case 3, 4, 5:
		switch point {
		case faultpoint.CommitBefore, faultpoint.CommitAfter:
			r = faultpoint.Rule{Point: point, Action: faultpoint.Fail, P: 0.15, Seed: dice.Uint64() >> 1, Times: 4}
		case faultpoint.Sign:
			r = faultpoint.Rule{Point: point, Action: faultpoint.Fail, Kind: "unavailable", P: 0.3, Seed: dice.Uint64() >> 1, Times: 60}
		}
	}
	return r
}

func eventKinds(postgres, disk bool) []string {
	kinds := []string{EventKill, EventPause, EventTerm, EventBackend, EventDenied, EventLatency, EventKill}
	for _, f := range NodeFaults() {
		kinds = append(kinds, string(f))
	}
	if postgres {
		for _, f := range LinkFaults() {
			kinds = append(kinds, string(f))
		}
		kinds = append(kinds, EventDatabase)
	} else if disk {
		kinds = append(kinds, EventDiskFull)
	}
	return kinds
}

// upTo is a time from 0 to below d.
func upTo(dice *rand.Rand, d time.Duration) time.Duration {
	return time.Duration(dice.Int64N(int64(d)))
}
