// SPDX-License-Identifier: Apache-2.0

// Command bench measures what the daemon costs: how many requests per second pass
// through it, and how many transactions it signs and sends, beside the same load on
// the node directly and beside a bare reverse proxy, all within one run on one
// machine. Only the ratios mean something elsewhere.
//
//	go run ./e2e/bench [-json file] [-dir folder] [-seconds n] [-only part]
//
// The node is the stub of internal/node/nodetest in a process of its own: it
// answers faster than a real node, so that the daemon's own cost shows. The load is
// closed-loop: each connection sends its next request when it has the answer.
package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"time"

	"github.com/hsmsigner/hsmsigner/e2e/harness"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt)
	defer stop()
	os.Exit(run(ctx, os.Args[1:], os.Stdout, os.Stderr))
}

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	if len(args) > 0 {
		switch args[0] {
		case "node", "proxy": // what this program starts of itself
			return child(ctx, args, stdout, stderr)
		}
	}
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(stderr)
	jsonFile := flags.String("json", "", "also write the results to this `file`")
	dir := flags.String("dir", "", "`folder` for the daemon's database; its disk is measured too (default: the system's temporary folder)")
	seconds := flags.Float64("seconds", 2, "length of one measurement, `s`")
	only := flags.String("only", "", "measure one `part`: passthrough or send (default: both)")
	if err := flags.Parse(args); err != nil {
		return 2
	}
	if *seconds <= 0 || *seconds > 60 {
		fmt.Fprintln(stderr, "bench: -seconds must be above 0 and at most 60")
		return 2
	}
	if *only != "" && *only != "passthrough" && *only != "send" {
		fmt.Fprintf(stderr, "bench: -only is %q; want passthrough or send\n", *only)
		return 2
	}
	report, err := measure(ctx, *dir, *only, time.Duration(*seconds*float64(time.Second)), stderr)
	if err == nil {
		report.write(stdout)
		if *jsonFile != "" {
			err = report.save(*jsonFile)
		}
	}
	if err != nil {
		fmt.Fprintln(stderr, "bench:", err)
		return 1
	}
	return 0
}

// measure runs everything, and stops all processes before it returns.
func measure(ctx context.Context, dir, only string, length time.Duration, log io.Writer) (report *Report, err error) {
	h, err := newHost(dir, log)
	if err != nil {
		return nil, err
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
	fmt.Fprintln(log, "building …")
	bin, err := harness.Build(h.TempDir(), false)
	if err != nil {
		return nil, err
	}
	report = &Report{Machine: machine()}
	fmt.Fprintln(log, "single costs …")
	if report.Costs, err = singleCosts(h.TempDir()); err != nil {
		return nil, err
	}
	if only != "send" {
		fmt.Fprintln(log, "pass-through …")
		if report.PassThrough, err = passThrough(ctx, h, bin, length); err != nil {
			return nil, err
		}
	}
	if only != "passthrough" {
		fmt.Fprintln(log, "send …")
		if report.Send, err = send(ctx, h, bin, 2*length); err != nil {
			return nil, err
		}
	}
	return report, nil
}
