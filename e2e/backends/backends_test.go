// SPDX-License-Identifier: Apache-2.0

package backends_test

import (
	"context"
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/rpc"

	"github.com/hsmsigner/hsmsigner/e2e/harness"
)

// backend is a server that runs, and how the daemon is to reach it.
type backend struct {
	details string   // flow mapping, with an admin block
	extra   string   // YAML at the top level
	secrets []string // must show nowhere
	tags    bool     // keys can be tagged
	imports bool     // the server can unwrap what is imported
	deletes string   // what key delete says
}

// providers start a server each, which ends with the test.
func providers() map[string]func(t *testing.T) backend {
	return map[string]func(t *testing.T) backend{
		"pkcs11":    startSoftHSM,
		"hashicorp": startVault,
		"aws_kms":   startMoto,
		"azure":     startAzure,
		"gcp_kms":   startGoogleFake,
	}
}

func TestEachBackend(t *testing.T) {
	for name, start := range providers() {
		t.Run(name, func(t *testing.T) {
			b := start(t)
			t.Run("TransactionsAreSignedAndMined", func(t *testing.T) { mined(t, name, b) })
			t.Run("CommandLine", func(t *testing.T) { commandLine(t, b) })
		})
	}
}

func mined(t *testing.T, provider string, b backend) {
	cli := newCommand(t, b)
	if out, code := cli.run("", "config", "check"); code != 0 || !strings.Contains(out, provider+" answers, ") {
		t.Fatalf("config check, exit code %d:\n%s", code, out)
	}
	account := cli.create("e2e-1", b.tags)
	node := harness.StartDevnet(t, cli.bin, 200*time.Millisecond, account)
	options := node.Options(harness.Keys{})
	options.Details, options.Extra = b.details, b.extra
	daemon := harness.StartDaemon(t, cli.bin, options)
	cli.config = daemon.Config()
	head := node.Head(t)
	const transfers = 5
	send(t, daemon, account, transfers)
	harness.WaitNonce(t, node, account, transfers, 3*time.Minute)
	history, err := harness.ReadHistory(t.Context(), node, head)
	if err != nil {
		t.Fatal(err)
	}
	if err := history.CheckSequence(account, 0); err != nil {
		t.Error(err)
	}
	if code := daemon.Stop(); code != 0 {
		t.Errorf("the daemon ended with %d", code)
	}
	cli.shown.WriteString(daemon.Output())
	cli.showsNoSecret()
}

func commandLine(t *testing.T, b backend) {
	cli := newCommand(t, b)
	account := cli.create("e2e-2", b.tags)
	cli.succeeds("key", "test", account.Hex(), "-n", "20")
	out := cli.succeeds("key", "conformance", "-n", "50", "--concurrency", "16", "--create", "e2e-3")
	if !strings.Contains(out, " 0 failed, ") {
		t.Errorf("key conformance:\n%s", out)
	}
	if b.imports {
		cli.importKey()
	}
	cli.switchOffAndOn(account)
	cli.remove(account, b.deletes)
	cli.showsNoSecret()
}

// send sends transfers through the daemon's door, at once.
func send(t *testing.T, d *harness.Daemon, from common.Address, n int) {
	t.Helper()
	client, err := harness.NewBatchClient(d.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	door, err := rpc.DialContext(ctx, d.URL)
	if err != nil {
		t.Fatal(err)
	}
	defer door.Close()
	var accounts []common.Address
	if err := door.CallContext(ctx, &accounts, "eth_accounts"); err != nil || !slices.Contains(accounts, from) {
		t.Fatalf("eth_accounts: %v, %v; want %s in it", accounts, err, from)
	}
	transfers := make([]harness.Transfer, n)
	for i := range transfers {
		transfers[i] = harness.Transfer{From: from, To: common.BigToAddress(common.Big256)}
	}
	for i, outcome := range client.Send(ctx, transfers) {
		if outcome.Err != nil {
			t.Fatalf("transfer %d of %d: %v", i+1, n, outcome.Err)
		}
	}
}

// command runs the program's command line on one config.
type command struct {
	t      *testing.T
	bin    harness.Binaries
	config string
	b      backend
	shown  strings.Builder // all that was printed
}

func newCommand(t *testing.T, b backend) *command {
	t.Helper()
	path := filepath.Join(t.TempDir(), "config.yaml")
	text := "wallets:\n  - name: e2e\n    node: {url: \"http://127.0.0.1:1\", chain_id: 1337}\n    details: " + b.details + "\n" + b.extra
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return &command{t: t, bin: binaries(t), config: path, b: b}
}

// run gives what was printed, and the exit code.
func (c *command) run(stdin string, args ...string) (string, int) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(c.t.Context(), 6*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, c.bin.Hsmsigner, append(args, "--config", c.config)...)
	cmd.Stdin = strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	c.shown.Write(out)
	if err != nil && cmd.ProcessState.ExitCode() < 0 {
		c.t.Fatalf("%v: %v\n%s", args, err, out)
	}
	return string(out), cmd.ProcessState.ExitCode()
}

func (c *command) succeeds(args ...string) string {
	c.t.Helper()
	out, code := c.run("", args...)
	if code != 0 {
		c.t.Fatalf("hsmsigner %s: exit code %d\n%s", strings.Join(args, " "), code, out)
	}
	return out
}

// create makes a key and gives its address.
func (c *command) create(name string, tagged bool) common.Address {
	c.t.Helper()
	args := []string{"key", "create", "--name", name, "--output", "json"}
	if tagged {
		args = append(args, "--tag", "made-by=e2e")
	}
	return c.address(c.succeeds(args...))
}

func (c *command) address(out string) common.Address {
	c.t.Helper()
	var made struct{ Address common.Address }
	if err := json.Unmarshal([]byte(out[strings.Index(out, "{"):]), &made); err != nil || made.Address == (common.Address{}) {
		c.t.Fatalf("no address (%v) in\n%s", err, out)
	}
	return made.Address
}

// importKey takes a key in that everybody knows, and has it sign.
func (c *command) importKey() {
	c.t.Helper()
	const private = "0000000000000000000000000000000000000000000000000000000000000001"
	out, code := c.run(private, "key", "import", "--name", "e2e-4", "--output", "json")
	if code != 0 {
		c.t.Fatalf("key import: exit code %d\n%s", code, out)
	}
	want := common.HexToAddress("0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf")
	if got := c.address(out); got != want {
		c.t.Fatalf("imported %s, want %s", got, want)
	}
	c.succeeds("key", "test", want.Hex(), "-n", "3")
}

// switchOffAndOn does so where the signer can: a key that is off does not sign.
func (c *command) switchOffAndOn(account common.Address) {
	c.t.Helper()
	out, code := c.run("", "key", "disable", account.Hex())
	if code != 0 {
		if !strings.Contains(out, "the signer cannot switch keys on and off there") {
			c.t.Fatalf("key disable: exit code %d\n%s", code, out)
		}
		return
	}
	// AWS and Google hide the address of a key that is off.
	if out, code := c.run("", "key", "test", account.Hex(), "-n", "1"); !(code == 1 && strings.Contains(out, "key disabled")) && code != 4 {
		c.t.Errorf("a disabled key: exit code %d\n%s", code, out)
	}
	_, ref, _ := strings.Cut(out, "reference")
	ref, _, _ = strings.Cut(strings.TrimSpace(ref), "\n")
	c.succeeds("key", "enable", ref)
	c.succeeds("key", "test", account.Hex(), "-n", "1")
}

// remove deletes a key, after it was told another address.
func (c *command) remove(account common.Address, want string) {
	c.t.Helper()
	if out, code := c.run("0x00000000000000000000000000000000000000ff\n", "key", "delete", account.Hex()); code != 1 || !strings.Contains(out, "nothing was deleted") {
		c.t.Fatalf("key delete with another address: exit code %d\n%s", code, out)
	}
	c.succeeds("key", "test", account.Hex(), "-n", "1")
	out, code := c.run(account.Hex()+"\n", "key", "delete", account.Hex())
	if code != 0 || !strings.Contains(out, want) {
		c.t.Fatalf("key delete: exit code %d, want %q in\n%s", code, want, out)
	}
	if out, code := c.run("", "key", "test", account.Hex(), "-n", "1"); code == 0 {
		c.t.Errorf("a deleted key signs:\n%s", out)
	}
}

func (c *command) showsNoSecret() {
	c.t.Helper()
	for _, secret := range c.b.secrets {
		if strings.Contains(c.shown.String(), secret) {
			c.t.Errorf("the secret %.4s… shows in\n%s", secret, c.shown.String())
		}
	}
}
