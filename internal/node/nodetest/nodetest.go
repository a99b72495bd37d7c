// SPDX-License-Identifier: Apache-2.0

// Package nodetest is an Ethereum node that stands only at the wire: HTTP and
// WebSocket JSON-RPC on 127.0.0.1 over a small chain in memory. It follows
// geth in what its pool takes and refuses and in the words it uses, and it can
// be told to lie, stall, cut, forget and reorganise.
//
// There is no EVM: a transaction moves its value, pays its intrinsic gas and
// succeeds, unless a hook says otherwise. Signatures, chain ids, nonces, fees and
// balances are checked for real.
//
// It is for tests and benchmarks. It never listens anywhere but on loopback.
package nodetest

import (
	"crypto/ecdsa"
	"fmt"
	"math/big"
	"sync"
	"sync/atomic"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/crypto"
)

// TB is the part of testing.TB that New needs.
type TB interface {
	Helper()
	Cleanup(func())
	Fatalf(format string, args ...any)
}

// Options of a chain. The zero value is a chain 1337 with a base fee of 1 gwei
// that mines only when told to.
type Options struct {
	ChainID        uint64                      // default 1337
	Alloc          map[common.Address]*big.Int // balances at the start, wei
	DefaultBalance *big.Int                    // of every other address, wei; nil: nothing
	Interval       time.Duration               // a block this often, empty or not; 0: never
	Automine       bool                        // a block as soon as a transaction can be mined
	NoBaseFee      bool                        // a chain from before EIP-1559
	BaseFee        *big.Int                    // wei per gas, constant; default 1 gwei; may be 0
	MinTip         *big.Int                    // least tip that the pool takes, wei per gas; nil: any
	GasLimit       uint64                      // of a block; default 30,000,000
	BlockTxs       int                         // transactions in a block at most; 0: as the gas allows
	FinalizedDepth uint64                      // how far finalized and safe are behind latest; default 2
	PoolSize       int                         // transactions in the pool at most; 0: no limit
	AccountQueue   int                         // gapped transactions kept per sender; default 64, as geth
	FeeCap         *big.Int                    // gas × price that the node lets through, wei; nil: any (geth: --rpc.txfeecap)
	BatchLimit     int                         // calls in a batch at most; 0: no limit; -1: no batches at all
	Missing        []string                    // methods that this node does not have
	NoWebSocket    bool
	Listen         string // default 127.0.0.1:0; loopback only
}

// Chain is a running chain and the first node that serves it; AddEndpoint
// makes others. All methods are safe for concurrent use.
type Chain struct {
	*Endpoint // the first node

	opts Options
	done chan struct{}
	wg   sync.WaitGroup
	once sync.Once

	mu     sync.Mutex
	state  state
	pool   map[common.Address]*account // of senders with pooled transactions
	byHash map[common.Hash]*pooled
	hooks  hooks
	feeds  map[*feed]struct{}
	raws   [][]byte
	sealed int // blocks ever made: also salts their hashes
	nodes  []*Endpoint

	parsed  sync.Map // keccak of raw bytes → *parsedTx
	chainID atomic.Uint64
}

// Start runs a node. Close it after use.
func Start(opts Options) (*Chain, error) {
	if opts.ChainID == 0 {
		opts.ChainID = 1337
	}
	if opts.BaseFee == nil {
		opts.BaseFee = big.NewInt(1e9)
	}
	if opts.GasLimit == 0 {
		opts.GasLimit = 30_000_000
	}
	if opts.AccountQueue == 0 {
		opts.AccountQueue = 64
	}
	if opts.FinalizedDepth == 0 {
		opts.FinalizedDepth = 2
	}
	if opts.Listen == "" {
		opts.Listen = "127.0.0.1:0"
	}
	c := &Chain{opts: opts, done: make(chan struct{}), feeds: make(map[*feed]struct{})}
	c.chainID.Store(opts.ChainID)
	c.genesis()
	var err error
	if c.Endpoint, err = c.open(opts.Listen); err != nil {
		return nil, err
	}
	if opts.Interval > 0 {
		c.wg.Go(c.mineAtIntervals)
	}
	return c, nil
}

// New is Start for a test, which fails if the node does not start and closes it
// at its end.
func New(t TB, opts Options) *Chain {
	t.Helper()
	c, err := Start(opts)
	if err != nil {
		t.Fatalf("%v", err)
	}
	t.Cleanup(c.Close)
	return c
}

// Close stops all nodes and waits for everything it started.
func (c *Chain) Close() {
	c.once.Do(func() {
		close(c.done)
		c.mu.Lock()
		nodes := c.nodes
		c.mu.Unlock()
		for _, e := range nodes {
			e.faults.release()
			e.srv.Close()
			e.closeFeeds()
		}
	})
	c.wg.Wait()
}

// Key returns the n-th test key and its address, the same in every run.
func Key(n int) (*ecdsa.PrivateKey, common.Address) {
	seed := crypto.Keccak256([]byte(fmt.Sprintf("nodetest key %d", n)))
	key, err := crypto.ToECDSA(seed)
	if err != nil {
		panic(err) // no keccak hash of these seeds is outside the group order
	}
	return key, crypto.PubkeyToAddress(key.PublicKey)
}

// Ether is n·10^18 wei.
func Ether(n int64) *big.Int {
	return new(big.Int).Mul(big.NewInt(n), big.NewInt(1e18))
}

func (c *Chain) mineAtIntervals() {
	tick := time.NewTicker(c.opts.Interval)
	defer tick.Stop()
	for {
		select {
		case <-c.done:
			return
		case <-tick.C:
			c.Mine()
		}
	}
}

// Mined returns the transactions of an address that are on the chain now, in
// the chain's order.
func (c *Chain) Mined(addr common.Address) []*types.Transaction {
	c.mu.Lock()
	defer c.mu.Unlock()
	var list []*types.Transaction
	for _, b := range c.state.blocks {
		for i, tx := range b.txs {
			if b.senders[i] == addr {
				list = append(list, tx)
			}
		}
	}
	return list
}

// Pool returns the pooled transactions of an address in nonce order, the
// gapped ones included.
func (c *Chain) Pool(addr common.Address) []*types.Transaction {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.pool[addr].sorted()
}

// Received returns every raw transaction that ever came to the chain, in
// the order of arrival, repeated and refused ones included.
func (c *Chain) Received() [][]byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	return append([][]byte(nil), c.raws...)
}

// Head returns the newest block's number and hash.
func (c *Chain) Head() (uint64, common.Hash) {
	c.mu.Lock()
	defer c.mu.Unlock()
	b := c.state.head()
	return b.header.Number.Uint64(), b.hash
}

// Genesis returns the hash of block 0.
func (c *Chain) Genesis() common.Hash {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state.blocks[0].hash
}

// Nonce returns the true transaction count of an address at the newest block.
func (c *Chain) Nonce(addr common.Address) uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.state.at(addr, c.state.height()).nonce
}

// Balance returns the balance of an address at the newest block, wei.
func (c *Chain) Balance(addr common.Address) *big.Int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return new(big.Int).Set(c.state.at(addr, c.state.height()).balance)
}

// SetBalance sets a balance as of the newest block, wei.
func (c *Chain) SetBalance(addr common.Address, wei *big.Int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.state.at(addr, c.state.height())
	c.state.put(addr, now.nonce, new(big.Int).Set(wei))
}

// SetCode gives an address code, for eth_getCode.
func (c *Chain) SetCode(addr common.Address, code []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.state.code[addr] = append([]byte(nil), code...)
}

// SetBaseFee changes the base fee of the blocks to come, wei per gas.
func (c *Chain) SetBaseFee(wei *big.Int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.opts.BaseFee = wei
}

// SetMinTip changes the least tip that the pool takes, wei per gas.
func (c *Chain) SetMinTip(wei *big.Int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.opts.MinTip = wei
}
