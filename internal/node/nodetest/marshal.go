// SPDX-License-Identifier: Apache-2.0

package nodetest

import (
	"encoding/json"
	"math/big"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/crypto"
)

// getBlock is eth_getBlockByNumber and eth_getBlockByHash. An unknown block is
// null.
func (c *Chain) getBlock(p params) (any, *RPCError) {
	if len(p) == 0 {
		return nil, errParams
	}
	full, _ := get[bool](p, 1)
	number, pending, err := c.height(p, 0)
	if err == errUnknownBlock {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if pending {
		b := &block{header: c.newHeader(c.state.head())}
		for _, p := range c.pick() {
			b.txs = append(b.txs, p.tx)
			b.senders = append(b.senders, p.from)
		}
		out := blockJSON(b, full)
		out["hash"], out["nonce"] = nil, nil
		return out, nil
	}
	return blockJSON(c.state.blocks[number], full), nil
}

func blockJSON(b *block, full bool) map[string]any {
	out := fields(b.header)
	txs := make([]any, len(b.txs))
	for i, tx := range b.txs {
		if full {
			txs[i] = transactionJSON(tx, b.senders[i], &location{b, i})
			continue
		}
		txs[i] = tx.Hash()
	}
	out["transactions"] = txs
	out["uncles"] = []string{}
	out["size"] = hexutil.Uint64(b.header.Size())
	return out
}

// fields turns a type of go-ethereum into its JSON-RPC members.
func fields(v any) map[string]any {
	var out map[string]any
	if err := json.Unmarshal(marshal(v), &out); err != nil {
		panic(err)
	}
	return out
}

// transaction is eth_getTransactionByHash, nil if unknown. Callers hold mu.
func (c *Chain) transaction(hash common.Hash) any {
	if at, ok := c.state.mined[hash]; ok {
		return transactionJSON(at.block.txs[at.index], at.block.senders[at.index], &at)
	}
	if p := c.byHash[hash]; p != nil {
		return transactionJSON(p.tx, p.from, nil)
	}
	return nil
}

func transactionJSON(tx *types.Transaction, from common.Address, at *location) map[string]any {
	out := fields(tx)
	out["from"] = from
	out["blockHash"], out["blockNumber"], out["transactionIndex"] = nil, nil, nil
	if at != nil {
		out["blockHash"] = at.block.hash
		out["blockNumber"] = (*hexutil.Big)(at.block.header.Number)
		out["transactionIndex"] = hexutil.Uint64(at.index)
		out["gasPrice"] = (*hexutil.Big)(effectivePrice(tx, at.block.header.BaseFee))
	}
	return out
}

func receiptJSON(b *block, i int) map[string]any {
	tx := b.txs[i]
	cumulative := uint64(0)
	for _, gas := range b.gasUsed[:i+1] {
		cumulative += gas
	}
	out := map[string]any{
		"transactionHash":   tx.Hash(),
		"transactionIndex":  hexutil.Uint64(i),
		"blockHash":         b.hash,
		"blockNumber":       (*hexutil.Big)(b.header.Number),
		"from":              b.senders[i],
		"to":                tx.To(),
		"contractAddress":   nil,
		"status":            hexutil.Uint64(b.status[i]),
		"type":              hexutil.Uint64(tx.Type()),
		"gasUsed":           hexutil.Uint64(b.gasUsed[i]),
		"cumulativeGasUsed": hexutil.Uint64(cumulative),
		"effectiveGasPrice": (*hexutil.Big)(new(big.Int).Set(effectivePrice(tx, b.header.BaseFee))),
		"logs":              []any{},
		"logsBloom":         types.Bloom{},
	}
	if tx.To() == nil {
		out["contractAddress"] = crypto.CreateAddress(b.senders[i], tx.Nonce())
	}
	return out
}

// blockReceipts is eth_getBlockReceipts. An unknown block is null, as in geth.
func (c *Chain) blockReceipts(p params) (any, *RPCError) {
	if len(p) == 0 {
		return nil, errParams
	}
	number, _, err := c.height(p, 0)
	if err == errUnknownBlock {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	b := c.state.blocks[number]
	out := make([]any, len(b.txs))
	for i := range b.txs {
		out[i] = receiptJSON(b, i)
	}
	return out, nil
}
