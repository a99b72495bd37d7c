// SPDX-License-Identifier: Apache-2.0

package pkcs11

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/key/pkcs11/wire"
	"github.com/hsmsigner/hsmsigner/internal/secp"
)

// Backend is a token behind a PKCS#11 module. It implements key.Backend,
// key.Creator, key.Importer and key.Deleter. All methods are safe for
// concurrent use.
type Backend struct {
	cfg    Config
	ctx    context.Context // done at Close; the life of the children
	cancel context.CancelFunc
	wg     sync.WaitGroup
	signed sync.Map // key.Ref → target, of the keys that have signed: the point of one is worked out once

	mu         sync.Mutex
	closed     bool
	life       *life     // nil while there is no child
	failures   int       // children that ended soon, one after the other
	notBefore  time.Time // when the next may be started
	lastError  error     // why the last one ended
	protection key.Protection
	listing    *listing // the last one
}

// target is what a reference names.
type target struct {
	id    []byte
	point secp.PublicKey
}

var (
	_ key.Backend  = (*Backend)(nil)
	_ key.Creator  = (*Backend)(nil)
	_ key.Importer = (*Backend)(nil)
	_ key.Deleter  = (*Backend)(nil)
)

var errClosed = fmt.Errorf("pkcs11: %w: the backend is closed", key.ErrUnavailable)

// Open checks the config. It starts no process and asks no token: the first
// request does. The caller closes the backend.
func Open(_ context.Context, c Config) (*Backend, error) {
	c, err := c.withDefaults()
	if err != nil {
		return nil, err
	}
	b := &Backend{cfg: c, protection: c.Protection}
	b.ctx, b.cancel = context.WithCancel(context.Background())
	return b, nil
}

// Close ends the child, in good order if it will, and waits until it is gone: 2
// seconds at most. Requests under way and later ones fail.
func (b *Backend) Close() error {
	b.mu.Lock()
	b.closed = true
	b.mu.Unlock()
	b.cancel()
	b.wg.Wait()
	return nil
}

func (b *Backend) isClosed() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.closed
}

// SignDigest signs with CKM_ECDSA. PKCS#11 knows no request id.
func (b *Backend) SignDigest(ctx context.Context, ref key.Ref, digest [32]byte) (key.Signature, error) {
	known, signed := b.signed.Load(ref)
	t, _ := known.(target)
	if !signed {
		var ok bool
		if t.id, t.point, ok = parseRef(ref); !ok {
			return key.Signature{}, unknown("sign", ref)
		}
	}
	m, err := b.call(ctx, "sign", ref, wire.Message{Op: wire.Sign, Fields: append(wire.Target(t.id, t.point), digest[:])})
	if err != nil {
		return key.Signature{}, err
	}
	if !signed {
		b.signed.Store(ref, t)
	}
	f := m.Fields
	if len(f) != 2 || len(f[0]) != 32 || len(f[1]) != 32 {
		return key.Signature{}, &key.CallError{Op: "sign", Ref: ref, Kind: key.ErrBadResponse, Why: "the child's answer is no signature"}
	}
	return key.Signature{R: [32]byte(f[0]), S: [32]byte(f[1])}, nil
}

func unknown(op string, ref key.Ref) error {
	return &key.CallError{Op: op, Ref: ref, Kind: key.ErrNotFound, Why: "it is no reference to a PKCS#11 key (hexadecimal CKA_ID, a dot, hexadecimal public key)"}
}

// PublicKey gives the public key that ref itself holds, if the token still has
// its private key.
func (b *Backend) PublicKey(ctx context.Context, ref key.Ref) (secp.PublicKey, error) {
	id, point, ok := parseRef(ref)
	if !ok {
		return secp.PublicKey{}, unknown("find the key", ref)
	}
	if err := b.cfg.Reads.Wait(ctx); err != nil {
		return secp.PublicKey{}, err
	}
	if _, err := b.call(ctx, "find the key", ref, wire.Message{Op: wire.Find, Fields: wire.Target(id, point)}); err != nil {
		return secp.PublicKey{}, err
	}
	b.cfg.Reads.Succeeded()
	return point, nil
}

// Health asks the child whether a signature would be made now: the session says
// that the user is logged in, the slot has its token, and the device answers.
func (b *Backend) Health(ctx context.Context) error {
	_, err := b.call(ctx, "check the token", "", wire.Message{Op: wire.Check})
	return err
}

// Create makes a key pair in the token (CKM_EC_KEY_PAIR_GEN) with a random
// CKA_ID and the name as label. The private key stays (CKA_TOKEN), is hidden
// (CKA_PRIVATE, CKA_SENSITIVE), cannot be exported (CKA_EXTRACTABLE false) and
// can sign, nothing else. It has signed once before it is returned.
func (b *Backend) Create(ctx context.Context, name string, tags map[string]string) (key.Key, error) {
	if err := checkNew("create a key", name, tags); err != nil {
		return key.Key{}, err
	}
	m, err := b.call(ctx, "create a key", "", wire.Message{Op: wire.Create, Fields: [][]byte{[]byte(name)}})
	if err != nil {
		return key.Key{}, err
	}
	return b.made("create a key", m)
}

// Import stores a private key in the token, with the attributes of Create. With
// Config.WrappingKey it reaches the module encrypted (RSA-OAEP), and C_UnwrapKey
// decrypts it in the token; without, C_CreateObject takes it in clear.
func (b *Backend) Import(ctx context.Context, name string, private []byte, tags map[string]string) (key.Key, error) {
	if err := checkNew("import a key", name, tags); err != nil {
		return key.Key{}, err
	}
	m, err := b.call(ctx, "import a key", "", wire.Message{Op: wire.Import, Fields: [][]byte{[]byte(name), private, []byte(b.cfg.WrappingKey)}})
	if err != nil {
		return key.Key{}, err
	}
	return b.made("import a key", m)
}

// Delete destroys the private key object and the public one that belongs to it.
// It cannot be undone.
func (b *Backend) Delete(ctx context.Context, ref key.Ref) (time.Time, error) {
	id, point, ok := parseRef(ref)
	if !ok {
		return time.Time{}, unknown("delete the key", ref)
	}
	_, err := b.call(ctx, "delete the key", ref, wire.Message{Op: wire.Delete, Fields: wire.Target(id, point)})
	return time.Time{}, err
}

func checkNew(op, name string, tags map[string]string) error {
	switch {
	case len(tags) > 0:
		return &key.CallError{Op: op, Kind: key.ErrDenied, Why: "a PKCS#11 key has no place for tags; give none"}
	case name == "" || len(name) > 128 || strings.TrimSpace(name) != name || strings.ContainsFunc(name, func(r rune) bool { return r < ' ' || r == 0x7f || r == 0xfffd }):
		return &key.CallError{Op: op, Kind: key.ErrDenied, Why: "the name becomes the label of the key: want 1 to 128 bytes of printable text"}
	}
	return nil
}

// made reads the answer to a request that made a key.
func (b *Backend) made(op string, m wire.Message) (key.Key, error) {
	entries, err := m.Entries()
	if err != nil || len(entries) != 1 || entries[0].Problem {
		return key.Key{}, &key.CallError{Op: op, Kind: key.ErrBadResponse, Why: "the child's answer is no key"}
	}
	return b.key(entries[0]), nil
}

func (b *Backend) key(e wire.Entry) key.Key {
	b.mu.Lock()
	protection := b.protection
	b.mu.Unlock()
	k := key.Key{
		Ref: refOf(e.ID, e.Point), Name: e.Label, Address: e.Point.Address(),
		Protection: protection, State: key.Enabled, Reason: e.Reason,
	}
	if k.Name == "" {
		k.Name = "CKA_ID " + strings.SplitN(string(k.Ref), ".", 2)[0]
	}
	if e.Reason != "" {
		k.State = key.Disabled
	}
	return k
}

// listing is what a token held at one moment, in the order of the references.
type listing struct {
	keys     []key.Key
	problems []key.Problem
}

// Keys lists the token's keys. The first page reads them all; the cursor of a
// later one is the last reference that came, so that a listing may end after
// another has begun.
func (b *Backend) Keys(ctx context.Context, cursor string) (key.Page, error) {
	if err := ctx.Err(); err != nil {
		return key.Page{}, err
	}
	b.mu.Lock()
	l, closed := b.listing, b.closed
	b.mu.Unlock()
	if closed {
		return key.Page{}, errClosed
	}
	var page key.Page
	if cursor == "" || l == nil {
		var err error
		if l, err = b.read(ctx); err != nil {
			return key.Page{}, err
		}
	}
	if cursor == "" {
		page.Problems = slices.Clone(l.problems)
	}
	from := sort.Search(len(l.keys), func(i int) bool { return string(l.keys[i].Ref) > cursor })
	to := min(from+b.cfg.PageSize, len(l.keys))
	page.Keys = slices.Clone(l.keys[from:to])
	if to < len(l.keys) {
		page.Next = string(l.keys[to-1].Ref)
	}
	return page, nil
}

// read lists the token. A child that dies meanwhile is no reason to give up.
func (b *Backend) read(ctx context.Context) (*listing, error) {
	const attempts = 3
	for attempt := 1; ; attempt++ {
		if err := b.cfg.Reads.Wait(ctx); err != nil {
			return nil, err
		}
		m, err := b.call(ctx, "list keys", "", wire.Message{Op: wire.List})
		if err != nil {
			if errors.Is(err, key.ErrUnavailable) && attempt < attempts && ctx.Err() == nil && !b.isClosed() {
				continue
			}
			return nil, err
		}
		entries, err := m.Entries()
		if err != nil {
			return nil, &key.CallError{Op: "list keys", Kind: key.ErrBadResponse, Why: err.Error()}
		}
		b.cfg.Reads.Succeeded()
		l := b.sorted(entries)
		b.mu.Lock()
		b.listing = l
		b.mu.Unlock()
		return l, nil
	}
}

// sorted makes entries into keys. One key under two CKA_IDs is one account: the
// second is a problem.
func (b *Backend) sorted(entries []wire.Entry) *listing {
	l := &listing{}
	for _, e := range entries {
		if e.Problem {
			l.problems = append(l.problems, key.Problem{Name: e.Label, Reason: e.Reason})
			continue
		}
		l.keys = append(l.keys, b.key(e))
	}
	sort.Slice(l.keys, func(i, j int) bool { return l.keys[i].Ref < l.keys[j].Ref })
	seen := make(map[string]key.Ref)
	kept := l.keys[:0]
	for _, k := range l.keys {
		address := k.Address.Hex()
		if first, twice := seen[address]; twice {
			l.problems = append(l.problems, key.Problem{Name: k.Name, Reason: fmt.Sprintf("the same key as %s is in the token a second time, as %s", first, k.Ref)})
			continue
		}
		seen[address] = k.Ref
		kept = append(kept, k)
	}
	l.keys = kept
	return l
}
