// SPDX-License-Identifier: Apache-2.0

package wallet

import (
	"context"
	"crypto/ecdsa"
	"errors"
	"fmt"
	"math/big"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/crypto"

	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/secp"
)

// vault plays the outside world: a key service with software keys that can be
// told to misbehave.
type vault struct {
	mu      sync.Mutex
	order   []key.Ref
	keys    map[key.Ref]*ecdsa.PrivateKey
	listed  map[key.Ref]key.Key
	page    int         // keys to a page; 0 is all
	problem key.Problem // reported on the first page, if it has a name
	outage  error       // of every listing and health check

	// sign, if set, takes the place of SignDigest.
	sign func(ctx context.Context, ref key.Ref, digest [32]byte) (key.Signature, error)
	// list, if set, runs before each listing.
	list func(ctx context.Context)

	calls, busy, peak, listings atomic.Int64
	closed                      atomic.Bool
	changed                     chan struct{}
}

func newVault(t *testing.T, n int) *vault {
	t.Helper()
	v := &vault{
		keys: map[key.Ref]*ecdsa.PrivateKey{}, listed: map[key.Ref]key.Key{}, changed: make(chan struct{}, 1),
	}
	for i := range n {
		v.add(t, fmt.Sprintf("key-%d", i))
	}
	return v
}

func (v *vault) add(t *testing.T, name string) common.Address {
	t.Helper()
	private, err := crypto.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	return v.put(name, private)
}

func (v *vault) put(name string, private *ecdsa.PrivateKey) common.Address {
	v.mu.Lock()
	defer v.mu.Unlock()
	ref := key.Ref("ref:" + name)
	addr := crypto.PubkeyToAddress(private.PublicKey)
	v.order = append(v.order, ref)
	v.keys[ref] = private
	v.listed[ref] = key.Key{Ref: ref, Name: name, Address: addr, Protection: key.HSM, State: key.Enabled}
	return addr
}

func (v *vault) remove(name string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	ref := key.Ref("ref:" + name)
	delete(v.listed, ref)
	delete(v.keys, ref)
	for i, r := range v.order {
		if r == ref {
			v.order = append(v.order[:i:i], v.order[i+1:]...)
			return
		}
	}
}

// alter changes what the vault says of a key.
func (v *vault) alter(name string, change func(*key.Key)) {
	v.mu.Lock()
	defer v.mu.Unlock()
	ref := key.Ref("ref:" + name)
	k := v.listed[ref]
	change(&k)
	v.listed[ref] = k
}

func (v *vault) setOutage(err error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.outage = err
}

func (v *vault) address(name string) common.Address {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.listed[key.Ref("ref:"+name)].Address
}

func (v *vault) Keys(ctx context.Context, cursor string) (key.Page, error) {
	v.listings.Add(1)
	if v.list != nil {
		v.list(ctx)
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.outage != nil {
		return key.Page{}, v.outage
	}
	var page key.Page
	start := 0
	if cursor != "" {
		if _, err := fmt.Sscan(cursor, &start); err != nil {
			return key.Page{}, err
		}
	} else if v.problem.Name != "" {
		page.Problems = []key.Problem{v.problem}
	}
	for i := start; i < len(v.order); i++ {
		if v.page > 0 && len(page.Keys) == v.page {
			page.Next = fmt.Sprint(i)
			break
		}
		page.Keys = append(page.Keys, v.listed[v.order[i]])
	}
	return page, nil
}

func (v *vault) PublicKey(context.Context, key.Ref) (secp.PublicKey, error) {
	return secp.PublicKey{}, errors.New("the wallet never asks")
}

func (v *vault) SignDigest(ctx context.Context, ref key.Ref, digest [32]byte) (key.Signature, error) {
	v.calls.Add(1)
	now := v.busy.Add(1)
	defer v.busy.Add(-1)
	for {
		peak := v.peak.Load()
		if now <= peak || v.peak.CompareAndSwap(peak, now) {
			break
		}
	}
	if v.sign != nil {
		return v.sign(ctx, ref, digest)
	}
	return v.honest(ref, digest)
}

// honest signs as a good vault does.
func (v *vault) honest(ref key.Ref, digest [32]byte) (key.Signature, error) {
	v.mu.Lock()
	private := v.keys[ref]
	v.mu.Unlock()
	if private == nil {
		return key.Signature{}, key.ErrNotFound
	}
	return signWith(private, digest)
}

func signWith(private *ecdsa.PrivateKey, digest [32]byte) (key.Signature, error) {
	sig, err := crypto.Sign(digest[:], private)
	if err != nil {
		return key.Signature{}, err
	}
	out := key.Signature{RequestID: "request-1"}
	copy(out.R[:], sig[:32])
	copy(out.S[:], sig[32:64])
	return out, nil
}

// highS gives the other valid s, as half of all vault signatures have it.
func highS(sig key.Signature) key.Signature {
	s := new(big.Int).SetBytes(sig.S[:])
	s.Sub(crypto.S256().Params().N, s).FillBytes(sig.S[:])
	return sig
}

func (v *vault) Health(context.Context) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.outage
}

func (v *vault) Close() error {
	v.closed.Store(true)
	return nil
}

// noticingVault is a vault that tells of changes.
type noticingVault struct{ *vault }

func (v noticingVault) Changed() <-chan struct{} { return v.changed }
