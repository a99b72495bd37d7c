// SPDX-License-Identifier: Apache-2.0

package fault

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"
)

// Sample is what one look at a daemon found. Sums, where there are several.
type Sample struct {
	At         time.Duration `json:"at"`
	Sent       uint64        `json:"sent"` // hashes so far
	Resident   float64       `json:"resident_bytes"`
	Goroutines float64       `json:"goroutines"`
	Handles    float64       `json:"open_files"`
	Database   float64       `json:"database_bytes"` // with its journal
	Work       float64       `json:"work_rows"`      // transactions, attempts and idempotency keys
	Audit      float64       `json:"audit_rows"`     // which the runs keep no longer than transactions
}

func (s Sample) String() string {
	return fmt.Sprintf("%7s %9d sent %7.1f MiB resident %5.0f goroutines %4.0f files %8.1f MiB database %9.0f rows %9.0f audit rows",
		s.At.Round(time.Second), s.Sent, s.Resident/(1<<20), s.Goroutines, s.Handles, s.Database/(1<<20), s.Work, s.Audit)
}

// Slope is how a quantity went in the second half.
type Slope struct {
	Name    string  `json:"name"`
	Mean    float64 `json:"mean"`
	Growth  float64 `json:"growth_percent"` // of the mean, over the half, by linear regression
	Allowed float64 `json:"allowed_percent"`
}

// SteadyReport is what came of a long run at full rate.
type SteadyReport struct {
	Samples    []Sample    `json:"samples"`
	Slopes     []Slope     `json:"slopes"`
	Rate       float64     `json:"per_second"`
	Grew       []string    `json:"grew,omitempty"`
	Violations []Violation `json:"violations,omitempty"`
}

func (r *SteadyReport) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%.0f transactions a second; in the second half:\n", r.Rate)
	for _, s := range r.Slopes {
		fmt.Fprintf(&b, "  %-16s mean %14.0f, change %+6.1f %% (allowed %.0f %%)\n", s.Name, s.Mean, s.Growth, s.Allowed)
	}
	for _, g := range r.Grew {
		fmt.Fprintf(&b, "GREW: %s\n", g)
	}
	for _, v := range r.Violations {
		fmt.Fprintf(&b, "VIOLATION %s\n", v)
	}
	return b.String()
}

// sampleEvery is the time between two looks.
const sampleEvery = 10 * time.Second

// steadyRetention is how long the daemons keep what is final in these runs, as
// YAML at the top level.
const steadyRetention = "retention: {transactions: 2m, idempotency_keys: 2m, audit: 2m}\n"

// Steady sends at full rate for a time and judges that nothing grows in the second half. Each sample is given to seen.
func (r *Rig) Steady(ctx context.Context, during time.Duration, o Options, seen func(Sample)) (*SteadyReport, error) {
	o.Schedule = &Schedule{}
	o.Senders = max(o.Senders, 10)
	o.Timeout, o.Plain = 30*time.Second, true
	o.Wallet, o.Extra = "window: 1024", o.Extra+steadyRetention
	c, err := r.setUp(ctx, uint64(time.Now().UnixNano())>>8, o.withDefaults())
	if err != nil {
		return nil, err
	}
	rep := &SteadyReport{}
	err = c.steady(ctx, during, rep, seen)
	var failed error
	if len(rep.Violations) > 0 {
		failed = errors.New("violations")
	}
	return rep, errors.Join(err, c.tearDown(&Report{}, errors.Join(err, failed)))
}

func (c *Case) steady(ctx context.Context, during time.Duration, rep *SteadyReport, seen func(Sample)) error {
	if err := c.start(ctx); err != nil {
		return err
	}
	var err error
	if c.rows, err = openRows(c.data, c.dsn); err != nil {
		return err
	}
	loading, stop := context.WithTimeout(ctx, during)
	defer stop()
	var sent atomic.Uint64
	done := make(chan []Violation, 1)
	go func() { done <- c.flood(loading, &sent) }()
	begun := time.Now()
	tick := time.NewTicker(sampleEvery)
	defer tick.Stop()
	for loading.Err() == nil {
		select {
		case <-loading.Done():
		case <-tick.C:
			s, err := c.sample(ctx)
			if err != nil {
				return err
			}
			s.At, s.Sent = time.Since(begun), sent.Load()
			rep.Samples = append(rep.Samples, s)
			seen(s)
		}
	}
	rep.Violations = <-done
	rep.Rate = float64(sent.Load()) / time.Since(begun).Seconds()
	rep.judge()
	return ctx.Err()
}

// flood sends from 64 clients until ctx is done. Nobody may be refused.
func (c *Case) flood(ctx context.Context, sent *atomic.Uint64) []Violation {
	found := make(chan Violation, 64)
	l := Load{Requests: 64 * 40, Clients: 64, Explicit: true, Spread: time.Nanosecond, Keyless: 0.5, Patience: time.Minute}
	for round := uint64(0); ctx.Err() == nil && len(found) == 0; round++ {
		for _, r := range send(context.WithoutCancel(ctx), l, c.seed<<20+round, c.urls(), c.Senders) {
			switch {
			case len(r.Hashes) > 0:
				sent.Add(1)
			case len(found) < cap(found):
				found <- Violation{"nobody is refused at full rate", fmt.Sprintf("request %d of round %d: %v %s", r.Index, round, r.Failures, r.Unknown)}
			}
		}
	}
	close(found)
	var list []Violation
	for v := range found {
		list = append(list, v)
	}
	return list
}

func (c *Case) sample(ctx context.Context) (s Sample, err error) {
	for _, r := range c.Replicas {
		pid := r.Pid()
		resident, err := residentBytes(pid)
		if err != nil {
			return s, err
		}
		s.Resident += resident
		files, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", pid))
		if err != nil {
			return s, fmt.Errorf("fault: %w", err)
		}
		s.Handles += float64(len(files))
		n, err := r.metric(ctx, "go_goroutines")
		if err != nil {
			return s, err
		}
		s.Goroutines += n
	}
	if s.Database, err = c.databaseSize(ctx); err != nil {
		return s, err
	}
	err = c.rows.QueryRowContext(ctx, `SELECT (SELECT count(*) FROM tx) + (SELECT count(*) FROM attempt) + (SELECT count(*) FROM idempotency),
		(SELECT count(*) FROM audit_intent) + (SELECT count(*) FROM audit_outcome)`).Scan(&s.Work, &s.Audit)
	if err != nil {
		return s, fmt.Errorf("fault: count rows: %w", err)
	}
	return s, nil
}

func (c *Case) databaseSize(ctx context.Context) (bytes float64, err error) {
	if c.dsn != "" {
		if err := c.rows.QueryRowContext(ctx, `SELECT pg_database_size(current_database())`).Scan(&bytes); err != nil {
			return 0, fmt.Errorf("fault: database size: %w", err)
		}
		return bytes, nil
	}
	files, err := filepath.Glob(filepath.Join(c.data, "hsmsigner.db*"))
	if err != nil {
		return 0, fmt.Errorf("fault: %w", err)
	}
	for _, f := range files {
		if info, err := os.Stat(f); err == nil {
			bytes += float64(info.Size())
		}
	}
	return bytes, nil
}

func residentBytes(pid int) (float64, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", pid))
	if err != nil {
		return 0, fmt.Errorf("fault: %w", err)
	}
	fields := strings.Fields(string(text)) // proc_pid_statm(5): size resident …, in pages
	if len(fields) < 2 {
		return 0, fmt.Errorf("fault: /proc/%d/statm: %q", pid, text)
	}
	pages, err := strconv.ParseFloat(fields[1], 64)
	return pages * float64(os.Getpagesize()), err
}

// metric reads one number from /metrics.
func (r *Replica) metric(ctx context.Context, name string) (float64, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.admin+"/metrics", nil)
	if err != nil {
		return 0, err
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		return 0, fmt.Errorf("fault: metrics: %w", err)
	}
	defer resp.Body.Close()
	for lines := bufio.NewScanner(resp.Body); lines.Scan(); {
		if rest, ok := strings.CutPrefix(lines.Text(), name+" "); ok {
			return strconv.ParseFloat(rest, 64)
		}
	}
	return 0, fmt.Errorf("fault: there is no metric %s", name)
}

// judge says what the second half has done.
func (r *SteadyReport) judge() {
	half := r.Samples[len(r.Samples)/2:]
	for _, q := range []struct {
		name    string
		allowed float64 // percent over the half
		value   func(Sample) float64
	}{
		{"resident memory", 5, func(s Sample) float64 { return s.Resident }},
		{"goroutines", 10, func(s Sample) float64 { return s.Goroutines }},
		{"open files", 10, func(s Sample) float64 { return s.Handles }},
		{"work rows", 5, func(s Sample) float64 { return s.Work }},
		{"audit rows", 5, func(s Sample) float64 { return s.Audit }},
		{"database", 5, func(s Sample) float64 { return s.Database }},
	} {
		s := Slope{Name: q.name, Allowed: q.allowed}
		s.Mean, s.Growth = trend(half, q.value)
		r.Slopes = append(r.Slopes, s)
		if len(half) >= 3 && s.Growth > s.Allowed {
			r.Grew = append(r.Grew, fmt.Sprintf("%s by %.1f %%", s.Name, s.Growth))
		}
	}
}

// trend is the mean of a quantity, and its growth over the samples in percent of
// it, by linear regression.
func trend(samples []Sample, value func(Sample) float64) (mean, growth float64) {
	n := float64(len(samples))
	if n == 0 {
		return 0, 0
	}
	var sx, sy, sxx, sxy float64
	for i, s := range samples {
		x, y := float64(i), value(s)
		sx, sy, sxx, sxy = sx+x, sy+y, sxx+x*x, sxy+x*y
	}
	mean = sy / n
	if d := n*sxx - sx*sx; d > 0 && mean > 0 {
		growth = 100 * (n*sxy - sx*sy) / d * (n - 1) / mean
	}
	return mean, growth
}
