// SPDX-License-Identifier: Apache-2.0

package awskms

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/kms"
	"github.com/aws/aws-sdk-go-v2/service/kms/types"

	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/secp"
)

// settleTime is how long a new key is waited for: KMS is eventually consistent,
// most often within a few seconds
// (https://docs.aws.amazon.com/kms/latest/developerguide/accessing-kms.html#programming-eventual-consistency).
const settleTime = 20 * time.Second

const settlePause = 250 * time.Millisecond

// Create makes a key and gives it the alias name (no alias if name is empty).
// Where discovery goes by tag the key gets that tag, and its name as the tag
// Name; where it goes by alias, name must have the prefix.
//
// CreateKey is sent once: if its answer is lost nobody knows the key's ARN, and
// CloudTrail tells whether there is one. If a later step fails, the error names
// the key that was made.
func (b *Backend) Create(ctx context.Context, name string, tags map[string]string) (key.Key, error) {
	name, tags, err := b.prepare(ctx, name, tags)
	if err != nil {
		return key.Key{}, err
	}
	ref, err := b.createKey(ctx, types.OriginTypeAwsKms, tags)
	if err != nil {
		return key.Key{}, err
	}
	public, err := b.settled(ctx, ref)
	if err != nil {
		return key.Key{}, halfMade(ref, err)
	}
	return b.named(ctx, ref, name, tags, public)
}

// prepare checks what can be checked before there is a key.
func (b *Backend) prepare(ctx context.Context, name string, tags map[string]string) (string, map[string]string, error) {
	const op = "create key"
	refuse := func(format string, args ...any) (string, map[string]string, error) {
		return "", nil, &failure{call: &key.CallError{Op: op, Kind: key.ErrDenied, Why: fmt.Sprintf(format, args...)}}
	}
	d := b.cfg.Discovery
	name = strings.TrimPrefix(name, aliasPrefix)
	switch {
	case name != "" && !aliasCharacters(name):
		return refuse("name %q: an alias has up to 250 of A-Z a-z 0-9 / _ -", name)
	case strings.HasPrefix(name, "aws/"):
		return refuse("name %q: aliases that begin with aws/ are AWS's own", name)
	case !strings.HasPrefix(name, d.AliasPrefix):
		return refuse("name %q: discovery looks for aliases that begin with %q, and would not find it", name, d.AliasPrefix)
	}
	tags = maps.Clone(tags)
	if tags == nil {
		tags = map[string]string{}
	}
	if d.TagKey != "" {
		if value, given := tags[d.TagKey]; given && d.TagValue != "" && value != d.TagValue {
			return refuse("tag %s: discovery looks for the value %q, and would not find it", d.TagKey, d.TagValue)
		} else if !given {
			tags[d.TagKey] = d.TagValue
		}
		if _, given := tags[nameTag]; !given && name != "" {
			tags[nameTag] = name
		}
	}
	for k, v := range tags {
		if k == "" || len(k) > 128 || len(v) > 256 || strings.HasPrefix(strings.ToLower(k), "aws:") {
			return refuse("tag %q: want a key of 1 to 128 characters that does not begin with aws:, and a value of up to 256", k)
		}
	}
	if len(tags) > 50 {
		return refuse("%d tags: a key has at most 50", len(tags))
	}
	if name == "" {
		return name, tags, nil
	}
	// An alias that is taken would be noticed when the key is made already.
	_, err := b.aliasTarget(ctx, name)
	switch {
	case err == nil:
		return refuse("the alias %s exists already", aliasPrefix+name)
	case code(err) != "NotFoundException" && code(err) != "AccessDeniedException":
		return "", nil, err
	}
	return name, tags, nil
}

// aliasTarget describes the key that an alias points at.
func (b *Backend) aliasTarget(ctx context.Context, name string) (*kms.DescribeKeyOutput, error) {
	return read(ctx, b, "describe alias", "", func(ctx context.Context) (*kms.DescribeKeyOutput, error) {
		return b.kms.DescribeKey(ctx, &kms.DescribeKeyInput{KeyId: aws.String(aliasPrefix + name)})
	})
}

// createKey is CreateKey, asked once.
func (b *Backend) createKey(ctx context.Context, origin types.OriginType, tags map[string]string) (key.Ref, error) {
	const op = "create key"
	in := &kms.CreateKeyInput{KeySpec: types.KeySpecEccSecgP256k1, KeyUsage: types.KeyUsageTypeSignVerify, Origin: origin}
	for _, k := range slices.Sorted(maps.Keys(tags)) {
		in.Tags = append(in.Tags, types.Tag{TagKey: aws.String(k), TagValue: aws.String(tags[k])})
	}
	if err := b.cfg.Reads.Wait(ctx); err != nil {
		return "", fmt.Errorf("awskms: %s: wait for the quota of reads: %w", op, err)
	}
	out, err := call(ctx, b, op, "", func(ctx context.Context) (*kms.CreateKeyOutput, error) { return b.kms.CreateKey(ctx, in) })
	if err != nil {
		return "", err
	}
	id := requestID(out.ResultMetadata)
	if out.KeyMetadata == nil || !arn.MatchString(aws.ToString(out.KeyMetadata.Arn)) {
		return "", bad(op, "", id, "a key was made, and the answer does not name it: look for this request in CloudTrail")
	}
	ref := key.Ref(*out.KeyMetadata.Arn)
	if !signs(out.KeyMetadata) {
		return "", halfMade(ref, bad(op, ref, id, "the new key is of another kind than was asked for"))
	}
	return ref, nil
}

// settled waits until a new key can be used.
func (b *Backend) settled(ctx context.Context, ref key.Ref) (secp.PublicKey, error) {
	for deadline := time.Now().Add(settleTime); ; {
		public, err := b.publicKey(ctx, ref)
		early := code(err) == "NotFoundException" || code(err) == invalidState || errors.Is(err, key.ErrDisabled)
		if err == nil || !early || time.Now().After(deadline) {
			return public, err
		}
		select {
		case <-time.After(settlePause):
		case <-ctx.Done():
			return secp.PublicKey{}, err
		}
	}
}

// named gives a finished key its alias. Until then no discovery by alias finds
// it, so that nobody uses half a key.
func (b *Backend) named(ctx context.Context, ref key.Ref, name string, tags map[string]string, public secp.PublicKey) (key.Key, error) {
	k := key.Key{Ref: ref, Name: name, Address: public.Address(), Protection: key.HSM, State: key.Enabled, Tags: tags}
	if name == "" {
		k.Name = keyID(ref)
		return k, nil
	}
	_, err := read(ctx, b, "create alias "+aliasPrefix+name, ref, func(ctx context.Context) (*kms.CreateAliasOutput, error) {
		return b.kms.CreateAlias(ctx, &kms.CreateAliasInput{AliasName: aws.String(aliasPrefix + name), TargetKeyId: aws.String(keyID(ref))})
	})
	if code(err) == "AlreadyExistsException" {
		// By ourselves, perhaps, in a request whose answer was lost.
		var out *kms.DescribeKeyOutput
		if out, _ = b.aliasTarget(ctx, name); out != nil && out.KeyMetadata != nil && names(out.KeyMetadata.Arn, ref) {
			err = nil
		}
	}
	if err != nil {
		return key.Key{}, halfMade(ref, err)
	}
	return k, nil
}

// halfMade adds to an error which key was made before it.
func halfMade(ref key.Ref, err error) error {
	note := "the key " + string(ref) + " was made before that and is left as it is: finish it by hand, or schedule its deletion"
	var f *failure
	if !errors.As(err, &f) {
		return fmt.Errorf("%w; %s", err, note)
	}
	made := *f.call
	made.Ref = ref
	if made.Why != "" {
		note = made.Why + "; " + note
	}
	made.Why = note
	return &failure{call: &made, code: f.code}
}
