// SPDX-License-Identifier: Apache-2.0

package awskms

import (
	"context"
	"errors"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/secp"
)

// known is what never changes about a key.
type known struct {
	other  bool // not a secp256k1 signing key
	public secp.PublicKey
}

// described is what became of an entry: a key, a problem, or neither (a key of
// another kind, or one that is gone).
type described struct {
	entry
	order   int
	key     key.Key
	problem string
	denied  error // behind the problem, if it is a missing right
}

// reasons says why a key in a state cannot sign, and what would mend it
// (https://docs.aws.amazon.com/kms/latest/developerguide/key-state.html).
var reasons = map[string]string{
	"Disabled":               "disabled in KMS; EnableKey switches it on",
	"PendingDeletion":        "scheduled for deletion in KMS; CancelKeyDeletion and EnableKey bring it back until then",
	"PendingReplicaDeletion": "scheduled for deletion in KMS, once its replicas in other regions are deleted; CancelKeyDeletion and EnableKey bring it back until then",
	"PendingImport":          "without key material in KMS: it was never imported, has expired or was deleted; ImportKeyMaterial brings it back",
	"Unavailable":            "in a custom key store that is disconnected; connect that again",
	"Creating":               "still being created by KMS; this passes by itself",
}

// describe asks KMS what a key is. An error means that the listing as a whole
// cannot go on.
func (b *Backend) describe(ctx context.Context, e entry) (described, error) {
	d := described{entry: e}
	k, ok := b.remembered(e.ref)
	if k.other {
		return d, nil
	}
	var state, reason string
	var err error
	if ok {
		state, reason, err = b.state(ctx, e.ref)
	} else {
		state, reason, err = b.meet(ctx, e.ref)
		k, ok = b.remembered(e.ref)
	}
	switch {
	case err == nil:
	case code(err) == "NotFoundException", otherKind(err):
		return d, nil // deleted since it was listed; or none of ours
	case spoils(err):
		return d, err
	default:
		d.problem = reasonOf(err)
		if code(err) == "AccessDeniedException" {
			d.denied = err
		}
		return d, nil
	}
	switch {
	case k.other:
		return d, nil
	case !ok:
		d.problem = reason + ". Its address is not known: KMS gives no public key of a key in the state " + state
		return d, nil
	}
	if d.tags == nil && b.cfg.Tags {
		tags, err := b.tags(ctx, e.ref)
		switch {
		case err == nil:
			d.tags = tags
		case code(err) == "NotFoundException":
			return d, nil
		case spoils(err):
			return d, err
		default:
			// Without its tags nobody can say whether a filter excludes it.
			d.problem = reasonOf(err)
			return d, nil
		}
	}
	d.key = key.Key{Ref: e.ref, Address: k.public.Address(), Protection: key.HSM, State: key.Enabled, Tags: d.tags}
	if reason != "" {
		d.key.State, d.key.Reason = key.Disabled, reason
	}
	return d, nil
}

// meet asks about a key for the first time. KMS gives the public key of enabled
// keys only, so that one call says all there is to know.
func (b *Backend) meet(ctx context.Context, ref key.Ref) (state, reason string, err error) {
	_, err = b.publicKey(ctx, ref)
	if err == nil || code(err) != invalidState && !errors.Is(err, key.ErrDisabled) && !errors.Is(err, key.ErrNotFound) {
		return "", "", err
	}
	switch code(err) {
	case "NotFoundException":
		return "", "", err
	case "":
		return "", "", nil // of another curve, and remembered
	}
	return b.state(ctx, ref) // disabled, or of a kind without a public key
}

// state asks for the state of a key that is not of another kind, as far as is
// known. Without the right to DescribeKey, GetPublicKey must do.
func (b *Backend) state(ctx context.Context, ref key.Ref) (state, reason string, err error) {
	m, err := b.metadata(ctx, "describe key", ref)
	if code(err) == "AccessDeniedException" {
		denied := err
		if _, err = b.publicKey(ctx, ref); errors.Is(err, key.ErrDisabled) {
			return "Disabled", reasonOf(err), nil
		} else if code(err) == "AccessDeniedException" {
			err = denied
		}
		return "Enabled", "", err
	}
	if err != nil {
		return "", "", err
	}
	if !signs(m) {
		b.remember(ref, known{other: true})
		return "", "", nil
	}
	state = string(m.KeyState)
	// A key that changes its primary Region goes on signing meanwhile
	// (https://docs.aws.amazon.com/kms/latest/developerguide/multi-region-keys-manage.html).
	if m.KeyState == types.KeyStateEnabled || m.KeyState == types.KeyStateUpdating {
		// A key that was met in another state and has become Enabled since.
		if _, ok := b.remembered(ref); !ok {
			_, err = b.publicKey(ctx, ref)
		}
		return state, "", err
	}
	reason, ok := reasons[state]
	if !ok {
		reason = "in a state of KMS that this program does not know (" + shorten(state) + ")"
	}
	if m.KeyState == types.KeyStatePendingDeletion && m.DeletionDate != nil {
		reason = "scheduled for deletion in KMS on " + m.DeletionDate.UTC().Format(time.DateOnly) + "; CancelKeyDeletion and EnableKey bring it back until then"
	}
	return state, reason, nil
}

// metadata is DescribeKey.
func (b *Backend) metadata(ctx context.Context, op string, ref key.Ref) (*types.KeyMetadata, error) {
	out, err := read(ctx, b, op, ref, func(ctx context.Context) (*kms.DescribeKeyOutput, error) {
		return b.kms.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: aws.String(string(ref))})
	})
	if err != nil {
		return nil, err
	}
	if out.KeyMetadata == nil || !names(out.KeyMetadata.Arn, ref) {
		return nil, bad(op, ref, requestID(out.ResultMetadata), "the answer is another key's")
	}
	return out.KeyMetadata, nil
}

// publicKey is GetPublicKey; it remembers what it learns. ErrNotFound without a
// code says that the key is on another curve.
func (b *Backend) publicKey(ctx context.Context, ref key.Ref) (secp.PublicKey, error) {
	const op = "public key"
	out, err := read(ctx, b, op, ref, func(ctx context.Context) (*kms.GetPublicKeyOutput, error) {
		return b.kms.GetPublicKey(ctx, &kms.GetPublicKeyInput{KeyId: aws.String(string(ref))})
	})
	if err != nil {
		return secp.PublicKey{}, err
	}
	id := requestID(out.ResultMetadata)
	if !names(out.KeyId, ref) {
		return secp.PublicKey{}, bad(op, ref, id, "the answer is another key's")
	}
	public, err := secp.ParseSPKI(out.PublicKey)
	if errors.Is(err, secp.ErrOtherKey) || err == nil && out.KeyUsage != types.KeyUsageTypeSignVerify {
		b.remember(ref, known{other: true})
		return secp.PublicKey{}, &failure{call: &key.CallError{
			Op: op, Ref: ref, Kind: key.ErrNotFound,
			Why: "it is not a key that signs on secp256k1", RequestID: id,
		}}
	}
	if err != nil {
		return secp.PublicKey{}, bad(op, ref, id, "%v", err)
	}
	if k, ok := b.remembered(ref); ok && k.public != public {
		return secp.PublicKey{}, bad(op, ref, id, "its public key is another than before, which KMS does not do")
	}
	b.remember(ref, known{public: public})
	return public, nil
}

// tags is ListResourceTags; a key has at most 50.
func (b *Backend) tags(ctx context.Context, ref key.Ref) (map[string]string, error) {
	const op = "list tags"
	tags := map[string]string{}
	for marker := ""; ; {
		out, err := read(ctx, b, op, ref, func(ctx context.Context) (*kms.ListResourceTagsOutput, error) {
			return b.kms.ListResourceTags(ctx, &kms.ListResourceTagsInput{KeyId: aws.String(string(ref)), Marker: optional(marker)})
		})
		if err != nil {
			return nil, err
		}
		for _, t := range out.Tags {
			tags[aws.ToString(t.TagKey)] = aws.ToString(t.TagValue)
		}
		next, err := following(op, out.Truncated, out.NextMarker, requestID(out.ResultMetadata))
		if err != nil {
			return nil, err
		}
		if next == "" || next == marker {
			return tags, nil
		}
		marker = next
	}
}

// otherKind reports whether err says that a key is not one that signs.
func otherKind(err error) bool {
	return code(err) == "UnsupportedOperationException" || code(err) == "InvalidKeyUsageException"
}

// spoils reports whether an error about one key is about all of them, so that
// the listing cannot go on: half a list would make the other half look gone.
func spoils(err error) bool {
	switch code(err) {
	case "AccessDeniedException", "NotFoundException", "ValidationException", invalidState:
		return false
	case "":
		return !errors.Is(err, key.ErrBadResponse)
	}
	return key.Transient(err) || errors.Is(err, key.ErrDenied)
}

// signs reports whether a key is of the kind that we use.
func signs(m *types.KeyMetadata) bool {
	return m.KeySpec == types.KeySpecEccSecgP256k1 && m.KeyUsage == types.KeyUsageTypeSignVerify
}

func (b *Backend) remembered(ref key.Ref) (known, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	k, ok := b.known[ref]
	return k, ok
}

func (b *Backend) remember(ref key.Ref, k known) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.known[ref] = k
}

// reasonOf is what a failure says, for a Problem.
func reasonOf(err error) string {
	var call *key.CallError
	if errors.As(err, &call) && call.Why != "" {
		return call.Why
	}
	return err.Error()
}
