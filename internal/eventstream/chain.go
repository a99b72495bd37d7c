// SPDX-License-Identifier: Apache-2.0

package eventstream

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/common/hexutil"

	"github.com/hsmsigner/hsmsigner/internal/node"
)

// errAbsent says that the node does not have the block, or not yet.
var errAbsent = errors.New("the node does not have the block")

// errStrange says that the node's answer cannot be true.
var errStrange = errors.New("node gave a bad response")

// refusal is the node's own answer that it will not do what was asked.
type refusal struct {
	Code    int    `json:"code"`
	Message string `json:"message"`
}

func (e *refusal) Error() string {
	return fmt.Sprintf("the node refused: %s (code %d)", shown(e.Message), e.Code)
}

// chain asks one wallet's node.
type chain struct{ node Node }

func (c chain) call(ctx context.Context, result any, method string, params ...any) error {
	text, err := json.Marshal(params)
	if err != nil {
		return err
	}
	answer, err := c.node.Forward(ctx, method, text, nil)
	if err != nil {
		return err
	}
	if answer.Error != nil {
		r := &refusal{}
		if err := json.Unmarshal(answer.Error, r); err != nil || r.Message == "" {
			r.Message = "without a message"
		}
		return r
	}
	if string(answer.Result) == "null" || answer.Result == nil {
		return errAbsent
	}
	if err := json.Unmarshal(answer.Result, result); err != nil {
		return fmt.Errorf("%w: %s", errStrange, method)
	}
	return nil
}

// head is the newest block.
func (c chain) head(ctx context.Context) (h node.Head, err error) {
	err = c.call(ctx, &h, "eth_getBlockByNumber", "latest", false)
	return h, checkHead(h, err)
}

// header is the canonical block at a height.
func (c chain) header(ctx context.Context, number uint64) (h node.Head, err error) {
	err = c.call(ctx, &h, "eth_getBlockByNumber", hexutil.EncodeUint64(number), false)
	if err == nil && h.Number != number {
		return h, fmt.Errorf("%w: another block than the one asked for", errStrange)
	}
	return h, checkHead(h, err)
}

func checkHead(h node.Head, err error) error {
	if err == nil && h.Hash == (common.Hash{}) {
		return fmt.Errorf("%w: a block without a hash", errStrange)
	}
	return err
}

// logEntry is one log as the node tells it.
type logEntry struct {
	Address     common.Address  `json:"address"`
	Topics      []common.Hash   `json:"topics"`
	Data        hexutil.Bytes   `json:"data"`
	BlockNumber *hexutil.Uint64 `json:"blockNumber"`
	BlockHash   *common.Hash    `json:"blockHash"`
	TxHash      *common.Hash    `json:"transactionHash"`
	TxIndex     *hexutil.Uint64 `json:"transactionIndex"`
	Index       *hexutil.Uint64 `json:"logIndex"`
	Removed     bool            `json:"removed"`
}

// logs are those of one event in a range of blocks, in the chain's order. What the
// node says is checked: a log of another block, address or event is no answer.
func (c chain) logs(ctx context.Context, from, to uint64, address *common.Address, topic common.Hash) ([]logEntry, error) {
	filter := map[string]any{"fromBlock": hexutil.EncodeUint64(from), "toBlock": hexutil.EncodeUint64(to), "topics": []common.Hash{topic}}
	if address != nil {
		filter["address"] = *address
	}
	var all []logEntry
	if err := c.call(ctx, &all, "eth_getLogs", filter); err != nil && !errors.Is(err, errAbsent) {
		return nil, err
	}
	hashes := make(map[uint64]common.Hash)
	for _, l := range all {
		switch {
		case l.BlockNumber == nil || l.BlockHash == nil || l.TxHash == nil || l.TxIndex == nil || l.Index == nil || l.Removed:
			return nil, fmt.Errorf("%w: a log that is in no block", errStrange)
		case uint64(*l.BlockNumber) < from || uint64(*l.BlockNumber) > to:
			return nil, fmt.Errorf("%w: a log of a block that was not asked for", errStrange)
		case len(l.Topics) == 0 || len(l.Topics) > 4 || l.Topics[0] != topic || address != nil && l.Address != *address:
			return nil, fmt.Errorf("%w: a log that was not asked for", errStrange)
		}
		number := uint64(*l.BlockNumber)
		if was, some := hashes[number]; some && was != *l.BlockHash {
			return nil, errMoved // the chain changed while it was read
		}
		hashes[number] = *l.BlockHash
	}
	slices.SortFunc(all, func(a, b logEntry) int {
		if *a.BlockNumber != *b.BlockNumber {
			return cmp.Compare(*a.BlockNumber, *b.BlockNumber)
		}
		return cmp.Compare(*a.Index, *b.Index)
	})
	for i := 1; i < len(all); i++ {
		if *all[i].BlockNumber == *all[i-1].BlockNumber && *all[i].Index == *all[i-1].Index {
			return nil, fmt.Errorf("%w: two logs at one place of a block", errStrange)
		}
	}
	return all, nil
}

// transaction is one as the node tells it.
type transaction struct {
	From  common.Address `json:"from"`
	Input hexutil.Bytes  `json:"input"`
}

func (c chain) transaction(ctx context.Context, hash common.Hash) (t transaction, err error) {
	err = c.call(ctx, &t, "eth_getTransactionByHash", hash)
	return t, err
}

// smaller reports whether an error may be due to the width of what was asked for,
// so that less may be answered.
func smaller(err error) bool {
	var r *refusal
	return errors.As(err, &r) || errors.Is(err, node.ErrTooLarge) || errors.Is(err, node.ErrTimeout)
}
