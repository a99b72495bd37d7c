// SPDX-License-Identifier: Apache-2.0

package tx

import (
	"context"
	"errors"
	"fmt"
	"math/big"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/params"
)

// Head is what filling needs to know of a block.
type Head struct {
	Number   uint64
	BaseFee  *big.Int // wei per gas; nil on a chain without base fee (before London)
	GasLimit uint64   // of the block
}

// Chain is what filling asks of a node. An error of SuggestTip that wraps
// [errors.ErrUnsupported] means that the node lacks the method. The numbers
// that it returns are never modified.
type Chain interface {
	SuggestTip(ctx context.Context) (*big.Int, error)  // wei per gas
	GasPrice(ctx context.Context) (*big.Int, error)    // wei per gas
	BlobBaseFee(ctx context.Context) (*big.Int, error) // wei per blob gas
	Head(ctx context.Context) (Head, error)
	CodeAt(ctx context.Context, addr common.Address) ([]byte, error)
	EstimateGas(ctx context.Context, a Args) (uint64, error) // on the pending block
}

// FillFees chooses the transaction's type and fills the fees that the caller
// left out, as geth does: on a chain with a base fee the node's tip and twice
// the base fee, else the node's gas price; for blobs twice the blob base fee.
// It also completes the blob sidecar (see [Args.CompleteSidecar]). Fees that
// the caller gave are not changed.
//
// Two things differ from geth. A caller's maxFeePerGas below the suggested
// tip lowers the tip instead of failing, and fees of zero are taken on chains
// whose base fee is zero or absent.
//
// What the node proposes beyond lim is refused with a *[LimitError]: a lying
// node must not empty the account. Contradictions between the caller's fields
// and the chain are an *[ArgError]; the node's errors come back wrapped.
func FillFees(ctx context.Context, c Chain, a *Args, lim Limits) error {
	kind, err := a.impliedType()
	if err != nil {
		return err
	}
	if err := a.CompleteSidecar(SidecarAuto); err != nil {
		return err
	}
	if kind == types.BlobTxType && a.MaxFeePerBlobGas == nil {
		if err := fillBlobFee(ctx, c, a); err != nil {
			return err
		}
	}
	switch {
	case a.GasPrice != nil && a.GasPrice.Sign() > 0:
	case a.GasPrice == nil && a.MaxFeePerGas != nil && a.MaxPriorityFeePerGas != nil && a.MaxFeePerGas.Sign() > 0:
	default:
		if kind, err = fillExecutionFee(ctx, c, a, kind, lim); err != nil {
			return err
		}
	}
	t := uint8(kind)
	a.Type = &t
	return CheckLimits(*a, lim)
}

// fillExecutionFee does the part of FillFees that needs the head.
func fillExecutionFee(ctx context.Context, c Chain, a *Args, kind int, lim Limits) (int, error) {
	head, err := c.Head(ctx)
	if err != nil {
		return 0, fmt.Errorf("read the latest block: %w", err)
	}
	london := head.BaseFee != nil
	switch {
	case !london && kind >= types.DynamicFeeTxType:
		return 0, argErr("type", "%#x needs a chain with a base fee (London), which this one is not; use gasPrice", kind)
	case london && head.BaseFee.Sign() > 0 && isZero(a.GasPrice):
		return 0, argErr("gasPrice", "must not be zero: this chain has a base fee of %s wei per gas", head.BaseFee)
	case london && head.BaseFee.Sign() > 0 && isZero(a.MaxFeePerGas):
		return 0, argErr("maxFeePerGas", "must not be zero: this chain has a base fee of %s wei per gas", head.BaseFee)
	}
	if kind == undecided {
		switch {
		case london && !lim.Legacy:
			kind = types.DynamicFeeTxType
		case a.AccessList != nil:
			kind = types.AccessListTxType
		default:
			kind = types.LegacyTxType
		}
	}
	if kind >= types.DynamicFeeTxType {
		return kind, fillDynamicFee(ctx, c, a, head, lim)
	}
	if a.GasPrice == nil {
		price, err := c.GasPrice(ctx)
		if err != nil {
			return 0, fmt.Errorf("ask the node for a gas price: %w", err)
		}
		if err := proposal("gas price", price, lim); err != nil {
			return 0, err
		}
		a.GasPrice = price
	}
	return kind, nil
}

func isZero(n *big.Int) bool { return n != nil && n.Sign() == 0 }

// fillDynamicFee fills tip and fee cap. The doubled base fee is only head
// room for rising base fees, so the limit shortens it; the base fee itself
// and the tip must fit.
func fillDynamicFee(ctx context.Context, c Chain, a *Args, head Head, lim Limits) error {
	tip := a.MaxPriorityFeePerGas
	if tip == nil {
		suggested, err := suggestTip(ctx, c, head)
		if err != nil {
			return err
		}
		if err := proposal("priority fee", suggested, lim); err != nil {
			return err
		}
		if tip = suggested; a.MaxFeePerGas != nil && tip.Cmp(a.MaxFeePerGas) > 0 {
			tip = a.MaxFeePerGas
		}
	}
	if a.MaxFeePerGas == nil {
		least := new(big.Int).Add(head.BaseFee, tip)
		if err := proposal("base fee with the priority fee", least, lim); err != nil {
			return err
		}
		fee := new(big.Int).Add(least, head.BaseFee)
		if lim.MaxFeePerGas != nil && lim.MaxFeePerGas.Sign() > 0 && fee.Cmp(lim.MaxFeePerGas) > 0 {
			fee.Set(lim.MaxFeePerGas)
		}
		a.MaxFeePerGas = fee
	}
	a.MaxPriorityFeePerGas = tip
	return nil
}

// suggestTip asks for a tip. Nodes without the method (some private chains)
// still have eth_gasPrice, of which the part above the base fee is the tip.
func suggestTip(ctx context.Context, c Chain, head Head) (*big.Int, error) {
	tip, err := c.SuggestTip(ctx)
	if err == nil {
		return tip, nil
	}
	if !errors.Is(err, errors.ErrUnsupported) {
		return nil, fmt.Errorf("ask the node for a priority fee: %w", err)
	}
	price, err := c.GasPrice(ctx)
	if err != nil {
		return nil, fmt.Errorf("ask the node for a gas price: %w", err)
	}
	tip = new(big.Int).Sub(price, head.BaseFee)
	if tip.Sign() < 0 {
		tip.SetUint64(0)
	}
	return tip, nil
}

func fillBlobFee(ctx context.Context, c Chain, a *Args) error {
	base, err := c.BlobBaseFee(ctx)
	if err != nil {
		return fmt.Errorf("ask the node for the blob base fee: %w", err)
	}
	if base.Sign() < 0 || base.BitLen() > 128 {
		return &LimitError{Msg: fmt.Sprintf("the node's blob base fee of %s wei is absurd", excerpt(base.String()))}
	}
	fee := new(big.Int).Lsh(base, 1)
	if fee.Sign() == 0 {
		fee.SetUint64(params.BlobTxMinBlobGasprice)
	}
	a.MaxFeePerBlobGas = fee
	return nil
}

// gasMargin is the part of an estimate that is added to it, a fifth: state may
// change before the transaction is mined.
const gasMargin = 5

// FillGas fills the gas limit if the caller gave none (TXMGR.md no. 2):
// 21,000 for a plain transfer to an address without code, else the node's
// estimate on the pending block with a margin of a fifth, at most the block
// gas limit. FillFees must have been called. Errors of the estimate come back
// wrapped, so that a revert keeps its reason.
func FillGas(ctx context.Context, c Chain, a *Args, lim Limits) error {
	if a.Gas != nil {
		return CheckLimits(*a, lim)
	}
	gas, err := neededGas(ctx, c, a, lim.EstimateTransfers)
	if err != nil {
		return err
	}
	a.Gas = &gas
	return CheckLimits(*a, lim)
}

func neededGas(ctx context.Context, c Chain, a *Args, estimateTransfers bool) (uint64, error) {
	if a.plainTransfer() && !estimateTransfers {
		code, err := c.CodeAt(ctx, *a.To)
		if err != nil {
			return 0, fmt.Errorf("read the code of %s: %w", a.To, err)
		}
		if len(code) == 0 {
			return params.TxGas, nil
		}
	}
	estimate, err := c.EstimateGas(ctx, *a)
	if err != nil {
		return 0, fmt.Errorf("estimate gas: %w", err)
	}
	head, err := c.Head(ctx)
	if err != nil {
		return 0, fmt.Errorf("read the latest block: %w", err)
	}
	if estimate > head.GasLimit {
		return 0, &LimitError{Msg: fmt.Sprintf("the node's gas estimate of %d exceeds the block gas limit of %d", estimate, head.GasLimit)}
	}
	if estimate < params.TxGas {
		return 0, &LimitError{Msg: fmt.Sprintf("the node's gas estimate of %d is below the %d that every transaction costs", estimate, params.TxGas)}
	}
	ceiling := head.GasLimit
	if estimate <= params.MaxTxGas && params.MaxTxGas < ceiling {
		// Osaka refuses transactions above this (EIP-7825). Whether the chain
		// has it is unknown here; only the margin is given up where it has not.
		ceiling = params.MaxTxGas
	}
	return min(estimate+estimate/gasMargin, ceiling), nil
}

// plainTransfer reports whether 21,000 gas are enough if the recipient has no
// code. Precompiled contracts have none either, but charge.
func (a *Args) plainTransfer() bool {
	if a.To == nil || len(a.Data) > 0 || a.AccessList != nil && len(*a.AccessList) > 0 ||
		a.AuthorizationList != nil || a.BlobHashes != nil {
		return false
	}
	for _, b := range a.To[:18] {
		if b != 0 {
			return true
		}
	}
	return *a.To == common.Address{}
}
