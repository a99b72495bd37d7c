// SPDX-License-Identifier: Apache-2.0

package awskms

import (
	"context"
	"regexp"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/secp"
)

// SignDigest asks Sign once, with MessageType DIGEST and ECDSA_SHA_256, which
// KMS takes as the name of any 32-byte digest.
// (https://docs.aws.amazon.com/kms/latest/APIReference/API_Sign.html)
func (b *Backend) SignDigest(ctx context.Context, ref key.Ref, digest [32]byte) (key.Signature, error) {
	const op = "sign"
	if err := b.checkRef(op, ref); err != nil {
		return key.Signature{}, err
	}
	out, err := call(ctx, b, op, ref, func(ctx context.Context) (*kms.SignOutput, error) {
		return b.kms.Sign(ctx, &kms.SignInput{
			KeyId: aws.String(string(ref)), Message: digest[:],
			MessageType: types.MessageTypeDigest, SigningAlgorithm: types.SigningAlgorithmSpecEcdsaSha256,
		})
	})
	if err != nil {
		return key.Signature{}, err
	}
	id := requestID(out.ResultMetadata)
	// The id goes with a bad answer too: it is what support asks for.
	none := key.Signature{RequestID: id}
	if !names(out.KeyId, ref) {
		return none, bad(op, ref, id, "the answer is another key's")
	}
	r, s, err := secp.ParseDER(out.Signature)
	if err != nil {
		return none, bad(op, ref, id, "%v", err)
	}
	return key.Signature{R: r, S: s, RequestID: id}, nil
}

// PublicKey asks GetPublicKey, unless the key is known: a key pair of KMS never
// changes.
func (b *Backend) PublicKey(ctx context.Context, ref key.Ref) (secp.PublicKey, error) {
	const op = "public key"
	if err := b.checkRef(op, ref); err != nil {
		return secp.PublicKey{}, err
	}
	if k, ok := b.remembered(ref); ok && !k.other {
		return k.public, nil
	}
	public, err := b.publicKey(ctx, ref)
	if err != nil {
		return secp.PublicKey{}, err
	}
	return public, nil
}

// Health asks about a key that a listing has found, and before the first listing
// for the least that discovery needs. It fails if the credential is refused.
func (b *Backend) Health(ctx context.Context) error {
	b.mu.Lock()
	sample := b.sample
	b.mu.Unlock()
	if sample != "" {
		_, err := b.metadata(ctx, "health", sample)
		if code(err) != "AccessDeniedException" && code(err) != "NotFoundException" {
			return err
		}
	}
	_, _, err := b.page(ctx, "health", "", 1)
	return err
}

// arn is a key ARN: partition, region, account, key id. Those of multi-Region
// keys begin with mrk-.
var arn = regexp.MustCompile(`^arn:(aws[a-z-]*):kms:([a-z0-9-]+):([0-9]{12}):key/([A-Za-z0-9-]{1,128})$`)

// checkRef refuses what cannot be one of our keys before anybody is asked; an
// alias above all.
func (b *Backend) checkRef(op string, ref key.Ref) error {
	parts := arn.FindStringSubmatch(string(ref))
	why := ""
	switch {
	case parts == nil:
		why = "a reference is the ARN of a key, as in arn:aws:kms:eu-central-1:111122223333:key/…; an alias is none"
	case parts[2] != b.cfg.Region:
		why = "the key is of region " + parts[2] + ", and this backend of " + b.cfg.Region
	default:
		return nil
	}
	return &failure{call: &key.CallError{Op: op, Ref: ref, Kind: key.ErrNotFound, Why: why}}
}

// names reports whether an answer's KeyId is ref: the ARN, or the key id alone.
func names(answer *string, ref key.Ref) bool {
	id := aws.ToString(answer)
	return id == string(ref) || id != "" && strings.HasSuffix(string(ref), ":key/"+id)
}
