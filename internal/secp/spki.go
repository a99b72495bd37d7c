// SPDX-License-Identifier: Apache-2.0

package secp

import (
	"bytes"
	"encoding/asn1"
	"errors"
	"fmt"

	"github.com/ethereum/go-ethereum/crypto"
)

// ErrOtherKey is wrapped, beside [ErrMalformed], by [ParseSPKI] when the bytes
// are a sound public key that is not on secp256k1. Discovery leaves such keys
// out without a word.
var ErrOtherKey = errors.New("not a secp256k1 key")

// spkiPrefix is all of an uncompressed secp256k1 SubjectPublicKeyInfo that
// stands before 04‖X‖Y (RFC 5480 §2, SEC 2 §2.4.1):
//
//	SEQUENCE(86) { SEQUENCE(16) { OID id-ecPublicKey 1.2.840.10045.2.1,
//	                              OID secp256k1 1.3.132.0.10 },
//	               BIT STRING(66), no unused bits }
//
// DER has one encoding for each value, so comparing bytes is the strictest
// parser there is.
const spkiPrefix = "\x30\x56\x30\x10" +
	"\x06\x07\x2a\x86\x48\xce\x3d\x02\x01" +
	"\x06\x05\x2b\x81\x04\x00\x0a" +
	"\x03\x42\x00"

// pointSize is the length of 04‖X‖Y in bytes.
const pointSize = 65

// ParseSPKI reads the DER SubjectPublicKeyInfo of a secp256k1 key, 88 bytes,
// as AWS, GCP and others return it (crypto/x509 does not know the curve). It
// accepts exactly one encoding of each key: named curve, uncompressed point on
// the curve, nothing after it. Every error wraps [ErrMalformed].
func ParseSPKI(der []byte) (PublicKey, error) {
	if len(der) == len(spkiPrefix)+pointSize && bytes.HasPrefix(der, []byte(spkiPrefix)) {
		p, err := parsePoint(der[len(spkiPrefix):])
		if err != nil {
			return PublicKey{}, fmt.Errorf("parse SPKI public key: %w", err)
		}
		return p, nil
	}
	return PublicKey{}, fmt.Errorf("parse SPKI public key: %w", diagnoseSPKI(der))
}

// ParsePoint reads an uncompressed point: 04‖X‖Y in 65 bytes, or the same
// inside a DER OCTET STRING in 67 bytes, which is how most PKCS#11 modules
// give CKA_EC_POINT. The length decides, since the bytes alone are ambiguous:
// an OCTET STRING begins with 04 too. Every error wraps [ErrMalformed].
func ParsePoint(b []byte) (PublicKey, error) {
	switch {
	case len(b) == pointSize:
	case len(b) == pointSize+2 && b[0] == 0x04 && b[1] == pointSize:
		b = b[2:]
	default:
		return PublicKey{}, fmt.Errorf("parse EC point: %w: %d bytes, want 65 (04‖X‖Y) or 67 (the same in a DER OCTET STRING)", ErrMalformed, len(b))
	}
	p, err := parsePoint(b)
	if err != nil {
		return PublicKey{}, fmt.Errorf("parse EC point: %w", err)
	}
	return p, nil
}

// SPKI returns the key as a DER SubjectPublicKeyInfo, 88 bytes: the inverse of
// [ParseSPKI].
func (p PublicKey) SPKI() []byte {
	b := make([]byte, 0, len(spkiPrefix)+pointSize)
	b = append(b, spkiPrefix...)
	b = append(b, 0x04)
	return append(b, p[:]...)
}

// parsePoint reads 65 bytes 04‖X‖Y and checks that they are a point.
func parsePoint(b []byte) (PublicKey, error) {
	if b[0] != 0x04 {
		return PublicKey{}, fmt.Errorf("%w: point begins with %#02x, want 0x04 (uncompressed)", ErrMalformed, b[0])
	}
	// A coordinate of p or more would name the same point a second time, and
	// give it a second address.
	if !less(b[1:33], fieldPrime) || !less(b[33:], fieldPrime) {
		return PublicKey{}, fmt.Errorf("%w: coordinate is not below the field prime", ErrMalformed)
	}
	if _, err := crypto.UnmarshalPubkey(b); err != nil {
		return PublicKey{}, fmt.Errorf("%w: point is not on secp256k1", ErrMalformed)
	}
	return PublicKey(b[1:]), nil
}

// diagnoseSPKI says why der is not what [ParseSPKI] wants. It never accepts.
func diagnoseSPKI(der []byte) error {
	var info struct {
		Algorithm struct {
			OID    asn1.ObjectIdentifier
			Params asn1.RawValue `asn1:"optional"`
		}
		Key asn1.BitString
	}
	rest, err := asn1.Unmarshal(der, &info)
	if err != nil {
		return fmt.Errorf("%w: not a DER SubjectPublicKeyInfo", ErrMalformed)
	}
	if len(rest) > 0 {
		return fmt.Errorf("%w: %d bytes after the SubjectPublicKeyInfo", ErrMalformed, len(rest))
	}
	if !info.Algorithm.OID.Equal(asn1.ObjectIdentifier{1, 2, 840, 10045, 2, 1}) {
		return fmt.Errorf("%w: %w: algorithm %v, want 1.2.840.10045.2.1 (id-ecPublicKey)", ErrMalformed, ErrOtherKey, info.Algorithm.OID)
	}
	var curve asn1.ObjectIdentifier
	if rest, err := asn1.Unmarshal(info.Algorithm.Params.FullBytes, &curve); err != nil || len(rest) > 0 {
		return fmt.Errorf("%w: curve is not given by name, want OID 1.3.132.0.10 (secp256k1)", ErrMalformed)
	}
	if !curve.Equal(asn1.ObjectIdentifier{1, 3, 132, 0, 10}) {
		return fmt.Errorf("%w: %w: curve %v, want 1.3.132.0.10 (secp256k1)", ErrMalformed, ErrOtherKey, curve)
	}
	return fmt.Errorf("%w: point of %d bits, want 65 bytes 04‖X‖Y (uncompressed)", ErrMalformed, info.Key.BitLength)
}
