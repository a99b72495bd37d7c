// SPDX-License-Identifier: Apache-2.0

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/crypto"

	"github.com/hsmsigner/hsmsigner/internal/node"
)

func TestReadyLineThenChainThenCleanEnd(t *testing.T) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	out, in := io.Pipe()
	var stderr bytes.Buffer
	code := make(chan int, 1)
	fund := "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
	go func() {
		code <- run(ctx, []string{"--http", "127.0.0.1:0", "--output", "json", "--chain-id", "77", "--accounts", "1", "--fund", fund + "=0.25"}, in, &stderr)
	}()
	var r ready
	if err := json.NewDecoder(out).Decode(&r); err != nil {
		t.Fatal(err, stderr.String())
	}
	c, err := node.New(node.Config{URL: r.URL})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if id, err := c.Identity(ctx); err != nil || id.ID != 77 || id.Genesis != r.Genesis {
		t.Error(id, err)
	}
	for addr, want := range map[common.Address]*big.Int{
		common.HexToAddress(fund): big.NewInt(25e16),
		r.Accounts[0].Address:     defaultFund(),
	} {
		if wei, err := c.BalanceAt(ctx, addr, "latest"); err != nil || wei.Cmp(want) != 0 {
			t.Errorf("%s has %s, want %s (%v)", addr, wei, want, err)
		}
	}
	key, err := crypto.HexToECDSA(strings.TrimPrefix(r.Accounts[0].PrivateKey, "0x"))
	if err != nil || crypto.PubkeyToAddress(key.PublicKey) != r.Accounts[0].Address {
		t.Error("the printed key is not that of the account", err)
	}
	cancel()
	select {
	case got := <-code:
		if got != exitOK || stderr.Len() > 0 {
			t.Errorf("exit code %d: %s", got, stderr.String())
		}
	case <-time.After(time.Minute):
		t.Fatal("does not end")
	}
}

func TestCommandLineMistakesAreNamed(t *testing.T) {
	const a = "0x70997970C51812dc3A010C7d01b50e0d17dc79C8"
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"--fund", "0x12"}, exitUsage, `devnet: command line: --fund "0x12": want 0x and 40 hexadecimal digits, then perhaps = and an amount of ether`},
		{[]string{"--fund", a[2:]}, exitUsage, `want 0x and 40 hexadecimal digits`},
		{[]string{"--fund", a + "="}, exitUsage, `the amount must be a decimal number of ether, such as 1.5`},
		{[]string{"--fund", a + "=-1"}, exitUsage, `the amount must be a decimal number of ether`},
		{[]string{"--fund", a + "=1e5"}, exitUsage, `the amount must be a decimal number of ether`},
		{[]string{"--fund", a + "=1.1234567890123456789"}, exitUsage, `more than 18 digits after the point`},
		{[]string{"--fund", a + "=" + strings.Repeat("9", 60)}, exitUsage, `the amount is too large`},
		{[]string{"--fund", a, "--fund", a}, exitUsage, `the address is there already`},
		{[]string{"--accounts", "-1"}, exitUsage, `--accounts -1: want 0 to 10000`},
		{[]string{"--output", "xml"}, exitUsage, `--output "xml": want text or json`},
		{[]string{"--period", "-1s"}, exitUsage, `--period -1s: want 0 or more`},
		{[]string{"--period", "soon"}, exitUsage, `invalid duration`},
		{[]string{"--chain-id", "0"}, exitUsage, `--chain-id 0: want 1 to 2^63-1`},
		{[]string{"--nonsense"}, exitUsage, `unknown flag: --nonsense`},
		{[]string{"now"}, exitUsage, `unexpected argument "now"`},
		{[]string{"--http", "0.0.0.0:0"}, exitFailed, `devnet: address "0.0.0.0:0" is not loopback`},
	} {
		var stdout, stderr bytes.Buffer
		if code := run(context.Background(), c.args, &stdout, &stderr); code != c.code || !strings.Contains(stderr.String(), c.want) {
			t.Errorf("%q: %d %s, want %d %s", c.args, code, stderr.String(), c.code, c.want)
		}
	}
}

func TestHelpHasExamples(t *testing.T) {
	var stdout, stderr bytes.Buffer
	if code := run(context.Background(), []string{"--help"}, &stdout, &stderr); code != exitOK || !strings.Contains(stdout.String(), "devnet --fund 0x") {
		t.Error(code, stdout.String(), stderr.String())
	}
}

func TestEtherIsReadExactly(t *testing.T) {
	for text, want := range map[string]string{
		"1": "1000000000000000000", "0.000000000000000001": "1", "1.5": "1500000000000000000", "0": "0", "007.": "7000000000000000000",
	} {
		if wei, err := parseEther(text); err != nil || wei.String() != want {
			t.Errorf("%s: %s %v, want %s", text, wei, err, want)
		}
	}
}
