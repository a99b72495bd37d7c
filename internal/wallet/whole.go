// SPDX-License-Identifier: Apache-2.0

package wallet

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"math/big"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"

	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/tx"
)

// errOnlyTransactions is what everybody is told who asks a backend that signs
// whole transactions for another signature.
var errOnlyTransactions = &RequestError{"the key backend of this wallet signs legacy transactions only, no messages and no typed data"}

// LegacyOnly reports whether the backend signs whole legacy transactions and
// nothing else: what is filled in for a caller has to be a gas price.
func (w *Wallet) LegacyOnly() bool { return w.whole != nil }

// signable refuses a transaction that the backend could never sign.
func (w *Wallet) signable(t *types.Transaction) error {
	if w.whole == nil {
		return nil
	}
	if t.Type() != types.LegacyTxType {
		return &RequestError{"the key backend of this wallet signs legacy transactions only: give gasPrice, and no maxFeePerGas, " +
			"maxPriorityFeePerGas, accessList, authorizationList or blobs"}
	}
	err := w.whole.Signable(t)
	if err == nil {
		return nil
	}
	var refused *key.CallError
	if errors.As(err, &refused) && refused.Why != "" {
		return &RequestError{"the key backend of this wallet cannot sign this transaction: " + refused.Why}
	}
	return &RequestError{"the key backend of this wallet cannot sign this transaction"}
}

// wholeTx is a legacy transaction as a [key.TransactionSigner] is given it.
type wholeTx struct {
	unsigned *types.Transaction
	chainID  *big.Int
}

// signatureIn takes the signature out of what the backend returned, if that is
// the very transaction that was asked for. Only r and s are used of it: the bytes
// that leave are made anew, of what policy saw. That they are by the account, and
// that s is low, is seen to where the signatures of all backends are.
func (w *wholeTx) signatureIn(raw []byte) (key.Signature, error) {
	var got types.Transaction
	if err := got.UnmarshalBinary(raw); err != nil {
		return key.Signature{}, fmt.Errorf("the answer is no transaction: %w: %w", err, key.ErrBadResponse)
	}
	if field := w.differs(&got); field != "" {
		return key.Signature{}, fmt.Errorf("the answer is another transaction than was asked for: its %s differs: %w", field, key.ErrBadResponse)
	}
	v, r, s := got.RawSignatureValues()
	if r.Sign() < 0 || s.Sign() < 0 || r.BitLen() > 256 || s.BitLen() > 256 {
		return key.Signature{}, fmt.Errorf("the answer has a signature of more than 64 bytes: %w", key.ErrBadResponse)
	}
	var sig key.Signature
	r.FillBytes(sig.R[:])
	s.FillBytes(sig.S[:])
	sig.Hint = byte(new(big.Int).Sub(v, w.v(0)).Uint64()) // 0 or 1: differs has seen to it
	return sig, nil
}

// differs names a field in which got is not what was asked for; empty if it is.
func (w *wholeTx) differs(got *types.Transaction) string {
	want := w.unsigned
	v, _, _ := got.RawSignatureValues()
	switch {
	case got.Type() != types.LegacyTxType:
		return "type"
	case v.Cmp(w.v(0)) != 0 && v.Cmp(w.v(1)) != 0: // without EIP-155 anybody could send it to another chain
		return "chain id"
	case got.Nonce() != want.Nonce():
		return "nonce"
	case got.GasPrice().Cmp(want.GasPrice()) != 0:
		return "gas price"
	case got.Gas() != want.Gas():
		return "gas"
	case (got.To() == nil) != (want.To() == nil), got.To() != nil && *got.To() != *want.To():
		return "recipient"
	case got.Value().Cmp(want.Value()) != 0:
		return "value"
	case !bytes.Equal(got.Data(), want.Data()):
		return "data"
	case tx.Digest(got, w.chainID) != tx.Digest(want, w.chainID):
		return "signing hash"
	}
	return ""
}

// v is recovery id + 35 + 2 × chain id (EIP-155).
func (w *wholeTx) v(id int64) *big.Int {
	v := new(big.Int).Lsh(w.chainID, 1)
	return v.Add(v, big.NewInt(35+id))
}

// challengeTx puts a challenge into a transaction that no chain will ever take:
// its nonce is the one that EIP-2681 forbids, it has no gas to run with, and its
// chain id, which the challenge gives, is above all that EIP-2294 allows. So it
// shares its digest with no transaction that anybody could use.
func challengeTx(addr common.Address, challenge common.Hash) *wholeTx {
	chainID := new(big.Int).SetBytes(challenge[:31])
	chainID.SetBit(chainID, 247, 1) // 248 bits, whatever the challenge begins with
	return &wholeTx{
		unsigned: types.NewTx(&types.LegacyTx{
			Nonce: math.MaxUint64, To: &addr, GasPrice: new(big.Int), Value: new(big.Int), Data: challenge[:],
		}),
		chainID: chainID,
	}
}
