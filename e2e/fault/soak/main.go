// SPDX-License-Identifier: Apache-2.0

// Command soak is the long version of the fault harness: random runs on SQLite and
// on PostgreSQL with three replicas, or one long run at full rate that has to level
// off. It ends with exit code 1 if a promise was broken.
//
//	go run ./e2e/fault/soak                              500 + 300 runs
//	go run ./e2e/fault/soak -seed 17 -store sqlite -runs 1   one run again
//	go run ./e2e/fault/soak -steady 20m                  and does it level off
//
// It writes what it found as a table to standard output and, with -json, as JSON to
// a file. The folder of a run with a violation is kept and named.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"sync"
	"syscall"
	"time"

	"github.com/hsmsigner/hsmsigner/e2e/fault"
	"github.com/hsmsigner/hsmsigner/e2e/harness"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

type settings struct {
	store    string
	runs     int
	sqlite   int
	postgres int
	replicas int
	seed     uint64
	parallel int
	json     string
	dir      string
	steady   time.Duration
	keep     bool
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	var s settings
	f := flag.NewFlagSet("soak", flag.ContinueOnError)
	f.SetOutput(stderr)
	f.StringVar(&s.store, "store", "both", "sqlite, postgres or both")
	f.IntVar(&s.runs, "runs", 0, "runs on each store, in place of the two below")
	f.IntVar(&s.sqlite, "sqlite", 500, "runs on SQLite")
	f.IntVar(&s.postgres, "postgres", 300, "runs on PostgreSQL")
	f.IntVar(&s.replicas, "replicas", 3, "daemons on one PostgreSQL")
	f.Uint64Var(&s.seed, "seed", 1, "of the first run; the next ones count up")
	f.IntVar(&s.parallel, "parallel", 1, "runs at the same time")
	f.StringVar(&s.json, "json", "", "file for the figures")
	f.StringVar(&s.dir, "dir", "", "folder for what is kept; default a new one under the temporary folder")
	f.DurationVar(&s.steady, "steady", 0, "instead: full rate for so long, and judge that the second half does not grow")
	f.BoolVar(&s.keep, "keep", false, "keep the folder of each run")
	if err := f.Parse(args); err != nil {
		return 2
	}
	if f.NArg() > 0 || s.parallel < 1 || s.store != "both" && s.store != "sqlite" && s.store != "postgres" {
		fmt.Fprintln(stderr, "soak: want no arguments, -parallel from 1, and -store sqlite, postgres or both")
		return 2
	}
	if s.runs > 0 {
		s.sqlite, s.postgres = s.runs, s.runs
	}
	switch s.store {
	case "sqlite":
		s.postgres = 0
	case "postgres":
		s.sqlite = 0
	}
	bad, err := soak(ctx, s, stdout)
	switch {
	case err != nil:
		fmt.Fprintln(stderr, "soak:", err)
		return 1
	case bad:
		return 1
	}
	return 0
}

// soak does what the flags say and reports whether a promise was broken.
func soak(ctx context.Context, s settings, out io.Writer) (bad bool, err error) {
	dir := s.dir
	if dir == "" {
		if dir, err = os.MkdirTemp("", "hsmsigner-soak-"); err != nil {
			return false, err
		}
	} else if err := os.MkdirAll(dir, 0o700); err != nil {
		return false, err
	}
	if dir, err = filepath.Abs(dir); err != nil {
		return false, err
	}
	bin, err := harness.BuildFaulty(dir)
	if err != nil {
		return false, err
	}
	rig, err := fault.NewRig(ctx, bin, dir)
	if err != nil {
		return false, err
	}
	defer func() { err = errors.Join(err, rig.Close()) }()
	figures := map[string]any{"started": time.Now().UTC().Format(time.RFC3339), "dir": dir}
	defer func() {
		if s.json != "" {
			err = errors.Join(err, write(s.json, figures))
		}
	}()
	var server *fault.Server
	if s.postgres > 0 && (s.steady == 0 || s.store == "postgres") {
		if server, err = fault.StartServer(ctx); err != nil {
			return false, err
		}
		defer func() { err = errors.Join(err, server.Close()) }()
	}
	if s.steady > 0 {
		return steady(ctx, rig, server, s, figures, out)
	}
	one, err := many(ctx, rig, "sqlite", s.sqlite, s, fault.Options{Keep: s.keep}, figures, out)
	if err != nil {
		return one, err
	}
	two, err := many(ctx, rig, "postgres", s.postgres, s, fault.Options{Keep: s.keep, Postgres: server, Replicas: s.replicas}, figures, out)
	return one || two, err
}

func steady(ctx context.Context, rig *fault.Rig, server *fault.Server, s settings, figures map[string]any, out io.Writer) (bool, error) {
	o := fault.Options{Postgres: server}
	if server != nil {
		o.Replicas = s.replicas
	}
	report, err := rig.Steady(ctx, s.steady, o, func(sample fault.Sample) { fmt.Fprintln(out, sample) })
	if err != nil {
		return false, err
	}
	figures["steady"] = report
	fmt.Fprint(out, report)
	return len(report.Grew) > 0 || len(report.Violations) > 0, nil
}

// many makes n runs, several at a time, and prints their sum.
func many(ctx context.Context, rig *fault.Rig, name string, n int, s settings, o fault.Options, figures map[string]any, out io.Writer) (bad bool, err error) {
	if n == 0 {
		return false, nil
	}
	sum := fault.NewSummary()
	begun := time.Now()
	seeds := make(chan uint64)
	var mu sync.Mutex
	var all sync.WaitGroup
	var failures []error
	for range s.parallel {
		all.Go(func() {
			for seed := range seeds {
				rep, err := rig.Run(ctx, seed, o)
				mu.Lock()
				if err != nil {
					failures = append(failures, fmt.Errorf("%s, seed %d: %w", name, seed, err))
				}
				if rep != nil && err == nil {
					sum.Add(rep)
					fmt.Fprintf(out, "%s %d/%d %s\n", name, sum.Runs, n, rep)
					for _, v := range rep.Violations {
						fmt.Fprintf(out, "VIOLATION %s (kept in %s; again with: go run ./e2e/fault/soak -store %s -runs 1 -seed %d)\n", v, rep.Dir, name, seed)
					}
				}
				mu.Unlock()
			}
		})
	}
	for seed := s.seed; seed < s.seed+uint64(n) && ctx.Err() == nil; seed++ {
		mu.Lock()
		stop := len(failures) > 3
		mu.Unlock()
		if stop {
			break
		}
		seeds <- seed
	}
	close(seeds)
	all.Wait()
	sum.Wall = time.Since(begun).Seconds()
	figures[name] = sum
	fmt.Fprintf(out, "\n== %s\n%s\n", name, sum)
	missed := sum.Missed()
	if n >= 2*len(sum.Hits) && len(missed) > 0 {
		fmt.Fprintf(out, "NEVER REACHED: %v\n", missed)
		bad = true
	}
	return bad || sum.Violations > 0, errors.Join(append(failures, ctx.Err())...)
}

func write(path string, figures map[string]any) error {
	text, err := json.MarshalIndent(figures, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(path, append(text, '\n'), 0o600)
}
