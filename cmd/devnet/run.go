// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/ecdsa"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/big"
	"strings"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/spf13/cobra"

	"github.com/hsmsigner/hsmsigner/internal/devnet"
)

// Exit codes.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

type settings struct {
	http        string
	period      time.Duration
	chainID     uint64
	fund        []string
	accounts    int
	allowRemote bool
	output      string
}

// errUsage marks what the user can mend on the command line.
var errUsage = errors.New("command line")

func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	cmd := command(stdout)
	cmd.SetArgs(args)
	cmd.SetOut(stdout)
	cmd.SetErr(stderr)
	err := cmd.ExecuteContext(ctx)
	switch {
	case err == nil:
		return exitOK
	case errors.Is(err, errUsage):
		fmt.Fprintf(stderr, "devnet: %v\nRun 'devnet --help' for usage.\n", err)
		return exitUsage
	default:
		fmt.Fprintf(stderr, "devnet: %s\n", strings.TrimPrefix(err.Error(), "devnet: "))
		return exitFailed
	}
}

func command(stdout io.Writer) *cobra.Command {
	var s settings
	cmd := &cobra.Command{
		Use:   "devnet",
		Short: "An Ethereum chain for development, in one process",
		Long: `Devnet runs go-ethereum's node on a chain of its own: real pool, EVM and JSON-RPC,
over HTTP and WebSocket on one port. It keeps nothing on disk, has no peers, and
every start makes a new chain with another genesis block. Ctrl-C ends it.

When it is ready it prints one line with the URL, the chain id and the genesis hash.`,
		Example: `  # chain 1337 on 127.0.0.1:8546, a block every two seconds, one account with 10,000 ether
  devnet --fund 0x70997970C51812dc3A010C7d01b50e0d17dc79C8

  # 5 ether for one account, 0.25 for another, blocks only when there are transactions
  devnet --fund 0x70997970C51812dc3A010C7d01b50e0d17dc79C8=5 --fund 0x3C44CdDdB6a900fa2b585dd299e03d12FA4293BC=0.25 --period 0

  # three new accounts with 10,000 ether each; their private keys are printed
  devnet --accounts 3 --output json`,
		Args: func(_ *cobra.Command, args []string) error {
			if len(args) > 0 {
				return fmt.Errorf("%w: unexpected argument %q", errUsage, args[0])
			}
			return nil
		},
		SilenceErrors: true,
		SilenceUsage:  true,
		RunE:          func(cmd *cobra.Command, _ []string) error { return serve(cmd.Context(), s, stdout) },
	}
	cmd.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return fmt.Errorf("%w: %w", errUsage, err) })
	f := cmd.Flags()
	f.StringVar(&s.http, "http", "127.0.0.1:8546", "`address` for HTTP and WebSocket; port 0 takes a free one")
	f.DurationVar(&s.period, "period", 2*time.Second, "time between blocks; 0 mines when transactions are pending")
	f.Uint64Var(&s.chainID, "chain-id", 1337, "EIP-155 chain id")
	f.StringArrayVar(&s.fund, "fund", nil, "`0xaddress[=ether]` to fund at the start (default 10000 ether each); repeatable")
	f.IntVar(&s.accounts, "accounts", 0, "number of new accounts to make and fund; prints their private keys")
	f.BoolVar(&s.allowRemote, "allow-remote", false, "permit an --http address other than loopback")
	f.StringVar(&s.output, "output", "text", "form of the line at the start: text or json")
	return cmd
}

// account is one that --accounts made. Its key guards play money only.
type account struct {
	Address    common.Address `json:"address"`
	PrivateKey string         `json:"private_key"`
}

// ready is what is printed when the chain answers.
type ready struct {
	URL      string      `json:"url"`
	WSURL    string      `json:"ws_url"`
	ChainID  uint64      `json:"chain_id"`
	Genesis  common.Hash `json:"genesis"`
	Accounts []account   `json:"accounts,omitempty"`
}

// serve runs the chain until ctx is done.
func serve(ctx context.Context, s settings, stdout io.Writer) error {
	alloc, made, err := funds(s)
	if err != nil {
		return err
	}
	if s.output != "text" && s.output != "json" {
		return fmt.Errorf("%w: --output %q: want text or json", errUsage, s.output)
	}
	if s.period < 0 {
		return fmt.Errorf("%w: --period %s: want 0 or more", errUsage, s.period)
	}
	if s.chainID == 0 || s.chainID >= 1<<63 {
		return fmt.Errorf("%w: --chain-id %d: want 1 to 2^63-1", errUsage, s.chainID)
	}
	d, err := devnet.Start(devnet.Options{
		HTTP: s.http, Period: s.period, ChainID: s.chainID, Alloc: alloc, AllowRemote: s.allowRemote,
	})
	if err != nil {
		return err
	}
	announce(stdout, s.output, ready{d.URL(), d.WSURL(), d.ChainID(), d.Genesis(), made})
	<-ctx.Done()
	return d.Close()
}

func announce(w io.Writer, output string, r ready) {
	if output == "json" {
		_ = json.NewEncoder(w).Encode(r) // nobody to tell when standard output is gone
		return
	}
	fmt.Fprintf(w, "devnet ready: %s (and %s), chain id %d, genesis %s\n", r.URL, r.WSURL, r.ChainID, r.Genesis)
	for _, a := range r.Accounts {
		fmt.Fprintf(w, "account %s private key %s\n", a.Address, a.PrivateKey)
	}
}

// funds is what the genesis block gives to whom.
func funds(s settings) (map[common.Address]*big.Int, []account, error) {
	alloc := make(map[common.Address]*big.Int)
	for _, f := range s.fund {
		addr, wei, err := parseFund(f)
		if err != nil {
			return nil, nil, fmt.Errorf("%w: --fund %q: %w", errUsage, f, err)
		}
		if _, twice := alloc[addr]; twice {
			return nil, nil, fmt.Errorf("%w: --fund %q: the address is there already", errUsage, f)
		}
		alloc[addr] = wei
	}
	if s.accounts < 0 || s.accounts > 10_000 {
		return nil, nil, fmt.Errorf("%w: --accounts %d: want 0 to 10000", errUsage, s.accounts)
	}
	made := make([]account, s.accounts)
	for i := range made {
		key, err := crypto.GenerateKey()
		if err != nil {
			return nil, nil, fmt.Errorf("new account: %w", err)
		}
		made[i] = newAccount(key)
		alloc[made[i].Address] = defaultFund()
	}
	return alloc, made, nil
}

func newAccount(key *ecdsa.PrivateKey) account {
	return account{crypto.PubkeyToAddress(key.PublicKey), hexutil.Encode(crypto.FromECDSA(key))}
}
