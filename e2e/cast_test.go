// SPDX-License-Identifier: Apache-2.0

package e2e_test

import (
	"context"
	"encoding/json"
	"fmt"
	"math/big"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"

	"github.com/hsmsigner/hsmsigner/e2e/harness"
)

// useCast does what a person does at a terminal with Foundry's cast.
func useCast(t *testing.T, d door, account common.Address) {
	t.Helper()
	path, err := harness.Foundry("cast")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()
	c := &cast{t, ctx, path, d, account}
	c.reads()
	c.sendsATransfer(d.url)
	// Over WebSocket cast learns of its receipt by subscribing to new heads.
	c.sendsATransfer(d.wsURL)
	c.usesAContract()
	c.signs()
}

type cast struct {
	t       *testing.T
	ctx     context.Context
	path    string
	door    door
	account common.Address
}

// run returns what cast prints on stdout.
func (c *cast) run(args ...string) string {
	c.t.Helper()
	var stderr strings.Builder
	cmd := exec.CommandContext(c.ctx, c.path, args...)
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		c.t.Fatalf("cast %s: %v\n%s%s", strings.Join(args, " "), err, out, stderr.String())
	}
	return strings.TrimSpace(string(out))
}

type castReceipt struct {
	Status          hexutil.Uint64  `json:"status"`
	From            common.Address  `json:"from"`
	ContractAddress *common.Address `json:"contractAddress"`
}

func (c *cast) send(url string, args ...string) castReceipt {
	c.t.Helper()
	out := c.run(append([]string{"send", "--json", "--unlocked", "--timeout", "60", "--rpc-url", url, "--from", c.account.Hex()}, args...)...)
	var r castReceipt
	if err := json.Unmarshal([]byte(out), &r); err != nil {
		c.t.Fatalf("cast send printed %s: %v", out, err)
	}
	if r.Status != 1 || r.From != c.account {
		c.t.Fatalf("cast send: receipt %s", out)
	}
	return r
}

func (c *cast) reads() {
	c.t.Helper()
	if got, want := c.run("chain-id", "--rpc-url", c.door.url), fmt.Sprint(c.door.chainID); got != want {
		c.t.Fatalf("cast chain-id: got %s, want %s", got, want)
	}
	if all := c.run("rpc", "--rpc-url", c.door.url, "eth_accounts"); !strings.Contains(strings.ToLower(all), strings.ToLower(c.account.Hex())) {
		c.t.Fatalf("cast rpc eth_accounts: %s is not in %s", c.account, all)
	}
	if balance, ok := new(big.Int).SetString(c.run("balance", "--rpc-url", c.door.url, c.account.Hex()), 10); !ok || balance.Sign() <= 0 {
		c.t.Fatalf("cast balance: got %v", balance)
	}
	c.t.Log("ok - cast: reads")
}

func (c *cast) sendsATransfer(url string) {
	c.t.Helper()
	to := harness.Fresh().Hex()
	c.send(url, "--value", "5", to)
	if got := c.run("balance", "--rpc-url", url, to); got != "5" {
		c.t.Fatalf("the receiver has %s wei, want 5", got)
	}
	c.t.Logf("ok - cast: sends a transfer (%s)", strings.SplitN(url, ":", 2)[0])
}

func (c *cast) usesAContract() {
	c.t.Helper()
	parsed, bytecode, err := counter()
	if err != nil {
		c.t.Fatal(err)
	}
	start, err := parsed.Pack("", big.NewInt(41))
	if err != nil {
		c.t.Fatal(err)
	}
	deployed := c.send(c.door.url, "--create", hexutil.Encode(append(bytecode, start...)))
	if deployed.ContractAddress == nil {
		c.t.Fatal("cast send --create: the receipt has no contract")
	}
	contract := deployed.ContractAddress.Hex()
	c.send(c.door.url, contract, "add(uint256)", "1")
	if got := c.run("call", "--rpc-url", c.door.url, contract, "count()(uint256)"); got != "42" {
		c.t.Fatalf("count is %s, want 42", got)
	}
	c.t.Log("ok - cast: deploys, calls and writes a contract")
}

// signs lets cast itself verify: it ends with an error if the signature is not
// the account's.
func (c *cast) signs() {
	c.t.Helper()
	const message = "I agree – Zürich"
	signature := c.run("rpc", "--rpc-url", c.door.url, "personal_sign", hexutil.Encode([]byte(message)), c.account.Hex())
	c.run("wallet", "verify", "--address", c.account.Hex(), message, strings.Trim(signature, `"`))

	example := typedData(c.door.chainID)
	document, err := json.Marshal(example.Map())
	if err != nil {
		c.t.Fatal(err)
	}
	signature = c.run("rpc", "--rpc-url", c.door.url, "eth_signTypedData_v4", c.account.Hex(), string(document))
	c.run("wallet", "verify", "--data", "--address", c.account.Hex(), string(document), strings.Trim(signature, `"`))
	c.t.Log("ok - cast: signs a message and typed data")
}
