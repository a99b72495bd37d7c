// SPDX-License-Identifier: Apache-2.0

package gcpkms

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"strings"
	"sync"

	"cloud.google.com/go/kms/apiv1/kmspb"
	"google.golang.org/api/iterator"

	"github.com/hsmsigner/hsmsigner/internal/key"
)

// Filters: https://cloud.google.com/kms/docs/sorting-and-filtering.
const (
	signingKeys      = "purpose=ASYMMETRIC_SIGN"
	secp256k1Version = "algorithm=EC_SIGN_SECP256K1_SHA256"
)

// Keys lists the versions of up to a hundred keys of the ring a page. A page
// costs a read for itself and one for each key, and for each version that is
// new a GetPublicKey.
//
// A destroyed version is left out. One that cannot sign for now is Disabled if
// its public key was seen before, and else a Problem: Cloud KMS gives the public
// keys of enabled versions only, so its address is not known.
func (b *Backend) Keys(ctx context.Context, cursor string) (key.Page, error) {
	const op = "list keys"
	if err := ctx.Err(); err != nil {
		return key.Page{}, fmt.Errorf("gcpkms: %s: %w", op, err)
	}
	keys, next, err := b.page(ctx, op, cursor)
	if err != nil {
		return key.Page{}, fmt.Errorf("gcpkms: %w", err)
	}
	pages, err := b.describe(ctx, keys)
	if err != nil {
		return key.Page{}, fmt.Errorf("gcpkms: %w", err)
	}
	page := key.Page{Next: next}
	var denied error
	readable := false // one of them, at least
	for _, p := range pages {
		page.Keys = append(page.Keys, p.Keys...)
		page.Problems = append(page.Problems, p.Problems...)
		if p.denied != nil {
			denied = p.denied
		} else if len(p.Keys)+len(p.Problems) > 0 { // a key of another curve shows nothing
			readable = true
		}
	}
	if denied != nil && !readable && len(page.Keys) == 0 {
		// A right that is missing for all is the ring's trouble and no key's.
		return key.Page{}, fmt.Errorf("gcpkms: %w", denied)
	}
	return page, nil
}

// page lists signing keys of the ring.
func (b *Backend) page(ctx context.Context, op, cursor string) (keys []*kmspb.CryptoKey, next string, err error) {
	err = b.read(ctx, b.cfg.Reads, op, "", func(ctx context.Context) error {
		it := b.client.ListCryptoKeys(ctx, &kmspb.ListCryptoKeysRequest{
			Parent: b.cfg.KeyRing, PageSize: keysPerPage, PageToken: cursor, Filter: signingKeys,
		})
		var err error
		keys, next, err = onePage(it.Next, it.PageInfo())
		return err
	})
	return keys, next, err
}

// onePage takes from an iterator what one call brought.
func onePage[T any](next func() (T, error), info *iterator.PageInfo) (items []T, token string, err error) {
	for {
		item, err := next()
		if errors.Is(err, iterator.Done) {
			return items, "", nil
		}
		if err != nil {
			return nil, "", err
		}
		if items = append(items, item); info.Remaining() == 0 {
			return items, info.Token, nil
		}
	}
}

// described is what there is to say of one key and its versions.
type described struct {
	key.Page
	denied error // the last problem, if a right was missing
}

// describe asks for the versions of every key, several at once. The first
// failure that is not one key's own ends it.
func (b *Backend) describe(ctx context.Context, keys []*kmspb.CryptoKey) ([]described, error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	pages := make([]described, len(keys))
	todo := make(chan int)
	var workers sync.WaitGroup
	for range min(b.cfg.Concurrency, len(keys)) {
		workers.Go(func() {
			for i := range todo {
				var err error
				if pages[i], err = b.versions(ctx, keys[i]); err != nil {
					cancel(err)
				}
			}
		})
	}
	for i := range keys {
		if ctx.Err() != nil {
			break
		}
		todo <- i
	}
	close(todo)
	workers.Wait()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	return pages, nil
}

// versions describes every version of one key.
func (b *Backend) versions(ctx context.Context, k *kmspb.CryptoKey) (described, error) {
	const op = "list key versions"
	var page described
	id, ok := strings.CutPrefix(k.GetName(), b.keys)
	if !ok || !goodID(id) {
		return page, &key.CallError{Op: "list keys", Kind: key.ErrBadResponse, Why: "the list holds a key of another key ring"}
	}
	token := ""
	for range maxVersionPages {
		var found []*kmspb.CryptoKeyVersion
		err := b.read(ctx, b.cfg.Reads, op, "", func(ctx context.Context) error {
			it := b.client.ListCryptoKeyVersions(ctx, &kmspb.ListCryptoKeyVersionsRequest{
				Parent: k.GetName(), PageSize: versionsPerPage, PageToken: token, Filter: secp256k1Version,
			})
			items, next, err := onePage(it.Next, it.PageInfo())
			if err == nil { // or else the same page is asked for again
				found, token = items, next
			}
			return err
		})
		if err != nil {
			return b.orProblem(ctx, described{}, id, err)
		}
		for _, v := range found {
			if page, err = b.version(ctx, page, k, v); err != nil {
				return page, err
			}
		}
		if token == "" {
			return page, nil
		}
	}
	return page, &key.CallError{Op: op, Kind: key.ErrBadResponse, Why: "the list of versions of " + id + " does not end"}
}

// version adds one version to the page, as a key, as a problem, or not at all.
func (b *Backend) version(ctx context.Context, page described, k *kmspb.CryptoKey, v *kmspb.CryptoKeyVersion) (described, error) {
	s := state(v.GetState())
	if v.GetAlgorithm() != algorithm || s.gone() {
		return page, nil
	}
	ref := key.Ref(v.GetName())
	id, number, ok := b.split(ref)
	if !ok || !strings.HasPrefix(v.GetName(), k.GetName()+"/") {
		return page, &key.CallError{Op: "list key versions", Kind: key.ErrBadResponse, Why: "the list holds a version of another key"}
	}
	name, reason := id+"/"+number, s.reason(v)
	public, known := b.knownPublic(ref)
	if !known {
		if reason != "" {
			page.Problems = append(page.Problems, key.Problem{Name: name, Ref: ref, Reason: reason})
			return page, nil
		}
		var err error
		if public, err = b.fetchPublic(ctx, ref); err != nil {
			return b.orProblem(ctx, page, name, err)
		}
	}
	found := key.Key{
		Ref: ref, Name: name, Address: public.Address(), Protection: protection(v.GetProtectionLevel()),
		State: key.Enabled, Reason: reason, Tags: maps.Clone(k.GetLabels()),
	}
	if reason != "" {
		found.State = key.Disabled
	}
	page.Keys = append(page.Keys, found)
	return page, nil
}

// orProblem makes a definite failure of one key a problem. One that may pass,
// or that meets every key, fails the whole page: what is left out of a listing
// looks vanished.
func (b *Backend) orProblem(ctx context.Context, page described, name string, err error) (described, error) {
	var call *key.CallError
	var everywhere everywhereError
	if ctx.Err() != nil || key.Transient(err) || errors.As(err, &everywhere) || !errors.As(err, &call) {
		return page, err
	}
	if errors.Is(err, key.ErrDenied) {
		page.denied = err
	}
	page.Problems = append(page.Problems, key.Problem{Name: name, Reason: call.Error()})
	return page, nil
}

// Health lists one key: whoever may do that is let in, and the service answers.
func (b *Backend) Health(ctx context.Context) error {
	err := b.call(ctx, "ask for health", "", reason(), func(ctx context.Context) error {
		it := b.client.ListCryptoKeys(ctx, &kmspb.ListCryptoKeysRequest{Parent: b.cfg.KeyRing, PageSize: 1})
		if _, err := it.Next(); !errors.Is(err, iterator.Done) {
			return err
		}
		return nil
	})
	if err != nil {
		return fmt.Errorf("gcpkms: %w", err)
	}
	return nil
}
