// SPDX-License-Identifier: Apache-2.0

package history

import (
	"math"
	"slices"
	"time"
)

// maxKinds bounds how many kinds of errors one step tells apart.
const maxKinds = 16

// point is a Point as it is counted.
type point struct {
	number     int64 // of its step, since 1970
	signatures int
	throttled  int
	errors     map[string]int
	stages     [4]Latencies
}

func (p *point) wrong(kind string) {
	if p.errors == nil {
		p.errors = map[string]int{}
	}
	if _, known := p.errors[kind]; !known && len(p.errors) >= maxKinds {
		kind = "other"
	}
	p.errors[kind]++
}

func (p *point) addTo(out *Point) {
	out.Signatures += p.signatures
	out.Throttled += p.throttled
	for kind, n := range p.errors {
		if out.Errors == nil {
			out.Errors = map[string]int{}
		}
		out.Errors[kind] += n
	}
	for i, stage := range Stages() {
		if p.stages[i].Count == 0 {
			continue
		}
		if out.Stages == nil {
			out.Stages = map[string]Latencies{}
		}
		sum := out.Stages[stage]
		sum.merge(p.stages[i])
		out.Stages[stage] = sum
	}
}

func stageOf(name string) int { return slices.Index(Stages(), name) }

// ring keeps the points of a span. Points are made when something happens.
type ring struct {
	step   time.Duration
	points []*point
	blocks []blocks
}

// blocks is how many came in a step.
type blocks struct{ number, count uint32 } // the step's number, its lower half

func newRing(s Span) ring { return ring{s.Step, make([]*point, s.Steps), make([]blocks, s.Steps)} }

func (r *ring) block(now time.Time) {
	n := r.number(now)
	b := &r.blocks[n%int64(len(r.blocks))]
	if b.number != uint32(n) {
		*b = blocks{number: uint32(n)}
	}
	b.count++
}

func (r *ring) blocksAt(t time.Time) int {
	n := r.number(t)
	if b := r.blocks[n%int64(len(r.blocks))]; b.number == uint32(n) {
		return int(b.count)
	}
	return 0
}

func (r *ring) number(t time.Time) int64 { return t.UnixNano() / int64(r.step) }

// at is the point of now.
func (r *ring) at(now time.Time) *point {
	n := r.number(now)
	slot := &r.points[n%int64(len(r.points))]
	if *slot == nil || (*slot).number != n {
		*slot = &point{number: n}
	}
	return *slot
}

// find is the point that begins at t; nil if nothing happened then.
func (r *ring) find(t time.Time) *point {
	n := r.number(t)
	p := r.points[n%int64(len(r.points))]
	if p == nil || p.number != n {
		return nil
	}
	return p
}

// Latencies is how long things took: a histogram of 40 classes, each reaching half
// as far again as the one before it, from 100 µs to about 12 min.
type Latencies struct {
	Count   int
	classes [classes]uint32
}

const (
	classes = 40
	least   = 100 * time.Microsecond
	growth  = 1.500
)

func (l *Latencies) add(d time.Duration) {
	i := 0
	if d > least {
		i = min(classes-1, int(math.Ceil(math.Log(float64(d)/float64(least))/math.Log(growth))))
	}
	l.Count++
	l.classes[i]++
}

func (l *Latencies) merge(other Latencies) {
	l.Count += other.Count
	for i := range l.classes {
		l.classes[i] += other.classes[i]
	}
}

// Plus is both together.
func (l Latencies) Plus(other Latencies) Latencies {
	l.merge(other)
	return l
}

// Plus is both together, from when p began.
func (p Point) Plus(q Point) Point {
	sum := Point{At: p.At, Signatures: p.Signatures + q.Signatures, Throttled: p.Throttled + q.Throttled, Blocks: p.Blocks + q.Blocks}
	for _, of := range []Point{p, q} {
		for kind, n := range of.Errors {
			if sum.Errors == nil {
				sum.Errors = map[string]int{}
			}
			sum.Errors[kind] += n
		}
		for stage, l := range of.Stages {
			if sum.Stages == nil {
				sum.Stages = map[string]Latencies{}
			}
			sum.Stages[stage] = sum.Stages[stage].Plus(l)
		}
	}
	return sum
}

// Quantile is what the fraction q of all took at most, within the width of a class;
// zero if there are none.
func (l Latencies) Quantile(q float64) time.Duration {
	if l.Count == 0 {
		return 0
	}
	want := int(math.Ceil(q * float64(l.Count)))
	sum := 0
	for i, n := range l.classes {
		if sum += int(n); sum >= want && n > 0 {
			return time.Duration(float64(least) * math.Pow(growth, float64(i)))
		}
	}
	return time.Duration(float64(least) * math.Pow(growth, classes-1))
}
