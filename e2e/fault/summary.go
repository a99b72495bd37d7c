// SPDX-License-Identifier: Apache-2.0

package fault

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/faultpoint"
)

// String is one line about a run.
func (r *Report) String() string {
	return fmt.Sprintf("seed %d: %.1f s (settled %.1f s), %d asked: %d hashes, %d refused, %d unknown; %d mined; %d starts; %d violations",
		r.Seed, r.Took.Seconds(), r.Settled.Seconds(), r.Requests, r.Answered, r.Refused, r.Unknown, r.Mined, r.Starts, len(r.Violations))
}

// Summary adds up runs.
type Summary struct {
	Runs       int            `json:"runs"`
	Violations int            `json:"violations"`
	Bad        []uint64       `json:"bad_seeds,omitempty"`
	Requests   int            `json:"requests"`
	Answered   int            `json:"answered"`
	Refused    int            `json:"refused"`
	Unknown    int            `json:"unknown"`
	Mined      int            `json:"mined"`
	Starts     int            `json:"starts"`
	Seconds    float64        `json:"seconds"`
	Wall       float64        `json:"wall_seconds,omitempty"`
	Slowest    float64        `json:"slowest_seconds"`
	Hits       map[string]int `json:"hits_by_point"`
	Faults     map[string]int `json:"faults_by_kind"`
}

// NewSummary begins with nothing.
func NewSummary() *Summary { return &Summary{Hits: map[string]int{}, Faults: map[string]int{}} }

// Add counts a run.
func (s *Summary) Add(r *Report) {
	s.Runs++
	if len(r.Violations) > 0 {
		s.Violations += len(r.Violations)
		s.Bad = append(s.Bad, r.Seed)
	}
	s.Requests += r.Requests
	s.Answered += r.Answered
	s.Refused += r.Refused
	s.Unknown += r.Unknown
	s.Mined += r.Mined
	s.Starts += r.Starts
	s.Seconds += r.Took.Seconds()
	s.Slowest = max(s.Slowest, r.Took.Seconds())
	for k, n := range r.Hits {
		s.Hits[k] += n
	}
	for k, n := range r.Struck {
		s.Faults[k] += n
	}
}

// Missed lists the fault points that no run has reached.
func (s *Summary) Missed() (points []string) {
	for _, p := range faultpoint.Points() {
		if s.Hits[p] == 0 {
			points = append(points, p)
		}
	}
	return points
}

// String is a table.
func (s *Summary) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%d runs, %d violations, %s (%.1f s each, slowest %.1f s)\n", s.Runs, s.Violations,
		time.Duration(s.Seconds*float64(time.Second)).Round(time.Second), s.Seconds/float64(max(1, s.Runs)), s.Slowest)
	fmt.Fprintf(&b, "%d requests: %d answered with a hash, %d refused for good, %d unknown to callers without key; %d mined; %d daemon starts\n",
		s.Requests, s.Answered, s.Refused, s.Unknown, s.Mined, s.Starts)
	table := func(title string, m map[string]int) {
		b.WriteString(title + "\n")
		for _, k := range slices.Sorted(maps.Keys(m)) {
			fmt.Fprintf(&b, "  %8d  %s\n", m[k], k)
		}
	}
	table("fault points reached", s.Hits)
	table("faults", s.Faults)
	return b.String()
}
