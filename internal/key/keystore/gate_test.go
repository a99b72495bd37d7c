// SPDX-License-Identifier: Apache-2.0

package keystore

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/key"
)

func TestKeystoresTakeTurnsAtTheirGate(t *testing.T) {
	gate := make(chan struct{}, 1)
	gate <- struct{}{} // somebody else decrypts
	type store struct {
		*Keystore
		ref key.Ref
	}
	var stores []store
	for range 3 {
		dir := t.TempDir()
		if _, _, err := Create(dir, []byte("password"), LightScrypt); err != nil {
			t.Fatal(err)
		}
		ks, err := Open(Config{Path: dir, Gate: gate, Password: func() ([]byte, error) { return []byte("password"), nil }})
		if err != nil {
			t.Fatal(err)
		}
		defer ks.Close()
		page, err := ks.Keys(t.Context(), "")
		if err != nil || len(page.Keys) != 1 {
			t.Fatalf("%+v, %v", page, err)
		}
		stores = append(stores, store{ks, page.Keys[0].Ref})
	}
	for _, s := range stores {
		short, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		if _, err := s.SignDigest(short, s.ref, [32]byte{1}); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("it did not wait: %v", err)
		}
		cancel()
	}
	<-gate
	for _, s := range stores {
		if _, err := s.SignDigest(t.Context(), s.ref, [32]byte{1}); err != nil {
			t.Error(err)
		}
	}
}
