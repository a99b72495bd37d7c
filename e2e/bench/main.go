// SPDX-License-Identifier: Apache-2.0

// Command bench measures what the daemon costs, beside what nobody gets around
// (signing, syncing) and beside the least that could stand in its place, all within
// one run on one machine. Only the ratios mean something elsewhere;
// docs/performance.md explains them.
//
//	go run ./e2e/bench [-json file] [-dir folder] [-seconds n] [-rounds n] [-quiet share] [-only part,…] [-profile folder] [-full]
//
// The node is the stub of e2e/bench/stub in a process of its own, which mines every
// 100 ms and costs little, so that the daemon's own cost shows. The load is
// closed-loop: each connection sends its next request when it has the answer. What
// is compared takes turns, each number is the middle one of several rounds, and the
// spread of the rounds and the processor time that strangers took stand beside it.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime/debug"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/key/pkcs11"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

type options struct {
	json, dir, profile string
	only               []string
	length             time.Duration
	rounds             int
	quiet              float64
	full               bool
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if len(args) > 0 {
		switch args[0] {
		case "stub", "feed", "proxy": // what this program starts of itself
			return child(ctx, args, stderr)
		case pkcs11.ChildArgument: // what the backend of that name starts
			return pkcs11.Child(os.Stdin, os.Stdout)
		}
	}
	o, err := parse(args, stderr)
	if err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintln(stderr, "bench:", err)
		}
		return 2
	}
	if err := measure(ctx, o, stdout, stderr); err != nil {
		fmt.Fprintln(stderr, "bench:", err)
		return 1
	}
	return 0
}

func parse(args []string, stderr io.Writer) (o options, err error) {
	var names []string
	for _, p := range parts() {
		names = append(names, p.name)
	}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	flags.StringVar(&o.json, "json", "", "also write the results to this `file`")
	flags.StringVar(&o.dir, "dir", "", "`folder` for the databases; its disk is measured too (default: the system's temporary folder)")
	flags.StringVar(&o.profile, "profile", "", "`folder` for processor and memory profiles of the daemon, which costs it some speed")
	flags.BoolVar(&o.full, "full", false, "seed 10,000,000 stored transactions instead of 1,000,000, and let GCP list 10,000 keys instead of 1,000; takes long, and 15 GB")
	flags.IntVar(&o.rounds, "rounds", 5, "rounds of each measurement")
	flags.Float64Var(&o.quiet, "quiet", 0, "run a round again, up to ten times, in which others used more than this `share` of the machine, such as 0.1")
	seconds := flags.Float64("seconds", 2, "length of one round, `s`")
	only := flags.String("only", "", "measure these `parts` only, separated by commas: "+strings.Join(names, ", "))
	if err := flags.Parse(args); err != nil {
		return o, flag.ErrHelp
	}
	o.length = time.Duration(*seconds * float64(time.Second))
	switch {
	case *seconds < .1 || *seconds > 600:
		return o, errors.New("-seconds must be at least 0.1 and at most 600")
	case o.rounds < 1 || o.rounds > 100:
		return o, errors.New("-rounds must be at least 1 and at most 100")
	}
	o.only = names
	if *only != "" {
		o.only = strings.Split(*only, ",")
	}
	for _, name := range o.only {
		if !slices.Contains(names, name) {
			return o, fmt.Errorf("-only names the part %q: want one or more of %s", name, strings.Join(names, ", "))
		}
	}
	return o, nil
}

// measure runs the parts, prints each when it is done, and stops all processes
// before it returns.
func measure(ctx context.Context, o options, out, log io.Writer) (err error) {
	debug.SetGCPercent(800) // the load shares the machine with what it measures
	if o.profile != "" {
		if err := os.MkdirAll(o.profile, 0o755); err != nil {
			return err
		}
	}
	h, err := newHost(o.dir, log)
	if err != nil {
		return err
	}
	defer func() {
		h.failed = err != nil || h.failed
		h.close()
	}()
	// The harness reports trouble through Fatalf, which has to unwind.
	defer func() {
		if f, ok := recover().(fatal); ok {
			err = errors.New(f.text)
		}
	}()
	b := &bench{h: h, length: o.length, rounds: o.rounds, quiet: o.quiet, full: o.full, profile: o.profile}
	report := &Report{Machine: machine(), At: time.Now().UTC(), Folder: h.base}
	if report.Costs, err = singleCosts(h.TempDir()); err != nil {
		return err
	}
	b.costs = report.Costs
	report.head(out)
	for _, p := range parts() {
		if !slices.Contains(o.only, p.name) {
			continue
		}
		part := &Part{Name: p.name, Title: p.title}
		if err := p.run(ctx, b, part); err != nil {
			return fmt.Errorf("%s: %w", p.name, err)
		}
		h.sweep()
		part.write(out)
		report.Parts = append(report.Parts, part)
		if o.json != "" {
			if err := report.save(o.json); err != nil {
				return err
			}
		}
	}
	return nil
}
