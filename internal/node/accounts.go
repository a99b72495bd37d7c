// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"fmt"
	"math/big"

	"github.com/ethereum/go-ethereum/common"
)

// AccountAnswer is what Account answers, for one of several addresses.
type AccountAnswer struct {
	Latest, Pending uint64   // transaction counts
	Balance         *big.Int // wei, at the latest block
	Err             error
}

// Accounts is Account for several addresses, in as few requests as the node
// allows. The answers are in the order of addrs.
func (c *Client) Accounts(ctx context.Context, addrs []common.Address) []AccountAnswer {
	type raw struct {
		latest, pending *Uint64
		balance         *Big
	}
	read := make([]raw, len(addrs))
	calls := make([]*Call, 0, 3*len(addrs))
	for i, addr := range addrs {
		r := &read[i]
		calls = append(calls,
			&Call{Method: "eth_getTransactionCount", Params: []any{addr, "latest"}, Result: &r.latest},
			&Call{Method: "eth_getTransactionCount", Params: []any{addr, "pending"}, Result: &r.pending},
			&Call{Method: "eth_getBalance", Params: []any{addr, "latest"}, Result: &r.balance},
		)
	}
	all := make([]AccountAnswer, len(addrs))
	err := c.Batch(ctx, calls)
	for i, r := range read {
		a := &all[i]
		a.Err = err
		for _, call := range calls[3*i : 3*i+3] {
			if a.Err == nil {
				a.Err = call.Err
			}
		}
		switch {
		case a.Err != nil:
		case r.latest == nil || r.pending == nil || r.balance == nil:
			a.Err = fmt.Errorf("node: account: %w", badResponse("null"))
		default:
			a.Latest, a.Pending, a.Balance = uint64(*r.latest), uint64(*r.pending), r.balance.Int()
		}
	}
	return all
}
