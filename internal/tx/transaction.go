// SPDX-License-Identifier: Apache-2.0

package tx

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"math/big"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/holiman/uint256"

	"github.com/hsmsigner/hsmsigner/internal/secp"
)

// WithNonce returns an unsigned copy of t with another nonce. It works for
// every type and keeps a blob sidecar.
func WithNonce(t *types.Transaction, n uint64) *types.Transaction {
	return rebuild(t, n, FeesOf(t))
}

// rebuild makes an unsigned copy of t with another nonce and other fees.
func rebuild(t *types.Transaction, n uint64, f Fees) *types.Transaction {
	var data types.TxData
	switch t.Type() {
	case types.LegacyTxType:
		data = &types.LegacyTx{
			Nonce: n, GasPrice: f.MaxFeePerGas, Gas: t.Gas(), To: t.To(), Value: t.Value(), Data: t.Data(),
		}
	case types.AccessListTxType:
		data = &types.AccessListTx{
			ChainID: t.ChainId(), Nonce: n, GasPrice: f.MaxFeePerGas, Gas: t.Gas(), To: t.To(), Value: t.Value(),
			Data: t.Data(), AccessList: t.AccessList(),
		}
	case types.BlobTxType:
		data = &types.BlobTx{
			ChainID: uint256.MustFromBig(t.ChainId()), Nonce: n, Gas: t.Gas(), To: *t.To(), Data: t.Data(),
			GasTipCap: uint256.MustFromBig(f.MaxPriorityFeePerGas), GasFeeCap: uint256.MustFromBig(f.MaxFeePerGas),
			Value: uint256.MustFromBig(t.Value()), AccessList: t.AccessList(),
			BlobFeeCap: uint256.MustFromBig(f.MaxFeePerBlobGas), BlobHashes: t.BlobHashes(), Sidecar: t.BlobTxSidecar(),
		}
	case types.SetCodeTxType:
		data = &types.SetCodeTx{
			ChainID: uint256.MustFromBig(t.ChainId()), Nonce: n, Gas: t.Gas(), To: *t.To(), Data: t.Data(),
			GasTipCap: uint256.MustFromBig(f.MaxPriorityFeePerGas), GasFeeCap: uint256.MustFromBig(f.MaxFeePerGas),
			Value: uint256.MustFromBig(t.Value()), AccessList: t.AccessList(), AuthList: t.SetCodeAuthorizations(),
		}
	default:
		data = &types.DynamicFeeTx{
			ChainID: t.ChainId(), Nonce: n, GasTipCap: f.MaxPriorityFeePerGas, GasFeeCap: f.MaxFeePerGas, Gas: t.Gas(),
			To: t.To(), Value: t.Value(), Data: t.Data(), AccessList: t.AccessList(),
		}
	}
	return types.NewTx(data)
}

// Digest is what has to be signed: keccak256 of the signing payload, always
// bound to the chain (EIP-155 for legacy, EIP-2718 for the others).
func Digest(t *types.Transaction, chainID *big.Int) common.Hash {
	return types.LatestSignerForChainID(chainID).Hash(t)
}

// Signed puts a signature on t. The signature is not verified against an
// account; whoever asked for it does that.
func Signed(t *types.Transaction, chainID *big.Int, sig secp.Signature) (*types.Transaction, error) {
	signed, err := t.WithSignature(types.LatestSignerForChainID(chainID), sig.Bytes())
	if err != nil {
		return nil, fmt.Errorf("put the signature on the transaction: %w", err)
	}
	return signed, nil
}

// MaxCost is the most that t can take from its sender: value, gas × fee and
// blob gas × blob fee, in wei.
func MaxCost(t *types.Transaction) *big.Int { return t.Cost() }

// IsBlob reports whether t is a blob transaction (EIP-4844), which nodes keep
// in a pool of its own.
func IsBlob(t *types.Transaction) bool { return t.Type() == types.BlobTxType }

// Authorities returns the accounts that signed t's authorisations (EIP-7702).
// An authorisation whose signature is invalid has no effect and is left out.
func Authorities(t *types.Transaction) []common.Address {
	list := t.SetCodeAuthorizations()
	var out []common.Address
	for i := range list {
		if addr, err := list[i].Authority(); err == nil {
			out = append(out, addr)
		}
	}
	return out
}

// EncodeUnsigned writes an unsigned transaction for the store: EIP-2718
// binary with the signature fields zero, with its blob sidecar. A legacy
// transaction's encoding has no chain id.
func EncodeUnsigned(t *types.Transaction) ([]byte, error) {
	if isSigned(t) {
		return nil, errors.New("encode unsigned transaction: it is signed")
	}
	b, err := t.MarshalBinary()
	if err != nil {
		return nil, fmt.Errorf("encode unsigned transaction: %w", err)
	}
	return b, nil
}

// DecodeUnsigned reads what EncodeUnsigned wrote.
func DecodeUnsigned(b []byte) (*types.Transaction, error) {
	t := new(types.Transaction)
	if err := t.UnmarshalBinary(b); err != nil {
		return nil, fmt.Errorf("decode unsigned transaction: %w", err)
	}
	if isSigned(t) {
		return nil, errors.New("decode unsigned transaction: it is signed")
	}
	return t, nil
}

func isSigned(t *types.Transaction) bool {
	v, r, s := t.RawSignatureValues()
	for _, n := range []*big.Int{v, r, s} {
		if n != nil && n.Sign() != 0 {
			return true
		}
	}
	return false
}

// maxRaw bounds raw transactions: six blobs with their cell proofs and the rest.
const maxRaw = 6*(131072+64+128*49) + 2*MaxSize

// DecodeRaw reads the signed transaction of eth_sendRawTransaction and
// recovers its sender. The encoding must be canonical, the signature low-S,
// and a legacy transaction bound to a chain: others can be replayed. Every
// error is an *[ArgError].
func DecodeRaw(raw []byte) (*types.Transaction, common.Address, error) {
	var none common.Address
	if len(raw) > maxRaw {
		return nil, none, argErr("", "the raw transaction of %d bytes is larger than any transaction can be", len(raw))
	}
	t := new(types.Transaction)
	if err := t.UnmarshalBinary(raw); err != nil {
		return nil, none, argErr("", "not a signed transaction: %v", err)
	}
	if again, err := t.MarshalBinary(); err != nil || !bytes.Equal(again, raw) {
		return nil, none, argErr("", "not a signed transaction: the encoding is not canonical")
	}
	if !isSigned(t) {
		return nil, none, argErr("", "the raw transaction is not signed")
	}
	if !t.Protected() {
		return nil, none, argErr("", "the raw transaction is replayable on any chain: sign it with a chain id (EIP-155)")
	}
	if size := t.WithoutBlobTxSidecar().Size(); size > MaxSize {
		return nil, none, argErr("", "the raw transaction of %d bytes exceeds the %d that nodes take", size, MaxSize)
	}
	if t.ChainId().Sign() <= 0 {
		return nil, none, argErr("", "the raw transaction names no chain id")
	}
	if sc := t.BlobTxSidecar(); sc != nil {
		if err := sc.ValidateBlobCommitmentHashes(t.BlobHashes()); err != nil {
			return nil, none, argErr("", "the raw transaction's blobs do not fit its hashes: %v", err)
		}
	}
	from, err := types.Sender(types.LatestSignerForChainID(t.ChainId()), t)
	if err != nil {
		return nil, none, argErr("", "the raw transaction's signature is not valid: %v", err)
	}
	return t, from, nil
}

// RPCTransaction is the "tx" member of the answers of eth_signTransaction and
// eth_fillTransaction as geth writes it, for every type, with "from" added.
func RPCTransaction(t *types.Transaction, from common.Address) (json.RawMessage, error) {
	b, err := t.MarshalJSON()
	if err != nil {
		return nil, fmt.Errorf("write transaction as JSON: %w", err)
	}
	out := append([]byte(`{"from":"0x`), fmt.Sprintf("%x", from[:])...)
	out = append(out, `",`...)
	return append(out, b[1:]...), nil
}

// RawSender recovers who signed a raw transaction, one that [DecodeRaw] would
// refuse included, such as a replayable one: whoever owns the account has to
// know of it. ok is false if it cannot be read.
func RawSender(raw []byte) (from common.Address, ok bool) {
	t := new(types.Transaction)
	if len(raw) > maxRaw || t.UnmarshalBinary(raw) != nil || !isSigned(t) {
		return from, false
	}
	var signer types.Signer = types.HomesteadSigner{}
	if t.Protected() {
		signer = types.LatestSignerForChainID(t.ChainId())
	}
	from, err := types.Sender(signer, t)
	return from, err == nil
}
