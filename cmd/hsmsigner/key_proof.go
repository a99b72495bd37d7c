// SPDX-License-Identifier: Apache-2.0

package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"math"
	"math/big"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"

	"github.com/hsmsigner/hsmsigner/internal/key"
)

// signProof is signChallenge for a backend that signs whole transactions only:
// it gets one that no chain takes, without gas, at the last nonce, for a random
// chain id of 248 bits.
func signProof(ctx context.Context, signer key.TransactionSigner, k key.Key) error {
	var random [31]byte
	_, _ = rand.Read(random[:]) // never fails (crypto/rand)
	random[0] |= 0x80
	chainID := new(big.Int).SetBytes(random[:])
	unsigned := types.NewTx(&types.LegacyTx{Nonce: math.MaxUint64, GasPrice: new(big.Int), To: &common.Address{}, Value: new(big.Int)})
	if err := signer.Signable(unsigned); err != nil {
		return err
	}
	raw, err := signer.SignTransaction(ctx, k.Ref, chainID, unsigned)
	if err != nil {
		return err
	}
	var signed types.Transaction
	if err := signed.UnmarshalBinary(raw.Raw); err != nil {
		return fmt.Errorf("the signed transaction cannot be read: %w", key.ErrBadResponse)
	}
	eip155 := types.NewEIP155Signer(chainID)
	if eip155.Hash(&signed) != eip155.Hash(unsigned) {
		return fmt.Errorf("another transaction than the one asked for was signed: %w", key.ErrBadResponse)
	}
	from, err := types.Sender(eip155, &signed)
	if err != nil || from != k.Address {
		return fmt.Errorf("the signature is not by %s: %w", k.Address, key.ErrBadResponse)
	}
	return nil
}
