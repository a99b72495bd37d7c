// SPDX-License-Identifier: Apache-2.0

package secp

import (
	"fmt"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/crypto"
)

// Finish makes the r and s of a backend into a canonical signature of digest
// by address: it replaces s by n − s if s is above n/2 (both are signatures;
// EIP-2 allows the lower), and finds the recovery id by trying both. A
// signature that Finish returns recovers to address.
//
// It returns [ErrMalformed] if r or s is not in 1…n−1, and [ErrWrongKey] if
// neither recovery id leads to address.
func Finish(address common.Address, digest, r, s [32]byte) (Signature, error) {
	return FinishHinted(address, digest, r, s, 0)
}

// FinishHinted is Finish with a guess at the recovery id that belongs to r and
// s as they are given. The guess is tried first and believed no more than the
// other: a right one saves half of the recoveries, a wrong one nothing but
// time. Only its lowest bit counts.
func FinishHinted(address common.Address, digest, r, s [32]byte, hint byte) (Signature, error) {
	if err := inRange(r, s); err != nil {
		return Signature{}, fmt.Errorf("finish signature: %w", err)
	}
	if highS(s) {
		s, hint = negate(s), hint^1
	}
	// The ids 2 and 3 stand for r ≥ n before reduction, which happens once in
	// 2^127 signatures and which Ethereum does not allow.
	for v := range byte(2) {
		sig := Signature{R: r, S: s, V: v ^ hint&1}
		if got, err := recoverAddress(digest, sig); err == nil && got == address {
			return sig, nil
		}
	}
	return Signature{}, fmt.Errorf("finish signature: %w %s", ErrWrongKey, address)
}

// Recover returns the address whose key made sig over digest. It returns
// [ErrMalformed] if sig is not canonical (r or s out of range, s above n/2, V
// neither 0 nor 1) or is a signature of no key.
func Recover(digest [32]byte, sig Signature) (common.Address, error) {
	if err := inRange(sig.R, sig.S); err != nil {
		return common.Address{}, fmt.Errorf("recover signer: %w", err)
	}
	if highS(sig.S) {
		return common.Address{}, fmt.Errorf("recover signer: %w: s is above n/2", ErrMalformed)
	}
	if sig.V > 1 {
		return common.Address{}, fmt.Errorf("recover signer: %w: recovery id is %d, want 0 or 1", ErrMalformed, sig.V)
	}
	address, err := recoverAddress(digest, sig)
	if err != nil {
		return common.Address{}, fmt.Errorf("recover signer: %w: r is not the coordinate of a usable point", ErrMalformed)
	}
	return address, nil
}

// Check returns nil if sig is a canonical signature of digest by address,
// [ErrMalformed] if it is not canonical, and [ErrWrongKey] otherwise.
func Check(address common.Address, digest [32]byte, sig Signature) error {
	got, err := Recover(digest, sig)
	if err != nil {
		return fmt.Errorf("check signature: %w", err)
	}
	if got != address {
		return fmt.Errorf("check signature: %w %s, but to %s", ErrWrongKey, address, got)
	}
	return nil
}

func recoverAddress(digest [32]byte, sig Signature) (common.Address, error) {
	pub, err := crypto.Ecrecover(digest[:], sig.Bytes())
	if err != nil {
		return common.Address{}, err
	}
	return PublicKey(pub[1:]).Address(), nil
}
