// SPDX-License-Identifier: Apache-2.0

package gcpkms

import (
	"context"
	"encoding/pem"
	"fmt"
	"hash/crc32"

	"cloud.google.com/go/kms/apiv1/kmspb"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/secp"
)

const algorithm = kmspb.CryptoKeyVersion_EC_SIGN_SECP256K1_SHA256

// checksum is CRC32C with Castagnoli's polynomial (RFC 3720, appendix B.4).
func checksum(b []byte) int64 {
	return int64(crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli)))
}

// SignDigest is one AsymmetricSign call. What came back damaged is thrown away
// and asked for again, three times in all.
func (b *Backend) SignDigest(ctx context.Context, ref key.Ref, digest [32]byte) (key.Signature, error) {
	const op = "sign"
	if err := ctx.Err(); err != nil {
		return key.Signature{}, fmt.Errorf("gcpkms: %s: %w", op, err)
	}
	if _, _, ok := b.split(ref); !ok {
		return key.Signature{}, fmt.Errorf("gcpkms: %w", b.foreign(op, ref))
	}
	request := &kmspb.AsymmetricSignRequest{
		Name:         string(ref),
		Digest:       &kmspb.Digest{Digest: &kmspb.Digest_Sha256{Sha256: digest[:]}},
		DigestCrc32C: wrapperspb.Int64(checksum(digest[:])),
	}
	sig := key.Signature{RequestID: reason()}
	var err error
	for range triesDamaged {
		err = b.call(ctx, op, ref, sig.RequestID, func(ctx context.Context) error {
			answer, err := b.client.AsymmetricSign(ctx, request)
			if err != nil {
				return err
			}
			sig.R, sig.S, err = signature(request, answer)
			return err
		})
		if !isDamaged(err) {
			break
		}
		b.log.Warn("an answer of Cloud KMS was damaged, and is thrown away",
			"ref", string(ref), "request_id", sig.RequestID, "err", err)
	}
	if err != nil {
		return key.Signature{RequestID: sig.RequestID}, fmt.Errorf("gcpkms: %w", err)
	}
	return sig, nil
}

// signature believes an answer only if the digest arrived whole, the right key
// signed, and the signature came back whole and well-formed.
// https://cloud.google.com/kms/docs/data-integrity-guidelines
func signature(asked *kmspb.AsymmetricSignRequest, answer *kmspb.AsymmetricSignResponse) (r, s [32]byte, err error) {
	switch {
	case !answer.GetVerifiedDigestCrc32C():
		return r, s, damaged("Cloud KMS did not check the digest's CRC32C")
	case answer.GetName() != asked.GetName():
		return r, s, distrust("Cloud KMS signed with another key version than the one asked for")
	case answer.GetSignatureCrc32C() == nil || answer.GetSignatureCrc32C().GetValue() != checksum(answer.GetSignature()):
		return r, s, damaged("the signature does not match its CRC32C")
	}
	r, s, err = secp.ParseDER(answer.GetSignature())
	if err != nil {
		return [32]byte{}, [32]byte{}, distrust("not a signature: %v", err)
	}
	return r, s, nil
}

// foreign is the error for a reference that names no key version of the ring.
func (b *Backend) foreign(op string, ref key.Ref) error {
	return &key.CallError{Op: op, Ref: ref, Kind: key.ErrNotFound, Why: "not a key version of " + b.cfg.KeyRing}
}

// PublicKey asks Cloud KMS for the public key of a version, which must be enabled.
func (b *Backend) PublicKey(ctx context.Context, ref key.Ref) (secp.PublicKey, error) {
	const op = "get public key"
	if err := ctx.Err(); err != nil {
		return secp.PublicKey{}, fmt.Errorf("gcpkms: %s: %w", op, err)
	}
	if _, _, ok := b.split(ref); !ok {
		return secp.PublicKey{}, fmt.Errorf("gcpkms: %w", b.foreign(op, ref))
	}
	public, err := b.fetchPublic(ctx, ref)
	if err != nil {
		return secp.PublicKey{}, fmt.Errorf("gcpkms: %w", err)
	}
	return public, nil
}

// fetchPublic gets a public key and keeps it.
func (b *Backend) fetchPublic(ctx context.Context, ref key.Ref) (public secp.PublicKey, err error) {
	err = b.read(ctx, b.cfg.Crypto, "get public key", ref, func(ctx context.Context) error {
		answer, err := b.client.GetPublicKey(ctx, &kmspb.GetPublicKeyRequest{Name: string(ref)})
		if err != nil {
			return err
		}
		public, err = publicKey(string(ref), answer)
		return err
	})
	if err != nil {
		return secp.PublicKey{}, err
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.publics[ref] = public
	return public, nil
}

// publicKey reads the PEM of a SubjectPublicKeyInfo, with nothing around it.
func publicKey(asked string, answer *kmspb.PublicKey) (secp.PublicKey, error) {
	text := []byte(answer.GetPem())
	switch {
	case answer.GetName() != asked:
		return secp.PublicKey{}, distrust("Cloud KMS gave the public key of another key version than the one asked for")
	case answer.GetPemCrc32C() == nil || answer.GetPemCrc32C().GetValue() != checksum(text):
		return secp.PublicKey{}, damaged("the public key does not match its CRC32C")
	case answer.GetAlgorithm() != algorithm:
		return secp.PublicKey{}, distrust("the key is for %s, not for %s", answer.GetAlgorithm(), algorithm)
	}
	block, rest := pem.Decode(text)
	if block == nil || block.Type != "PUBLIC KEY" || len(block.Headers) > 0 || len(rest) > 0 {
		return secp.PublicKey{}, distrust("the public key is not one PEM block PUBLIC KEY")
	}
	public, err := secp.ParseSPKI(block.Bytes)
	if err != nil {
		return secp.PublicKey{}, distrust("not a secp256k1 public key: %v", err)
	}
	return public, nil
}

// knownPublic returns a public key that was fetched before.
func (b *Backend) knownPublic(ref key.Ref) (secp.PublicKey, bool) {
	b.mu.RLock()
	defer b.mu.RUnlock()
	public, ok := b.publics[ref]
	return public, ok
}
