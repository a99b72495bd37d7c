// SPDX-License-Identifier: Apache-2.0

// Command testsum reads what `go test -json` prints, from one run or several
// behind each other, and shows it to people: a line for each package, the
// whole output of each test that failed, and at the end the totals, alone on
// a line:
//
//	812 passed, 0 failed
//
// It exits with 1 if anything failed, if a test was skipped, if a package did
// not build, or if no test ran at all: a run that proves nothing must not look
// like a success. Subtests count as tests.
package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
)

func main() { os.Exit(run(os.Stdin, os.Stdout)) }

// event is a line of `go test -json`; see `go doc test2json`.
type event struct {
	Action     string
	Package    string
	ImportPath string // of build output
	Test       string
	Elapsed    float64 // seconds
	Output     string
}

// totals count tests by how they ended.
type totals struct{ passed, failed, skipped int }

func run(in io.Reader, out io.Writer) int {
	s := &summary{out: out, output: map[string]*strings.Builder{}, failing: map[string]bool{}}
	lines := bufio.NewReader(in)
	for {
		line, err := lines.ReadBytes('\n')
		if len(line) > 0 {
			s.line(line)
		}
		if err != nil {
			break // the end; a broken pipe shows in what is missing
		}
	}
	return s.end()
}

// summary is what was read so far.
type summary struct {
	out     io.Writer
	totals  totals
	output  map[string]*strings.Builder // of the tests that run, by package and test
	failing map[string]bool             // packages with a failed test
	skips   []string
}

func (s *summary) line(line []byte) {
	var e event
	if json.Unmarshal(line, &e) != nil || e.Action == "" {
		s.print("%s", line) // the go command itself, or a program that writes past the test
		return
	}
	name := e.Package + " " + e.Test
	switch e.Action {
	case "output":
		b := s.output[name]
		if b == nil {
			b = new(strings.Builder)
			s.output[name] = b
		}
		b.WriteString(e.Output)
		return
	case "build-output":
		s.print("%s", e.Output)
		return
	case "pass", "fail", "skip":
	default:
		return
	}
	if e.Test == "" {
		s.packageEnd(e, name)
	} else {
		s.testEnd(e, name)
	}
	delete(s.output, name)
}

func (s *summary) testEnd(e event, name string) {
	switch e.Action {
	case "pass":
		s.totals.passed++
	case "skip":
		s.totals.skipped++
		s.skips = append(s.skips, name)
	case "fail":
		s.totals.failed++
		s.failing[e.Package] = true
		s.print("--- FAIL %s\n%s", name, s.text(name))
	}
}

func (s *summary) packageEnd(e event, name string) {
	switch e.Action {
	case "pass":
		s.print("ok    %s  %.1fs\n", e.Package, e.Elapsed)
	case "skip":
		s.print("      %s  no tests\n", e.Package)
	case "fail":
		s.print("FAIL  %s  %.1fs\n", e.Package, e.Elapsed)
		if !s.failing[e.Package] {
			// It did not build, panicked, ran out of time or found a data race
			// after its tests: no test says so.
			s.totals.failed++
			s.print("%s", s.text(name))
			s.printUnfinished(e.Package)
		}
	}
}

// printUnfinished shows the tests of a package that never ended.
func (s *summary) printUnfinished(pkg string) {
	for name, b := range s.output {
		if strings.HasPrefix(name, pkg+" ") && name != pkg+" " {
			s.print("--- did not end: %s\n%s", name, b)
		}
	}
}

func (s *summary) text(name string) string {
	if b := s.output[name]; b != nil {
		return b.String()
	}
	return ""
}

func (s *summary) end() int {
	for _, name := range s.skips {
		s.print("SKIP  %s: every test is required\n", name)
	}
	t := s.totals
	line := fmt.Sprintf("%d passed, %d failed", t.passed, t.failed)
	if t.skipped > 0 {
		line += fmt.Sprintf(", %d skipped", t.skipped)
	}
	s.print("\n%s\n", line)
	if t.failed > 0 || t.skipped > 0 || t.passed == 0 {
		return 1
	}
	return 0
}

func (s *summary) print(format string, args ...any) {
	fmt.Fprintf(s.out, format, args...)
}
