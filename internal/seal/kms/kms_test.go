// SPDX-License-Identifier: Apache-2.0

package kms_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/seal"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

// service is a key service under test.
type service struct {
	open func() (seal.KEK, error)
	id   string                       // that the key must have
	call func() int                   // how many times it was asked to wrap or unwrap; nil: it does not count
	away func(bool)                   // answers 503 to everything; nil: it cannot
	deny func(bool)                   // refuses everything; nil: it cannot
	know func(text string) (bad bool) // whether a text shows what an error must not
}

// exercise is what every key service must do for package seal.
func exercise(t *testing.T, s service) {
	db, err := store.OpenSQLite(t.Context(), store.Config{Dir: t.TempDir()})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	start := func() *seal.Sealer { // as a process does
		key, err := s.open()
		if err != nil {
			t.Fatal(err)
		}
		sealer, err := seal.Open(t.Context(), seal.Config{Store: db, Sources: []seal.Source{seal.Remote(key)}})
		if err != nil {
			t.Fatal(err)
		}
		return sealer
	}
	place := func(i int) seal.Place { return seal.Place{ID: fmt.Sprint(i), Field: "sealed"} }
	first := start()
	if first.KeyID() != s.id {
		t.Errorf("the key is %s, want %s", first.KeyID(), s.id)
	}
	sealed := make([][]byte, 1000)
	for i := range sealed {
		if sealed[i], err = first.Seal(t.Context(), place(i), []byte("hunter2")); err != nil {
			t.Fatal(err)
		}
	}

	calls := func() int { return 0 }
	if s.call != nil {
		calls = s.call
	}
	before := calls()
	if before > 2 {
		t.Errorf("%d values asked the service %d times, want one wrap and one unwrap", len(sealed), before)
	}
	second := start()
	var wg sync.WaitGroup
	var failed atomic.Int64
	for i := range sealed { // a thousand services start at once
		wg.Go(func() {
			if plain, err := second.Open(context.WithoutCancel(t.Context()), place(i), sealed[i]); err != nil || string(plain) != "hunter2" {
				failed.Add(1)
			}
		})
	}
	wg.Wait()
	if failed.Load() != 0 {
		t.Errorf("%d of %d did not open", failed.Load(), len(sealed))
	}
	if asked := calls() - before; s.call != nil && asked != 1 {
		t.Errorf("a start with %d values asked the service %d times, want 1", len(sealed), asked)
	}
	if s.away != nil {
		s.away(true)
		third := start()
		_, err = third.Open(t.Context(), place(0), sealed[0])
		wantFault(t, s, err, true)
		s.away(false)
		opens(t, third, place(0), sealed[0])
		opens(t, second, place(1), sealed[1]) // it needs the service no more
	}
	if s.deny != nil {
		s.deny(true)
		_, err = start().Open(t.Context(), place(0), sealed[0])
		wantFault(t, s, err, false)
		s.deny(false)
	}
	damaged(t, db, s)
}

// opens wants a value to open within the time for which a failure is remembered.
func opens(t *testing.T, s *seal.Sealer, p seal.Place, sealed []byte) {
	t.Helper()
	var err error
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if _, err = s.Open(t.Context(), p, sealed); err == nil {
			return
		}
	}
	t.Errorf("does not recover: %v", err)
}

func wantFault(t *testing.T, s service, err error, unavailable bool) {
	t.Helper()
	if err == nil || errors.Is(err, seal.ErrUnavailable) != unavailable || errors.Is(err, seal.ErrDamaged) {
		t.Errorf("%v; unavailable should be %v", err, unavailable)
		return
	}
	if !strings.Contains(err.Error(), s.id) {
		t.Errorf("%q does not name the key %s", err, s.id)
	}
	if strings.Contains(err.Error(), "canary") || s.know != nil && s.know(err.Error()) {
		t.Errorf("shows what the provider wrote or a secret: %v", err)
	}
}

// damaged wants a wrapped key with one bit changed to be refused.
func damaged(t *testing.T, db *store.DB, s service) {
	t.Helper()
	name := "seal/" + s.id
	wrapped, err := db.SealedKey(t.Context(), name, nil)
	if err != nil {
		t.Fatal(err)
	}
	bad := append([]byte{}, wrapped...)
	bad[len(bad)-2] ^= 1
	if err := db.ReplaceSealedKey(t.Context(), name, wrapped, bad); err != nil {
		t.Fatal(err)
	}
	key, err := s.open()
	if err != nil {
		t.Fatal(err)
	}
	sealer, err := seal.Open(t.Context(), seal.Config{Store: db, Sources: []seal.Source{seal.Remote(key)}})
	if err != nil {
		t.Fatal(err)
	}
	if err := sealer.Check(t.Context()); !errors.Is(err, seal.ErrDamaged) || !strings.Contains(err.Error(), s.id) {
		t.Errorf("with a changed wrapped key: %v; want ErrDamaged and the key's name", err)
	}
}
