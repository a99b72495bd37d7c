// SPDX-License-Identifier: Apache-2.0

package fault

import (
	"context"
	"crypto/ecdsa"
	"errors"
	"fmt"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/ethereum/go-ethereum/accounts/keystore"
	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/ethereum/go-ethereum/ethclient"
	"github.com/ethereum/go-ethereum/params"
	"github.com/ethereum/go-ethereum/rpc"

	"github.com/hsmsigner/hsmsigner/e2e/harness"
)

// chainID of the rig's chain.
const chainID = 1337

// BlockTime of the rig's chain.
const BlockTime = 100 * time.Millisecond

// Rig is what many runs share: the programs, a chain in a process of its own, a
// PostgreSQL server. It is safe for concurrent use.
type Rig struct {
	Dir  string
	Bin  harness.Binaries
	RPC  *rpc.Client
	Eth  *ethclient.Client
	URL  string
	node *process

	disk bool // tmpfs can be mounted, so disks can be full

	mu     sync.Mutex // of the funder's nonce
	funder *ecdsa.PrivateKey
	nonce  uint64
}

// NewRig starts a chain of blocks every BlockTime in a process of its own. Dir is
// for what outlives a run.
func NewRig(ctx context.Context, bin harness.Binaries, dir string) (*Rig, error) {
	r := &Rig{Dir: dir, Bin: bin}
	var err error
	if r.funder, err = crypto.GenerateKey(); err != nil {
		return nil, fmt.Errorf("fault: %w", err)
	}
	r.disk = canMount(dir)
	address, err := freeAddress()
	if err != nil {
		return nil, err
	}
	r.URL = "http://" + address
	fund := crypto.PubkeyToAddress(r.funder.PublicKey).Hex() + "=1000000000"
	if r.node, err = start(filepath.Join(dir, "chain.log"), nil, bin.Devnet, "--http", address, "--period", BlockTime.String(), "--fund", fund); err != nil {
		return nil, err
	}
	if r.RPC, err = rpc.DialContext(ctx, r.URL); err != nil {
		return nil, errors.Join(fmt.Errorf("fault: %w", err), r.Close())
	}
	r.Eth = ethclient.NewClient(r.RPC)
	for end := time.Now().Add(readyTimeout); ; time.Sleep(20 * time.Millisecond) {
		if _, err = r.Eth.ChainID(ctx); err == nil {
			return r, nil
		}
		if r.node.ended() || time.Now().After(end) {
			return nil, errors.Join(fmt.Errorf("fault: the chain does not answer: %w", err), r.Close())
		}
	}
}

// Close ends the chain.
func (r *Rig) Close() error {
	if r.RPC != nil {
		r.RPC.Close()
	}
	r.node.kill()
	return nil
}

// newKeys writes n keys with the least of scrypt: the harness starts daemons
// hundreds of times, and each of them derives the keys anew.
func newKeys(dir string, n int) (addresses []common.Address, passwordFile string, err error) {
	const password = "only for tests"
	passwordFile = filepath.Join(dir, "password")
	if err := os.WriteFile(passwordFile, []byte(password+"\n"), 0o600); err != nil {
		return nil, "", fmt.Errorf("fault: %w", err)
	}
	for range n {
		a, err := keystore.StoreKey(filepath.Join(dir, "keys"), password, 2, 1)
		if err != nil {
			return nil, "", fmt.Errorf("fault: store key: %w", err)
		}
		addresses = append(addresses, a.Address)
	}
	return addresses, passwordFile, nil
}

// fund gives each address 1,000 ether and waits until they have it.
func (r *Rig) fund(ctx context.Context, addresses ...common.Address) error {
	if err := r.pay(ctx, addresses); err != nil {
		return err
	}
	for end := time.Now().Add(readyTimeout); time.Now().Before(end); time.Sleep(10 * time.Millisecond) {
		balance, err := r.Eth.BalanceAt(ctx, addresses[len(addresses)-1], nil)
		if err == nil && balance.Sign() > 0 {
			return nil
		}
	}
	return fmt.Errorf("fault: the funds of %s do not arrive", addresses[0])
}

func (r *Rig) pay(ctx context.Context, addresses []common.Address) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	signer := types.LatestSignerForChainID(big.NewInt(chainID))
	for _, a := range addresses {
		signed, err := types.SignNewTx(r.funder, signer, &types.DynamicFeeTx{
			ChainID: big.NewInt(chainID), Nonce: r.nonce, To: &a, Gas: params.TxGas,
			Value:     new(big.Int).Mul(big.NewInt(1000), big.NewInt(params.Ether)),
			GasTipCap: big.NewInt(params.GWei), GasFeeCap: big.NewInt(100 * params.GWei),
		})
		if err != nil {
			return fmt.Errorf("fault: fund: %w", err)
		}
		if err := r.Eth.SendTransaction(ctx, signed); err != nil {
			return fmt.Errorf("fault: fund: %w", err)
		}
		r.nonce++
	}
	return nil
}

// configFile is the YAML of one replica.
func (r *Replica) configFile(o runFiles, door, admin string) string {
	var b strings.Builder
	if o.postgres == "" {
		fmt.Fprintf(&b, "data: %q\n", o.data)
	} else {
		fmt.Fprintf(&b, "data: %q\ndatabase: %q\n", o.data, o.postgres)
		fmt.Fprintf(&b, "replica: {listen: %q, lease: %s, drain: 300ms}\n", o.peer, o.lease)
	}
	fmt.Fprintf(&b, "rpc: {listen: %q, auth: none, timeout: %s}\n", door, o.timeout)
	fmt.Fprintf(&b, "admin: {listen: %q}\n", admin)
	b.WriteString("default_wallet: fault\nwallets:\n  - name: fault\n")
	fmt.Fprintf(&b, "    node: {url: %q, chain_id: %d, poll: 50ms, timeout: 2s}\n", o.node, chainID)
	fmt.Fprintf(&b, "    confirmations: %d\n    concurrency: 32\n", confirmations)
	if o.wallet != "" {
		b.WriteString("    " + o.wallet + "\n")
	}
	fmt.Fprintf(&b, "    details: {provider: keystore, path: %q, user_secret: {file: %q}}\n", filepath.Join(filepath.Dir(o.password), "keys"), o.password)
	return b.String() + o.extra
}

// confirmations of the runs. The proxies lie of fewer blocks than this.
const confirmations = 4

// runFiles is what the config of a replica names.
type runFiles struct {
	node           string // URL
	data, password string
	postgres       string        // URL through the replica's link; empty for SQLite
	peer           string        // address of the replica's own listener
	lease          time.Duration // PostgreSQL only
	timeout        time.Duration // of eth_sendTransaction
	wallet, extra  string        // YAML of the wallet, and at the end
}
