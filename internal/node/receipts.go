// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"
	"slices"
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
	EffectiveGasPrice *big.Int // wei per gas; nil if the node does not say
}

// receiptText is the members of a receipt that are read.
type receiptText struct {
	tx, index, block, number, from, to, contract, status, root, gasUsed, price []byte
}

func (t *receiptText) slot(name []byte) *[]byte {
	switch string(name) {
	case "transactionHash":
		return &t.tx
	case "transactionIndex":
		return &t.index
	case "blockHash":
		return &t.block
	case "blockNumber":
		return &t.number
	case "from":
		return &t.from
	case "to":
		return &t.to
	case "contractAddress":
		return &t.contract
	case "status":
		return &t.status
	case "root":
		return &t.root
	case "gasUsed":
		return &t.gasUsed
	case "effectiveGasPrice":
		return &t.price
	}
	return nil
}

// place reads what every receipt must have.
func (t *receiptText) place() (tx, block common.Hash, err error) {
	var r reading
	tx, block = r.hash(t.tx), r.hash(t.block)
	if r.err == nil && (absent(t.tx) || absent(t.block) || absent(t.number)) {
		r.err = badResponse("receipt without hash or block")
	}
	return tx, block, r.err
}

// receipt reads all.
func (t *receiptText) receipt() (*Receipt, error) {
	tx, block, err := t.place()
	if err != nil {
		return nil, err
	}
	var r reading
	rc := &Receipt{
		TxHash: tx, Index: r.uint64(t.index), BlockHash: block, BlockNumber: r.uint64(t.number),
		To: r.address(t.to), ContractAddress: r.address(t.contract), Status: 1,
		GasUsed: r.uint64(t.gasUsed), EffectiveGasPrice: r.big(t.price),
	}
	if !absent(t.from) && !fixed(rc.From[:], t.from) {
		r.fail(errForm())
	}
	switch {
	case !absent(t.status):
		rc.Status = r.uint64(t.status)
	case len(t.root) < 3 || t.root[0] != '"': // a state root, before EIP-658
		r.fail(badResponse("receipt without a valid status"))
	}
	if rc.Status > 1 {
		r.fail(badResponse("receipt without a valid status"))
	}
	if r.err != nil {
		return nil, r.err
	}
	return rc, nil
}

// UnmarshalJSON reads a receipt as the node sends it.
func (r *Receipt) UnmarshalJSON(b []byte) error {
	var t receiptText
	err := pickAll(b, &t)
	if err != nil {
		return err
	}
	read, err := t.receipt()
	if err == nil {
		*r = *read
	}
	return err
}

// scanReceipts reads the receipts of a block, and decodes those that are
// wanted. Of the others it makes sure that they are receipts of that block.
func scanReceipts(text []byte, block common.Hash, want func(common.Hash) bool) (list []*Receipt, err error) {
	err = items(text, func(i int) (int, error) {
		var t receiptText
		end, err := pick(text, i, &t)
		if err != nil {
			return 0, err
		}
		tx, of, err := t.place()
		if err != nil {
			return 0, err
		}
		if of != block {
			return 0, errOtherBlock()
		}
		if want != nil && !want(tx) {
			return end, nil
		}
		r, err := t.receipt()
		list = append(list, r)
		return end, err
	})
	return list, err
}

func errOtherBlock() error { return badResponse("receipt of another block") }

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
	return c.ReceiptsIn(ctx, block, nil)
}

// ReceiptsIn is BlockReceipts for the transactions that are wanted, by their
// hashes; nil means all. The others are not decoded, nor asked for one by one.
func (c *Client) ReceiptsIn(ctx context.Context, block common.Hash, want func(tx common.Hash) bool) ([]*Receipt, error) {
	const method = "eth_getBlockReceipts"
	e := c.active()
	if e.missing.has(method) {
		return e.receiptsOneByOne(ctx, block, want)
	}
	var raw json.RawMessage
	err := e.call(ctx, &raw, method, block)
	if IsMissingMethod(err) {
		e.missing.add(method)
		return e.receiptsOneByOne(ctx, block, want)
	}
	if err == nil && raw == nil {
		err = fmt.Errorf("node: %s: %w", method, ErrNotFound)
	}
	if err != nil {
		return nil, err
	}
	list, err := scanReceipts(raw, block, want)
	if err != nil {
		return nil, fmt.Errorf("node: %s: %w", method, err)
	}
	return list, nil
}

func (e *endpoint) receiptsOneByOne(ctx context.Context, hash common.Hash, want func(common.Hash) bool) ([]*Receipt, error) {
	b, err := e.blockByHash(ctx, hash)
	if err != nil {
		return nil, err
	}
	txs := b.Transactions
	if want != nil {
		txs = slices.DeleteFunc(txs, func(tx common.Hash) bool { return !want(tx) })
	}
	list, err := e.receipts(ctx, txs)
	if err != nil {
		return nil, err
	}
	// One that left the chain between two questions, or a node that ignores
	// the hash.
	for _, r := range list {
		if r == nil || r.BlockHash != hash {
			return nil, fmt.Errorf("node: eth_getTransactionReceipt: %w", errOtherBlock())
		}
	}
	return list, nil
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
