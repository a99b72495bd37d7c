// SPDX-License-Identifier: Apache-2.0

// Package devnet is a development chain in one process: go-ethereum's node
// with its simulated beacon, HTTP and WebSocket JSON-RPC on one port, in
// memory. It is the real pool, EVM and RPC of geth without a network.
//
// Every start makes another chain: the genesis block holds 32 random bytes, so
// that no transaction database mistakes a new chain for an old one. It listens
// on loopback unless told otherwise, and never writes to disk.
//
// The package links the whole of go-ethereum's node. Only cmd/devnet, the demo
// and tests import it.
package devnet

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"net"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/eth"
	"github.com/ethereum/go-ethereum/eth/catalyst"
	"github.com/ethereum/go-ethereum/eth/ethconfig"
	"github.com/ethereum/go-ethereum/eth/filters"
	"github.com/ethereum/go-ethereum/node"
	"github.com/ethereum/go-ethereum/p2p"
	"github.com/ethereum/go-ethereum/params"
	"github.com/ethereum/go-ethereum/rpc"
)

// Options of a chain. The zero value is chain 1337 on a free port of loopback,
// with blocks on demand and nobody funded.
type Options struct {
	HTTP        string                      // host:port for HTTP and WebSocket; default 127.0.0.1:0
	Period      time.Duration               // a block this often, empty or not; 0: when transactions are pending
	ChainID     uint64                      // default 1337
	Alloc       map[common.Address]*big.Int // balances at the start, wei
	AllowRemote bool                        // permits an address other than loopback in HTTP, and any Host header
}

// Devnet is a running chain.
type Devnet struct {
	stack   *node.Node
	eth     *eth.Ethereum
	beacon  *catalyst.SimulatedBeacon
	chainID uint64
	stop    chan struct{}
	wg      sync.WaitGroup
	once    sync.Once
	err     error
}

// Start runs a chain until Close.
func Start(opts Options) (*Devnet, error) {
	if opts.HTTP == "" {
		opts.HTTP = "127.0.0.1:0"
	}
	if opts.ChainID == 0 {
		opts.ChainID = params.AllDevChainProtocolChanges.ChainID.Uint64()
	}
	if opts.Period < 0 {
		return nil, errors.New("devnet: the period must not be negative")
	}
	host, port, err := listenAddress(opts.HTTP, opts.AllowRemote)
	if err != nil {
		return nil, fmt.Errorf("devnet: %w", err)
	}
	if err := tryListen(host, port); err != nil {
		return nil, fmt.Errorf("devnet: %w", err)
	}
	stack, err := node.New(nodeConfig(host, port, opts.AllowRemote))
	if err != nil {
		return nil, fmt.Errorf("devnet: %w", err)
	}
	d := &Devnet{stack: stack, chainID: opts.ChainID, stop: make(chan struct{})}
	if err := d.start(genesis(opts)); err != nil {
		return nil, errors.Join(fmt.Errorf("devnet: %w", err), stack.Close())
	}
	if opts.Period > 0 {
		d.wg.Go(func() { d.mineAtIntervals(opts.Period) })
	} else {
		d.wg.Go(d.mineOnDemand)
	}
	return d, nil
}

// start assembles what ethclient/simulated assembles, which keeps the node and
// with it the port to itself.
func (d *Devnet) start(g *core.Genesis) (err error) {
	if d.eth, err = eth.New(d.stack, ethConfig(g)); err != nil {
		return err
	}
	d.stack.RegisterAPIs([]rpc.API{{
		Namespace: "eth",
		Service:   filters.NewFilterAPI(filters.NewFilterSystem(d.eth.APIBackend, filters.Config{})),
	}})
	if err := d.stack.Start(); err != nil {
		return err
	}
	d.beacon, err = catalyst.NewSimulatedBeacon(0, common.Address{}, d.eth)
	if err != nil {
		return err
	}
	return d.beacon.Fork(d.eth.BlockChain().GetCanonicalHash(0))
}

// URL is the address for HTTP, http://host:port.
func (d *Devnet) URL() string { return d.stack.HTTPEndpoint() }

// WSURL is the address for WebSocket, ws://host:port: the same port.
func (d *Devnet) WSURL() string { return d.stack.WSEndpoint() }

// ChainID is the chain's EIP-155 id.
func (d *Devnet) ChainID() uint64 { return d.chainID }

// Genesis is the hash of block 0.
func (d *Devnet) Genesis() common.Hash { return d.eth.BlockChain().Genesis().Hash() }

// Close stops the chain and forgets it. It may be called more than once.
func (d *Devnet) Close() error {
	d.once.Do(func() {
		close(d.stop)
		d.wg.Wait()
		d.err = errors.Join(d.beacon.Stop(), d.stack.Close())
	})
	return d.err
}

// listenAddress splits host:port and refuses what is not loopback.
func listenAddress(s string, remote bool) (string, int, error) {
	host, portText, err := net.SplitHostPort(s)
	if err != nil {
		return "", 0, fmt.Errorf("address %q: want host:port, such as 127.0.0.1:8546", s)
	}
	port, err := strconv.ParseUint(portText, 10, 16)
	if err != nil {
		return "", 0, fmt.Errorf("address %q: the port must be a number from 0 to 65535", s)
	}
	if host == "localhost" {
		host = "127.0.0.1"
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return "", 0, fmt.Errorf("address %q: the host must be an IP address or localhost", s)
	}
	if !ip.IsLoopback() && !remote {
		return "", 0, fmt.Errorf("address %q is not loopback: anybody who reaches it could use this chain (--allow-remote permits it)", s)
	}
	return host, int(port), nil
}

// tryListen finds out that a port is taken before anything is started:
// go-ethereum's node, half started, does not stop all that it began.
func tryListen(host string, port int) error {
	ln, err := new(net.ListenConfig).Listen(context.Background(), "tcp", net.JoinHostPort(host, strconv.Itoa(port)))
	if err != nil {
		return err
	}
	return ln.Close()
}

func nodeConfig(host string, port int, remote bool) *node.Config {
	modules := []string{"eth", "net", "web3", "txpool"}
	c := node.DefaultConfig
	c.Name = "devnet"
	c.DataDir = "" // in memory
	c.P2P = p2p.Config{NoDiscovery: true, NoDial: true}
	c.HTTPHost, c.HTTPPort, c.HTTPModules = host, port, modules
	// The same host and port: geth then serves both from one listener.
	c.WSHost, c.WSPort, c.WSModules = host, port, modules
	c.HTTPVirtualHosts = []string{"localhost"}
	if remote {
		c.HTTPVirtualHosts = []string{"*"}
	}
	return &c
}

func ethConfig(g *core.Genesis) *ethconfig.Config {
	c := ethconfig.Defaults
	c.Genesis = g
	c.SyncMode = ethconfig.FullSync
	// With its local tracker geth answers a hash for what its pool refused.
	c.TxPool.NoLocals = true
	c.LogNoHistory = true // searched without an index
	c.TrieCleanCache, c.TrieDirtyCache, c.SnapshotCache = 16, 16, 16
	return &c
}

func genesis(opts Options) *core.Genesis {
	config := *params.AllDevChainProtocolChanges
	config.ChainID = new(big.Int).SetUint64(opts.ChainID)
	alloc := maps.Clone(core.SystemContractAllocs())
	for addr, wei := range opts.Alloc {
		alloc[addr] = types.Account{Balance: wei}
	}
	extra := make([]byte, 32)
	rand.Read(extra) // never fails (crypto/rand)
	return &core.Genesis{
		Config:    &config,
		GasLimit:  ethconfig.Defaults.Miner.GasCeil,
		ExtraData: extra,
		Timestamp: uint64(time.Now().Unix()),
		Alloc:     alloc,
	}
}
