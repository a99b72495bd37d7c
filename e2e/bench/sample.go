// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"math"
	"slices"
	"syscall"
	"time"
)

// Sample is what several rounds of one load gave.
type Sample struct {
	Name      string        `json:"name"`
	PerSecond float64       `json:"per_second"` // of the middle round
	Rounds    []float64     `json:"rounds"`     // per second, in the order of time
	Spread    float64       `json:"spread"`     // (highest − lowest) / middle of the rounds
	P50       time.Duration `json:"p50_ns"`     // of all rounds together
	P99       time.Duration `json:"p99_ns"`
	Count     int           `json:"count"`
	CPU       CPU           `json:"cpu"`
	Core      []float64     `json:"core,omitempty"` // one core's sign+recover rate right before each round
}

// ofCore is the middle ratio of the rounds' rates to one core's bare sign+recover
// rate, which changes with the neighbours of this machine too.
func (s *Sample) ofCore() float64 {
	var ratios []float64
	for i, core := range s.Core {
		ratios = append(ratios, s.Rounds[i]/core)
	}
	median, _ := middle(ratios)
	return median
}

// limit is how many answers a second all processors could give at these costs, if
// nobody else used them and they never waited.
func (s *Sample) limit() float64 {
	return float64(numCPU()) * rate(s.CPU.Daemon+s.CPU.Client+s.CPU.Node)
}

// CPU is what processors were busy with while a load ran, per answer. Tracking a
// transaction until it is confirmed partly falls into the time after.
type CPU struct {
	Daemon time.Duration `json:"daemon_ns"`
	Client time.Duration `json:"client_ns"`
	Node   time.Duration `json:"node_ns"` // and the proxy or PostgreSQL, where there is one
	Others float64       `json:"others"`  // share of the machine that strangers used, 0 to 1: the noise
}

// side is one of the loads that a part compares.
type side struct {
	name    string
	target  target
	daemons []process
	nodes   []process
	during  func(time.Duration) // runs beside each round; nil for none
	kept    []*answers          // all, for the check in the end
	counted []*answers          // those of the measured rounds
}

const triesForQuiet = 10

// compare lets the sides take turns, so that whatever else the machine does hits
// all of them, and gives one sample each. The first round warms up.
//
// A round in which strangers used more of the machine than quiet, a share of it, is
// run again, at most triesForQuiet times.
func (b *bench) compare(ctx context.Context, length time.Duration, sides ...*side) ([]Sample, error) {
	rates := make([][]float64, len(sides))
	samples := make([]Sample, len(sides))
	for round := range b.rounds + 1 {
		for i, s := range sides {
			core, err := signOnce(1)
			if err != nil {
				return nil, err
			}
			a, cpu, err := s.measure(ctx, length)
			for try := 1; err == nil && round > 0 && b.quiet > 0 && cpu.Others > b.quiet && try < triesForQuiet; try++ {
				s.kept = append(s.kept, a)
				a, cpu, err = s.measure(ctx, length)
			}
			if err != nil {
				return nil, fmt.Errorf("%s: %w", s.name, err)
			}
			s.kept = append(s.kept, a)
			if round == 0 {
				continue
			}
			s.counted = append(s.counted, a)
			rates[i] = append(rates[i], a.perSecond())
			samples[i].Core = append(samples[i].Core, rate(core))
			samples[i].add(a, cpu)
		}
	}
	for i, s := range sides {
		samples[i].finish(s, rates[i])
	}
	return samples, nil
}

func (s *side) measure(ctx context.Context, length time.Duration) (*answers, CPU, error) {
	busy, daemons, nodes, self := machineCPU(), total(s.daemons), total(s.nodes), ownCPU()
	if s.during != nil {
		done := make(chan struct{})
		go func() { s.during(length); close(done) }()
		defer func() { <-done }()
	}
	a, err := s.target.load(ctx, length)
	if err != nil {
		return nil, CPU{}, err
	}
	c := CPU{Daemon: total(s.daemons) - daemons, Client: ownCPU() - self, Node: total(s.nodes) - nodes}
	if busy > 0 {
		others := machineCPU() - busy - c.Daemon - c.Client - c.Node
		c.Others = max(0, others.Seconds()/a.Length.Seconds()/float64(numCPU()))
	}
	return a, c, nil
}

// add takes a round; CPU stays a sum until finish.
func (s *Sample) add(a *answers, c CPU) {
	s.Count += len(a.Took)
	s.CPU.Daemon += c.Daemon
	s.CPU.Client += c.Client
	s.CPU.Node += c.Node
	s.CPU.Others += c.Others
}

func (s *Sample) finish(from *side, rates []float64) {
	s.Name, s.Rounds = from.name, rates
	if n := time.Duration(s.Count); n > 0 {
		s.CPU.Daemon, s.CPU.Client, s.CPU.Node = s.CPU.Daemon/n, s.CPU.Client/n, s.CPU.Node/n
	}
	s.CPU.Others /= float64(len(rates))
	s.PerSecond, s.Spread = middle(rates)
	var took []time.Duration
	for _, a := range from.counted {
		took = append(took, a.Took...)
	}
	slices.Sort(took)
	s.P50, s.P99 = quantile(took, .5), quantile(took, .99)
}

// middle is the median, and how far the values lie apart in relation to it.
func middle(values []float64) (median, spread float64) {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	if n == 0 {
		return math.NaN(), math.NaN()
	}
	median = (sorted[(n-1)/2] + sorted[n/2]) / 2
	return median, (sorted[n-1] - sorted[0]) / median
}

// process is one, or several, of which the processor time is counted.
type process interface{ CPUTime() time.Duration }

func total(processes []process) (sum time.Duration) {
	for _, p := range processes {
		sum += p.CPUTime()
	}
	return sum
}

// ownCPU is what this process has used so far.
func ownCPU() time.Duration {
	var u syscall.Rusage
	if syscall.Getrusage(syscall.RUSAGE_SELF, &u) != nil {
		return 0
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
