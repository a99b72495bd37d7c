// SPDX-License-Identifier: Apache-2.0

//go:build faultpoints

package faultpoint

import (
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// Enabled says whether this program was built with the tag faultpoints.
const Enabled = true

// At does what the schedule says for this hit of a point. An error that a rule
// injects has nowhere to go here, and is dropped.
func At(point string) { _ = current().hit(point) }

// Error does what the schedule says for this hit of a point, and returns the
// *InjectedError that a rule injects.
func Error(point string) error { return current().hit(point) }

// current is the schedule of this process. A schedule that cannot be read ends
// it: a fault run that injects nothing would prove nothing.
var current = sync.OnceValue(func() *schedule {
	s, err := open(os.Getenv(EnvRules), os.Getenv(EnvFile), os.Getenv(EnvHits))
	if err != nil {
		panic(err)
	}
	return s
})

// lookEvery is how often the control file is looked at.
const lookEvery = 10 * time.Millisecond

// schedule is the rules in force, and what has happened so far.
type schedule struct {
	counts map[string]*atomic.Uint64 // by point; not changed after open
	hits   *os.File                  // nil: not recorded
	fixed  map[string][]*armed
	file   string

	filed  atomic.Pointer[map[string][]*armed] // the rules of file
	looked atomic.Int64                        // when file was looked at, Unix ns
	mu     sync.Mutex                          // held while it is looked at
	stamp  time.Time                           // of what was read
}

func open(rules, file, hits string) (*schedule, error) {
	fixed, err := arm(rules)
	if err != nil {
		return nil, err
	}
	s := &schedule{counts: map[string]*atomic.Uint64{}, fixed: fixed, file: file}
	for _, p := range Points() {
		s.counts[p] = new(atomic.Uint64)
	}
	s.filed.Store(&map[string][]*armed{})
	if hits != "" {
		//nolint:gosec // G703: whoever sets the environment of a test program may name a file
		if s.hits, err = os.OpenFile(hits, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o600); err != nil {
			return nil, fmt.Errorf("faultpoint: %w", err)
		}
	}
	return s, nil
}

func (s *schedule) hit(point string) error {
	count := s.counts[point]
	if count == nil {
		panic(fmt.Sprintf("faultpoint: there is no point %q", point))
	}
	n := count.Add(1)
	s.record(point)
	var failure error
	for _, r := range s.fixed[point] {
		if err := s.act(r, n); err != nil {
			failure = err
		}
	}
	if s.file == "" {
		return failure
	}
	s.look()
	for _, r := range (*s.filed.Load())[point] {
		if err := s.act(r, n); err != nil {
			failure = err
		}
	}
	return failure
}

// record appends a line in one write, so that it is whole however the process
// ends.
func (s *schedule) record(line string) {
	if s.hits != nil {
		_, _ = s.hits.WriteString(line + "\n")
	}
}

// look reads the control file again if it has changed.
func (s *schedule) look() {
	now := time.Now().UnixNano()
	if now-s.looked.Load() < int64(lookEvery) || !s.mu.TryLock() {
		return
	}
	defer s.mu.Unlock()
	s.looked.Store(now)
	info, err := os.Stat(s.file)
	if err != nil {
		s.stamp = time.Time{}
		s.filed.Store(&map[string][]*armed{})
		return
	}
	if info.ModTime().Equal(s.stamp) {
		return
	}
	text, err := os.ReadFile(s.file)
	if err != nil {
		return
	}
	rules, err := arm(string(text))
	if err != nil {
		panic(err)
	}
	s.stamp = info.ModTime()
	s.filed.Store(&rules)
}

// armed is a rule at work.
type armed struct {
	Rule
	slots chan struct{} // of Limit; nil for none
	mu    sync.Mutex
	dice  *rand.Rand
	done  uint64 // how often it has acted
}

func arm(text string) (map[string][]*armed, error) {
	rules, err := ParseRules(text)
	if err != nil {
		return nil, err
	}
	byPoint := map[string][]*armed{}
	for i, r := range rules {
		a := &armed{Rule: r, dice: rand.New(rand.NewPCG(r.Seed, uint64(i)))}
		if r.Limit > 0 {
			a.slots = make(chan struct{}, r.Limit)
		}
		byPoint[r.Point] = append(byPoint[r.Point], a)
	}
	return byPoint, nil
}

// act carries a rule out if its conditions are met at hit n.
func (s *schedule) act(a *armed, n uint64) error {
	wait, due := a.roll(n)
	if !due {
		return nil
	}
	s.record(a.Point + " " + string(a.Action))
	switch a.Action {
	case Kill:
		_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
		select {} // it comes at once, and nothing may happen before it
	case Stop:
		_ = syscall.Kill(os.Getpid(), syscall.SIGSTOP)
	case Delay:
		if a.slots != nil {
			a.slots <- struct{}{}
			defer func() { <-a.slots }()
		}
		time.Sleep(wait)
	case Fail:
		return &InjectedError{Point: a.Point, Kind: a.Kind}
	}
	return nil
}

func (a *armed) roll(n uint64) (wait time.Duration, due bool) {
	if a.Nth != 0 && n != a.Nth {
		return 0, false
	}
	if a.P == 0 && a.Sigma == 0 && a.Times == 0 {
		return a.Delay, true
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.Times != 0 && a.done >= a.Times || a.P != 0 && a.dice.Float64() >= a.P {
		return 0, false
	}
	a.done++
	wait = a.Delay
	if a.Sigma > 0 {
		wait = time.Duration(float64(wait) * math.Exp(a.Sigma*a.dice.NormFloat64()))
	}
	return wait, true
}
