// SPDX-License-Identifier: Apache-2.0

package seal

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"time"

	"github.com/tink-crypto/tink-go/v2/aead"
	"github.com/tink-crypto/tink-go/v2/aead/subtle"
	"github.com/tink-crypto/tink-go/v2/tink"

	"github.com/hsmsigner/hsmsigner/internal/store"
)

const (
	// deploymentPrefix stands before the KEK's id in the names of deployment keys.
	deploymentPrefix = "seal/"
	// failedFor is how long a failed call to a key service answers for all who
	// want the same key, so that a thousand services do not ask one by one.
	failedFor = time.Second
	// loadTimeout bounds a call. It is not the caller's deadline: what one caller
	// asks for serves all.
	loadTimeout = 30 * time.Second
)

// load is a deployment key on its way.
type load struct {
	done chan struct{}
	key  tink.AEAD
	err  error
}

// deployment returns the deployment key of a KEK, from memory, or from the store
// and unwrapped once for everybody who waits. With create it is made if there is
// none.
func (s *Sealer) deployment(ctx context.Context, kek KEK, create bool) (tink.AEAD, error) {
	id := kek.ID()
	flight := id // whoever only opens must not be told "there is none" to one who would make it
	if create {
		flight += " create"
	}
	s.mu.Lock()
	if known := s.deployments[id]; known != nil {
		s.mu.Unlock()
		return known, nil
	}
	l := s.loading[flight]
	if l == nil {
		l = &load{done: make(chan struct{})}
		s.loading[flight] = l
		go s.load(context.WithoutCancel(ctx), kek, create, l, flight)
	}
	s.mu.Unlock()
	select {
	case <-l.done:
		return l.key, l.err
	case <-ctx.Done():
		return nil, fmt.Errorf("seal: wait for the key %s: %w", id, ctx.Err())
	}
}

func (s *Sealer) load(ctx context.Context, kek KEK, create bool, l *load, flight string) {
	ctx, cancel := context.WithTimeout(ctx, loadTimeout)
	defer cancel()
	raw, err := s.unwrapped(ctx, kek, create)
	defer clear(raw)
	if err == nil {
		l.key, err = envelopeUnder(raw)
	}
	if l.err = err; err == nil {
		s.mu.Lock()
		s.deployments[kek.ID()] = l.key
		s.mu.Unlock()
	}
	forget := func() {
		s.mu.Lock()
		delete(s.loading, flight)
		s.mu.Unlock()
	}
	if err != nil && errors.Is(err, ErrUnavailable) {
		time.AfterFunc(failedFor, forget)
	} else {
		forget()
	}
	close(l.done)
}

// envelopeUnder makes a data key for each value, and wraps it with raw.
func envelopeUnder(raw []byte) (tink.AEAD, error) {
	wrap, err := subtle.NewAESGCM(raw)
	if err != nil {
		return nil, ErrDamaged
	}
	return aead.NewKMSEnvelopeAEAD2(aead.AES256GCMKeyTemplate(), wrap), nil
}

// unwrapped reads the deployment key of a KEK, or makes it.
func (s *Sealer) unwrapped(ctx context.Context, kek KEK, create bool) ([]byte, error) {
	name := deploymentPrefix + kek.ID()
	about := "hsmsigner deployment key, version 1: " + kek.ID()
	wrapped, err := s.store.SealedKey(ctx, name, nil)
	switch {
	case errors.Is(err, store.ErrNotFound) && !create:
		return nil, fmt.Errorf("seal: the database has no deployment key of %s: it was taken out, and with it everything that it sealed", kek.ID())
	case errors.Is(err, store.ErrNotFound):
		fresh := make([]byte, keySize)
		_, _ = rand.Read(fresh) // never fails
		mine, err := kek.Wrap(ctx, fresh, about)
		clear(fresh)
		if err != nil {
			return nil, fmt.Errorf("seal: wrap a deployment key with %s: %w", kek.ID(), err)
		}
		// What another daemon has stored meanwhile counts.
		if wrapped, err = s.store.SealedKey(ctx, name, append([]byte{version}, mine...)); err != nil {
			return nil, err
		}
	case err != nil:
		return nil, err
	}
	if len(wrapped) < 1 || wrapped[0] != version {
		return nil, fmt.Errorf("seal: the deployment key of %s: %w", kek.ID(), ErrDamaged)
	}
	// Also what was made just now: a key that does not come back must seal nothing.
	raw, err := kek.Unwrap(ctx, wrapped[1:], about)
	if err == nil && len(raw) != keySize {
		clear(raw)
		err = ErrDamaged
	}
	if err != nil {
		return nil, fmt.Errorf("seal: unwrap the deployment key of %s: %w", kek.ID(), err)
	}
	return raw, nil
}
