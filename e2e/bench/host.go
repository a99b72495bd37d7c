// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"io"
	"os"
	"slices"
)

// host is what the harness has in a test: a log, temporary folders, and cleanups
// that run at the end, last first.
type host struct {
	base     string
	log      io.Writer
	failed   bool
	cleanups []func()
}

// fatal is what Fatalf panics with.
type fatal struct{ text string }

func newHost(dir string, log io.Writer) (*host, error) {
	base, err := os.MkdirTemp(dir, "hsmsigner-bench-")
	if err != nil {
		return nil, fmt.Errorf("bench: %w", err)
	}
	return &host{base: base, log: log}, nil
}

func (h *host) Helper()                      {}
func (h *host) Failed() bool                 { return h.failed }
func (h *host) Cleanup(f func())             { h.cleanups = append(h.cleanups, f) }
func (h *host) Logf(f string, args ...any)   { fmt.Fprintf(h.log, f+"\n", args...) }
func (h *host) Fatalf(f string, args ...any) { panic(fatal{fmt.Sprintf(f, args...)}) }

func (h *host) TempDir() string {
	dir, err := os.MkdirTemp(h.base, "")
	if err != nil {
		h.Fatalf("temporary folder: %v", err)
	}
	return dir
}

// sweep runs the cleanups: what one part has started must not share the machine
// with the next.
func (h *host) sweep() {
	for _, f := range slices.Backward(h.cleanups) {
		f()
	}
	h.cleanups = nil
}

func (h *host) close() {
	h.sweep()
	if err := os.RemoveAll(h.base); err != nil {
		h.Logf("bench: %v", err)
	}
}
