// SPDX-License-Identifier: Apache-2.0

// Package secp is the pure mathematics of secp256k1 signatures as key
// backends return them and Ethereum wants them: parsing of public keys (SPKI)
// and signatures (DER, r‖s), low-S, the recovery id, the address. It does no
// I/O and holds no private key.
package secp

import (
	"errors"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/crypto"
)

// PublicKey is an uncompressed point without its prefix byte: X‖Y, 32 bytes
// each, big-endian.
type PublicKey [64]byte

// Address returns keccak256(X‖Y)[12:] (Yellow Paper, appendix F).
func (p PublicKey) Address() common.Address {
	return common.BytesToAddress(crypto.Keccak256(p[:])[12:])
}

// Signature is a canonical Ethereum signature: s ≤ n/2 (EIP-2), and V is the
// recovery id, 0 or 1.
type Signature struct {
	R, S [32]byte // big-endian, left-padded
	V    byte     // 0 or 1
}

// Bytes returns r‖s‖v, 65 bytes, v ∈ {0,1}, as go-ethereum's
// types.Transaction.WithSignature wants it.
func (s Signature) Bytes() []byte {
	b := make([]byte, 65)
	copy(b, s.R[:])
	copy(b[32:], s.S[:])
	b[64] = s.V
	return b
}

// Errors of this package.
var (
	// ErrMalformed: the bytes are not a signature or public key of the form asked for.
	ErrMalformed = errors.New("malformed")
	// ErrWrongKey: the signature is not by the key of the expected address.
	ErrWrongKey = errors.New("signature does not recover to the expected address")
)
