// SPDX-License-Identifier: Apache-2.0

package txmgr

import (
	"context"
	"fmt"

	"github.com/ethereum/go-ethereum/core/types"

	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/tx"
)

// SignTransaction signs without sending and reserves nothing:
// eth_signTransaction. Like geth it requires nonce, gas and fees, since
// filling them would promise what is not kept (TXMGR.md no. 9).
func (w *Wallet) SignTransaction(ctx context.Context, p auth.Principal, args tx.Args) (*types.Transaction, error) {
	ctx, leave, err := w.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer leave()
	if err := w.usable(args.From); err != nil {
		return nil, err
	}
	if args.ChainID != nil && args.ChainID.Cmp(w.chainID) != 0 {
		return nil, &ChainIDError{Given: args.ChainID, Want: w.chainID}
	}
	switch {
	case args.Gas == nil:
		return nil, &tx.ArgError{Field: "gas", Msg: "is missing: eth_signTransaction fills nothing in"}
	case args.GasPrice == nil && (args.MaxFeePerGas == nil || args.MaxPriorityFeePerGas == nil):
		return nil, &tx.ArgError{Field: "gasPrice", Msg: "is missing: give gasPrice, or maxFeePerGas and maxPriorityFeePerGas"}
	case args.Nonce == nil:
		return nil, &tx.ArgError{Field: "nonce", Msg: "is missing: eth_signTransaction fills nothing in"}
	}
	if err := tx.CheckLimits(args, w.set.Limits); err != nil {
		return nil, err
	}
	unsigned, err := args.Unsigned(w.chainID, *args.Nonce)
	if err != nil {
		return nil, err
	}
	for _, authority := range tx.Authorities(unsigned) {
		if w.Owns(authority) {
			return nil, &RefusedError{Code: codeRefused, Msg: fmt.Sprintf("authorizationList: an authorisation is signed by %s, an account of this signer", authority)}
		}
	}
	return w.keys.SignTransaction(ctx, p, args.From, unsigned)
}
