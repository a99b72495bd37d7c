// SPDX-License-Identifier: Apache-2.0

package awskms

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/hsmsigner/hsmsigner/internal/key"
)

const (
	// pageKeys is how many keys a page of ours holds, at least, before it ends:
	// one second of the quota. KMS's own pages are smaller.
	pageKeys = 2000
	// pageAsks bounds how many pages of KMS make one of ours, where most of what
	// KMS lists is not what discovery looks for.
	pageAsks = 200
	// pageMost is how many it has at most, while names are still being read.
	pageMost = 50_000
	// openListings is how many listings may be paged through at a time.
	openListings = 8
)

// listing is what one discovery must remember from page to page.
type listing struct {
	id    uint64
	mu    sync.Mutex         // held while a page is read
	names map[string]string  // alias by key id; nil where names come otherwise
	seen  map[key.Ref]string // the page, by its marker, that has the key: one with two aliases is listed once
	// deniedFirst and denied are about keys in a listing of everything that
	// we may not read: they are most likely somebody else's.
	deniedFirst key.Ref
	denied      int
}

// entry is a key that was found and has not been described yet.
type entry struct {
	ref  key.Ref
	name string            // empty: not known
	tags map[string]string // nil: not known
}

// Keys finds keys as the configuration says and describes those of secp256k1: a
// key that is seen for the first time costs one GetPublicKey, a known one costs
// one DescribeKey for its state, and a key of another kind costs nothing once it
// is known. Pages of KMS are fetched while the keys of the page before are
// described.
//
// A key in another state than Enabled is listed as Disabled if its address is
// known. KMS gives no public key of such a key, so one that was never seen
// enabled by this process is a Problem.
func (b *Backend) Keys(ctx context.Context, cursor string) (key.Page, error) {
	l, marker, err := b.resume(ctx, cursor)
	if err != nil {
		return key.Page{}, err
	}
	l.mu.Lock() // whoever asked for the page before may have left without waiting
	defer l.mu.Unlock()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)

	var (
		mu    sync.Mutex
		found []described
		jobs  = make(chan job, b.cfg.Concurrency)
		wg    sync.WaitGroup
	)
	for range b.cfg.Concurrency {
		wg.Go(func() {
			for j := range jobs {
				d, err := b.describe(ctx, j.entry)
				if err != nil {
					cancel(err) // the first one counts
					continue
				}
				d.order = j.order
				mu.Lock()
				found = append(found, d)
				mu.Unlock()
			}
		})
	}
	// The names of a listing of everything are read beside its first page.
	named := make(chan struct{})
	if cursor == "" && b.everything() {
		go func() {
			defer close(named)
			if err := b.readNames(ctx, l); err != nil {
				cancel(err)
			}
		}()
	} else {
		close(named)
	}

	next, err := b.feed(ctx, l, marker, jobs, named)
	if err != nil {
		cancel(err)
	}
	close(jobs)
	wg.Wait()
	<-named
	err = context.Cause(ctx)
	if err == nil && !b.everything() {
		err = deniedAll(found)
	}
	if err != nil {
		var f *failure
		if !errors.As(err, &f) {
			err = fmt.Errorf("awskms: list keys: %w", err)
		}
		if cursor == "" {
			b.end(l) // nobody can come back to it
		}
		return key.Page{}, err
	}
	return b.finish(l, found, next), nil
}

type job struct {
	entry
	order int
}

// feed sends the keys of the next pages of KMS to be described, and returns
// where the page after them begins. There is no end to a page of ours before
// the names are read: it would only wait for them.
func (b *Backend) feed(ctx context.Context, l *listing, marker string, jobs chan<- job, named <-chan struct{}) (next string, err error) {
	sent, from, mine := 0, marker, map[key.Ref]bool{}
	for range pageAsks {
		entries, next, err := b.page(ctx, "list keys", marker, 0)
		if err != nil {
			return "", err
		}
		if next != "" && next == marker {
			return "", bad("list keys", "", "", "the marker of the next page is that of this one")
		}
		for _, e := range entries {
			// A page that is read again, because it failed the first time, has the
			// same keys again.
			if on, seen := l.seen[e.ref]; mine[e.ref] || seen && on != from {
				continue
			}
			l.seen[e.ref], mine[e.ref] = from, true
			select {
			case jobs <- job{e, sent}:
				sent++
			case <-ctx.Done():
				return "", context.Cause(ctx)
			}
		}
		if marker = next; marker == "" || sent >= pageMost {
			return marker, nil
		}
		if sent >= b.perPage {
			select {
			case <-named:
				return marker, nil
			default:
			}
		}
	}
	return marker, nil
}

// finish puts a page together in the order in which KMS listed the keys.
func (b *Backend) finish(l *listing, found []described, next string) key.Page {
	slices.SortFunc(found, func(a, c described) int { return a.order - c.order })
	var page key.Page
	var sample key.Ref
	for _, d := range found {
		name := d.name
		if name == "" {
			name = l.names[keyID(d.ref)]
		}
		if name == "" {
			name = keyID(d.ref)
		}
		switch {
		case d.problem != "" && d.denied != nil && b.everything():
			if l.denied++; l.denied == 1 {
				l.deniedFirst = d.ref
			}
		case d.problem != "":
			page.Problems = append(page.Problems, key.Problem{Name: name, Ref: d.ref, Reason: d.problem})
		case d.key.Ref != "":
			d.key.Name = name
			page.Keys = append(page.Keys, d.key)
			sample = d.ref
		}
	}
	if next == "" && l.denied > 0 {
		page.Problems = append(page.Problems, key.Problem{Name: keyID(l.deniedFirst), Reason: fmt.Sprintf(
			"this key and %d others may not be read: if they are meant to be used, allow kms:GetPublicKey and kms:DescribeKey; if not, discover by alias or tag", l.denied-1)})
	}
	b.mu.Lock()
	if sample != "" {
		b.sample = sample
	}
	b.mu.Unlock()
	if next == "" {
		b.end(l)
		return page
	}
	page.Next = strconv.FormatUint(l.id, 10) + ":" + next
	return page
}

// resume finds the listing that a cursor belongs to, or begins one.
func (b *Backend) resume(ctx context.Context, cursor string) (*listing, string, error) {
	if err := ctx.Err(); err != nil {
		return nil, "", fmt.Errorf("awskms: list keys: %w", err)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if cursor == "" {
		b.serial++
		l := &listing{id: b.serial, seen: map[key.Ref]string{}}
		delete(b.listings, b.serial-openListings)
		b.listings[l.id] = l
		return l, "", nil
	}
	number, marker, _ := strings.Cut(cursor, ":")
	id, err := strconv.ParseUint(number, 10, 64)
	l := b.listings[id]
	if err != nil || l == nil || marker == "" {
		return nil, "", &failure{call: &key.CallError{
			Op: "list keys", Kind: key.ErrUnavailable,
			Why: "the listing that this cursor belongs to has ended; begin another",
		}}
	}
	return l, marker, nil
}

func (b *Backend) end(l *listing) {
	b.mu.Lock()
	defer b.mu.Unlock()
	delete(b.listings, l.id)
}

// deniedAll returns the failure of a page of which no key may be read. That is
// the credential's trouble and no key's: taken as problems of single keys it
// would make all of them look gone. In a listing of everything it says nothing,
// since the keys of others are there too.
func deniedAll(found []described) error {
	var denied error
	for _, d := range found {
		switch {
		case d.denied != nil:
			denied = d.denied
		case d.key.Ref != "", d.problem != "":
			return nil
		}
	}
	return denied
}

// everything reports whether discovery asks about every key of the account.
func (b *Backend) everything() bool {
	return b.cfg.Discovery.AliasPrefix == "" && b.cfg.Discovery.TagKey == ""
}

func keyID(ref key.Ref) string {
	_, id, _ := strings.Cut(string(ref), ":key/")
	return id
}
