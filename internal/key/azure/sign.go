// SPDX-License-Identifier: Apache-2.0

package azure

import (
	"context"
	"errors"
	"net/http"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/policy"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"

	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/secp"
)

// SignDigest signs with the version that ref names
// (learn.microsoft.com/rest/api/keyvault/keys/sign/sign). It makes one call and
// tries nothing again, but for two things: the very first call of a Backend
// fetches the vault's challenge, and a key of the curve's old name that no
// listing has shown yet is asked a second time by its old algorithm.
func (b *Backend) SignDigest(ctx context.Context, ref key.Ref, digest [32]byte) (key.Signature, error) {
	k, ok := b.vault.parseRef(ref)
	if !ok {
		return key.Signature{}, b.foreign("sign", ref)
	}
	algorithm, known := b.known.algorithm(ref)
	sig, err := b.sign(ctx, k, digest, algorithm)
	if err != nil && !known && wrongAlgorithm(err) {
		if sig, err = b.sign(ctx, k, digest, oldAlgorithm); err == nil {
			b.known.setAlgorithm(ref, oldAlgorithm)
		}
	}
	if err != nil {
		return key.Signature{}, b.failure(ctx, "sign", ref, err)
	}
	return sig, nil
}

func (b *Backend) sign(ctx context.Context, k id, digest [32]byte, algorithm azkeys.SignatureAlgorithm) (key.Signature, error) {
	return call(ctx, b, func(ctx context.Context) (key.Signature, error) {
		var raw *http.Response
		answer, err := b.client.Sign(policy.WithCaptureResponse(ctx, &raw), k.name, k.version,
			azkeys.SignParameters{Algorithm: &algorithm, Value: digest[:]}, nil)
		if err != nil {
			return key.Signature{}, err
		}
		sig := key.Signature{RequestID: raw.Header.Get(requestIDHeader)}
		bad := func(why string) (key.Signature, error) {
			return key.Signature{}, &key.CallError{Op: "azure: sign", Ref: b.vault.ref(k), Kind: key.ErrBadResponse, Why: why, RequestID: sig.RequestID}
		}
		if answer.KID != nil {
			if got, ok := parseKID(string(*answer.KID)); !ok || got != k {
				return bad("the vault says that another key signed")
			}
		}
		// Shorter than 64 bytes, nobody knows where r ends.
		if sig.R, sig.S, err = secp.ParseP1363(answer.Result); err != nil {
			return bad("no signature of 64 bytes with r and s in range")
		}
		return sig, nil
	})
}

// wrongAlgorithm recognises the refusal of ES256K by a key whose curve is named
// SECP256K1.
func wrongAlgorithm(err error) bool {
	var answer *azcore.ResponseError
	if !errors.As(err, &answer) || answer.StatusCode != http.StatusBadRequest {
		return false
	}
	_, _, message := errorCodes(answer)
	return strings.Contains(message, string(oldCurve))
}

// PublicKey returns the public key of a version. It costs a call only if no
// listing has shown the version yet.
func (b *Backend) PublicKey(ctx context.Context, ref key.Ref) (secp.PublicKey, error) {
	const op = "public key"
	k, ok := b.vault.parseRef(ref)
	if !ok {
		return secp.PublicKey{}, b.foreign(op, ref)
	}
	d, ok := b.known.get(ref)
	if !ok {
		var err error
		if d, err = b.describe(ctx, op, k); err != nil {
			return secp.PublicKey{}, err
		}
	}
	if d.other {
		return secp.PublicKey{}, &key.CallError{Op: "azure: " + op, Ref: ref, Kind: key.ErrNotFound, Why: "it is not a key on secp256k1 (P-256K)"}
	}
	return d.public, nil
}

// describe asks for one version (right Get) and remembers it.
func (b *Backend) describe(ctx context.Context, op string, k id) (described, error) {
	ref := b.vault.ref(k)
	var d described
	err := b.read(ctx, op, ref, func(ctx context.Context) error {
		answer, err := b.client.GetKey(ctx, k.name, k.version, nil)
		if err != nil {
			return err
		}
		if d, err = describe(k, answer.KeyBundle); err != nil {
			return &key.CallError{Op: "azure: " + op, Ref: ref, Kind: key.ErrBadResponse, Why: err.Error()}
		}
		return nil
	})
	if err == nil {
		b.known.put(ref, d)
	}
	return d, err
}

// foreign is the answer to a reference that this vault cannot have given.
func (b *Backend) foreign(op string, ref key.Ref) error {
	return &key.CallError{Op: "azure: " + op, Ref: ref, Kind: key.ErrNotFound, Why: "a reference is " + b.vault.base + "/keys/NAME/VERSION"}
}
