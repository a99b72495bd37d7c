// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"errors"
	"fmt"

	"github.com/ethereum/go-ethereum/common"
)

// sighting is what a check saw of an endpoint.
type sighting struct {
	chain Chain
	head  Head
	shown bool // it has the parent of head too
}

// sight looks at the chain and at its newest block. old is what was seen the
// time before; unless known, the chain is looked at anew.
func (e *endpoint) sight(ctx context.Context, old sighting, known bool) (sighting, error) {
	var id Uint64
	var head, first, parent *Head
	askFirst := &Call{Method: "eth_getBlockByNumber", Params: []any{"0x0", false}, Result: &first}
	calls := []*Call{
		{Method: "eth_chainId", Result: &id},
		{Method: "eth_getBlockByNumber", Params: []any{"latest", false}, Result: &head},
	}
	if !known {
		calls = append(calls, askFirst)
	}
	if err := e.all(ctx, calls); err != nil {
		return sighting{}, err
	}
	if id == 0 || head == nil || head.Hash == (common.Hash{}) {
		return sighting{}, fmt.Errorf("node: %w", badResponse("no chain id or no latest block"))
	}

	calls = calls[:0]
	same := head.Number == old.head.Number && head.Hash == old.head.Hash
	asksParent := head.Number > 0 && !(same && old.shown)
	if asksParent {
		calls = append(calls, &Call{Method: "eth_getBlockByHash", Params: []any{head.ParentHash, false}, Result: &parent})
	}
	// A head that went back, or was replaced, may be that of another chain.
	replaced := head.Number <= old.head.Number && !same
	if known && (old.chain.ID != uint64(id) || replaced) {
		calls = append(calls, askFirst)
		known = false
	}
	if len(calls) > 0 {
		err := e.all(ctx, calls)
		// What it refuses, it does not have.
		var refused *Error
		if err != nil && !errors.As(err, &refused) {
			return sighting{}, err
		}
	}
	s := sighting{head: *head, chain: Chain{ID: uint64(id)}}
	s.shown = !asksParent || parent != nil && parent.Hash == head.ParentHash && parent.Number+1 == head.Number
	switch {
	case known:
		s.chain.Genesis = old.chain.Genesis
	case first == nil || first.Hash == (common.Hash{}):
		return sighting{}, fmt.Errorf("node: %w", badResponse("no block 0"))
	default:
		s.chain.Genesis = first.Hash
	}
	return s, nil
}

// evidence is how many linked blocks an endpoint must show.
const evidence = 8

// shows says whether an endpoint has the blocks up to a height: the last few
// of them, each the parent of the next. An error says nothing either way.
func (e *endpoint) shows(ctx context.Context, height uint64) (bool, error) {
	from := height - min(height, evidence-1)
	blocks := make([]*Head, height-from+1)
	calls := make([]*Call, len(blocks))
	for i := range calls {
		calls[i] = &Call{Method: "eth_getBlockByNumber", Params: []any{quantity(from + uint64(i)), false}, Result: &blocks[i]}
	}
	if err := e.all(ctx, calls); err != nil {
		var refused *Error
		if errors.As(err, &refused) || errors.Is(err, ErrBadResponse) {
			return false, nil
		}
		return false, err
	}
	for i, b := range blocks {
		if b == nil || b.Number != from+uint64(i) || b.Hash == (common.Hash{}) {
			return false, nil
		}
		if i > 0 && b.ParentHash != blocks[i-1].Hash {
			return false, nil
		}
	}
	return true, nil
}
