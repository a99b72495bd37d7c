// SPDX-License-Identifier: Apache-2.0

package tx

import (
	"math"
	"math/big"

	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/params"
	"github.com/holiman/uint256"
)

// MaxSize is the most bytes of a transaction without its blob sidecar that
// nodes take into their pool (geth's txMaxSize).
const MaxSize = 128 * 1024

// Unsigned builds the transaction. Gas and fees must be given or filled; the
// arguments' own nonce is not looked at. A *[ChainError] says that the caller
// named another chain; every other error is an *[ArgError] about something
// that every node would refuse for ever.
func (a Args) Unsigned(chainID *big.Int, nonce uint64) (*types.Transaction, error) {
	if chainID == nil || chainID.Sign() <= 0 || chainID.BitLen() > 256 {
		return nil, argErr("chainId", "the wallet's chain id must be a positive number")
	}
	if err := a.CheckChain(chainID); err != nil {
		return nil, err
	}
	kind, err := a.impliedType()
	if err != nil {
		return nil, err
	}
	if err := a.check(); err != nil {
		return nil, err
	}
	if err := a.complete(kind); err != nil {
		return nil, err
	}
	if err := a.CompleteSidecar(SidecarAuto); err != nil {
		return nil, err
	}
	t := a.build(kind, chainID, nonce)
	if err := checkForEver(t); err != nil {
		return nil, err
	}
	return t, nil
}

// CheckChain refuses arguments that name another chain, with a *[ChainError].
// Arguments without chainId pass.
func (a Args) CheckChain(chainID *big.Int) error {
	if a.ChainID != nil && a.ChainID.Cmp(chainID) != 0 {
		return &ChainError{Got: a.ChainID, Want: chainID}
	}
	return nil
}

// complete checks that all numbers that the type needs are there and fit.
func (a *Args) complete(kind int) error {
	if kind == undecided {
		return argErr("gasPrice", "missing; give gasPrice, or maxFeePerGas and maxPriorityFeePerGas")
	}
	if a.Gas == nil {
		return argErr("gas", "missing")
	}
	needed := []struct {
		name string
		n    *big.Int
		need bool
	}{
		{"gasPrice", a.GasPrice, kind < types.DynamicFeeTxType},
		{"maxFeePerGas", a.MaxFeePerGas, kind >= types.DynamicFeeTxType},
		{"maxPriorityFeePerGas", a.MaxPriorityFeePerGas, kind >= types.DynamicFeeTxType},
		{"maxFeePerBlobGas", a.MaxFeePerBlobGas, kind == types.BlobTxType},
		{"value", a.Value, false},
	}
	for _, f := range needed {
		switch {
		case f.n == nil && f.need:
			return argErr(f.name, "missing")
		case f.n != nil && f.n.Sign() < 0:
			return argErr(f.name, "must not be negative")
		case f.n != nil && f.n.BitLen() > 256:
			return argErr(f.name, "larger than 256 bits")
		}
	}
	return nil
}

// build assembles complete arguments without judging them.
func (a *Args) build(kind int, chainID *big.Int, nonce uint64) *types.Transaction {
	value, list, gas := a.Value, types.AccessList{}, uint64(0)
	if value == nil {
		value = new(big.Int)
	}
	if a.AccessList != nil {
		list = *a.AccessList
	}
	if a.Gas != nil {
		gas = *a.Gas
	}
	var data types.TxData
	switch kind {
	case types.SetCodeTxType:
		data = &types.SetCodeTx{
			ChainID: uint256.MustFromBig(chainID), Nonce: nonce, Gas: gas, To: *a.To, Data: a.Data, AccessList: list,
			GasTipCap: uint256.MustFromBig(a.MaxPriorityFeePerGas), GasFeeCap: uint256.MustFromBig(a.MaxFeePerGas),
			Value: uint256.MustFromBig(value), AuthList: a.AuthorizationList,
		}
	case types.BlobTxType:
		data = &types.BlobTx{
			ChainID: uint256.MustFromBig(chainID), Nonce: nonce, Gas: gas, To: *a.To, Data: a.Data, AccessList: list,
			GasTipCap: uint256.MustFromBig(a.MaxPriorityFeePerGas), GasFeeCap: uint256.MustFromBig(a.MaxFeePerGas),
			Value: uint256.MustFromBig(value), BlobFeeCap: uint256.MustFromBig(a.MaxFeePerBlobGas),
			BlobHashes: a.BlobHashes, Sidecar: a.sidecar(),
		}
	case types.DynamicFeeTxType:
		data = &types.DynamicFeeTx{
			ChainID: chainID, Nonce: nonce, Gas: gas, To: a.To, Value: value, Data: a.Data, AccessList: list,
			GasTipCap: a.MaxPriorityFeePerGas, GasFeeCap: a.MaxFeePerGas,
		}
	case types.AccessListTxType:
		data = &types.AccessListTx{
			ChainID: chainID, Nonce: nonce, Gas: gas, To: a.To, Value: value, Data: a.Data, AccessList: list, GasPrice: a.GasPrice,
		}
	default:
		data = &types.LegacyTx{Nonce: nonce, Gas: gas, To: a.To, Value: value, Data: a.Data, GasPrice: a.GasPrice}
	}
	return types.NewTx(data)
}

// checkForEver refuses what no node could ever take, so that no nonce is
// spent on it. What depends on the chain's fork or state is left to the node.
func checkForEver(t *types.Transaction) error {
	switch {
	case t.Nonce() == math.MaxUint64:
		return argErr("nonce", "too large: the highest nonce is 0xfffffffffffffffe (EIP-2681)")
	case t.Gas() > math.MaxInt64:
		return argErr("gas", "too large: want at most 0x7fffffffffffffff")
	case t.GasTipCap().Cmp(t.GasFeeCap()) > 0:
		return argErr("maxPriorityFeePerGas", "%s is above maxFeePerGas %s (wei per gas)", t.GasTipCap(), t.GasFeeCap())
	case t.To() == nil && len(t.Data()) > params.MaxInitCodeSize:
		return argErr("data", "%d bytes of init code exceed the limit of %d (EIP-3860)", len(t.Data()), params.MaxInitCodeSize)
	}
	if size := t.WithoutBlobTxSidecar().Size() + signatureSize; size > MaxSize {
		return argErr("data", "the transaction of %d bytes exceeds the %d that nodes take", size, MaxSize)
	}
	if need := IntrinsicGas(t); t.Gas() < need {
		return argErr("gas", "%d is below the %d that this transaction costs at least", t.Gas(), need)
	}
	if MaxCost(t).BitLen() > 256 {
		return argErr("value", "value and fee together exceed 256 bits")
	}
	return nil
}

// signatureSize is what a signature adds to an unsigned encoding: r and s grow
// from one byte to at most 33 each.
const signatureSize = 64
