// SPDX-License-Identifier: Apache-2.0

package main

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/hsmsigner/hsmsigner/e2e/harness"
	"github.com/hsmsigner/hsmsigner/internal/faultpoint"
)

// setup says how a daemon is to run.
type setup struct {
	Node        string // host:port
	Keys        harness.Keys
	Data        string // folder of the SQLite database; empty for a new one
	Database    string // a postgres:// URL instead of SQLite
	Replica     bool   // one of several on Database
	Concurrency int    // signatures asked of the backend at once; 0 leaves the default
	Faults      string // rules for a daemon built with the tag faultpoints
	Limits      string // YAML of rpc.limits
	CPUs        int    // GOMAXPROCS; 0 leaves the default
	ChainID     uint64 // 0: that of the stub
	Management  bool   // with the management API
	Policy      string // of the wallet, as YAML in one line; empty for none
	Without     string // what of the audit trail the daemon is built without: see without.go; empty as it is shipped
}

// daemon is a running `hsmsigner serve`.
type daemon struct {
	*harness.Process
	Address string // of the RPC door, host:port
	Admin   string
	Data    string
	Ready   time.Duration // from exec to the first 200 of /readyz
	profile string        // host:port of net/http/pprof; empty without -profile

	h      *host
	path   string
	env    []string
	config string
}

// window is that of the issue: what an operator sets on a private chain.
const window = 4096

func (b *bench) startDaemon(s setup) *daemon {
	dir := b.h.TempDir()
	d := &daemon{h: b.h, Address: harness.FreeAddress(b.h), Admin: harness.FreeAddress(b.h), Data: s.Data, config: filepath.Join(dir, "hsmsigner.yaml")}
	if d.Data == "" {
		d.Data = filepath.Join(dir, "data")
	}
	d.path = b.binary(s.Faults != "")
	if s.Without != "" {
		d.path = b.without(s.Without)
	}
	if s.Faults != "" {
		d.env = append(d.env, faultpoint.EnvRules+"="+s.Faults)
	}
	if s.CPUs > 0 {
		d.env = append(d.env, fmt.Sprintf("GOMAXPROCS=%d", s.CPUs))
	}
	if b.profile != "" {
		d.profile = harness.FreeAddress(b.h)
		d.env = append(d.env, profileEnv+"="+d.profile)
	}
	if err := os.WriteFile(d.config, []byte(s.yaml(d, harness.FreeAddress(b.h))), 0o600); err != nil {
		b.h.Fatalf("%v", err)
	}
	d.start()
	return d
}

func (s setup) yaml(d *daemon, replica string) string {
	var y strings.Builder
	fmt.Fprintf(&y, "data: %q\n", d.Data)
	if s.Database != "" {
		fmt.Fprintf(&y, "database: %q\n", s.Database)
	}
	if s.Replica {
		fmt.Fprintf(&y, "replica: {listen: %q}\n", replica)
	}
	fmt.Fprintf(&y, "rpc: {listen: %q, auth: none, limits: {%s}}\n", d.Address, s.Limits)
	fmt.Fprintf(&y, "admin: {listen: %q}\n", d.Admin)
	if s.Management {
		y.WriteString("management: {limits: {credential: 1000000, membership: 1000000}}\n")
	}
	fmt.Fprintf(&y, "default_wallet: bench\nwallets:\n  - name: bench\n    window: %d\n", window)
	if s.Concurrency > 0 {
		fmt.Fprintf(&y, "    concurrency: %d\n", s.Concurrency)
	}
	if s.Policy != "" {
		fmt.Fprintf(&y, "    policy: %s\n", s.Policy)
	}
	id := s.ChainID
	if id == 0 {
		id = chainID
	}
	fmt.Fprintf(&y, "    node: {url: %q, chain_id: %d}\n", "http://"+s.Node, id)
	fmt.Fprintf(&y, "    details: {provider: keystore, path: %q, user_secret: {file: %q}}\n", s.Keys.Dir, s.Keys.PasswordFile)
	return y.String()
}

// start runs the daemon, again if it has run before, and waits until it is ready.
func (d *daemon) start() {
	// env replaces itself by the daemon, so the process is the daemon's.
	args := append(append([]string{}, d.env...), d.path, "serve", "--config", d.config)
	began := time.Now()
	d.Process = harness.Start(d.h, "hsmsigner", "env", args...)
	client := http.Client{Timeout: time.Second}
	for ; ; time.Sleep(2 * time.Millisecond) {
		reply, err := client.Get("http://" + d.Admin + "/readyz")
		if err == nil {
			reply.Body.Close()
			if reply.StatusCode == http.StatusOK {
				d.Ready = time.Since(began)
				return
			}
		}
		if d.Ended() || time.Since(began) > 2*time.Minute {
			d.h.Fatalf("hsmsigner is not ready (last error: %v)\n%s", err, d.Output())
		}
	}
}
