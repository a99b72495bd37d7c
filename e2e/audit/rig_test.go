// SPDX-License-Identifier: Apache-2.0

package audit_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/accounts"
	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/rpc"

	"github.com/hsmsigner/hsmsigner/e2e/harness"
	"github.com/hsmsigner/hsmsigner/e2e/harness/programs"
)

var built programs.Programs

func TestMain(m *testing.M) { os.Exit(built.Main(m)) }

// unhurried is the deadline of a request that has to be answered.
const unhurried = time.Minute

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// rig is a daemon over a chain of its own. Checkpoints are kept outside of its
// data directory.
type rig struct {
	t      *testing.T
	bin    harness.Binaries
	node   *harness.Node
	from   common.Address
	url    string
	admin  string
	data   string
	config string
	kept   string
	public string // key of the log

	patience time.Duration // of one request
	daemon   *harness.Process
	digest   map[common.Hash]bool // of messages whose signatures were returned
}

func newRig(t *testing.T) *rig {
	t.Helper()
	r := &rig{t: t, patience: unhurried, bin: built.Of(t), digest: map[common.Hash]bool{}}
	keys := harness.NewCheapKeys(t, 1)
	r.from = keys.Addresses[0]
	r.node = harness.StartDevnet(t, r.bin, 100*time.Millisecond, r.from)
	dir := t.TempDir()
	door, admin := harness.FreeAddress(t), harness.FreeAddress(t)
	r.url, r.admin, r.data = "http://"+door, "http://"+admin, filepath.Join(dir, "data")
	r.config, r.kept = filepath.Join(dir, "hsmsigner.yaml"), filepath.Join(dir, "kept")
	r.public = strings.TrimSpace(r.run("audit", "key", "--new", filepath.Join(dir, "audit.key"), "--name", "example.org/e2e"))
	o := r.node.Options(keys)
	must(t, os.WriteFile(r.config, fmt.Appendf(nil, `data: %q
rpc: {listen: %q, auth: none}
admin: {listen: %q}
default_wallet: e2e
audit: {key: {file: %q}, witnesses: [{name: kept, file: %q, every: 1s}]}
wallets:
  - name: e2e
    node: {url: %q, chain_id: %d}
    details: {provider: keystore, path: %q, user_secret: {file: %q}}
`, r.data, door, admin, filepath.Join(dir, "audit.key"), r.kept, o.NodeURL, o.ChainID, keys.Dir, keys.PasswordFile), 0o600))
	return r
}

// run runs a command that has to succeed, and returns what it prints.
func (r *rig) run(args ...string) string {
	r.t.Helper()
	out, said, err := r.try(args...)
	if err != nil {
		r.t.Fatalf("hsmsigner %s: %v\n%s%s", strings.Join(args, " "), err, out, said)
	}
	return out
}

func (r *rig) try(args ...string) (out, said string, err error) {
	var stdout, stderr bytes.Buffer
	ctx, cancel := context.WithTimeout(r.t.Context(), 5*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, r.bin.Hsmsigner, args...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err = cmd.Run()
	return stdout.String(), stderr.String(), err
}

// start starts the daemon, under wrap if that is given. It does not wait.
func (r *rig) start(wrap ...string) {
	r.t.Helper()
	args := append(wrap, r.bin.Hsmsigner, "serve", "--config", r.config)
	r.daemon = harness.Start(r.t, "hsmsigner", args[0], args[1:]...)
}

// ready is the status of /readyz, 0 if nobody answers.
func (r *rig) ready() int {
	client := http.Client{Timeout: 10 * time.Second}
	res, err := client.Get(r.admin + "/readyz")
	if err != nil {
		return 0
	}
	_ = res.Body.Close()
	return res.StatusCode
}

func (r *rig) await(code int, within time.Duration) bool {
	for end := time.Now().Add(within); time.Now().Before(end); time.Sleep(20 * time.Millisecond) {
		if r.ready() == code {
			return true
		}
		if r.daemon.Ended() {
			return false
		}
	}
	return false
}

func (r *rig) mustStart() {
	r.t.Helper()
	r.start()
	if !r.await(http.StatusOK, 2*time.Minute) {
		r.t.Fatalf("not ready\n%s", r.daemon.Output())
	}
}

// ask sends one request with a deadline.
func (r *rig) ask(method string, args ...any) (string, error) {
	client, err := rpc.Dial(r.url)
	if err != nil {
		return "", err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(r.t.Context(), r.patience)
	defer cancel()
	var result string
	err = client.CallContext(ctx, &result, method, args...)
	return result, err
}

// sign asks for the signature of a message, and remembers one that was returned.
func (r *rig) sign(text string) error {
	_, err := r.ask("personal_sign", hexutil.Encode([]byte(text)), r.from)
	if err == nil {
		r.digest[common.BytesToHash(accounts.TextHash([]byte(text)))] = true
	}
	return err
}

func (r *rig) send() (common.Hash, error) {
	text, err := r.ask("eth_sendTransaction", map[string]any{"from": r.from, "to": harness.Fresh(), "value": "0x1"})
	return common.HexToHash(text), err
}

// record is a line of the export, as far as it counts here.
type record struct {
	Kind, ID, Intent, Digest, Hash, Verdict, Subject string
}

// judge stops the daemon and holds the log against the chain: it was not altered,
// it goes on from what was kept, and each transaction that is mined and each
// signature that was returned has its outcome, and each outcome its intent.
func (r *rig) judge(returned []common.Hash) {
	r.t.Helper()
	if code := r.daemon.Stop(); code != 0 {
		r.t.Errorf("the daemon ended with code %d\n%s", code, r.daemon.Output())
	}
	out := r.run("audit", "verify", "-c", r.config, "--key", r.public, "--checkpoint", r.kept)
	if !strings.Contains(out, "nothing was altered") {
		r.t.Error(out)
	}
	intents, hashes, digests := map[string]bool{}, map[string]string{}, map[string]string{}
	var outcomes []record
	for line := range strings.Lines(r.run("audit", "export", "-c", r.config, "--key", r.public)) {
		var one record
		must(r.t, json.Unmarshal([]byte(line), &one))
		switch one.Kind {
		case "intent":
			if strings.HasPrefix(one.Verdict, "allow") {
				intents[one.ID] = true
			}
		case "outcome":
			outcomes = append(outcomes, one)
			hashes[one.Hash], digests[one.Digest] = one.Intent, one.Intent
		}
	}
	for _, o := range outcomes {
		if o.Digest != "" && !intents[o.Intent] {
			r.t.Errorf("outcome %s has no intent", o.ID)
		}
	}
	mined := r.mined()
	for _, hash := range append(mined, returned...) {
		if intent := hashes[strings.ToLower(hash.Hex())]; !intents[intent] {
			r.t.Errorf("transaction %s has no intent", hash)
		}
	}
	for digest := range r.digest {
		if intent := digests[strings.ToLower(digest.Hex())]; !intents[intent] {
			r.t.Errorf("the signature over %s has no intent", digest)
		}
	}
	r.t.Logf("%d transactions mined, %d returned, %d messages signed, %d intents, %d outcomes", len(mined), len(returned), len(r.digest), len(intents), len(outcomes))
}

// mined are the hashes of all transactions on the chain that the wallet sent.
func (r *rig) mined() (all []common.Hash) {
	r.t.Helper()
	client, err := rpc.Dial(r.node.URL)
	must(r.t, err)
	defer client.Close()
	var head hexutil.Uint64
	must(r.t, client.Call(&head, "eth_blockNumber"))
	for n := uint64(0); n <= uint64(head); n++ {
		var block struct {
			Transactions []struct {
				Hash common.Hash    `json:"hash"`
				From common.Address `json:"from"`
			} `json:"transactions"`
		}
		must(r.t, client.Call(&block, "eth_getBlockByNumber", hexutil.Uint64(n), true))
		for _, tx := range block.Transactions {
			if tx.From == r.from {
				all = append(all, tx.Hash)
			}
		}
	}
	return all
}
