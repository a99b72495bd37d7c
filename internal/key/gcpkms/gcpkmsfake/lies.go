// SPDX-License-Identifier: Apache-2.0

package gcpkmsfake

import (
	"math/big"

	"cloud.google.com/go/kms/apiv1/kmspb"
	"github.com/ethereum/go-ethereum/crypto"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// Lies for Fault.Answer.

// CorruptCRC flips a bit of the answer's checksum.
func CorruptCRC(_, reply proto.Message) {
	switch r := reply.(type) {
	case *kmspb.AsymmetricSignResponse:
		r.SignatureCrc32C.Value ^= 1
	case *kmspb.PublicKey:
		r.PemCrc32C.Value ^= 1
	}
}

// CorruptData flips a bit of the answer and leaves its checksum.
func CorruptData(_, reply proto.Message) {
	switch r := reply.(type) {
	case *kmspb.AsymmetricSignResponse:
		r.Signature[len(r.Signature)-1] ^= 1
	case *kmspb.PublicKey:
		r.Pem = r.Pem[:40] + "A" + r.Pem[41:] + "\n"
	}
}

// NoCRC leaves the checksums out.
func NoCRC(_, reply proto.Message) {
	switch r := reply.(type) {
	case *kmspb.AsymmetricSignResponse:
		r.SignatureCrc32C = nil
	case *kmspb.PublicKey:
		r.PemCrc32C = nil
	}
}

// Unverified says that the digest's checksum did not arrive.
func Unverified(_, reply proto.Message) {
	if r, ok := reply.(*kmspb.AsymmetricSignResponse); ok {
		r.VerifiedDigestCrc32C = false
	}
}

// WrongName says that another version was used.
func WrongName(_, reply proto.Message) {
	switch r := reply.(type) {
	case *kmspb.AsymmetricSignResponse:
		r.Name += "1"
	case *kmspb.PublicKey:
		r.Name += "1"
	}
}

// WrongKey signs with a key that nobody has heard of, or returns it.
func WrongKey(request, reply proto.Message) {
	other := newPrivate(kmspb.CryptoKeyVersion_EC_SIGN_SECP256K1_SHA256)
	switch r := reply.(type) {
	case *kmspb.AsymmetricSignResponse:
		setSignature(r, sign(other, request.(*kmspb.AsymmetricSignRequest).GetDigest().GetSha256()))
	case *kmspb.PublicKey:
		setPEM(r, publicPEM(&other.PublicKey))
	}
}

// WrongCurve returns a public key of another curve.
func WrongCurve(_, reply proto.Message) {
	if r, ok := reply.(*kmspb.PublicKey); ok {
		setPEM(r, publicPEM(&newPrivate(kmspb.CryptoKeyVersion_EC_SIGN_P256_SHA256).PublicKey))
	}
}

// TrailingBytes puts bytes behind the DER or the PEM, with the right checksum.
func TrailingBytes(_, reply proto.Message) {
	switch r := reply.(type) {
	case *kmspb.AsymmetricSignResponse:
		setSignature(r, append(r.Signature, 0))
	case *kmspb.PublicKey:
		setPEM(r, r.Pem+"x")
	}
}

// Signature puts bytes in place of the signature, with the right checksum.
func Signature(b []byte) func(request, reply proto.Message) {
	return func(_, reply proto.Message) {
		if r, ok := reply.(*kmspb.AsymmetricSignResponse); ok {
			setSignature(r, b)
		}
	}
}

// HighS makes s the greater of the two that fit.
func HighS(request, reply proto.Message) { withS(request, reply, true) }

// DER encodes a signature strictly.
func DER(r, s *big.Int) []byte { return der(r, s) }

func withS(_, reply proto.Message, high bool) {
	answer, ok := reply.(*kmspb.AsymmetricSignResponse)
	if !ok {
		return
	}
	r, s := numbers(answer.Signature)
	n := crypto.S256().Params().N
	if (s.Cmp(new(big.Int).Rsh(n, 1)) > 0) != high {
		s.Sub(n, s)
	}
	setSignature(answer, der(r, s))
}

// numbers reads what der wrote.
func numbers(b []byte) (r, s *big.Int) {
	first := int(b[3])
	return new(big.Int).SetBytes(b[4 : 4+first]), new(big.Int).SetBytes(b[6+first:])
}

func setSignature(r *kmspb.AsymmetricSignResponse, b []byte) {
	r.Signature, r.SignatureCrc32C = b, wrapperspb.Int64(crc(b))
}

func setPEM(r *kmspb.PublicKey, text string) {
	r.Pem, r.PemCrc32C = text, wrapperspb.Int64(crc([]byte(text)))
}
