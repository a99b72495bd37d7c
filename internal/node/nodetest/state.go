// SPDX-License-Identifier: Apache-2.0

package nodetest

import (
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"sort"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/crypto"
)

// state is the chain itself: blocks, and accounts with their history.
type state struct {
	blocks   []*block
	accounts map[common.Address][]version // oldest first
	fallback *big.Int                     // balance of unknown accounts
	code     map[common.Address][]byte
	mined    map[common.Hash]location
}

// version is an account from a block on.
type version struct {
	block   uint64
	nonce   uint64
	balance *big.Int // never changed in place
}

type location struct {
	block *block
	index int
}

type block struct {
	header  *types.Header
	hash    common.Hash
	txs     []*types.Transaction
	senders []common.Address
	status  []uint64
	gasUsed []uint64
}

func (s *state) head() *block   { return s.blocks[len(s.blocks)-1] }
func (s *state) height() uint64 { return uint64(len(s.blocks) - 1) }

// at is an account as of a block.
func (s *state) at(addr common.Address, number uint64) version {
	history := s.accounts[addr]
	i := sort.Search(len(history), func(i int) bool { return history[i].block > number })
	if i == 0 {
		return version{balance: s.fallback}
	}
	return history[i-1]
}

// put sets an account as of the newest block.
func (s *state) put(addr common.Address, nonce uint64, balance *big.Int) {
	v := version{block: s.height(), nonce: nonce, balance: balance}
	history := s.accounts[addr]
	if n := len(history); n > 0 && history[n-1].block == v.block {
		history[n-1] = v
		return
	}
	s.accounts[addr] = append(history, v)
}

// genesis starts the chain anew, with a first block like no other. Callers hold mu,
// or are alone.
func (c *Chain) genesis() {
	c.state = state{
		accounts: make(map[common.Address][]version),
		fallback: new(big.Int),
		code:     make(map[common.Address][]byte),
		mined:    make(map[common.Hash]location),
	}
	if c.opts.DefaultBalance != nil {
		c.state.fallback = c.opts.DefaultBalance
	}
	c.pool = make(map[common.Address]*account)
	c.byHash = make(map[common.Hash]*pooled)
	salt := make([]byte, 32)
	rand.Read(salt) // never fails (crypto/rand)
	first := c.newHeader(nil)
	first.Extra = salt
	c.state.blocks = []*block{{header: first, hash: first.Hash()}}
	for addr, balance := range c.opts.Alloc {
		c.state.put(addr, 0, new(big.Int).Set(balance))
	}
}

func (c *Chain) newHeader(parent *block) *types.Header {
	c.sealed++
	h := &types.Header{
		Number:      new(big.Int),
		Difficulty:  new(big.Int),
		GasLimit:    c.opts.GasLimit,
		Time:        uint64(time.Now().Unix()),
		Extra:       binary.BigEndian.AppendUint64(nil, uint64(c.sealed)),
		UncleHash:   types.EmptyUncleHash,
		TxHash:      types.EmptyTxsHash,
		ReceiptHash: types.EmptyReceiptsHash,
		Root:        types.EmptyRootHash,
	}
	if parent != nil {
		h.ParentHash = parent.hash
		h.Number.Add(parent.header.Number, big.NewInt(1))
		h.Time = max(h.Time, parent.header.Time+1)
	}
	if !c.opts.NoBaseFee {
		h.BaseFee = new(big.Int).Set(c.opts.BaseFee)
	}
	return h
}

// Mine makes one block of what the pool can offer, perhaps empty, and returns
// its transactions.
func (c *Chain) Mine() []*types.Transaction {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.mine(c.pick())
}

// mine seals a block of these transactions, which fit the state in this order.
func (c *Chain) mine(txs []*pooled) []*types.Transaction {
	header := c.newHeader(c.state.head())
	b := &block{header: header}
	// The block joins the chain first, so that put works on its height.
	c.state.blocks = append(c.state.blocks, b)
	var roots []byte
	for _, p := range txs {
		gas, status := intrinsicGas(p.tx), uint64(1)
		if c.hooks.revert != nil && c.hooks.revert(p.tx) {
			gas, status = p.tx.Gas(), 0
		}
		c.execute(p, header.BaseFee, gas, status)
		header.GasUsed += gas
		b.txs = append(b.txs, p.tx)
		b.senders = append(b.senders, p.from)
		b.status = append(b.status, status)
		b.gasUsed = append(b.gasUsed, gas)
		roots = append(roots, p.tx.Hash().Bytes()...)
	}
	if len(b.txs) > 0 {
		header.TxHash = crypto.Keccak256Hash(roots) // a stand-in: only its being non-empty is looked at
		header.ReceiptHash = header.TxHash
	}
	b.hash = header.Hash()
	touched := make(map[common.Address]struct{})
	for i, tx := range b.txs {
		c.state.mined[tx.Hash()] = location{b, i}
		c.remove(b.senders[i], tx.Nonce())
		touched[b.senders[i]] = struct{}{}
	}
	for addr := range touched {
		c.settle(addr)
	}
	c.announce(b)
	return slices.Clone(b.txs)
}

func (c *Chain) execute(p *pooled, baseFee *big.Int, gas, status uint64) {
	height := c.state.height()
	from := c.state.at(p.from, height)
	balance := new(big.Int).Mul(effectivePrice(p.tx, baseFee), new(big.Int).SetUint64(gas))
	balance.Sub(from.balance, balance)
	if status == 1 {
		balance.Sub(balance, p.tx.Value())
	}
	c.state.put(p.from, from.nonce+1, balance)
	if status != 1 {
		return
	}
	to := p.tx.To()
	if to == nil {
		created := crypto.CreateAddress(p.from, p.tx.Nonce())
		c.state.code[created] = p.tx.Data()
		to = &created
	}
	receiver := c.state.at(*to, height)
	c.state.put(*to, receiver.nonce, new(big.Int).Add(receiver.balance, p.tx.Value()))
}

// pick chooses what goes into the next block: senders in the order in which
// their next transaction arrived, each as far as nonces are contiguous.
func (c *Chain) pick() []*pooled {
	var queues [][]*pooled
	for addr := range c.pool {
		if run := c.executable(addr); len(run) > 0 {
			queues = append(queues, run)
		}
	}
	sort.Slice(queues, func(i, j int) bool { return queues[i][0].seq < queues[j][0].seq })
	var picked []*pooled
	gas := c.opts.GasLimit
	for _, run := range queues {
		for _, p := range run {
			if c.opts.BlockTxs > 0 && len(picked) == c.opts.BlockTxs || p.tx.Gas() > gas {
				break
			}
			gas -= p.tx.Gas()
			picked = append(picked, p)
		}
	}
	return picked
}

// executable is the run of a sender's transactions from its nonce on that can
// pay for themselves, in nonce order.
func (c *Chain) executable(addr common.Address) []*pooled {
	acc := c.pool[addr]
	if acc == nil {
		return nil
	}
	now := c.state.at(addr, c.state.height())
	left := new(big.Int).Set(now.balance)
	var run []*pooled
	for nonce := now.nonce; ; nonce++ {
		p := acc.txs[nonce]
		if p == nil || !c.opts.NoBaseFee && p.tx.GasFeeCapIntCmp(c.opts.BaseFee) < 0 {
			return run
		}
		if left.Sub(left, p.tx.Cost()).Sign() < 0 {
			return run
		}
		run = append(run, p)
	}
}

// Reorg drops the last depth blocks and puts depth+1 empty ones in their
// place. The transactions go back to the pool, to be mined by the next Mine, or
// vanish.
func (c *Chain) Reorg(depth int, vanish bool) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if depth < 1 || depth >= len(c.state.blocks) {
		return fmt.Errorf("nodetest: reorg of %d blocks in a chain of %d", depth, len(c.state.blocks))
	}
	keep := len(c.state.blocks) - depth
	dropped := c.state.blocks[keep:]
	c.state.blocks = c.state.blocks[:keep:keep]
	for addr, history := range c.state.accounts {
		n := sort.Search(len(history), func(i int) bool { return history[i].block >= uint64(keep) })
		c.state.accounts[addr] = history[:n:n]
	}
	for addr := range c.pool {
		c.settle(addr) // nonces have gone back
	}
	for _, b := range dropped {
		for i, tx := range b.txs {
			delete(c.state.mined, tx.Hash())
			acc := c.pool[b.senders[i]]
			if !vanish && (acc == nil || acc.txs[tx.Nonce()] == nil) {
				c.add(b.senders[i], tx)
			}
		}
	}
	for range depth + 1 {
		c.mine(nil)
	}
	return nil
}

// Reset throws the chain away and starts another with the same id and alloc:
// a new genesis block, empty pool, all nonces zero.
func (c *Chain) Reset() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.genesis()
	c.announce(c.state.head())
}

// External mines a transaction that came to the chain by another way, in a
// block of its own. What the pool holds at its nonce is dropped, as when
// somebody else uses the key.
func (c *Chain) External(tx *types.Transaction) error {
	from, err := types.Sender(types.LatestSignerForChainID(new(big.Int).SetUint64(c.chainID.Load())), tx)
	if err != nil {
		return fmt.Errorf("nodetest: external transaction: %w", err)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	now := c.state.at(from, c.state.height())
	if now.nonce != tx.Nonce() {
		return fmt.Errorf("nodetest: external transaction has nonce %d, the account %d", tx.Nonce(), now.nonce)
	}
	if now.balance.Cmp(tx.Cost()) < 0 {
		return errors.New("nodetest: external transaction: not enough balance")
	}
	c.mine([]*pooled{{tx: tx, from: from}})
	return nil
}

func effectivePrice(tx *types.Transaction, baseFee *big.Int) *big.Int {
	if baseFee == nil {
		return tx.GasPrice()
	}
	price := new(big.Int).Add(baseFee, tx.GasTipCap())
	if price.Cmp(tx.GasFeeCap()) > 0 {
		return tx.GasFeeCap()
	}
	return price
}

// intrinsicGas is what a transaction costs before it does anything (yellow
// paper, EIP-2028, 2930, 3860, 7702).
func intrinsicGas(tx *types.Transaction) uint64 {
	gas := callGas(tx.Data(), tx.To() == nil)
	for _, entry := range tx.AccessList() {
		gas += 2400 + 1900*uint64(len(entry.StorageKeys))
	}
	return gas + 25000*uint64(len(tx.SetCodeAuthorizations()))
}

func callGas(data []byte, create bool) uint64 {
	gas := uint64(21000)
	if create {
		gas += 32000 + 2*uint64((len(data)+31)/32)
	}
	for _, b := range data {
		if b == 0 {
			gas += 4
		} else {
			gas += 16
		}
	}
	return gas
}
