// SPDX-License-Identifier: Apache-2.0

package tx

import (
	"errors"
	"fmt"
	"math/big"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/params"
)

// ErrBlobReplacement says that a blob transaction cannot be replaced by a
// self-transfer: geth's blob pool takes only another blob transaction in its
// place, and its ordinary pool none of an account that has blobs waiting.
var ErrBlobReplacement = errors.New("a blob transaction can be replaced only by a blob transaction")

// ErrUnderpriced says that fees are too low to replace a waiting transaction.
var ErrUnderpriced = errors.New("fees too low to replace the transaction")

// Fees are what a transaction pays.
type Fees struct {
	Legacy               bool     // a gasPrice, given in both fields
	MaxFeePerGas         *big.Int // wei per gas; the gasPrice of a legacy transaction
	MaxPriorityFeePerGas *big.Int // wei per gas; the gasPrice of a legacy transaction
	MaxFeePerBlobGas     *big.Int // wei per blob gas; nil except for blobs
}

// FeesOf returns the fees of t.
func FeesOf(t *types.Transaction) Fees {
	f := Fees{Legacy: t.Type() < types.DynamicFeeTxType, MaxFeePerGas: t.GasFeeCap(), MaxPriorityFeePerGas: t.GasTipCap()}
	if IsBlob(t) {
		f.MaxFeePerBlobGas = t.BlobGasFeeCap()
	}
	return f
}

// bump is by how many percent a replacement must pay more (geth's PriceBump
// of its two pools; other nodes ask for no more).
func bump(blob bool) int64 {
	if blob {
		return 100
	}
	return 10
}

// raise returns the least number that replaces n: percent more, rounded up,
// and at least one more.
func raise(n *big.Int, percent int64) *big.Int {
	up := new(big.Int).Mul(n, big.NewInt(100+percent))
	up.Add(up, big.NewInt(99)).Quo(up, big.NewInt(100))
	if least := new(big.Int).Add(n, big.NewInt(1)); up.Cmp(least) < 0 {
		return least
	}
	return up
}

// LeastBump returns the lowest fees that replace old: +10 % on fee and tip,
// for blobs +100 % on both and on the blob fee, each at least 1 wei more.
func LeastBump(old *types.Transaction) Fees {
	f, percent := FeesOf(old), bump(IsBlob(old))
	f.MaxFeePerGas = raise(f.MaxFeePerGas, percent)
	f.MaxPriorityFeePerGas = raise(f.MaxPriorityFeePerGas, percent)
	if f.MaxFeePerBlobGas != nil {
		f.MaxFeePerBlobGas = raise(f.MaxFeePerBlobGas, percent)
	}
	return f
}

// AtLeast raises f to want where that is more, but for the fee per gas not above
// limit, if there is one. Fields of want that are nil ask for nothing.
func (f Fees) AtLeast(want Fees, limit *big.Int) Fees {
	more := func(have, want *big.Int) *big.Int {
		if limit != nil && limit.Sign() > 0 && want != nil && want.Cmp(limit) > 0 {
			want = limit
		}
		if want != nil && want.Cmp(have) > 0 {
			return want
		}
		return have
	}
	f.MaxFeePerGas = more(f.MaxFeePerGas, want.MaxFeePerGas)
	f.MaxPriorityFeePerGas = more(f.MaxPriorityFeePerGas, want.MaxPriorityFeePerGas)
	if f.MaxPriorityFeePerGas.Cmp(f.MaxFeePerGas) > 0 || f.Legacy {
		f.MaxPriorityFeePerGas = f.MaxFeePerGas
	}
	return f
}

// BumpOK reports whether nodes would let next replace old at the same nonce:
// the same pool, and at least the fees of LeastBump.
func BumpOK(old, next *types.Transaction) bool {
	return IsBlob(old) == IsBlob(next) && FeesOf(next).covers(LeastBump(old))
}

func (f Fees) covers(least Fees) bool {
	return f.MaxFeePerGas.Cmp(least.MaxFeePerGas) >= 0 &&
		f.MaxPriorityFeePerGas.Cmp(least.MaxPriorityFeePerGas) >= 0 &&
		(least.MaxFeePerBlobGas == nil || f.MaxFeePerBlobGas != nil && f.MaxFeePerBlobGas.Cmp(least.MaxFeePerBlobGas) >= 0)
}

// WithFees returns an unsigned copy of t that pays other fees: a bump. A
// legacy or access-list transaction takes MaxFeePerGas as its gas price.
// Fields of f that are nil keep t's.
func WithFees(t *types.Transaction, f Fees) *types.Transaction {
	old := FeesOf(t)
	if f.MaxFeePerGas == nil {
		f.MaxFeePerGas = old.MaxFeePerGas
	}
	if f.MaxPriorityFeePerGas == nil {
		f.MaxPriorityFeePerGas = old.MaxPriorityFeePerGas
	}
	if f.MaxFeePerBlobGas == nil {
		f.MaxFeePerBlobGas = old.MaxFeePerBlobGas
	}
	return rebuild(t, t.Nonce(), f)
}

// SelfTransfer makes the transaction of value 0 and 21,000 gas from an
// account to itself that fills a nonce. like is the transaction that it
// replaces, or nil where nothing has left at that nonce. It is a legacy
// transaction if f is legacy, else type 2.
//
// [ErrUnderpriced] says that f would not replace like, [ErrBlobReplacement]
// that like is a blob transaction. An account with code (a delegation by
// EIP-7702) may need more gas than this.
func SelfTransfer(like *types.Transaction, from common.Address, chainID *big.Int, nonce uint64, f Fees) (*types.Transaction, error) {
	var data types.TxData
	if f.Legacy {
		data = &types.LegacyTx{Nonce: nonce, GasPrice: f.MaxFeePerGas, Gas: params.TxGas, To: &from, Value: new(big.Int)}
	} else {
		data = &types.DynamicFeeTx{
			ChainID: chainID, Nonce: nonce, GasTipCap: f.MaxPriorityFeePerGas, GasFeeCap: f.MaxFeePerGas,
			Gas: params.TxGas, To: &from, Value: new(big.Int),
		}
	}
	t := types.NewTx(data)
	switch {
	case like != nil && IsBlob(like):
		return nil, ErrBlobReplacement
	case like != nil && !BumpOK(like, t):
		least := LeastBump(like)
		return nil, fmt.Errorf("%w: it takes at least %s wei per gas with a tip of %s", ErrUnderpriced, least.MaxFeePerGas, least.MaxPriorityFeePerGas)
	}
	if err := checkForEver(t); err != nil {
		return nil, err
	}
	return t, nil
}
