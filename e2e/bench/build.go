// SPDX-License-Identifier: Apache-2.0

package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	_ "embed"

	"github.com/hsmsigner/hsmsigner/e2e/harness"
)

// profileSource is compiled into the daemon when profiles are wanted, and never
// else: it lies beside the sources of cmd/hsmsigner in an overlay.
//
//go:embed profile.go.txt
var profileSource []byte

// profileEnv is what profileSource reads.
const profileEnv = "HSMSIGNER_PROFILE"

// binary is the path of the daemon, as it is shipped or with fault points. Each is
// built once. The environment variables E2E_BIN and E2E_BIN_FAULTPOINTS name
// folders with daemons that are built already.
func (b *bench) binary(faults bool) string {
	name, variable := "plain", "E2E_BIN"
	if faults {
		name, variable = "faultpoints", "E2E_BIN_FAULTPOINTS"
	}
	if dir := os.Getenv(variable); dir != "" {
		return filepath.Join(dir, "hsmsigner")
	}
	path := filepath.Join(b.h.base, name, "hsmsigner")
	if _, err := os.Stat(path); err == nil {
		return path
	}
	var tags []string
	if faults {
		tags = []string{"-tags", "faultpoints"}
	}
	b.compile(name, path, nil, tags...)
	return path
}

// compile builds the daemon with other texts in place of some of its sources, which
// are named by their paths in the module.
func (b *bench) compile(name, path string, changed map[string][]byte, args ...string) {
	fmt.Fprintf(b.h.log, "building the daemon (%s) …\n", name)
	root, err := harness.Root()
	if err != nil {
		b.h.Fatalf("%v", err)
	}
	args = append([]string{"build", "-trimpath", "-o", path}, args...)
	if b.profile != "" {
		changed = maps.Clone(changed)
		if changed == nil {
			changed = map[string][]byte{}
		}
		changed["cmd/hsmsigner/profile.go"] = profileSource
	}
	if len(changed) > 0 {
		args = append(args, "-overlay", b.overlay(root, changed))
	}
	cmd := exec.Command("go", append(args, "./cmd/hsmsigner")...)
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		b.h.Fatalf("%v: %v\n%s", cmd.Args, err, out)
	}
}

// overlay writes what `go build -overlay` reads (go help build).
func (b *bench) overlay(root string, changed map[string][]byte) string {
	dir := b.h.TempDir()
	replace := make(map[string]string, len(changed))
	for name, text := range changed {
		source := filepath.Join(dir, fmt.Sprintf("%d.go", len(replace)))
		if err := os.WriteFile(source, text, 0o600); err != nil {
			b.h.Fatalf("%v", err)
		}
		replace[filepath.Join(root, filepath.FromSlash(name))] = source
	}
	list := filepath.Join(dir, "overlay.json")
	text, err := json.Marshal(map[string]map[string]string{"Replace": replace})
	if err == nil {
		err = os.WriteFile(list, text, 0o600)
	}
	if err != nil {
		b.h.Fatalf("%v", err)
	}
	return list
}

// profiled returns what has to run beside a round so that the daemon's processor
// profile of the last one lies in the folder of -profile, and its allocations.
func (b *bench) profiled(part string, d *daemon) func(time.Duration) {
	if d.profile == "" {
		return nil
	}
	return func(length time.Duration) {
		seconds := max(1, int(length.Seconds()))
		b.fetch(d, fmt.Sprintf("profile?seconds=%d", seconds), part+".cpu.pprof")
		b.fetch(d, "allocs", part+".allocs.pprof")
		b.fetch(d, "heap", part+".heap.pprof")
	}
}

func (b *bench) fetch(d *daemon, what, file string) {
	reply, err := http.Get("http://" + d.profile + "/debug/pprof/" + what)
	if err == nil {
		var f *os.File
		if f, err = os.Create(filepath.Join(b.profile, file)); err == nil {
			_, err = f.ReadFrom(reply.Body)
			f.Close()
		}
		reply.Body.Close()
	}
	if err != nil {
		b.h.Logf("bench: profile: %v", err)
	}
}
