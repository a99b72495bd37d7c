// SPDX-License-Identifier: Apache-2.0

package awskms

import (
	"context"
	"crypto"
	"crypto/rsa"
	"crypto/x509"
	"fmt"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/key/byok"
)

// Import takes a private key into KMS: a key of origin EXTERNAL, whose material
// is wrapped on this machine by RSA_AES_KEY_WRAP_SHA_256 under an RSA-4096 key
// of KMS's HSM and does not expire. KMS is not its only home then; who has the
// original can sign too. Name and tags are as for Create, and so is the naming of
// a key that was made before something failed.
//
// (https://docs.aws.amazon.com/kms/latest/developerguide/importing-keys-conceptual.html)
func (b *Backend) Import(ctx context.Context, name string, private []byte, tags map[string]string) (key.Key, error) {
	material, err := byok.PKCS8(private) // refuses what is no key, before anything is made
	if err != nil {
		return key.Key{}, fmt.Errorf("awskms: import key: %w", err)
	}
	defer clear(material)
	name, tags, err = b.prepare(ctx, name, tags)
	if err != nil {
		return key.Key{}, err
	}
	ref, err := b.createKey(ctx, types.OriginTypeExternal, tags)
	if err != nil {
		return key.Key{}, err
	}
	if err := b.fill(ctx, ref, material); err != nil {
		return key.Key{}, halfMade(ref, err)
	}
	public, err := b.settled(ctx, ref)
	if err != nil {
		return key.Key{}, halfMade(ref, err)
	}
	if want, err := byok.PublicKey(private); err != nil || public != want {
		return key.Key{}, halfMade(ref, bad("import key", ref, "", "KMS holds another key than the one that was sent"))
	}
	return b.named(ctx, ref, name, tags, public)
}

// fill wraps the material and gives it to KMS.
func (b *Backend) fill(ctx context.Context, ref key.Ref, material []byte) error {
	const op = "get parameters for import"
	params, err := read(ctx, b, op, ref, func(ctx context.Context) (*kms.GetParametersForImportOutput, error) {
		return b.kms.GetParametersForImport(ctx, &kms.GetParametersForImportInput{
			KeyId:             aws.String(string(ref)),
			WrappingAlgorithm: types.AlgorithmSpecRsaAesKeyWrapSha256, WrappingKeySpec: types.WrappingKeySpecRsa4096,
		})
	})
	if err != nil {
		return err
	}
	id := requestID(params.ResultMetadata)
	if !names(params.KeyId, ref) {
		return bad(op, ref, id, "the answer is another key's")
	}
	parsed, err := x509.ParsePKIXPublicKey(params.PublicKey)
	wrapping, ok := parsed.(*rsa.PublicKey)
	if err != nil || !ok || wrapping.N.BitLen() != 4096 {
		return bad(op, ref, id, "the wrapping key is not an RSA key of 4096 bits")
	}
	wrapped, err := byok.RSAAESWrap(wrapping, crypto.SHA256, material)
	if err != nil {
		return bad(op, ref, id, "%v", err)
	}
	// The same material for the same key may be sent again.
	_, err = read(ctx, b, "import key material", ref, func(ctx context.Context) (*kms.ImportKeyMaterialOutput, error) {
		return b.kms.ImportKeyMaterial(ctx, &kms.ImportKeyMaterialInput{
			KeyId: aws.String(string(ref)), ImportToken: params.ImportToken, EncryptedKeyMaterial: wrapped,
			ExpirationModel: types.ExpirationModelTypeKeyMaterialDoesNotExpire,
		})
	})
	return err
}
