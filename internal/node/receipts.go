// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"strings"
	"sync"

	"github.com/ethereum/go-ethereum/common"
)

// Receipt is what matters here of a mined transaction's receipt.
type Receipt struct {
	TxHash            common.Hash
	Index             uint64 // position in the block
	BlockHash         common.Hash
	BlockNumber       uint64
	From              common.Address
	To                *common.Address // nil: contract creation
	ContractAddress   *common.Address // of a contract creation
	Status            uint64          // 1 success, 0 reverted (EIP-658); 1 where the chain predates it
	GasUsed           uint64
	EffectiveGasPrice *big.Int        // wei per gas; nil if the node does not say
	Raw               json.RawMessage // the whole receipt, byte for byte
}

// UnmarshalJSON reads a receipt as the node sends it.
func (r *Receipt) UnmarshalJSON(b []byte) error {
	var w struct {
		TxHash            *common.Hash    `json:"transactionHash"`
		Index             Uint64          `json:"transactionIndex"`
		BlockHash         *common.Hash    `json:"blockHash"`
		BlockNumber       *Uint64         `json:"blockNumber"`
		From              common.Address  `json:"from"`
		To                *common.Address `json:"to"`
		ContractAddress   *common.Address `json:"contractAddress"`
		Status            *Uint64         `json:"status"`
		Root              string          `json:"root"`
		GasUsed           Uint64          `json:"gasUsed"`
		EffectiveGasPrice *Big            `json:"effectiveGasPrice"`
	}
	if err := json.Unmarshal(b, &w); err != nil {
		return err
	}
	if w.TxHash == nil || w.BlockHash == nil || w.BlockNumber == nil {
		return badResponse("receipt without hash or block")
	}
	status := uint64(1)
	switch {
	case w.Status != nil && *w.Status <= 1:
		status = uint64(*w.Status)
	case w.Status != nil || w.Root == "":
		return badResponse("receipt without a valid status")
	}
	*r = Receipt{
		TxHash:            *w.TxHash,
		Index:             uint64(w.Index),
		BlockHash:         *w.BlockHash,
		BlockNumber:       uint64(*w.BlockNumber),
		From:              w.From,
		To:                w.To,
		ContractAddress:   w.ContractAddress,
		Status:            status,
		GasUsed:           uint64(w.GasUsed),
		EffectiveGasPrice: w.EffectiveGasPrice.Int(),
		Raw:               append(json.RawMessage(nil), b...),
	}
	return nil
}

// Receipt returns the receipt of a mined transaction, or nil if the node has
// none for this hash.
func (c *Client) Receipt(ctx context.Context, hash common.Hash) (*Receipt, error) {
	list, err := c.active().receipts(ctx, []common.Hash{hash})
	if err != nil {
		return nil, err
	}
	return list[0], nil
}

// Receipts is Receipt for several hashes, in their order.
func (c *Client) Receipts(ctx context.Context, hashes []common.Hash) ([]*Receipt, error) {
	return c.active().receipts(ctx, hashes)
}

func (e *endpoint) receipts(ctx context.Context, hashes []common.Hash) ([]*Receipt, error) {
	list := make([]*Receipt, len(hashes))
	calls := make([]*Call, len(hashes))
	for i, h := range hashes {
		calls[i] = &Call{Method: "eth_getTransactionReceipt", Params: []any{h}, Result: &list[i]}
	}
	if err := e.all(ctx, calls); err != nil {
		return nil, err
	}
	for i, r := range list {
		if r != nil && r.TxHash != hashes[i] {
			return nil, fmt.Errorf("node: eth_getTransactionReceipt: %w", badResponse("receipt of another transaction"))
		}
	}
	return list, nil
}

// BlockReceipts returns all receipts of a block, in order. ErrNotFound if the
// node no longer has the block. Where eth_getBlockReceipts is missing, which is
// remembered, it asks for the block and then for each receipt.
func (c *Client) BlockReceipts(ctx context.Context, block common.Hash) ([]*Receipt, error) {
	const method = "eth_getBlockReceipts"
	e := c.active()
	if e.missing.has(method) {
		return e.blockReceiptsOneByOne(ctx, block)
	}
	var list []*Receipt
	var raw json.RawMessage
	err := e.call(ctx, &raw, method, block)
	if IsMissingMethod(err) {
		e.missing.add(method)
		return e.blockReceiptsOneByOne(ctx, block)
	}
	if err == nil && raw == nil {
		err = fmt.Errorf("node: %s: %w", method, ErrNotFound)
	}
	if err != nil {
		return nil, err
	}
	q := question{method: method, answer: Response{Result: raw}}
	if err := q.decode(&list); err != nil {
		return nil, err
	}
	return list, belongTo(list, block, method)
}

func (e *endpoint) blockReceiptsOneByOne(ctx context.Context, hash common.Hash) ([]*Receipt, error) {
	b, err := e.blockByHash(ctx, hash)
	if err != nil {
		return nil, err
	}
	list, err := e.receipts(ctx, b.Transactions)
	if err != nil {
		return nil, err
	}
	return list, belongTo(list, hash, "eth_getTransactionReceipt")
}

// belongTo refuses receipts of another block: one that left the chain between
// two questions, or a node that ignores the hash.
func belongTo(list []*Receipt, block common.Hash, method string) error {
	for _, r := range list {
		if r == nil || r.BlockHash != block {
			return fmt.Errorf("node: %s: %w", method, badResponse("receipt of another block"))
		}
	}
	return nil
}

// Known reports for each hash whether the node has the transaction, mined or
// in its pool.
func (c *Client) Known(ctx context.Context, hashes []common.Hash) ([]bool, error) {
	type found struct {
		Hash common.Hash `json:"hash"`
	}
	list := make([]*found, len(hashes))
	calls := make([]*Call, len(hashes))
	for i, h := range hashes {
		calls[i] = &Call{Method: "eth_getTransactionByHash", Params: []any{h}, Result: &list[i]}
	}
	if err := c.active().all(ctx, calls); err != nil {
		return nil, err
	}
	known := make([]bool, len(hashes))
	for i, f := range list {
		known[i] = f != nil && f.Hash == hashes[i]
	}
	return known, nil
}

// all is Batch where one failure spoils the whole.
func (e *endpoint) all(ctx context.Context, calls []*Call) error {
	if err := e.askAll(ctx, calls); err != nil {
		return err
	}
	for _, call := range calls {
		if call.Err != nil {
			return call.Err
		}
	}
	return nil
}

// missingMethods remembers what the node does not have.
type missingMethods struct{ m sync.Map }

func (s *missingMethods) has(method string) bool { _, ok := s.m.Load(method); return ok }
func (s *missingMethods) add(method string)      { s.m.Store(method, true) }

// IsMissingMethod recognises a node that lacks a method: by the code, or by
// the words of those that use another (Hardhat -32004 "Method … is not
// supported", Infura -32004 and -32601).
func IsMissingMethod(err error) bool {
	var e *Error
	if !errors.As(err, &e) {
		return false
	}
	m := strings.ToLower(e.Message)
	return e.Code == codeMethodNotFound || strings.Contains(m, "method") &&
		(strings.Contains(m, "not supported") || strings.Contains(m, "not found") ||
			strings.Contains(m, "does not exist") || strings.Contains(m, "not available"))
}
