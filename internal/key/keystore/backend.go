// SPDX-License-Identifier: Apache-2.0

package keystore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/crypto"

	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/secp"
)

// addressPatience bounds how long a listing waits for files that must be
// decrypted to learn their address. What takes longer is in a later listing.
const addressPatience = 5 * time.Second

// dirProblem is the name under which a problem of the directory is listed.
const dirProblem = "(directory)"

// Keys lists the files in the order of their names; the cursor is the name of
// the last file before the page. The first page reads the directory anew.
//
// Of two files with one address the first by name is listed, the other is a
// Problem. A key whose password is missing or known to be wrong is Disabled; a
// key that has not been decrypted yet is listed as Enabled.
func (ks *Keystore) Keys(ctx context.Context, cursor string) (key.Page, error) {
	if err := ctx.Err(); err != nil {
		return key.Page{}, fmt.Errorf("keystore: list keys: %w", err)
	}
	if cursor == "" {
		if err := ks.rescan(ctx); err != nil {
			if ctx.Err() == nil && !errors.Is(err, key.ErrUnavailable) {
				err = fmt.Errorf("%w: directory of the key files: %w", key.ErrUnavailable, cause(err))
			}
			return key.Page{}, fmt.Errorf("keystore: list keys: %w", err)
		}
	}
	if err := ks.learnAddresses(ctx, cursor); err != nil {
		return key.Page{}, fmt.Errorf("keystore: list keys: %w", err)
	}
	ks.mu.RLock()
	defer ks.mu.RUnlock()
	if ks.closed {
		return key.Page{}, fmt.Errorf("keystore: list keys: %w", errClosed)
	}
	var page key.Page
	if cursor == "" && ks.dirWarn != "" {
		page.Problems = append(page.Problems, key.Problem{Name: dirProblem, Reason: ks.dirWarn})
	}
	names, next := ks.pageAfter(cursor)
	page.Next = next
	listed := map[common.Address]string{} // by the first file that has it
	for _, name := range ks.names {
		e := ks.entries[name]
		if _, twice := listed[e.address]; !twice && e.known && e.problem == "" {
			listed[e.address] = name
		}
	}
	for _, name := range names {
		e := ks.entries[name]
		if reason := e.whyUnlisted(listed); reason != "" {
			page.Problems = append(page.Problems, key.Problem{Name: name, Reason: reason})
			continue
		}
		k := key.Key{Ref: e.ref(), Name: name, Address: e.address, Protection: key.Software, State: key.Enabled}
		if e.failed != "" {
			k.State, k.Reason = key.Disabled, e.failed
		}
		page.Keys = append(page.Keys, k)
	}
	return page, nil
}

// pageAfter returns the names of one page and the cursor of the next.
func (ks *Keystore) pageAfter(cursor string) (names []string, next string) {
	start, found := slices.BinarySearch(ks.names, cursor)
	if found {
		start++
	}
	end := min(start+ks.cfg.PageSize, len(ks.names))
	if end < len(ks.names) {
		next = ks.names[end-1]
	}
	return ks.names[start:end], next
}

// whyUnlisted returns the reason for a Problem in place of a Key, or "".
func (e *entry) whyUnlisted(listed map[common.Address]string) string {
	switch first := listed[e.address]; {
	case e.problem != "":
		return e.problem
	case !e.known && e.failed != "":
		return "no address member, and it cannot be decrypted to learn the address: " + e.failed
	case !e.known:
		return "no address member, and it is still being decrypted to learn the address"
	case first != e.name:
		return fmt.Sprintf("address %s is that of file %s too, which is used; remove one of the two", e.address, first)
	}
	return ""
}

// learnAddresses decrypts the files of a page that have no address member.
func (ks *Keystore) learnAddresses(ctx context.Context, cursor string) error {
	ks.mu.RLock()
	var nameless []*entry
	names, _ := ks.pageAfter(cursor)
	for _, name := range names {
		if e := ks.entries[name]; e.locked() && !e.known {
			nameless = append(nameless, e)
		}
	}
	ks.mu.RUnlock()
	if len(nameless) == 0 {
		return nil
	}
	patience, cancel := context.WithTimeout(ctx, addressPatience)
	defer cancel()
	for _, e := range nameless {
		// What went wrong with the file is in the entry.
		if err := ks.unlock(patience, e); patience.Err() != nil && err != nil {
			break
		}
	}
	return ctx.Err()
}

// PublicKey decrypts the key if nobody has yet, since the file does not hold
// the public key.
func (ks *Keystore) PublicKey(ctx context.Context, ref key.Ref) (public secp.PublicKey, err error) {
	err = ks.use(ctx, ref, func(e *entry) error {
		public = e.public
		return nil
	})
	if err != nil {
		return secp.PublicKey{}, fmt.Errorf("keystore: public key of %q: %w", string(ref), err)
	}
	return public, nil
}

// SignDigest signs with a deterministic nonce (RFC 6979). The first signature
// of a key waits for its decryption, about a second at the usual cost.
func (ks *Keystore) SignDigest(ctx context.Context, ref key.Ref, digest [32]byte) (key.Signature, error) {
	var sig key.Signature
	err := ks.use(ctx, ref, func(e *entry) error {
		raw, err := crypto.Sign(digest[:], e.priv)
		if err != nil {
			return fmt.Errorf("%w: %w", key.ErrBadResponse, err)
		}
		sig.R, sig.S, sig.Hint = [32]byte(raw[:32]), [32]byte(raw[32:64]), raw[64]
		return nil
	})
	if err != nil {
		return key.Signature{}, fmt.Errorf("keystore: sign with %q: %w", string(ref), err)
	}
	return sig, nil
}

// use calls do with the decrypted entry of ref. The entry cannot be wiped
// meanwhile.
func (ks *Keystore) use(ctx context.Context, ref key.Ref, do func(*entry) error) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	address, name, ok := splitRef(ref)
	if !ok {
		return key.ErrNotFound
	}
	for {
		e, err := ks.tryUse(address, name, do)
		if e == nil {
			return err
		}
		if err := ks.unlock(ctx, e); err != nil {
			return err
		}
	}
}

// tryUse returns the entry if it must be decrypted first. Signatures of
// different callers run side by side under the read lock.
func (ks *Keystore) tryUse(address common.Address, name string, do func(*entry) error) (*entry, error) {
	ks.mu.RLock()
	defer ks.mu.RUnlock()
	if ks.closed {
		return nil, errClosed
	}
	e := ks.entries[name]
	if e == nil || e.known && e.address != address {
		return nil, key.ErrNotFound
	}
	if e.priv == nil {
		return e, nil
	}
	return nil, do(e)
}
