// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"encoding/json"
	"fmt"
	"math/big"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
)

// Head is what matters here of a block's header.
type Head struct {
	Number        uint64
	Hash          common.Hash // zero in a pending block
	ParentHash    common.Hash
	Time          uint64   // seconds since 1970; some private chains count finer
	BaseFee       *big.Int // wei per gas, EIP-1559; nil: the chain has none
	GasLimit      uint64
	GasUsed       uint64
	ExcessBlobGas *uint64 // EIP-4844; nil: the chain has no blobs
}

// blockText is the members of a block that are read.
type blockText struct {
	number, hash, parent, time, baseFee, gasLimit, gasUsed, excess, transactions []byte
}

func (t *blockText) slot(name []byte) *[]byte {
	switch string(name) {
	case "number":
		return &t.number
	case "hash":
		return &t.hash
	case "parentHash":
		return &t.parent
	case "timestamp":
		return &t.time
	case "baseFeePerGas":
		return &t.baseFee
	case "gasLimit":
		return &t.gasLimit
	case "gasUsed":
		return &t.gasUsed
	case "excessBlobGas":
		return &t.excess
	case "transactions":
		return &t.transactions
	}
	return nil
}

func (t *blockText) head() (Head, error) {
	var r reading
	h := Head{
		Number: r.uint64(t.number), Hash: r.hash(t.hash), ParentHash: r.hash(t.parent), Time: r.uint64(t.time),
		BaseFee: r.big(t.baseFee), GasLimit: r.uint64(t.gasLimit), GasUsed: r.uint64(t.gasUsed),
	}
	if !absent(t.excess) {
		excess := r.uint64(t.excess)
		h.ExcessBlobGas = &excess
	}
	if r.err == nil && absent(t.number) {
		r.err = badResponse("block without a number")
	}
	return h, r.err
}

// UnmarshalJSON reads a block or header as the node sends it.
func (h *Head) UnmarshalJSON(b []byte) error {
	var t blockText
	err := pickAll(b, &t)
	if err == nil {
		*h, err = t.head()
	}
	return err
}

// Block is a header with the hashes of its transactions, in order.
type Block struct {
	Head
	Transactions []common.Hash
}

// UnmarshalJSON reads a block whose transactions are hashes.
func (b *Block) UnmarshalJSON(text []byte) error {
	var t blockText
	if err := pickAll(text, &t); err != nil {
		return err
	}
	head, err := t.head()
	if err != nil {
		return err
	}
	*b = Block{Head: head}
	if absent(t.transactions) {
		return nil
	}
	const each = len(`"0x",`) + 2*common.HashLength
	b.Transactions = make([]common.Hash, 0, len(t.transactions)/each+1)
	return items(t.transactions, func(i int) (int, error) {
		var h common.Hash
		end := min(i+each-1, len(t.transactions))
		if !fixed(h[:], t.transactions[i:end]) {
			return 0, errForm()
		}
		b.Transactions = append(b.Transactions, h)
		return end, nil
	})
}

// HeadAt returns the block at a tag: latest, pending, safe, finalized or
// earliest. ErrNotFound if the node has none there (yet).
func (c *Client) HeadAt(ctx context.Context, tag string) (Head, error) {
	return c.active().headAt(ctx, tag)
}

func (e *endpoint) headAt(ctx context.Context, tag string) (Head, error) {
	h, err := getHead(ctx, e, tag, tag != "pending")
	if err == nil && tag == "latest" {
		e.newest.Store(h.Number)
	}
	return h, err
}

// HeaderByNumber returns the canonical block at a height. ErrNotFound if the
// chain is not that long.
func (c *Client) HeaderByNumber(ctx context.Context, number uint64) (Head, error) {
	h, err := getHead(ctx, c.active(), quantity(number), true)
	if err == nil && h.Number != number {
		return Head{}, fmt.Errorf("node: eth_getBlockByNumber: %w", badResponse("another block than the one asked for"))
	}
	return h, err
}

func getHead(ctx context.Context, e *endpoint, tag string, hashed bool) (Head, error) {
	const method = "eth_getBlockByNumber"
	var h *Head
	if err := e.call(ctx, &h, method, tag, false); err != nil {
		return Head{}, err
	}
	if h == nil {
		return Head{}, fmt.Errorf("node: %s %s: %w", method, tag, ErrNotFound)
	}
	if hashed && h.Hash == (common.Hash{}) {
		return Head{}, fmt.Errorf("node: %s %s: %w", method, tag, badResponse("block without a hash"))
	}
	return *h, nil
}

// Block returns the canonical block at a height with its transaction hashes.
// ErrNotFound if the chain is not that long.
func (c *Client) Block(ctx context.Context, number uint64) (Block, error) {
	b, err := getBlock(ctx, c.active(), "eth_getBlockByNumber", quantity(number))
	if err == nil && b.Number != number {
		return Block{}, fmt.Errorf("node: eth_getBlockByNumber: %w", badResponse("another block than the one asked for"))
	}
	return b, err
}

// BlockByHash is Block for a hash; the block may have left the canonical chain.
func (c *Client) BlockByHash(ctx context.Context, hash common.Hash) (Block, error) {
	return c.active().blockByHash(ctx, hash)
}

func (e *endpoint) blockByHash(ctx context.Context, hash common.Hash) (Block, error) {
	b, err := getBlock(ctx, e, "eth_getBlockByHash", hash)
	if err == nil && b.Hash != hash {
		return Block{}, fmt.Errorf("node: eth_getBlockByHash: %w", badResponse("another block than the one asked for"))
	}
	return b, err
}

func getBlock(ctx context.Context, e *endpoint, method string, which any) (Block, error) {
	var b *Block
	if err := e.call(ctx, &b, method, which, false); err != nil {
		return Block{}, err
	}
	if b == nil {
		return Block{}, fmt.Errorf("node: %s: %w", method, ErrNotFound)
	}
	return *b, nil
}

// NonceAt is the number of transactions of an address at a tag or quantity.
func (c *Client) NonceAt(ctx context.Context, addr common.Address, tag string) (uint64, error) {
	var n Uint64
	err := c.must(ctx, &n, "eth_getTransactionCount", addr, tag)
	return uint64(n), err
}

// BalanceAt is the balance of an address in wei at a tag or quantity.
func (c *Client) BalanceAt(ctx context.Context, addr common.Address, tag string) (*big.Int, error) {
	return c.amount(ctx, "eth_getBalance", addr, tag)
}

// CodeAt is the code at an address; empty if it has none.
func (c *Client) CodeAt(ctx context.Context, addr common.Address, tag string) ([]byte, error) {
	var code hexutil.Bytes
	err := c.must(ctx, &code, "eth_getCode", addr, tag)
	return code, err
}

// EstimateGas asks what a call object (as in eth_call) would use at a tag; an
// empty tag leaves the choice to the node. A revert is an *Error, with the
// node's data.
func (c *Client) EstimateGas(ctx context.Context, call json.RawMessage, tag string) (uint64, error) {
	params := []any{call}
	if tag != "" {
		params = append(params, tag)
	}
	var gas Uint64
	err := c.must(ctx, &gas, "eth_estimateGas", params...)
	return uint64(gas), err
}

// SuggestTip is eth_maxPriorityFeePerGas, in wei per gas.
func (c *Client) SuggestTip(ctx context.Context) (*big.Int, error) {
	return c.amount(ctx, "eth_maxPriorityFeePerGas")
}

// GasPrice is eth_gasPrice, in wei per gas.
func (c *Client) GasPrice(ctx context.Context) (*big.Int, error) {
	return c.amount(ctx, "eth_gasPrice")
}

// BlobBaseFee is eth_blobBaseFee, in wei per blob gas.
func (c *Client) BlobBaseFee(ctx context.Context) (*big.Int, error) {
	return c.amount(ctx, "eth_blobBaseFee")
}

// Account reads an address's transaction counts at latest and pending and its
// latest balance in wei, in one batch.
func (c *Client) Account(ctx context.Context, addr common.Address) (latest, pending uint64, balance *big.Int, err error) {
	var l, p *Uint64
	var b *Big
	calls := []*Call{
		{Method: "eth_getTransactionCount", Params: []any{addr, "latest"}, Result: &l},
		{Method: "eth_getTransactionCount", Params: []any{addr, "pending"}, Result: &p},
		{Method: "eth_getBalance", Params: []any{addr, "latest"}, Result: &b},
	}
	if err := c.Batch(ctx, calls); err != nil {
		return 0, 0, nil, err
	}
	for _, call := range calls {
		if call.Err != nil {
			return 0, 0, nil, call.Err
		}
	}
	if l == nil || p == nil || b == nil {
		return 0, 0, nil, fmt.Errorf("node: account: %w", badResponse("null"))
	}
	return uint64(*l), uint64(*p), b.Int(), nil
}

// must is Call for answers that may not be null.
func (c *Client) must(ctx context.Context, result any, method string, params ...any) error {
	var raw json.RawMessage
	if err := c.Call(ctx, &raw, method, params...); err != nil {
		return err
	}
	q := question{method: method, answer: Response{Result: raw}}
	if raw == nil {
		q.err = badResponse("null")
	}
	return q.decode(result)
}

func (c *Client) amount(ctx context.Context, method string, params ...any) (*big.Int, error) {
	var b Big
	if err := c.must(ctx, &b, method, params...); err != nil {
		return nil, err
	}
	return b.Int(), nil
}
