// SPDX-License-Identifier: Apache-2.0

package byok

import (
	"bytes"
	"errors"
	"fmt"

	"github.com/ethereum/go-ethereum/crypto"

	"github.com/hsmsigner/hsmsigner/internal/secp"
)

// The parts of a secp256k1 PrivateKeyInfo that are the same for every key.
// DER has one encoding for each value, so no encoder and no parser is needed.
const (
	// pkcs8Head stands before the 32 bytes of the private key:
	//
	//	SEQUENCE(132) { INTEGER 0,
	//	  SEQUENCE(16) { OID id-ecPublicKey 1.2.840.10045.2.1, OID secp256k1 1.3.132.0.10 },
	//	  OCTET STRING(109) { SEQUENCE(107) { INTEGER 1, OCTET STRING(32) … } } }
	pkcs8Head = "\x30\x81\x84\x02\x01\x00" +
		"\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x0a" +
		"\x04\x6d\x30\x6b\x02\x01\x01\x04\x20"
	// pkcs8Middle stands between it and 04‖X‖Y: [1] { BIT STRING(66), no unused bits }.
	pkcs8Middle = "\xa1\x44\x03\x42\x00"

	scalarSize = 32
	pointSize  = 65
	pkcs8Size  = len(pkcs8Head) + scalarSize + len(pkcs8Middle) + pointSize
)

// errNotAKey never says what the bytes were.
var errNotAKey = errors.New("not a secp256k1 private key: want 32 bytes from 1 to n-1")

// PKCS8 returns a secp256k1 private key (32 bytes, big-endian, from 1 to n-1)
// as a DER PrivateKeyInfo of 135 bytes, with the public key and without curve
// parameters in the inner ECPrivateKey, which is what OpenSSL writes and every
// service reads (RFC 5208 §5, RFC 5915 §3, RFC 5480). The caller wipes both.
func PKCS8(private []byte) ([]byte, error) {
	point, err := publicPoint(private)
	if err != nil {
		return nil, fmt.Errorf("byok: encode as PKCS#8: %w", err)
	}
	der := make([]byte, 0, pkcs8Size)
	der = append(der, pkcs8Head...)
	der = append(der, private...)
	der = append(der, pkcs8Middle...)
	return append(der, point...), nil
}

// PublicKey returns the public key of a private key, which the caller of an
// import compares with what the service says that it holds.
func PublicKey(private []byte) (secp.PublicKey, error) {
	point, err := publicPoint(private)
	if err != nil {
		return secp.PublicKey{}, fmt.Errorf("byok: public key: %w", err)
	}
	return secp.ParsePoint(point)
}

// ParsePKCS8 returns the private key in what [PKCS8] wrote, and nothing else:
// other encodings of the same key are refused. The fakes of the services use
// it. The caller wipes what it returns. Every error wraps [ErrMalformed].
func ParsePKCS8(der []byte) ([]byte, error) {
	tail := len(pkcs8Head) + scalarSize
	if len(der) != pkcs8Size || !bytes.HasPrefix(der, []byte(pkcs8Head)) || !bytes.HasPrefix(der[tail:], []byte(pkcs8Middle)) {
		return nil, fmt.Errorf("byok: parse PKCS#8: %w: not a PrivateKeyInfo of secp256k1 with its public key", ErrMalformed)
	}
	private := bytes.Clone(der[len(pkcs8Head):tail])
	point, err := publicPoint(private)
	if err != nil {
		clear(private)
		return nil, fmt.Errorf("byok: parse PKCS#8: %w: %w", ErrMalformed, err)
	}
	if !bytes.Equal(point, der[tail+len(pkcs8Middle):]) {
		clear(private)
		return nil, fmt.Errorf("byok: parse PKCS#8: %w: the public key is another's", ErrMalformed)
	}
	return private, nil
}

// publicPoint returns 04‖X‖Y of a private key.
func publicPoint(private []byte) ([]byte, error) {
	if len(private) != scalarSize {
		return nil, errNotAKey
	}
	k, err := crypto.ToECDSA(private)
	if err != nil {
		return nil, errNotAKey
	}
	//lint:ignore SA1019 The words of D are the secret, and nothing else reaches them.
	defer clear(k.D.Bits()) //nolint:staticcheck // as above
	return crypto.FromECDSAPub(&k.PublicKey), nil
}
