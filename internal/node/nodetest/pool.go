// SPDX-License-Identifier: Apache-2.0

package nodetest

import (
	"fmt"
	"math/big"
	"slices"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/crypto"
)

// account is what the pool holds of one sender. Sums and runs are kept up to
// date, since a sender may have thousands of transactions pooled.
type account struct {
	txs  map[uint64]*pooled
	cost *big.Int // of all of them
	next uint64   // end of the contiguous run from the account's nonce; see settle
}

type pooled struct {
	tx   *types.Transaction
	from common.Address
	seq  int // order of arrival
}

func (a *account) sorted() []*types.Transaction {
	if a == nil {
		return nil
	}
	list := make([]*types.Transaction, 0, len(a.txs))
	for _, p := range a.txs {
		list = append(list, p.tx)
	}
	slices.SortFunc(list, func(x, y *types.Transaction) int { return int(x.Nonce()) - int(y.Nonce()) })
	return list
}

// add pools a transaction in place of another with its nonce.
func (c *Chain) add(from common.Address, tx *types.Transaction) {
	acc := c.pool[from]
	if acc == nil {
		acc = &account{txs: make(map[uint64]*pooled), cost: new(big.Int)}
		acc.next = c.state.at(from, c.state.height()).nonce
		c.pool[from] = acc
	}
	c.remove(from, tx.Nonce())
	c.pool[from] = acc
	p := &pooled{tx: tx, from: from, seq: len(c.raws)}
	acc.txs[tx.Nonce()] = p
	acc.cost.Add(acc.cost, tx.Cost())
	c.byHash[tx.Hash()] = p
	for acc.txs[acc.next] != nil {
		acc.next++
	}
}

// remove drops what is pooled at a nonce, if anything.
func (c *Chain) remove(from common.Address, nonce uint64) {
	acc := c.pool[from]
	if acc == nil || acc.txs[nonce] == nil {
		return
	}
	tx := acc.txs[nonce].tx
	delete(acc.txs, nonce)
	delete(c.byHash, tx.Hash())
	acc.cost.Sub(acc.cost, tx.Cost())
	acc.next = min(acc.next, nonce)
	if len(acc.txs) == 0 {
		delete(c.pool, from)
	}
}

// settle brings a sender's pool up to its account after blocks came or went.
func (c *Chain) settle(addr common.Address) {
	acc := c.pool[addr]
	if acc == nil {
		return
	}
	nonce := c.state.at(addr, c.state.height()).nonce
	for n := range acc.txs {
		if n < nonce {
			c.remove(addr, n)
		}
	}
	acc.next = nonce
	for acc.txs[acc.next] != nil {
		acc.next++
	}
}

// pendingNonce is the first nonce from the account's on that is not pooled.
func (c *Chain) pendingNonce(addr common.Address) uint64 {
	if acc := c.pool[addr]; acc != nil {
		return acc.next
	}
	return c.state.at(addr, c.state.height()).nonce
}

type parsedTx struct {
	tx   *types.Transaction
	from common.Address
	err  *RPCError
}

// parse decodes raw bytes and recovers their sender, once for the same bytes.
func (c *Chain) parse(raw []byte) *parsedTx {
	key := crypto.Keccak256Hash(raw)
	id := c.chainID.Load()
	if p, ok := c.parsed.Load(key); ok && (p.(*parsedTx).tx == nil || p.(*parsedTx).tx.ChainId().Uint64() == id) {
		return p.(*parsedTx)
	}
	p := &parsedTx{tx: new(types.Transaction)}
	if err := p.tx.UnmarshalBinary(raw); err != nil {
		p.tx, p.err = nil, refusal("%v", err)
	} else if !p.tx.Protected() {
		p.err = refusal("only replay-protected (EIP-155) transactions allowed over RPC")
	} else if p.from, err = types.Sender(types.LatestSignerForChainID(new(big.Int).SetUint64(id)), p.tx); err != nil {
		p.err = refusal("invalid sender: %v", err)
	}
	if p.err == nil { // a refusal may hold for the present chain id only
		c.parsed.Store(key, p)
	}
	return p
}

// send is eth_sendRawTransaction.
func (c *Chain) send(raw []byte) (common.Hash, *RPCError) {
	p := c.parse(raw)
	c.mu.Lock()
	defer c.mu.Unlock()
	c.raws = append(c.raws, raw)
	if p.err != nil {
		return common.Hash{}, p.err
	}
	if c.hooks.send != nil {
		if err := c.hooks.send(p.tx); err != nil {
			return common.Hash{}, err
		}
	}
	if err := c.validate(p); err != nil {
		return common.Hash{}, err
	}
	hash := p.tx.Hash()
	if c.hooks.forget > 0 {
		c.hooks.forget--
		return hash, nil
	}
	c.add(p.from, p.tx)
	c.announcePending(hash)
	c.truncate(p.from)
	if c.opts.Automine {
		for {
			if txs := c.pick(); len(txs) == 0 || len(c.mine(txs)) == 0 {
				break
			}
		}
	}
	return hash, nil
}

// validate applies the pool's rules in geth's order (core/txpool/validation.go).
func (c *Chain) validate(p *parsedTx) *RPCError {
	tx := p.tx
	acc := c.pool[p.from]
	var old *pooled
	if acc != nil {
		old = acc.txs[tx.Nonce()]
	}
	if fee := new(big.Int).Mul(tx.GasPrice(), new(big.Int).SetUint64(tx.Gas())); c.opts.FeeCap != nil && fee.Cmp(c.opts.FeeCap) > 0 {
		return refusal("tx fee (%s ether) exceeds the configured cap (%s ether)", etherText(fee), etherText(c.opts.FeeCap))
	}
	if old != nil && old.tx.Hash() == tx.Hash() {
		return refusal("already known")
	}
	if c.opts.NoBaseFee && tx.Type() >= types.DynamicFeeTxType {
		return refusal("transaction type not supported: type %d rejected, pool not yet in London", tx.Type())
	}
	if tx.Type() != types.BlobTxType && tx.Size() > 128<<10 {
		return refusal("oversized data: transaction size %d, limit %d", tx.Size(), 128<<10)
	}
	if tx.Gas() > c.opts.GasLimit {
		return refusal("exceeds block gas limit")
	}
	if tx.GasTipCapIntCmp(tx.GasFeeCap()) > 0 {
		return refusal("max priority fee per gas higher than max fee per gas: maxPriorityFeePerGas: %s, maxFeePerGas: %s", tx.GasTipCap(), tx.GasFeeCap())
	}
	if need := intrinsicGas(tx); tx.Gas() < need {
		return refusal("intrinsic gas too low: gas %d, minimum needed %d", tx.Gas(), need)
	}
	if c.opts.MinTip != nil && tx.GasTipCapIntCmp(c.opts.MinTip) < 0 {
		return refusal("transaction gas price below minimum: gas tip cap %s, minimum needed %s", tx.GasTipCap(), c.opts.MinTip)
	}
	now := c.state.at(p.from, c.state.height())
	if tx.Nonce() < now.nonce {
		return refusal("nonce too low: next nonce %d, tx nonce %d", now.nonce, tx.Nonce())
	}
	if err := c.affordable(p, acc, old, now.balance); err != nil {
		return err
	}
	if old != nil && !bumped(old.tx, tx) {
		return refusal("replacement transaction underpriced")
	}
	if old == nil && c.opts.PoolSize > 0 && len(c.byHash) >= c.opts.PoolSize {
		return refusal("txpool is full")
	}
	return nil
}

// affordable checks that the balance covers this transaction and all pooled
// ones of the sender.
func (c *Chain) affordable(p *parsedTx, acc *account, old *pooled, balance *big.Int) *RPCError {
	cost := p.tx.Cost()
	if balance.Cmp(cost) < 0 {
		return refusal("insufficient funds for gas * price + value: balance %s, tx cost %s, overshot %s",
			balance, cost, new(big.Int).Sub(cost, balance))
	}
	if acc == nil {
		return nil
	}
	queued := new(big.Int).Set(acc.cost)
	if old != nil {
		queued.Sub(queued, old.tx.Cost())
	}
	if need := new(big.Int).Add(queued, cost); balance.Cmp(need) < 0 {
		return refusal("insufficient funds for gas * price + value: balance %s, queued cost %s, tx cost %s, overshot %s",
			balance, queued, cost, need.Sub(need, balance))
	}
	return nil
}

// truncate drops the highest gapped transactions of a sender beyond the
// limit, in silence, as geth's account queue does.
func (c *Chain) truncate(addr common.Address) {
	acc, nonce := c.pool[addr], c.state.at(addr, c.state.height()).nonce
	if len(acc.txs)-int(acc.next-nonce) <= c.opts.AccountQueue {
		return
	}
	var gapped []uint64
	for n := range acc.txs {
		if n > acc.next {
			gapped = append(gapped, n)
		}
	}
	slices.Sort(gapped)
	for _, n := range gapped[c.opts.AccountQueue:] {
		c.remove(addr, n)
	}
}

// bumped says whether fees are 10 % above those of the replaced transaction.
func bumped(old, tx *types.Transaction) bool {
	enough := func(was, is *big.Int) bool {
		least := new(big.Int).Mul(was, big.NewInt(110))
		least.Div(least, big.NewInt(100))
		return is.Cmp(was) > 0 && is.Cmp(least) >= 0
	}
	return enough(old.GasFeeCap(), tx.GasFeeCap()) && enough(old.GasTipCap(), tx.GasTipCap())
}

func etherText(wei *big.Int) string {
	f, _ := new(big.Float).Quo(new(big.Float).SetInt(wei), big.NewFloat(1e18)).Float64()
	return fmt.Sprintf("%.2f", f)
}
