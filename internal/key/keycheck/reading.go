// SPDX-License-Identifier: Apache-2.0

package keycheck

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/key"
)

func (s *suite) listing(t T) {
	keys, problems, pages := s.list(t)
	if pages < s.MinPages {
		t.Errorf("listing took %d pages, want at least %d", pages, s.MinPages)
	}
	refs, addresses := map[key.Ref]bool{}, map[common.Address]key.Ref{}
	enabled := 0
	for _, k := range keys {
		if refs[k.Ref] {
			t.Errorf("ref %q is listed twice", k.Ref)
		}
		refs[k.Ref] = true
		if k.State != key.Enabled {
			continue
		}
		enabled++
		if other, ok := addresses[k.Address]; ok {
			t.Errorf("address %s is listed for %q and for %q", k.Address, other, k.Ref)
		}
		addresses[k.Address] = k.Ref
	}
	if enabled < s.MinKeys {
		t.Errorf("%d enabled keys, want at least %d", enabled, s.MinKeys)
	}
	for _, a := range s.Addresses {
		if _, ok := addresses[a]; !ok {
			t.Errorf("address %s is not listed as enabled", a)
		}
	}
	for _, name := range s.Problems {
		if !slices.ContainsFunc(problems, func(p key.Problem) bool { return p.Name == name }) {
			t.Errorf("no problem is reported for %q, only %v", name, problems)
		}
	}
	t.Logf("%d keys, %d enabled, %d problems, %d pages", len(keys), enabled, len(problems), pages)
}

func (s *suite) wellFormed(t T) {
	keys, problems, _ := s.list(t)
	for _, k := range keys {
		if k.Ref == "" || k.Name == "" || k.Address == (common.Address{}) {
			t.Errorf("key %+v lacks ref, name or address", k)
		}
		if k.State != key.Enabled && k.State != key.Disabled {
			t.Errorf("key %q has state %q", k.Ref, k.State)
		}
		if (k.State == key.Enabled) != (k.Reason == "") {
			t.Errorf("key %q is %s with reason %q: a reason belongs to a key that is not enabled", k.Ref, k.State, k.Reason)
		}
		if !slices.Contains([]key.Protection{key.Software, key.HSM, key.Unknown}, k.Protection) {
			t.Errorf("key %q has protection %q", k.Ref, k.Protection)
		}
	}
	for _, p := range problems {
		if p.Name == "" || p.Reason == "" {
			t.Errorf("problem %+v lacks name or reason", p)
		}
	}
}

func (s *suite) stable(t T) {
	first, second := s.enabled(t), s.enabled(t)
	refs := func(keys []key.Key) map[key.Ref]common.Address {
		m := map[key.Ref]common.Address{}
		for _, k := range keys {
			m[k.Ref] = k.Address
		}
		return m
	}
	a, b := refs(first), refs(second)
	for ref, address := range a {
		if b[ref] != address {
			t.Errorf("ref %q was %s and is %s in the second listing", ref, address, b[ref])
		}
	}
	if len(a) != len(b) {
		t.Errorf("first listing has %d refs, second %d", len(a), len(b))
	}
}

func (s *suite) publicKeys(t T) {
	for _, k := range s.enabled(t) {
		pub, err := s.Backend.PublicKey(s.ctx(t), k.Ref)
		if err != nil {
			t.Errorf("public key of %q: %v", k.Ref, err)
			continue
		}
		if got := pub.Address(); got != k.Address {
			t.Errorf("public key of %q has address %s, the listing says %s", k.Ref, got, k.Address)
		}
	}
}

func (s *suite) unknown(t T) {
	for _, ref := range []key.Ref{s.Unknown, ""} {
		if _, err := s.Backend.PublicKey(s.ctx(t), ref); !errors.Is(err, key.ErrNotFound) {
			t.Errorf("public key of %q: error %v, want key.ErrNotFound", ref, err)
		}
		sig, err := s.Backend.SignDigest(s.ctx(t), ref, [32]byte{1})
		if !errors.Is(err, key.ErrNotFound) {
			t.Errorf("sign with %q: error %v, want key.ErrNotFound", ref, err)
		}
		if sig.R != [32]byte{} || sig.S != [32]byte{} {
			t.Errorf("sign with %q returned a signature with its error", ref)
		}
		if key.Transient(err) {
			t.Errorf("sign with %q: an unknown key is reported as transient: %v", ref, err)
		}
	}
}

func (s *suite) cancelled(t T) {
	ref := s.enabled(t)[0].Ref
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	calls := map[string]func() error{
		"keys":       func() error { _, err := s.Backend.Keys(ctx, ""); return err },
		"public key": func() error { _, err := s.Backend.PublicKey(ctx, ref); return err },
		"sign":       func() error { _, err := s.Backend.SignDigest(ctx, ref, [32]byte{1}); return err },
		"health":     func() error { return s.Backend.Health(ctx) },
	}
	for name, call := range calls {
		begin := time.Now()
		err := call()
		took := time.Since(begin)
		// A public key may come from a cache, without asking anybody.
		if err == nil && name != "public key" {
			t.Errorf("%s with a cancelled context succeeded", name)
		}
		if err != nil && !errors.Is(err, context.Canceled) {
			t.Errorf("%s with a cancelled context: error %v, want context.Canceled", name, err)
		}
		if took > s.Prompt {
			t.Errorf("%s with a cancelled context took %s, want at most %s", name, took, s.Prompt)
		}
	}
}

func (s *suite) healthy(t T) {
	if err := s.Backend.Health(s.ctx(t)); err != nil {
		t.Errorf("health: %v", err)
	}
}
