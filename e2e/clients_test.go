// SPDX-License-Identifier: Apache-2.0

package e2e_test

import (
	"context"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/e2e/harness"
)

// door is what a client program is told, and nothing more.
type door struct {
	url, wsURL string
	chainID    uint64
}

// clientPrograms are the programs of strangers. Each gets an account of its own.
// ones is how many checks each prints at least: a script that stops early without
// an error must not pass.
var clientPrograms = []struct {
	name string
	run  func(t *testing.T, d door, account common.Address)
}{
	{"ethers", nodeScript("ethers.mjs", 11)},
	{"viem", nodeScript("viem.mjs", 10)},
	{"web3", nodeScript("web3.mjs", 10)},
	{"ethclient", useEthclient},
	{"cast", useCast},
}

func TestClientsAgainstDevnet(t *testing.T) {
	t.Parallel()
	bin, keys := binaries(t), harness.NewKeys(t, len(clientPrograms))
	node := harness.StartDevnet(t, bin, time.Second, keys.Addresses...)
	testClients(t, harness.StartDaemon(t, bin, node.Options(keys)), node, keys)
}

func TestClientsAgainstAnvil(t *testing.T) {
	t.Parallel()
	bin, keys := binaries(t), harness.NewKeys(t, len(clientPrograms))
	node := harness.StartAnvil(t, 0, keys.Addresses...)
	testClients(t, harness.StartDaemon(t, bin, node.Options(keys)), node, keys)
}

// testClients lets all programs work at the same time, and then looks whether the
// chain has exactly an unbroken sequence for each.
func testClients(t *testing.T, d *harness.Daemon, node *harness.Node, keys harness.Keys) {
	t.Helper()
	before := node.Head(t)
	t.Run("programs", func(t *testing.T) {
		for i, p := range clientPrograms {
			t.Run(p.name, func(t *testing.T) {
				t.Parallel()
				p.run(t, door{d.URL, d.WSURL, node.ChainID}, keys.Addresses[i])
			})
		}
	})
	history := readHistory(t, node, before)
	for i, p := range clientPrograms {
		if err := history.CheckSequence(keys.Addresses[i], 0); err != nil {
			t.Errorf("%s: %v", p.name, err)
		}
		if history.Count(keys.Addresses[i]) < 3 {
			t.Errorf("%s: %d transactions mined, want at least a transfer, a deployment and a call", p.name, history.Count(keys.Addresses[i]))
		}
	}
}

func nodeScript(script string, ones int) func(*testing.T, door, common.Address) {
	return func(t *testing.T, d door, account common.Address) {
		t.Helper()
		root, err := harness.Root()
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 8*time.Minute)
		defer cancel()
		cmd := exec.CommandContext(ctx, "node", script)
		cmd.Dir = filepath.Join(root, "e2e", "clients")
		cmd.Env = append(cmd.Environ(), "RPC_URL="+d.url, "WS_URL="+d.wsURL, "ACCOUNT="+account.Hex(),
			"CHAIN_ID="+strconv.FormatUint(d.chainID, 10))
		out, err := cmd.CombinedOutput()
		t.Logf("%s", out)
		if err != nil {
			t.Fatalf("node %s: %v", script, err)
		}
		if got := strings.Count("\n"+string(out), "\nok - "); got < ones {
			t.Fatalf("node %s: %d checks passed, want %d", script, got, ones)
		}
	}
}

func readHistory(t *testing.T, node *harness.Node, after uint64) *harness.History {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	defer cancel()
	history, err := harness.ReadHistory(ctx, node, after)
	if err != nil {
		t.Fatal(err)
	}
	return history
}
