// SPDX-License-Identifier: Apache-2.0

package gcpkms

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"time"

	"cloud.google.com/go/kms/apiv1/kmspb"
	"google.golang.org/protobuf/types/known/fieldmaskpb"

	"github.com/hsmsigner/hsmsigner/internal/key"
)

const (
	// An HSM makes a key in seconds; an import job's RSA key takes longer.
	readyTimeout = 2 * time.Minute
	pollEvery    = time.Second
	firstPoll    = 50 * time.Millisecond
)

// Labels: https://cloud.google.com/resource-manager/docs/labels-overview.
var (
	labelNameRE  = regexp.MustCompile(`^[a-z][a-z0-9_-]{0,62}$`)
	labelValueRE = regexp.MustCompile(`^[a-z0-9_-]{0,63}$`)
)

const maxLabels = 64

func checkNew(op, name string, tags map[string]string) error {
	refuse := func(format string, args ...any) error {
		return &key.CallError{Op: op, Kind: key.ErrDenied, Why: fmt.Sprintf(format, args...)}
	}
	if !goodID(name) {
		return refuse("name %q: want 1 to 63 of A-Z a-z 0-9 _ -", name)
	}
	if len(tags) > maxLabels {
		return refuse("%d tags: Cloud KMS takes %d labels", len(tags), maxLabels)
	}
	for n, v := range tags {
		if !labelNameRE.MatchString(n) || !labelValueRE.MatchString(v) {
			return refuse("tag %q=%q: a label is of a-z 0-9 _ - only, 63 at most, and its name begins with a letter", n, v)
		}
	}
	return nil
}

// newKey describes a signing key whose private part never leaves the HSM.
func newKey(tags map[string]string) *kmspb.CryptoKey {
	return &kmspb.CryptoKey{
		Purpose: kmspb.CryptoKey_ASYMMETRIC_SIGN,
		Labels:  tags,
		VersionTemplate: &kmspb.CryptoKeyVersionTemplate{
			ProtectionLevel: kmspb.ProtectionLevel_HSM, Algorithm: algorithm,
		},
	}
}

// Create makes a key with one version, and waits until it can sign, two minutes
// at most. A name can never be used again. Needs cloudkms.cryptoKeys.create and
// cloudkms.cryptoKeyVersions.get beside what signing needs.
func (b *Backend) Create(ctx context.Context, name string, tags map[string]string) (key.Key, error) {
	const op = "create key"
	if err := checkNew(op, name, tags); err != nil {
		return key.Key{}, fmt.Errorf("gcpkms: %w", err)
	}
	err := b.call(ctx, op, "", reason(), func(ctx context.Context) error {
		_, err := b.client.CreateCryptoKey(ctx, &kmspb.CreateCryptoKeyRequest{
			Parent: b.cfg.KeyRing, CryptoKeyId: name, CryptoKey: newKey(tags),
		})
		return err
	})
	if err != nil {
		return key.Key{}, fmt.Errorf("gcpkms: %w", err)
	}
	made, err := b.await(ctx, op, key.Ref(b.keyName(name)+"/cryptoKeyVersions/1"), tags)
	if err != nil {
		return key.Key{}, fmt.Errorf("gcpkms: the key %s was made, but %w", name, err)
	}
	return made, nil
}

func (b *Backend) keyName(id string) string { return b.keys + id }

// await waits until a version is generated or imported.
func (b *Backend) await(ctx context.Context, op string, ref key.Ref, tags map[string]string) (key.Key, error) {
	id, number, ok := b.split(ref)
	if !ok {
		return key.Key{}, b.foreign(op, ref)
	}
	var version *kmspb.CryptoKeyVersion
	err := b.poll(ctx, op, ref, func(ctx context.Context) (done bool, err error) {
		version, err = b.client.GetCryptoKeyVersion(ctx, &kmspb.GetCryptoKeyVersionRequest{Name: string(ref)})
		if err == nil && version.GetName() != string(ref) {
			err = distrust("Cloud KMS described another key version than the one asked for")
		}
		return !state(version.GetState()).pending(), err
	})
	if err != nil {
		return key.Key{}, err
	}
	if why := state(version.GetState()).reason(version); why != "" {
		return key.Key{}, &key.CallError{Op: op, Ref: ref, Kind: key.ErrDisabled, Why: why}
	}
	public, err := b.fetchPublic(ctx, ref)
	if err != nil {
		return key.Key{}, err
	}
	return key.Key{
		Ref: ref, Name: id + "/" + number, Address: public.Address(), State: key.Enabled,
		Protection: protection(version.GetProtectionLevel()), Tags: tags,
	}, nil
}

// poll asks until ask says done, for no longer than readyTimeout.
func (b *Backend) poll(ctx context.Context, op string, ref key.Ref, ask func(context.Context) (bool, error)) error {
	limited, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	pause := firstPoll
	for {
		done := false
		err := b.read(limited, b.cfg.Reads, op, ref, func(ctx context.Context) (err error) {
			done, err = ask(ctx)
			return err
		})
		if err == nil && done {
			return nil
		}
		if err == nil {
			err = sleep(limited, pause)
		}
		if ctx.Err() == nil && limited.Err() != nil {
			return &key.CallError{
				Op: op, Ref: ref, Kind: key.ErrUnavailable,
				Why: fmt.Sprintf("it was not ready after %s; it will be listed when it is", readyTimeout),
			}
		}
		if err != nil {
			return err
		}
		pause = min(2*pause, pollEvery)
	}
}

// SetEnabled switches a version on or off. It may take up to three hours until
// every part of Cloud KMS knows that a version is off
// (https://cloud.google.com/kms/docs/consistency). Needs
// cloudkms.cryptoKeyVersions.update.
func (b *Backend) SetEnabled(ctx context.Context, ref key.Ref, enabled bool) error {
	op, want := "disable key", kmspb.CryptoKeyVersion_DISABLED
	if enabled {
		op, want = "enable key", kmspb.CryptoKeyVersion_ENABLED
	}
	_, err := b.change(ctx, op, ref, want, func(ctx context.Context) (*kmspb.CryptoKeyVersion, error) {
		return b.client.UpdateCryptoKeyVersion(ctx, &kmspb.UpdateCryptoKeyVersionRequest{
			CryptoKeyVersion: &kmspb.CryptoKeyVersion{Name: string(ref), State: want},
			UpdateMask:       &fieldmaskpb.FieldMask{Paths: []string{"state"}},
		})
	})
	return err
}

// Delete schedules a version for destruction. Until when, 30 days from now
// unless the key was made otherwise, it can be restored. Needs
// cloudkms.cryptoKeyVersions.destroy.
func (b *Backend) Delete(ctx context.Context, ref key.Ref) (when time.Time, err error) {
	version, err := b.change(ctx, "delete key", ref, kmspb.CryptoKeyVersion_DESTROY_SCHEDULED,
		func(ctx context.Context) (*kmspb.CryptoKeyVersion, error) {
			return b.client.DestroyCryptoKeyVersion(ctx, &kmspb.DestroyCryptoKeyVersionRequest{Name: string(ref)})
		})
	if err != nil || !version.GetDestroyTime().IsValid() {
		return time.Time{}, err
	}
	return version.GetDestroyTime().AsTime(), nil
}

// change makes a call that changes a version, and checks that it did.
func (b *Backend) change(ctx context.Context, op string, ref key.Ref, want kmspb.CryptoKeyVersion_CryptoKeyVersionState,
	do func(context.Context) (*kmspb.CryptoKeyVersion, error),
) (version *kmspb.CryptoKeyVersion, err error) {
	if _, _, ok := b.split(ref); !ok {
		return nil, fmt.Errorf("gcpkms: %w", b.foreign(op, ref))
	}
	err = b.call(ctx, op, ref, reason(), func(ctx context.Context) error {
		version, err = do(ctx)
		if err == nil && (version.GetName() != string(ref) || version.GetState() != want) {
			return distrust("Cloud KMS says that it did something else")
		}
		return err
	})
	if errors.Is(err, key.ErrDisabled) {
		return nil, fmt.Errorf("gcpkms: the state of the key does not allow it: %w", err)
	}
	if err != nil {
		return nil, fmt.Errorf("gcpkms: %w", err)
	}
	return version, nil
}
