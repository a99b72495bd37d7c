// SPDX-License-Identifier: Apache-2.0

//go:build cgo

package token

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha1" //nolint:gosec // as RSA-OAEP's hash, which needs no collision resistance, and all that some tokens know
	"crypto/sha256"
	"encoding/asn1"
	"fmt"
	"hash"
	"math/big"
	"time"

	"github.com/ethereum/go-ethereum/crypto"
	"github.com/miekg/pkcs11"

	"github.com/hsmsigner/hsmsigner/internal/key/pkcs11/wire"
	"github.com/hsmsigner/hsmsigner/internal/secp"
)

// take stores a given private key in the token: unwrapped there by the RSA key
// called wrapping, or, if that is empty, with C_CreateObject. The caller wipes
// private.
func (t *token) take(deadline time.Time, label string, private []byte, wrapping string) (wire.Entry, error) {
	e := wire.Entry{ID: newID(), Label: clean(label)}
	k, err := crypto.ToECDSA(private)
	if err != nil {
		return e, &wire.Failure{Kind: wire.Denied, Why: "import: the private key is not a number from 1 to n-1 in 32 bytes"}
	}
	//lint:ignore SA1019 The words of D are the secret, and nothing else reaches them.
	defer clear(k.D.Bits()) //nolint:staticcheck // as above
	uncompressed := crypto.FromECDSAPub(&k.PublicKey)
	e.Point = secp.PublicKey(uncompressed[1:])
	err = t.writing(deadline, func(s pkcs11.SessionHandle) error {
		octets, err := asn1.Marshal(uncompressed)
		if err != nil {
			return err
		}
		public, err := t.module.CreateObject(s, append(t.publicTemplate(e.ID, label), pkcs11.NewAttribute(pkcs11.CKA_EC_POINT, octets)))
		if err != nil {
			return err
		}
		var object pkcs11.ObjectHandle
		if wrapping == "" {
			object, err = t.module.CreateObject(s, append(t.privateTemplate(e.ID, label),
				pkcs11.NewAttribute(pkcs11.CKA_EC_PARAMS, curveNames[0]), pkcs11.NewAttribute(pkcs11.CKA_VALUE, private)))
			if err != nil {
				f := failure("import with C_CreateObject", err)
				f.Why += "; a token that takes no private key in clear needs the name of its RSA key that may unwrap"
				err = f
			}
		} else {
			object, err = t.unwrap(s, pkcs8(private, uncompressed), wrapping, t.privateTemplate(e.ID, label))
		}
		if err == nil {
			_, err = t.prove(s, public, object, &e.Point)
		}
		if err != nil {
			return t.undo(s, err, object, public)
		}
		return nil
	})
	return e, err
}

// pkcs8 is the DER PrivateKeyInfo of a key of our curve (RFC 5208, RFC 5915):
// all of it has a fixed length.
func pkcs8(private, uncompressed []byte) []byte {
	b := []byte("\x30\x81\x84\x02\x01\x00\x30\x10\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x05\x2b\x81\x04\x00\x0a" +
		"\x04\x6d\x30\x6b\x02\x01\x01\x04\x20")
	whole := make([]byte, 0, 135) // grown, it would leave the key in memory
	whole = append(append(whole, b...), private...)
	whole = append(whole, 0xa1, 0x44, 0x03, 0x42, 0x00)
	return append(whole, uncompressed...)
}

// unwrap lets the token decrypt a key that is encrypted to its RSA key here, with
// RSA-OAEP (PKCS#11 v2.40 §2.1.8). It overwrites plain.
func (t *token) unwrap(s pkcs11.SessionHandle, plain []byte, wrapping string, template []*pkcs11.Attribute) (pkcs11.ObjectHandle, error) {
	defer clear(plain)
	private, public, err := t.rsaPair(s, wrapping)
	if err != nil {
		return 0, err
	}
	var last error
	for _, h := range []struct {
		new       func() hash.Hash
		hash, mgf uint
	}{
		{sha256.New, pkcs11.CKM_SHA256, pkcs11.CKG_MGF1_SHA256},
		{sha1.New, pkcs11.CKM_SHA_1, pkcs11.CKG_MGF1_SHA1}, // SoftHSM 2.6 knows no other
	} {
		wrapped, err := rsa.EncryptOAEP(h.new(), rand.Reader, public, plain, nil)
		if err != nil {
			return 0, &wire.Failure{Kind: wire.Denied, Why: fmt.Sprintf("import: wrap with the RSA key %q: %v", clean(wrapping), err)}
		}
		params := pkcs11.NewOAEPParams(h.hash, h.mgf, pkcs11.CKZ_DATA_SPECIFIED, nil)
		object, err := t.module.UnwrapKey(s, []*pkcs11.Mechanism{pkcs11.NewMechanism(pkcs11.CKM_RSA_PKCS_OAEP, params)}, private, wrapped, template)
		if err == nil {
			return object, nil
		}
		last = err
		if c, ok := code(err); !ok || uint(c) != pkcs11.CKR_MECHANISM_PARAM_INVALID && uint(c) != pkcs11.CKR_ARGUMENTS_BAD && uint(c) != pkcs11.CKR_MECHANISM_INVALID {
			break
		}
	}
	return 0, failure(fmt.Sprintf("unwrap with the RSA key %q", clean(wrapping)), last)
}

// rsaPair finds the one RSA key pair with a label: the handle of the private key
// and the public key itself.
func (t *token) rsaPair(s pkcs11.SessionHandle, label string) (pkcs11.ObjectHandle, *rsa.PublicKey, error) {
	bad := func(why string) (pkcs11.ObjectHandle, *rsa.PublicKey, error) {
		return 0, nil, &wire.Failure{Kind: wire.Denied, Why: fmt.Sprintf("import: the unwrapping key %q %s", clean(label), why)}
	}
	var handles [2]pkcs11.ObjectHandle
	for i, class := range []uint{pkcs11.CKO_PRIVATE_KEY, pkcs11.CKO_PUBLIC_KEY} {
		found, err := t.search(s, []*pkcs11.Attribute{
			pkcs11.NewAttribute(pkcs11.CKA_CLASS, class), pkcs11.NewAttribute(pkcs11.CKA_KEY_TYPE, uint(pkcs11.CKK_RSA)), pkcs11.NewAttribute(pkcs11.CKA_LABEL, label),
		})
		if err != nil {
			return 0, nil, err
		}
		if len(found) != 1 {
			return bad(fmt.Sprintf("must be one RSA key pair of the token; %d objects are called that", len(found)))
		}
		handles[i] = found[0]
	}
	v, err := t.attributes(s, handles[1], pkcs11.CKA_MODULUS, pkcs11.CKA_PUBLIC_EXPONENT)
	if err != nil {
		return 0, nil, err
	}
	modulus, exponent := new(big.Int).SetBytes(v[0]), new(big.Int).SetBytes(v[1])
	if modulus.BitLen() < 2048 || exponent.BitLen() > 31 || exponent.Bit(0) == 0 {
		return bad(fmt.Sprintf("has %d bits; it must be RSA of 2048 or more with a usual exponent", modulus.BitLen()))
	}
	return handles[0], &rsa.PublicKey{N: modulus, E: int(exponent.Int64())}, nil
}
