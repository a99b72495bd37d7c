// SPDX-License-Identifier: Apache-2.0

package approval

import (
	"bytes"
	"fmt"
	"math/big"
	"slices"

	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/rlp"

	"github.com/hsmsigner/hsmsigner/internal/policy"
	"github.com/hsmsigner/hsmsigner/internal/tx"
)

// withNonce keeps package tx's names out of the way of variables called tx.
func withNonce(t *types.Transaction, n uint64) *types.Transaction { return tx.WithNonce(t, n) }

// covers says in what r differs from what was approved; nil if in nothing. Fees
// may be lower, the nonce of what is sent is the transaction manager's, and a
// nonce that the caller chose is compared where it is known.
func (q Request) covers(r policy.Request) error {
	now, err := requestOf(r)
	if err != nil {
		return err
	}
	switch {
	case now.Principal != q.Principal:
		return differs("principal")
	case now.Owner != q.Owner:
		return differs("wallet")
	case now.Action != q.Action:
		return differs("action")
	case now.Account != q.Account:
		return differs("account")
	case now.ChainID != q.ChainID:
		return differs("chain")
	case (now.Transaction == nil) != (q.Transaction == nil):
		return differs("kind")
	case q.Transaction == nil:
		if now.content() != q.content() {
			return differs("content")
		}
		return nil
	case now.Transaction.Presigned != q.Transaction.Presigned:
		return differs("signature")
	case !q.sends():
		if !bytes.Equal(now.Transaction.Payload, q.Transaction.Payload) {
			return differs("transaction")
		}
		return nil
	}
	return q.coversSend(r)
}

func differs(what string) error { return fmt.Errorf("its %s is not what was approved", what) }

// coversSend compares what the transaction manager has made of an approved
// transaction with what was approved.
func (q Request) coversSend(r policy.Request) error {
	want, err := q.transaction()
	if err != nil {
		return err
	}
	got := r.Transaction
	if !r.Signing && !same(r.Asked.Nonce, q.Transaction.Nonce) {
		return differs("chosen nonce")
	}
	if r.Signing && q.Transaction.Nonce != nil && got.Nonce() != *q.Transaction.Nonce {
		return differs("nonce")
	}
	for _, f := range []struct {
		name string
		same bool
	}{
		{"type", got.Type() == want.Type()},
		{"receiver", same(got.To(), want.To())},
		{"value", got.Value().Cmp(want.Value()) == 0},
		{"data", bytes.Equal(got.Data(), want.Data())},
		{"gas limit", got.Gas() == want.Gas()},
		{"access list", sameRLP(got.AccessList(), want.AccessList())},
		{"authorisation list", sameRLP(got.SetCodeAuthorizations(), want.SetCodeAuthorizations())},
		{"blobs", slices.Equal(got.BlobHashes(), want.BlobHashes())},
	} {
		if !f.same {
			return differs(f.name)
		}
	}
	return q.Transaction.coversFees(r)
}

func (t *Transaction) coversFees(r policy.Request) error {
	fee := r.Transaction.GasFeeCap()
	if r.FeeCeiling != nil && r.FeeCeiling.Cmp(fee) > 0 {
		fee = r.FeeCeiling
	}
	for _, f := range []struct {
		name string
		got  *big.Int
		most string
	}{
		{"fee per gas", fee, t.MaxFeePerGas},
		{"priority fee per gas", r.Transaction.GasTipCap(), t.MaxPriorityFeePerGas},
		{"fee per blob gas", r.Transaction.BlobGasFeeCap(), t.MaxFeePerBlobGas},
	} {
		if f.got != nil && f.got.Cmp(amount(f.most)) > 0 {
			return fmt.Errorf("its %s of %s wei is above the %s that were approved", f.name, f.got, amount(f.most))
		}
	}
	return nil
}

func same[T comparable](a, b *T) bool {
	if a == nil || b == nil {
		return a == b
	}
	return *a == *b
}

func sameRLP(a, b any) bool {
	x, errX := rlp.EncodeToBytes(a)
	y, errY := rlp.EncodeToBytes(b)
	return errX == nil && errY == nil && bytes.Equal(x, y)
}
