// SPDX-License-Identifier: Apache-2.0

// Package byok wraps a secp256k1 private key for import into a key service, so
// that it crosses the wire readable by the service's HSM alone: the key as
// PKCS#8, encrypted under a fresh AES-256 key by AES key wrap with padding, and
// that AES key encrypted under the service's RSA key by OAEP. PKCS#11 calls the
// whole CKM_RSA_AES_KEY_WRAP (PKCS#11 v3.1 §6.1.21); AWS KMS calls it
// RSA_AES_KEY_WRAP_SHA_256, Google RSA_OAEP_3072_SHA256_AES_256 and the like,
// Azure the ciphertext of a key transfer blob.
//
// It does no I/O and keeps nothing. The secrets that it makes on the way are
// overwritten before it returns; what it is given and what it returns belong to
// the caller, who wipes them.
package byok

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	_ "crypto/sha1" //nolint:gosec // the OAEP hash that Azure's key transfer blob is defined with; OAEP does not rest on collisions
	_ "crypto/sha256"
	"errors"
	"fmt"
)

// minRSABits is the smallest wrapping key that is used: no service offers less.
const minRSABits = 2048

// wrapKeySize is that of the ephemeral AES-256 key, in bytes.
const wrapKeySize = 32

// ErrMalformed is wrapped by the errors of [Unwrap] and [ParsePKCS8].
var ErrMalformed = errors.New("malformed")

// RSAAESWrap returns OAEP(k) ‖ KWP(k, payload) for a fresh AES-256 key k. The
// hash is that of OAEP and of its MGF1, with an empty label: SHA-256 for AWS
// and Google, SHA-1 for Azure. payload is not changed; [PKCS8] makes it.
//
// Sources: PKCS#11 v3.1 §6.1.21 (layout), RFC 8017 §7.1 (OAEP), RFC 5649 (KWP).
func RSAAESWrap(pub *rsa.PublicKey, hash crypto.Hash, payload []byte) ([]byte, error) {
	switch {
	case pub == nil || pub.N == nil:
		return nil, errors.New("byok: wrap: no wrapping key")
	case pub.N.BitLen() < minRSABits:
		return nil, fmt.Errorf("byok: wrap: the wrapping key has %d bits, want %d or more", pub.N.BitLen(), minRSABits)
	case !hash.Available():
		return nil, fmt.Errorf("byok: wrap: hash %v is not built in", hash)
	}
	k := make([]byte, wrapKeySize)
	defer clear(k)
	_, _ = rand.Read(k) // never fails (crypto/rand)
	wrapped, err := wrapPadded(k, payload)
	if err != nil {
		return nil, fmt.Errorf("byok: wrap: %w", err)
	}
	sealed, err := rsa.EncryptOAEP(hash.New(), rand.Reader, pub, k, nil)
	if err != nil {
		return nil, fmt.Errorf("byok: wrap: encrypt the AES key: %w", err)
	}
	return append(sealed, wrapped...), nil
}

// Unwrap is the inverse of [RSAAESWrap], as a service's HSM does it; the fakes
// of the services use it. It returns the payload, which the caller wipes.
func Unwrap(priv *rsa.PrivateKey, hash crypto.Hash, blob []byte) ([]byte, error) {
	size := priv.Size()
	if len(blob) <= size {
		return nil, fmt.Errorf("byok: unwrap: %w: %d bytes, want more than the %d of the RSA ciphertext", ErrMalformed, len(blob), size)
	}
	k, err := rsa.DecryptOAEP(hash.New(), nil, priv, blob[:size], nil)
	if err != nil {
		return nil, fmt.Errorf("byok: unwrap: %w: the AES key does not decrypt", ErrMalformed)
	}
	defer clear(k)
	payload, err := unwrapPadded(k, blob[size:])
	if err != nil {
		return nil, fmt.Errorf("byok: unwrap: %w", err)
	}
	return payload, nil
}
