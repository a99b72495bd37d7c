// SPDX-License-Identifier: Apache-2.0

package azure

import (
	"context"
	"encoding/json"
	"errors"
	"net/url"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/runtime"
	"github.com/Azure/azure-sdk-for-go/sdk/security/keyvault/azkeys"

	"github.com/hsmsigner/hsmsigner/internal/key"
)

const (
	opList = "list keys"
	// vaultPages of 25 keys make one of ours: with fewer, a listing would too often
	// wait for the last call of a page. No more are begun after pagePatience, so
	// that a page of keys with many versions ends before its caller gives up.
	vaultPages   = 24
	pagePatience = 5 * time.Second
	// maxVersionPages of 25 bounds the versions of one key.
	maxVersionPages = 4000
)

// Keys lists the versions of up to 600 keys a page, which are several of the
// vault's own pages of 25. The vault's listing says neither type nor curve, so
// the first listing costs a call per key for its versions and one per version;
// later ones only the first, since a version's key never changes. At most
// Config.Concurrency of these calls are made at once.
//
// A version that is disabled, expired or not yet valid is listed as Disabled.
// One that the vault will not show is a Problem. Anything else that goes wrong
// and may pass by itself fails the page.
func (b *Backend) Keys(ctx context.Context, cursor string) (key.Page, error) {
	pass, query, err := b.position(cursor)
	if err != nil {
		return key.Page{}, err
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var page key.Page
	var names []string
	var parts []*part
	var wg sync.WaitGroup
	for begin, n := time.Now(), 0; n == 0 || n < vaultPages && time.Since(begin) < pagePatience; n++ {
		found, problems, next, err := b.names(ctx, query)
		if err != nil {
			cancel(err)
			break
		}
		page.Problems = append(page.Problems, problems...)
		for _, name := range found {
			p := &part{}
			names, parts = append(names, name), append(parts, p)
			wg.Go(func() {
				var err error
				if *p, err = b.versions(ctx, name, pass); err != nil {
					cancel(err)
				}
			})
		}
		if query = next; query == "" {
			break
		}
	}
	wg.Wait()
	if err := context.Cause(ctx); err != nil {
		return key.Page{}, b.failure(context.WithoutCancel(ctx), opList, "", err)
	}
	if err := deniedAll(parts); err != nil {
		return key.Page{}, err
	}
	for i, part := range parts {
		page.Keys = append(page.Keys, part.Keys...)
		page.Problems = append(page.Problems, part.Problems...)
		if len(part.Keys) > 0 {
			b.watchRotation(ctx, names[i])
		}
	}
	if query == "" {
		b.known.end(pass)
	} else {
		page.Next = strconv.FormatUint(pass, 10) + ":" + query
	}
	return page, nil
}

// part is what there is to say of one key or one of its versions.
type part struct {
	key.Page
	denied error // behind the last problem, if a right was missing
}

// add adds what there is to say of another version.
func (p *part) add(more part) {
	p.Keys, p.Problems = append(p.Keys, more.Keys...), append(p.Problems, more.Problems...)
	if more.denied != nil {
		p.denied = more.denied
	}
}

// deniedAll returns the failure of a page of which no version may be read. That
// is the trouble of the credential and of no key: taken as problems of single
// keys it would make all of them look gone.
func deniedAll(parts []*part) error {
	var denied error
	for _, p := range parts {
		switch {
		case p.denied != nil && len(p.Keys) == 0:
			denied = p.denied
		case len(p.Keys)+len(p.Problems) > 0:
			return nil
		}
	}
	return denied
}

// position reads a cursor: the number of the listing, and the query of the
// vault's next page.
func (b *Backend) position(cursor string) (pass uint64, query string, err error) {
	if cursor == "" {
		b.watch.begin()
		return b.known.begin(), "", nil
	}
	number, query, ok := strings.Cut(cursor, ":")
	pass, err = strconv.ParseUint(number, 10, 64)
	if !ok || err != nil || query == "" {
		return 0, "", &key.CallError{Op: "azure: " + opList, Kind: key.ErrBadResponse, Why: "the cursor is not one of this backend"}
	}
	return pass, query, nil
}

// names returns the names on one page of the vault's keys.
func (b *Backend) names(ctx context.Context, query string) (names []string, problems []key.Problem, next string, err error) {
	var page azkeys.ListKeyPropertiesResponse
	err = b.inSlot(ctx, opList, "", func(ctx context.Context) (err error) {
		page, err = onePage(ctx, b.client.NewListKeyPropertiesPager(nil), b.vault.base+"/keys", query)
		return err
	})
	if err != nil {
		return nil, nil, "", err
	}
	for _, item := range page.Value {
		if item == nil || item.KID == nil {
			continue
		}
		k, ok := parseKID(string(*item.KID))
		if !ok {
			problems = append(problems, key.Problem{Name: "(a key)", Reason: "the vault lists it with an identifier that cannot be read"})
			continue
		}
		names = append(names, k.name)
	}
	next, err = b.nextQuery(page.NextLink, "/keys")
	return names, problems, next, err
}

// versions lists the versions of one key.
func (b *Backend) versions(ctx context.Context, name string, pass uint64) (all part, err error) {
	path := "/keys/" + name + "/versions"
	query := ""
	for range maxVersionPages {
		var page azkeys.ListKeyPropertiesVersionsResponse
		err := b.inSlot(ctx, opList, "", func(ctx context.Context) (err error) {
			page, err = onePage(ctx, b.client.NewListKeyPropertiesVersionsPager(name, nil), b.vault.base+path, query)
			return err
		})
		if err != nil {
			return b.unlistable(name, err)
		}
		found := make([]part, len(page.Value))
		errs := make([]error, len(page.Value))
		var wg sync.WaitGroup
		for i, item := range page.Value {
			wg.Go(func() { found[i], errs[i] = b.version(ctx, name, item, pass) })
		}
		wg.Wait()
		if err := errors.Join(errs...); err != nil {
			return part{}, err
		}
		for _, f := range found {
			all.add(f)
		}
		if query, err = b.nextQuery(page.NextLink, path); err != nil {
			return b.unlistable(name, err)
		}
		if query == "" {
			return all, nil
		}
	}
	all.add(problem(name, "it has more versions than can be listed"))
	return all, nil
}

// unlistable says whether one key's failed listing is only its own affair.
func (b *Backend) unlistable(name string, err error) (part, error) {
	switch {
	case errors.Is(err, key.ErrNotFound):
		return part{}, nil // deleted since its name was listed
	case errors.Is(err, key.ErrDenied), errors.Is(err, key.ErrDisabled), errors.Is(err, key.ErrBadResponse):
		return refused(name, "its versions cannot be listed: ", err), nil
	}
	return part{}, err
}

// version judges one version: nothing, a key or a problem.
func (b *Backend) version(ctx context.Context, name string, item *azkeys.KeyProperties, pass uint64) (part, error) {
	if item == nil || item.KID == nil {
		return part{}, nil
	}
	k, ok := parseKID(string(*item.KID))
	if !ok || k.name != name || k.version == "" {
		return problem(name, "the vault lists a version with an identifier that cannot be read"), nil
	}
	ref, now := b.vault.ref(k), time.Now()
	seen := attributesOf(item.Attributes, item.Tags)
	d, known := b.known.get(ref)
	// Whoever changes the permitted operations changes updated too.
	if !known || !d.other && !d.updated.Equal(seen.updated) {
		fresh, err := b.describeInSlot(ctx, k)
		switch {
		case err == nil:
			d = fresh
		case known && !key.Transient(err):
			// A disabled key may not be shown any more; it is what it was.
		case errors.Is(err, key.ErrNotFound):
			return part{}, nil
		case errors.Is(err, key.ErrDisabled):
			return problem(k.String(), "the vault does not show its curve, since "+why(err)).of(ref), nil
		case errors.Is(err, key.ErrDenied), errors.Is(err, key.ErrBadResponse):
			return refused(k.String(), "it cannot be read: ", err).of(ref), nil
		default:
			return part{}, err
		}
	}
	e := b.known.list(ref, d, seen, pass)
	if d.other {
		return part{}, nil
	}
	out := key.Key{
		Ref: ref, Name: k.String(), Address: d.public.Address(),
		Protection: d.protection, State: key.Enabled, Tags: seen.tags,
	}
	if reason := e.whyNot(now); reason != "" {
		out.State, out.Reason = key.Disabled, reason
	}
	return part{Page: key.Page{Keys: []key.Key{out}}}, nil
}

func problem(name, reason string) part {
	return part{Page: key.Page{Problems: []key.Problem{{Name: name, Reason: reason}}}}
}

// of names the key version that the problems of p are of.
func (p part) of(ref key.Ref) part {
	for i := range p.Problems {
		p.Problems[i].Ref = ref
	}
	return p
}

func refused(name, what string, err error) part {
	p := problem(name, what+why(err))
	if errors.Is(err, key.ErrDenied) {
		p.denied = err
	}
	return p
}

// why returns what an error of this package says to do.
func why(err error) string {
	if e, ok := errors.AsType[*key.CallError](err); ok && e.Why != "" {
		return e.Why
	}
	return "the vault refused"
}

// inSlot reads when one of the listing's slots is free.
func (b *Backend) inSlot(ctx context.Context, op string, ref key.Ref, do func(context.Context) error) error {
	select {
	case b.slots <- struct{}{}:
	case <-ctx.Done():
		return b.failure(ctx, op, ref, ctx.Err())
	}
	defer func() { <-b.slots }()
	return b.read(ctx, op, ref, do)
}

func (b *Backend) describeInSlot(ctx context.Context, k id) (described, error) {
	select {
	case b.slots <- struct{}{}:
	case <-ctx.Done():
		return described{}, b.failure(ctx, opList, b.vault.ref(k), ctx.Err())
	}
	defer func() { <-b.slots }()
	return b.describe(ctx, opList, k)
}

// onePage fetches one page of a listing: the first, or the one that the query
// of a next link leads to.
func onePage[T any](ctx context.Context, pager *runtime.Pager[T], address, query string) (page T, err error) {
	if query != "" {
		// The library resumes a pager from the page before, of which only the
		// link matters, and gives that page out first, without a call.
		before, err := json.Marshal(map[string]string{"nextLink": address + "?" + query})
		if err != nil {
			return page, err
		}
		if err := json.Unmarshal(before, pager); err != nil {
			return page, err
		}
		if _, err := pager.NextPage(ctx); err != nil {
			return page, err
		}
	}
	return pager.NextPage(ctx)
}

// nextQuery takes the query out of a next link. Only that is followed, on the
// configured vault: a link to elsewhere must not get the token.
func (b *Backend) nextQuery(link *string, path string) (string, error) {
	if link == nil || *link == "" {
		return "", nil
	}
	u, err := url.Parse(*link)
	if err != nil || strings.TrimRight(u.Path, "/") != path || u.RawQuery == "" {
		return "", &key.CallError{Op: "azure: " + opList, Kind: key.ErrBadResponse, Why: "the link to the next page leads elsewhere"}
	}
	return u.RawQuery, nil
}
