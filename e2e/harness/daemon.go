// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/ethereum/go-ethereum/common"
)

// Options say what a daemon stands in front of.
type Options struct {
	NodeURL string
	ChainID uint64
	Keys    Keys
	Details string // the wallet's details as a YAML flow mapping, in place of a keystore with Keys
	Window  int    // transactions in flight per sender; 0 leaves the daemon's default
	Extra   string // YAML appended at the top level
}

// Daemon is a running `hsmsigner serve` with one wallet that needs no credential.
// Its directory outlives kill -9 and Restart.
type Daemon struct {
	*Process
	URL       string // of the RPC door, http
	WSURL     string // of the RPC door, WebSocket
	AdminURL  string
	Dir       string
	Addresses []common.Address

	t      T
	bin    Binaries
	config string
}

// Config is the path of the daemon's config file, for the command line.
func (d *Daemon) Config() string { return d.config }

// StartDaemon writes a config file, starts `hsmsigner serve` and waits for
// /readyz.
func StartDaemon(t T, bin Binaries, o Options) *Daemon {
	t.Helper()
	door, admin := FreeAddress(t), FreeAddress(t)
	dir := t.TempDir()
	d := &Daemon{
		URL: "http://" + door, WSURL: "ws://" + door, AdminURL: "http://" + admin, Dir: dir,
		Addresses: o.Keys.Addresses, t: t, bin: bin, config: filepath.Join(dir, "hsmsigner.yaml"),
	}
	if err := os.WriteFile(d.config, []byte(configFile(o, door, admin, dir)), 0o600); err != nil {
		t.Fatalf("harness: %v", err)
	}
	d.Restart()
	return d
}

func configFile(o Options, door, admin, dir string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "data: %q\n", filepath.Join(dir, "data"))
	fmt.Fprintf(&b, "rpc: {listen: %q, auth: none}\n", door)
	fmt.Fprintf(&b, "admin: {listen: %q}\n", admin)
	b.WriteString("default_wallet: e2e\nwallets:\n  - name: e2e\n")
	fmt.Fprintf(&b, "    node: {url: %q, chain_id: %d}\n", o.NodeURL, o.ChainID)
	if o.Window > 0 {
		fmt.Fprintf(&b, "    window: %d\n", o.Window)
	}
	details := o.Details
	if details == "" {
		details = fmt.Sprintf("{provider: keystore, path: %q, user_secret: {file: %q}}", o.Keys.Dir, o.Keys.PasswordFile)
	}
	fmt.Fprintf(&b, "    details: %s\n", details)
	return b.String() + o.Extra
}

// Restart starts the daemon again on the same directory and addresses; a process
// that still runs is killed first, without a chance to tidy up. It returns when
// /readyz says 200.
func (d *Daemon) Restart() {
	d.t.Helper()
	if d.Process != nil {
		d.Kill9()
	}
	d.Process = Start(d.t, "hsmsigner", d.bin.Hsmsigner, "serve", "--config", d.config)
	client := http.Client{Timeout: 10 * time.Second}
	for end := time.Now().Add(startTimeout); ; time.Sleep(20 * time.Millisecond) {
		reply, err := client.Get(d.AdminURL + "/readyz")
		if err == nil {
			reply.Body.Close()
			if reply.StatusCode == http.StatusOK {
				return
			}
		}
		if d.Ended() || time.Now().After(end) {
			d.t.Fatalf("harness: hsmsigner is not ready (last error: %v)\n%s", err, d.Output())
		}
	}
}
