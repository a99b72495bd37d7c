// SPDX-License-Identifier: Apache-2.0

package azure

import (
	"context"
	"errors"
	"strconv"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"

	"github.com/hsmsigner/hsmsigner/internal/key"
)

// Create makes a key called name (1 to 127 letters, digits and hyphens) that
// can sign and verify, on the curve P-256K, which the portal does not offer. It
// is EC-HSM unless Config.Software: a standard vault refuses that, and a Managed
// HSM everything else. A name that is in use is refused, since a second version
// would be a second account. It needs the rights Create and List.
func (b *Backend) Create(ctx context.Context, name string, tags map[string]string) (key.Key, error) {
	const op = "create key"
	if err := b.unused(ctx, op, name); err != nil {
		return key.Key{}, err
	}
	curve, kty := azkeys.CurveNameP256K, b.keyType()
	answer, err := call(ctx, b, func(ctx context.Context) (azkeys.CreateKeyResponse, error) {
		return b.client.CreateKey(ctx, name, azkeys.CreateKeyParameters{
			Kty: &kty, Curve: &curve, KeyOps: signOperations(), Tags: pointers(tags),
		}, nil)
	})
	if err != nil {
		return key.Key{}, b.failure(ctx, op, "", err)
	}
	return b.made(op, name, answer.KeyBundle)
}

func (b *Backend) keyType() azkeys.KeyType {
	if b.cfg.Software && !b.vault.managed {
		return azkeys.KeyTypeEC
	}
	return azkeys.KeyTypeECHSM
}

func signOperations() []*azkeys.KeyOperation {
	sign, verify := azkeys.KeyOperationSign, azkeys.KeyOperationVerify
	return []*azkeys.KeyOperation{&sign, &verify}
}

func pointers(tags map[string]string) map[string]*string {
	if len(tags) == 0 {
		return nil
	}
	out := make(map[string]*string, len(tags))
	for name, value := range tags {
		out[name] = &value
	}
	return out
}

// unused wants that no key has the name yet.
func (b *Backend) unused(ctx context.Context, op, name string) error {
	refuse := func(why string) error {
		return &key.CallError{Op: "azure: " + op, Kind: key.ErrDenied, Why: why}
	}
	if !keyName.MatchString(name) {
		return refuse("a name is 1 to 127 letters, digits and hyphens")
	}
	versions, _, err := b.some(ctx, op, name)
	switch {
	case errors.Is(err, key.ErrNotFound):
		return nil
	case err != nil:
		return err
	case len(versions) > 0:
		return refuse("the vault has a key of that name, and a second version of it would be a second account: choose another name")
	}
	return nil
}

// some returns the first versions of a key, at most 25, and whether that is all.
func (b *Backend) some(ctx context.Context, op, name string) (versions []id, all bool, err error) {
	err = b.read(ctx, op, "", func(ctx context.Context) error {
		page, err := b.client.NewListKeyPropertiesVersionsPager(name, nil).NextPage(ctx)
		versions, all = nil, deref(page.NextLink) == ""
		for _, item := range page.Value {
			if item != nil && item.KID != nil {
				k, _ := parseKID(string(*item.KID)) // the zero id is nobody's
				versions = append(versions, k)
			}
		}
		return err
	})
	return versions, all, err
}

// made turns the vault's answer to a creation into a key.
func (b *Backend) made(op, name string, bundle azkeys.KeyBundle) (key.Key, error) {
	bad := func(why string) (key.Key, error) {
		return key.Key{}, &key.CallError{Op: "azure: " + op, Kind: key.ErrBadResponse, Why: why}
	}
	if bundle.Key == nil || bundle.Key.KID == nil {
		return bad("the vault does not say which key it made")
	}
	k, ok := parseKID(string(*bundle.Key.KID))
	if !ok || k.name != name || k.version == "" {
		return bad("the vault names another key than it was asked for")
	}
	d, err := describe(k, bundle)
	if err != nil || d.other {
		return bad("the vault made a key that is not on secp256k1")
	}
	ref := b.vault.ref(k)
	b.known.put(ref, d)
	out := key.Key{
		Ref: ref, Name: k.String(), Address: d.public.Address(), Protection: d.protection,
		State: key.Enabled, Tags: attributesOf(bundle.Attributes, bundle.Tags).tags,
	}
	if reason := attributesOf(bundle.Attributes, nil).whyNot(time.Now()); reason != "" {
		out.State, out.Reason = key.Disabled, reason
	}
	return out, nil
}

// SetEnabled switches one version off or on (right Update).
func (b *Backend) SetEnabled(ctx context.Context, ref key.Ref, enabled bool) error {
	op := "disable key"
	if enabled {
		op = "enable key"
	}
	k, ok := b.vault.parseRef(ref)
	if !ok {
		return b.foreign(op, ref)
	}
	_, err := call(ctx, b, func(ctx context.Context) (azkeys.UpdateKeyResponse, error) {
		return b.client.UpdateKey(ctx, k.name, k.version, azkeys.UpdateKeyParameters{
			KeyAttributes: &azkeys.KeyAttributes{Enabled: &enabled},
		}, nil)
	})
	if err != nil {
		return b.failure(ctx, op, ref, err)
	}
	return nil
}

// Delete deletes a key, which can be recovered until the time that is returned
// (zero if the vault names none). A vault deletes all versions of a key
// together, so a key of several versions is refused: each is an account. It
// needs the rights Delete and List.
func (b *Backend) Delete(ctx context.Context, ref key.Ref) (time.Time, error) {
	const op = "delete key"
	k, ok := b.vault.parseRef(ref)
	if !ok {
		return time.Time{}, b.foreign(op, ref)
	}
	versions, all, err := b.some(ctx, op, k.name)
	refuse := func(kind error, why string) (time.Time, error) {
		return time.Time{}, &key.CallError{Op: "azure: " + op, Ref: ref, Kind: kind, Why: why}
	}
	switch {
	case err != nil:
		return time.Time{}, err
	case !all || len(versions) > 1:
		return refuse(key.ErrUnsupported, "the key has "+strconv.Itoa(len(versions))+" versions or more, and a vault deletes all of them together: disable this one instead")
	case len(versions) == 0 || versions[0] != k:
		return refuse(key.ErrNotFound, "the key has no such version")
	}
	answer, err := call(ctx, b, func(ctx context.Context) (azkeys.DeleteKeyResponse, error) {
		return b.client.DeleteKey(ctx, k.name, nil)
	})
	if err != nil {
		return time.Time{}, b.failure(ctx, op, ref, err)
	}
	return deref(answer.ScheduledPurgeDate), nil
}
