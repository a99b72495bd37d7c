// SPDX-License-Identifier: Apache-2.0

package contract

import (
	"context"
	"errors"
	"math/big"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"

	"github.com/hsmsigner/hsmsigner/internal/abi"
	"github.com/hsmsigner/hsmsigner/internal/node"
)

// receiptText is a receipt as the node sends it.
type receiptText struct {
	Hash       common.Hash     `json:"transactionHash"`
	Index      hexutil.Uint64  `json:"transactionIndex"`
	BlockHash  common.Hash     `json:"blockHash"`
	Block      *hexutil.Uint64 `json:"blockNumber"`
	From       common.Address  `json:"from"`
	To         *common.Address `json:"to"`
	Contract   *common.Address `json:"contractAddress"`
	Status     *hexutil.Uint64 `json:"status"`
	GasUsed    hexutil.Uint64  `json:"gasUsed"`
	Cumulative hexutil.Uint64  `json:"cumulativeGasUsed"`
	Price      *hexutil.Big    `json:"effectiveGasPrice"`
	Logs       []logText       `json:"logs"`
}

type logText struct {
	Address common.Address `json:"address"`
	Topics  []common.Hash  `json:"topics"`
	Data    hexutil.Bytes  `json:"data"`
	Index   hexutil.Uint64 `json:"logIndex"`
}

// receiptOf asks the node for a receipt; nil if it has none.
func receiptOf(ctx context.Context, w Wallet, hash common.Hash) (*Receipt, error) {
	var r *receiptText
	err := ask(ctx, w, "eth_getTransactionReceipt", &r, hash)
	var refused *nodeRefusal
	switch {
	case errors.As(err, &refused):
		return nil, &NodeError{Code: refused.Code, Msg: refused.Message}
	case err != nil:
		return nil, err
	case r == nil || r.Block == nil: // some nodes give receipts of what is in their pool
		return nil, nil
	case r.Hash != hash:
		return nil, node.ErrBadResponse
	}
	receipt := &Receipt{
		BlockHash: r.BlockHash, BlockNumber: uint64(*r.Block), Hash: r.Hash, Index: uint64(r.Index), From: r.From, To: r.To,
		Contract: r.Contract, Status: 1, GasUsed: uint64(r.GasUsed), CumulativeGasUsed: uint64(r.Cumulative),
		EffectiveGasPrice: (*big.Int)(r.Price),
	}
	if r.Status != nil { // absent before EIP-658
		receipt.Status = uint64(*r.Status)
	}
	for _, l := range r.Logs {
		receipt.Logs = append(receipt.Logs, Log{Address: l.Address, Topics: l.Topics, Data: l.Data, Index: uint64(l.Index)})
	}
	return receipt, nil
}

// eventsOf decodes those logs that an interface knows, whichever contract has
// written them.
func eventsOf(c *abi.Contract, logs []Log) []Event {
	if c == nil {
		return nil
	}
	var all []Event
	for _, l := range logs {
		e, known := c.EventFor(l.Topics)
		if !known {
			continue
		}
		data, err := e.Decode(l.Topics, l.Data)
		if err != nil { // another event of the same name and types, whose topics are others
			continue
		}
		all = append(all, Event{Address: l.Address, Name: e.Name, Signature: e.Signature(), Index: l.Index, Data: data})
	}
	return all
}
