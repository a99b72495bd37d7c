// SPDX-License-Identifier: Apache-2.0

package nodetest

import (
	"encoding/json"
	"errors"
	"math/big"
	"slices"
	"strconv"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"
)

// params are the positional parameters of a call.
type params []json.RawMessage

var errParams = &RPCError{Code: -32602, Message: "invalid argument"}

// get reads a parameter; a missing one is an error unless optional.
func get[T any](p params, i int) (T, *RPCError) {
	var v T
	if i >= len(p) || json.Unmarshal(p[i], &v) != nil {
		return v, &RPCError{Code: -32602, Message: "invalid argument " + strconv.Itoa(i)}
	}
	return v, nil
}

// call carries out a method. via is the WebSocket, nil for HTTP.
func (c *Chain) call(method string, raw json.RawMessage, via *feed) (any, *RPCError) {
	var p params
	if len(raw) > 0 && json.Unmarshal(raw, &p) != nil {
		return nil, errParams
	}
	missing := &RPCError{Code: -32601, Message: "the method " + method + " does not exist/is not available"}
	if slices.Contains(c.opts.Missing, method) {
		return nil, missing
	}
	switch method {
	case "eth_sendRawTransaction":
		raw, err := get[hexutil.Bytes](p, 0)
		if err != nil {
			return nil, err
		}
		hash, err := c.send(raw)
		return hash, err
	case "eth_chainId":
		return hexutil.Uint64(c.chainID.Load()), nil
	case "net_version":
		return strconv.FormatUint(c.chainID.Load(), 10), nil
	case "web3_clientVersion":
		return "nodetest/v1", nil
	case "eth_syncing":
		return false, nil
	case "eth_accounts":
		return []string{}, nil
	case "eth_subscribe", "eth_unsubscribe":
		return c.subscription(method, p, via)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	switch method {
	case "eth_blockNumber":
		return hexutil.Uint64(c.state.height()), nil
	case "eth_getTransactionCount":
		return c.transactionCount(p)
	case "eth_getBalance":
		return c.balance(p)
	case "eth_getCode":
		addr, err := get[common.Address](p, 0)
		return hexutil.Bytes(c.state.code[addr]), err
	case "eth_getBlockByNumber", "eth_getBlockByHash":
		return c.getBlock(p)
	case "eth_getTransactionByHash":
		hash, err := get[common.Hash](p, 0)
		if err != nil {
			return nil, err
		}
		return c.transaction(hash), nil
	case "eth_getTransactionReceipt":
		hash, err := get[common.Hash](p, 0)
		if err != nil {
			return nil, err
		}
		if at, ok := c.state.mined[hash]; ok {
			return receiptJSON(at.block, at.index), nil
		}
		return nil, nil
	case "eth_getBlockReceipts":
		return c.blockReceipts(p)
	case "eth_gasPrice":
		if c.hooks.gasPrice != nil {
			return hexutil.Uint64(*c.hooks.gasPrice), nil
		}
		price := new(big.Int).Set(c.tip())
		if !c.opts.NoBaseFee {
			price.Add(price, c.opts.BaseFee)
		}
		return (*hexutil.Big)(price), nil
	case "eth_maxPriorityFeePerGas":
		return (*hexutil.Big)(c.tip()), nil
	case "eth_blobBaseFee":
		return hexutil.Uint64(1), nil
	case "eth_feeHistory":
		return c.feeHistory(p)
	case "eth_estimateGas":
		return c.estimate(p)
	case "eth_call":
		if c.hooks.call == nil {
			return hexutil.Bytes{}, nil
		}
		out, err := c.hooks.call(first(p))
		return hexutil.Bytes(out), asRPC(err)
	}
	return nil, missing
}

func first(p params) json.RawMessage {
	if len(p) == 0 {
		return nil
	}
	return p[0]
}

func asRPC(err error) *RPCError {
	if err == nil {
		return nil
	}
	var e *RPCError
	if errors.As(err, &e) {
		return e
	}
	return refusal("%v", err)
}

// tip is what the node suggests: the least it takes, or 1 gwei.
func (c *Chain) tip() *big.Int {
	if c.opts.MinTip != nil {
		return c.opts.MinTip
	}
	if c.opts.BaseFee.Sign() == 0 {
		return new(big.Int) // a chain without a price for gas
	}
	return big.NewInt(1e9)
}

func (c *Chain) transactionCount(p params) (any, *RPCError) {
	addr, err := get[common.Address](p, 0)
	if err != nil {
		return nil, err
	}
	number, pending, err := c.height(p, 1)
	if err != nil {
		return nil, err
	}
	if l, ok := c.hooks.lies[addr]; ok {
		if pending {
			return hexutil.Uint64(l.pending), nil
		}
		return hexutil.Uint64(l.latest), nil
	}
	if pending {
		return hexutil.Uint64(c.pendingNonce(addr)), nil
	}
	return hexutil.Uint64(c.state.at(addr, number).nonce), nil
}

func (c *Chain) balance(p params) (any, *RPCError) {
	addr, err := get[common.Address](p, 0)
	if err != nil {
		return nil, err
	}
	number, _, err := c.height(p, 1)
	if err != nil {
		return nil, err
	}
	return (*hexutil.Big)(c.state.at(addr, number).balance), nil
}

// height reads a block parameter: a tag, a number, a hash, or EIP-1898's
// object. A missing one is latest.
func (c *Chain) height(p params, i int) (number uint64, pending bool, err *RPCError) {
	if i >= len(p) {
		return c.state.height(), false, nil
	}
	var object struct {
		Number string       `json:"blockNumber"`
		Hash   *common.Hash `json:"blockHash"`
	}
	tag := ""
	if json.Unmarshal(p[i], &tag) != nil {
		if json.Unmarshal(p[i], &object) != nil {
			return 0, false, errParams
		}
		if tag = object.Number; object.Hash != nil {
			tag = object.Hash.Hex()
		}
	}
	behind := c.state.height() - min(c.state.height(), c.opts.FinalizedDepth)
	switch tag {
	case "latest", "":
		return c.state.height(), false, nil
	case "pending":
		return c.state.height(), true, nil
	case "earliest":
		return 0, false, nil
	case "safe", "finalized":
		return behind, false, nil
	}
	if len(tag) == 66 {
		for _, b := range c.state.blocks {
			if b.hash.Hex() == tag {
				return b.header.Number.Uint64(), false, nil
			}
		}
		return 0, false, errUnknownBlock
	}
	n, bad := hexutil.DecodeUint64(tag)
	if bad != nil {
		return 0, false, errParams
	}
	if n > c.state.height() {
		return 0, false, errUnknownBlock
	}
	return n, false, nil
}

var errUnknownBlock = &RPCError{Code: -32000, Message: "header not found"}

func (c *Chain) estimate(p params) (any, *RPCError) {
	if c.hooks.estimate != nil {
		gas, err := c.hooks.estimate(first(p))
		return hexutil.Uint64(gas), asRPC(err)
	}
	var call struct {
		To    *common.Address `json:"to"`
		Data  hexutil.Bytes   `json:"data"`
		Input hexutil.Bytes   `json:"input"`
	}
	if json.Unmarshal(first(p), &call) != nil {
		return nil, errParams
	}
	if call.Input != nil {
		call.Data = call.Input
	}
	return hexutil.Uint64(callGas(call.Data, call.To == nil)), nil
}

func (c *Chain) feeHistory(p params) (any, *RPCError) {
	count := uint64(1)
	if n, err := get[hexutil.Uint64](p, 0); err == nil {
		count = uint64(n)
	} else if n, err := get[uint64](p, 0); err == nil {
		count = n
	}
	percentiles, _ := get[[]float64](p, 2)
	head := c.state.height()
	count = min(count, head+1, 1024)
	fees := make([]*hexutil.Big, count+1)
	rewards := make([][]*hexutil.Big, count)
	ratios := make([]float64, count)
	for i := range fees {
		fees[i] = (*hexutil.Big)(new(big.Int))
		if !c.opts.NoBaseFee {
			fees[i] = (*hexutil.Big)(c.opts.BaseFee)
		}
	}
	for i := range rewards {
		rewards[i] = make([]*hexutil.Big, len(percentiles))
		for j := range rewards[i] {
			rewards[i][j] = (*hexutil.Big)(c.tip())
		}
	}
	return map[string]any{
		"oldestBlock": hexutil.Uint64(head + 1 - count), "baseFeePerGas": fees,
		"gasUsedRatio": ratios, "reward": rewards,
	}, nil
}

func (c *Chain) subscription(method string, p params, via *feed) (any, *RPCError) {
	if via == nil {
		return nil, &RPCError{Code: -32601, Message: "notifications not supported"} // geth, over HTTP
	}
	what, err := get[string](p, 0)
	if err != nil {
		return nil, err
	}
	if method == "eth_unsubscribe" {
		if !via.unsubscribe(what) {
			return nil, refusal("subscription not found")
		}
		return true, nil
	}
	switch what {
	case "newHeads", "newPendingTransactions", "logs":
		return via.subscribe(what), nil
	}
	return nil, &RPCError{Code: -32601, Message: "no \"" + what + "\" subscription in eth namespace"}
}
