// SPDX-License-Identifier: Apache-2.0

package oversight_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/rpc"

	"github.com/hsmsigner/hsmsigner/e2e/harness"
	"github.com/hsmsigner/hsmsigner/e2e/harness/programs"
	"github.com/hsmsigner/hsmsigner/internal/store/pgtest"
)

var built programs.Programs

func TestMain(m *testing.M) { os.Exit(built.Main(m)) }

// patience is how long something may take that has to come: much longer than it does
// on a machine with nothing else to do.
const patience = 2 * time.Minute

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// rig is a deployment of one or several daemons in front of a chain, with one
// wallet that everybody may use, whom only its policy stops.
type rig struct {
	*testing.T
	bin     harness.Binaries
	node    *harness.Node
	keys    harness.Keys
	daemons []*harness.Daemon
	root    string // API key of an admin of the deployment
	service string // path of the wallet in the API

	read    []mined // what chain has read so far
	blocks  uint64  // of them
	reading sync.Mutex
}

func newRig(t *testing.T, bin harness.Binaries, accounts int) *rig {
	t.Helper()
	r := &rig{T: t, bin: bin, keys: harness.NewCheapKeys(t, accounts)}
	r.node = harness.StartDevnet(t, bin, 100*time.Millisecond, r.keys.Addresses...)
	return r
}

// start adds a daemon with a data directory of its own.
func (r *rig) start(extra string) *harness.Daemon {
	r.Helper()
	o := r.node.Options(r.keys)
	o.Extra = extra
	return r.add(o)
}

func (r *rig) add(o harness.Options) *harness.Daemon {
	r.Helper()
	d := harness.StartDaemon(r, r.bin, o)
	r.daemons = append(r.daemons, d)
	return d
}

// replicas adds n daemons on one PostgreSQL, with more in the config of each, whose
// node is at url.
func (r *rig) replicas(url string, extra ...string) {
	r.Helper()
	server, err := pgtest.Start(r.Context())
	must(r.T, err)
	r.Cleanup(func() { _ = server.Close() })
	database, err := server.NewDatabase(r.Context())
	must(r.T, err)
	key := filepath.Join(r.TempDir(), "kek")
	must(r.T, os.WriteFile(key, []byte("AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=\n"), 0o600))
	for _, more := range extra {
		o := r.node.Options(r.keys)
		o.NodeURL = url
		o.Extra = fmt.Sprintf("database: %q\nseal: {keys: [{file: %q}]}\nreplica: {listen: %q}\n%s", database, key, harness.FreeAddress(r), more)
		r.add(o)
	}
}

// manage makes an admin of the deployment.
func (r *rig) manage() {
	r.Helper()
	r.root = strings.TrimSpace(r.run("admin", "bootstrap", "--config", r.daemons[0].Config()))
	for _, d := range r.daemons {
		r.eventually(patience, "the first key is known", func() bool {
			code, _ := r.ask(d, r.root, "GET", "/whoami", "")
			return code == http.StatusOK
		})
	}
	const place = "/consortia/h0consort0/environments/h0environ0/services"
	var all []struct {
		ID string `json:"_id"`
	}
	r.want(r.daemons[0], http.StatusOK, "GET", place, "", &all)
	if len(all) != 1 {
		r.Fatalf("%d services", len(all))
	}
	r.service = place + "/" + all[0].ID
}

// run runs a command that has to succeed, and returns what it prints.
func (r *rig) run(args ...string) string {
	r.Helper()
	ctx, cancel := context.WithTimeout(r.Context(), patience)
	defer cancel()
	var out, said bytes.Buffer
	cmd := exec.CommandContext(ctx, r.bin.Hsmsigner, args...)
	cmd.Stdout, cmd.Stderr = &out, &said
	if err := cmd.Run(); err != nil {
		r.Fatalf("hsmsigner %s: %v\n%s%s", strings.Join(args, " "), err, out.String(), said.String())
	}
	return out.String()
}

// ask sends a request to the API of a daemon.
func (r *rig) ask(d *harness.Daemon, key, method, path, body string) (int, []byte) {
	r.Helper()
	req, err := http.NewRequestWithContext(r.Context(), method, d.AdminURL+"/api/v1"+path, strings.NewReader(body))
	must(r.T, err)
	req.Header.Set("Authorization", "Bearer "+key)
	if body != "" {
		req.Header.Set("Content-Type", "application/json")
	}
	res, err := http.DefaultClient.Do(req)
	must(r.T, err)
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	must(r.T, err)
	return res.StatusCode, text
}

// want is ask as an admin, and ends the test unless the answer has the code.
func (r *rig) want(d *harness.Daemon, code int, method, path, body string, into any) {
	r.Helper()
	got, text := r.ask(d, r.root, method, path, body)
	if got != code {
		r.Fatalf("%s %s: %d, want %d: %s", method, path, got, code, text)
	}
	if into != nil {
		must(r.T, json.Unmarshal(text, into))
	}
}

// eventually waits until something holds, and returns after how long it did.
func (r *rig) eventually(within time.Duration, what string, holds func() bool) time.Duration {
	r.Helper()
	began := time.Now()
	for !holds() {
		if time.Since(began) > within {
			r.Fatalf("after %s: not %s", within, what)
		}
		time.Sleep(20 * time.Millisecond)
	}
	return time.Since(began)
}

// dial opens a client of the RPC door, with connections of its own.
func (r *rig) dial(d *harness.Daemon) *rpc.Client {
	r.Helper()
	transport := &http.Transport{MaxIdleConnsPerHost: 200}
	c, err := rpc.DialOptions(r.Context(), d.URL, rpc.WithHTTPClient(&http.Client{Transport: transport, Timeout: patience}))
	must(r.T, err)
	r.Cleanup(func() { c.Close(); transport.CloseIdleConnections() })
	return c
}

// payment is a transfer with gas and fees, which asks nothing of the node.
func payment(from, to common.Address, wei int64) map[string]any {
	return map[string]any{
		"from": from, "to": to, "value": (*hexutil.Big)(big.NewInt(wei)),
		"gas": "0x5208", "maxFeePerGas": "0x12a05f200", "maxPriorityFeePerGas": "0x3b9aca00",
	}
}

func (r *rig) pay(c *rpc.Client, from, to common.Address, wei int64) (hash common.Hash, err error) {
	err = c.CallContext(r.Context(), &hash, "eth_sendTransaction", payment(from, to, wei))
	return hash, err
}

// denied is the refusal with the code that policy and freezes have; empty if it is
// another error, or none.
func denied(err error) string {
	var answered rpc.Error
	if !errors.As(err, &answered) || answered.ErrorCode() != -32003 {
		return ""
	}
	return answered.Error()
}

// deniedBy demands the refusal of a rule or limit.
func (r *rig) deniedBy(err error, name string) {
	r.Helper()
	if said := denied(err); !strings.Contains(said, name) {
		r.Errorf("want error -32003 that names %s, got %v", name, err)
	}
}

// mined is a transaction of the chain.
type mined struct {
	*types.Transaction
	from common.Address
}

// chain is all that the chain has, in its order.
func (r *rig) chain() []mined {
	r.Helper()
	r.reading.Lock()
	defer r.reading.Unlock()
	signer := types.LatestSignerForChainID(new(big.Int).SetUint64(r.node.ChainID))
	for head := r.node.Head(r); r.blocks <= head; r.blocks++ {
		block, err := r.node.Eth.BlockByNumber(r.Context(), new(big.Int).SetUint64(r.blocks))
		must(r.T, err)
		for _, tx := range block.Transactions() {
			from, err := types.Sender(signer, tx)
			must(r.T, err)
			r.read = append(r.read, mined{tx, from})
		}
	}
	return slices.Clone(r.read)
}

// settle waits until nothing of the senders is under way any more.
func (r *rig) settle(want int, within time.Duration) []mined {
	r.Helper()
	var all []mined
	r.eventually(within, fmt.Sprintf("%d transactions are mined", want), func() bool {
		all = r.chain()
		return len(all) >= want
	})
	time.Sleep(300 * time.Millisecond) // what should not come would come by now
	return r.chain()
}

// sum of the values, and an error where nonces have a gap.
func (r *rig) sum(all []mined) *big.Int {
	r.Helper()
	total, next := new(big.Int), map[common.Address]uint64{}
	for _, m := range all {
		total.Add(total, m.Value())
		if m.Nonce() != next[m.from] {
			r.Errorf("%s: nonce %d is mined after %d", m.from, m.Nonce(), next[m.from])
		}
		next[m.from]++
	}
	return total
}

// possession is the verdict by which the daemon itself proves that a backend has
// the key of an account, by a signature over no transaction.
const possession = "allow: proof of possession"

// audited stops the daemons, and demands that the audit log is whole; it returns
// its records of what callers have asked for.
func (r *rig) audited() (all []record) {
	r.Helper()
	for _, d := range r.daemons {
		if !d.Ended() {
			if code := d.Stop(); code != 0 {
				r.Errorf("a daemon ended with code %d\n%s", code, d.Output())
			}
		}
	}
	config := r.daemons[0].Config()
	if out := r.run("audit", "verify", "-c", config); !strings.Contains(out, "nothing was altered") {
		r.Error(out)
	}
	own := map[string]bool{}
	for line := range strings.Lines(r.run("audit", "export", "-c", config)) {
		var one record
		must(r.T, json.Unmarshal([]byte(line), &one))
		if one.Verdict == possession {
			own[one.ID] = true
		}
		if !own[one.ID] && !own[one.Intent] {
			all = append(all, one)
		}
	}
	return all
}

// record is a line of the audit log, as far as it counts here.
type record struct{ Kind, ID, Intent, Digest, Hash, Verdict, Error string }
