// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"slices"
	"sync"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/key/keycheck"
)

// checkResult is what came of one check.
type checkResult struct {
	Name     string   `json:"name"`
	Outcome  string   `json:"outcome"` // passed, failed or not tested
	Seconds  float64  `json:"seconds"`
	Messages []string `json:"messages,omitempty"`
}

// checkReport collects what came of all. Only checks without checks of their
// own count.
type checkReport struct {
	out io.Writer

	mu        sync.Mutex
	checks    []checkResult
	notTested []string
	passed    int
	failed    int
}

// runChecks runs checks outside of go test, which the daemon does not link, one
// after the other.
func runChecks(ctx context.Context, out io.Writer, checks func(t keycheck.T)) *checkReport {
	report := &checkReport{out: out, checks: []checkResult{}, notTested: []string{}}
	top := &checkRun{report: report, ctx: ctx}
	top.do(checks)
	return report
}

// checkRun is a keycheck.T. A check runs in a goroutine of its own, so that
// Fatalf can end it.
type checkRun struct {
	report *checkReport
	ctx    context.Context //nolint:containedctx // a T hands its context out, as *testing.T does
	name   string

	mu       sync.Mutex
	messages []string
	cleanups []func()
	failed   bool
	parent   bool // it has checks of its own
	omitted  bool // it left something out
}

var _ keycheck.T = (*checkRun)(nil)

// do runs one check and reports it.
func (r *checkRun) do(check func(t keycheck.T)) {
	ctx, cancel := context.WithCancel(r.ctx)
	r.ctx = ctx
	begin := time.Now()
	guard := func(f func()) {
		done := make(chan struct{})
		go func() {
			defer close(done)
			defer func() {
				if p := recover(); p != nil {
					r.Errorf("panic: %v", p)
				}
			}()
			f()
		}()
		<-done
	}
	guard(func() { check(r) })
	cancel()
	for _, cleanup := range slices.Backward(r.cleanups) {
		guard(cleanup)
	}
	r.report.add(r, time.Since(begin))
}

func (c *checkReport) add(r *checkRun, took time.Duration) {
	if r.parent && !r.failed {
		return
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	result := checkResult{Name: r.name, Outcome: "passed", Seconds: took.Round(time.Millisecond).Seconds(), Messages: r.messages}
	word := "pass"
	switch {
	case r.failed:
		result.Outcome, word = "failed", "FAIL"
		c.failed++
	case r.omitted:
		result.Outcome, word = "not tested", "none"
	default:
		c.passed++
	}
	c.checks = append(c.checks, result)
	fmt.Fprintf(c.out, "%s  %s (%.2f s)\n", word, result.Name, result.Seconds)
	for _, message := range result.Messages {
		fmt.Fprintf(c.out, "      %s\n", message)
	}
}

// Helper does nothing: messages name no line.
func (r *checkRun) Helper() {}

// Context is done when the check ends, or the command is interrupted.
func (r *checkRun) Context() context.Context { return r.ctx }

// Cleanup calls f when the check has ended, the last one first.
func (r *checkRun) Cleanup(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.cleanups = append(r.cleanups, f)
}

// Logf adds a message.
func (r *checkRun) Logf(format string, args ...any) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.messages = append(r.messages, fmt.Sprintf(format, args...))
}

// Errorf adds a message and makes the check fail.
func (r *checkRun) Errorf(format string, args ...any) {
	r.Logf(format, args...)
	r.mu.Lock()
	defer r.mu.Unlock()
	r.failed = true
}

// Fatalf is Errorf and ends the check.
func (r *checkRun) Fatalf(format string, args ...any) {
	r.Errorf(format, args...)
	runtime.Goexit()
}

// Run runs a check within this one, unless the command was interrupted.
func (r *checkRun) Run(name string, check func(t keycheck.T)) bool {
	if r.ctx.Err() != nil {
		r.Fatalf("interrupted")
	}
	r.mu.Lock()
	r.parent = true
	r.mu.Unlock()
	if r.name != "" {
		name = r.name + "/" + name
	}
	child := &checkRun{report: r.report, ctx: r.ctx, name: name}
	child.do(check)
	return !child.failed
}

// NotTested notes what was left out.
func (r *checkRun) NotTested(what string) {
	r.mu.Lock()
	r.omitted = true
	r.mu.Unlock()
	r.report.mu.Lock()
	defer r.report.mu.Unlock()
	if !slices.Contains(r.report.notTested, what) {
		r.report.notTested = append(r.report.notTested, what)
	}
}
