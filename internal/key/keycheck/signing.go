// SPDX-License-Identifier: Apache-2.0

package keycheck

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/secp"
)

// sign asks for one signature and judges it as package wallet does. A failure that
// may pass is asked again, as there, but seldom: see repeats.
func (s *suite) sign(ctx context.Context, k key.Key, digest [32]byte) error {
	ctx, cancel := context.WithTimeout(ctx, s.Timeout)
	defer cancel()
	s.signs.Add(1)
	raw, err := s.Backend.SignDigest(ctx, k.Ref, digest)
	for try := 1; try < 4 && key.Transient(err) && ctx.Err() == nil; try++ {
		s.again.Add(1)
		time.Sleep(time.Duration(try) * 100 * time.Millisecond)
		raw, err = s.Backend.SignDigest(ctx, k.Ref, digest)
	}
	if err != nil {
		return fmt.Errorf("sign %x with %q: %w", digest, k.Ref, err)
	}
	sig, err := secp.Finish(k.Address, digest, raw.R, raw.S)
	if err != nil {
		return fmt.Errorf("signature of %x by %q (r %x, s %x): %w", digest, k.Ref, raw.R, raw.S, err)
	}
	return secp.Check(k.Address, digest, sig)
}

// repeats demands that hardly any call had to be made again.
func (s *suite) repeats(t T) {
	again, signs := s.again.Load(), s.signs.Load()
	if again > 0 {
		t.Logf("%d calls for %d signatures failed in a way that may pass, and were made again", again, signs)
	}
	if again*50 > signs {
		t.Errorf("%d calls for %d signatures had to be made again, want at most one in fifty", again, signs)
	}
}

func randomDigest() (d [32]byte) {
	_, _ = rand.Read(d[:]) // never fails (crypto/rand)
	return d
}

func (s *suite) concurrent(t T) {
	keys := s.enabled(t)
	const each = 4
	errs := make(chan error, s.Concurrency*each)
	begin := make(chan struct{})
	var wg sync.WaitGroup
	for i := range s.Concurrency {
		wg.Go(func() {
			<-begin
			for j := range each {
				errs <- s.sign(t.Context(), keys[(i+j)%len(keys)], randomDigest())
			}
		})
	}
	close(begin)
	wg.Wait()
	close(errs)
	bad := 0
	for err := range errs {
		if err == nil {
			continue
		}
		if bad++; bad <= 5 {
			t.Errorf("%v", err)
		}
	}
	if bad > 0 {
		t.Errorf("%d of %d concurrent signatures failed", bad, s.Concurrency*each)
	}
}

func (s *suite) signatures(t T) {
	keys := s.enabled(t)
	for i := range s.Signatures {
		if err := s.sign(t.Context(), keys[i%len(keys)], randomDigest()); err != nil {
			t.Fatalf("signature %d of %d: %v", i+1, s.Signatures, err)
		}
	}
	t.Logf("%d signatures over %d keys", s.Signatures, len(keys))
	s.repeats(t)
}

// A digest is 32 opaque bytes: it may be more than the group order, and its
// leading zero bytes count.
func (s *suite) edgeDigests(t T) {
	k := s.enabled(t)[0]
	digests := [][32]byte{
		{31: 1},
		{0: 0, 1: 0, 2: 7, 31: 9},
		[32]byte(bytes.Repeat([]byte{0xff}, 32)),
		[32]byte(bytes.Repeat([]byte{0x80}, 32)),
	}
	for _, d := range digests {
		if err := s.sign(t.Context(), k, d); err != nil {
			t.Errorf("%v", err)
		}
	}
}

func (s *suite) disabled(t T) {
	if len(s.Disabled) == 0 {
		t.NotTested("no disabled key was named")
		return
	}
	keys, _, _ := s.list(t)
	for _, ref := range s.Disabled {
		i := slices.IndexFunc(keys, func(k key.Key) bool { return k.Ref == ref })
		if i < 0 {
			t.Errorf("disabled key %q is not listed", ref)
		} else if keys[i].State != key.Disabled {
			t.Errorf("key %q is listed as %s, want disabled", ref, keys[i].State)
		}
		if _, err := s.Backend.SignDigest(s.ctx(t), ref, [32]byte{1}); !errors.Is(err, key.ErrDisabled) {
			t.Errorf("sign with %q: error %v, want key.ErrDisabled", ref, err)
		}
	}
}

// await lists until the address is there, or is gone.
func (s *suite) await(t T, address common.Address, there bool) key.Key {
	t.Helper()
	for deadline := time.Now().Add(s.Refresh); ; time.Sleep(20 * time.Millisecond) {
		keys, _, _ := s.list(t)
		i := slices.IndexFunc(keys, func(k key.Key) bool { return k.Address == address })
		if (i >= 0) == there {
			if there {
				return keys[i]
			}
			return key.Key{}
		}
		if time.Now().After(deadline) {
			t.Fatalf("after %s: address %s is listed = %v, want %v", s.Refresh, address, !there, there)
		}
	}
}

func (s *suite) changes(t T) {
	if s.Add == nil {
		t.NotTested("keys that appear and vanish: the suite cannot change this store")
		return
	}
	before := s.enabled(t)
	added := s.await(t, s.Add(t), true)
	if slices.ContainsFunc(before, func(k key.Key) bool { return k.Ref == added.Ref }) {
		t.Errorf("the new key %s has the ref %q of another", added.Address, added.Ref)
	}
	if err := s.sign(t.Context(), added, randomDigest()); err != nil {
		t.Errorf("%v", err)
	}
	if s.Remove == nil {
		t.NotTested("keys that vanish: the suite cannot remove one")
		return
	}
	s.Remove(t, added.Address)
	s.await(t, added.Address, false)
	if _, err := s.Backend.SignDigest(s.ctx(t), added.Ref, [32]byte{1}); !errors.Is(err, key.ErrNotFound) {
		t.Errorf("sign with the removed %q: error %v, want key.ErrNotFound", added.Ref, err)
	}
}

func (s *suite) create(t T) {
	if s.CreateName == "" {
		t.NotTested("creation: no name for a key was given")
		return
	}
	creator, ok := key.Capability[key.Creator](s.Backend)
	if !ok {
		t.Fatalf("%T is no key.Creator, but a name for a key was given", s.Backend)
	}
	made, err := creator.Create(s.ctx(t), s.CreateName, nil)
	if err != nil {
		t.Fatalf("create %q: %v", s.CreateName, err)
	}
	listed := s.await(t, made.Address, true)
	if listed.Ref != made.Ref || listed.State != key.Enabled {
		t.Errorf("created %+v, listed as %+v", made, listed)
	}
	if err := s.sign(t.Context(), made, randomDigest()); err != nil {
		t.Errorf("%v", err)
	}
}

func (s *suite) closing(t T) {
	ref := s.enabled(t)[0].Ref
	s.closed = true
	if err := s.Backend.Close(); err != nil {
		t.Errorf("close: %v", err)
	}
	begin := time.Now()
	if _, err := s.Backend.SignDigest(s.ctx(t), ref, [32]byte{1}); err == nil {
		t.Errorf("a closed backend signed")
	}
	if err := s.Backend.Health(s.ctx(t)); err == nil {
		t.Errorf("a closed backend says it is healthy")
	}
	if took := time.Since(begin); took > s.Prompt {
		t.Errorf("the refusals took %s, want at most %s", took, s.Prompt)
	}
	// A second Close must neither panic nor hang.
	_ = s.Backend.Close()
}
