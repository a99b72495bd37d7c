// SPDX-License-Identifier: Apache-2.0

package seal

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"

	"github.com/tink-crypto/tink-go/v2/tink"

	"github.com/hsmsigner/hsmsigner/internal/store"
)

// Store is where deployment keys are kept; a [store.DB] is one.
type Store interface {
	SealedKey(ctx context.Context, name string, fresh []byte) ([]byte, error)
	SealedKeys(ctx context.Context) ([]string, error)
}

var _ Store = (*store.DB)(nil)

// DefaultFile is the name of the key file in the data directory that is made
// where no key is configured.
const DefaultFile = "seal.key"

// Config says which keys there are.
type Config struct {
	Store Store
	// Sources give the keys. The first key of the first source seals, all open.
	Sources []Source
	// Dir is where [DefaultFile] is made if there are no Sources: the data
	// directory of a SQLite database. Empty: there must be Sources.
	Dir string
}

// MaxPlain is how many bytes one value may have.
const MaxPlain = 1 << 20

// Sealer seals and opens. Its methods are safe for concurrent use.
type Sealer struct {
	store    Store
	sources  []Source
	original string // the file that may be made; empty if none may

	mu          sync.Mutex
	deployments map[string]tink.AEAD // by the KEK's id
	loading     map[string]*load
	sealing     string // id of the KEK that sealed last
}

// ErrNoKey says that nothing can be sealed, since no key is configured.
var ErrNoKey = errors.New("seal: no key is configured: with a PostgreSQL database, want seal.keys in the config file, the same for all daemons on it (a file in one daemon's folder would be lost to the others)")

// MissingKeyError says that a value was sealed with a key that is not there.
type MissingKeyError struct {
	KeyID string
	Have  []string // ids of those that are
}

func (e *MissingKeyError) Error() string {
	have := "there is none"
	if len(e.Have) > 0 {
		have = "there is " + strings.Join(e.Have, ", ")
	}
	return fmt.Sprintf("seal: the key %s is missing (%s): what it sealed opens only with it; give it back in seal.keys", e.KeyID, have)
}

// Open checks the sources and reads their local keys. It asks no key service and
// makes nothing: see [Sealer.Check].
func Open(_ context.Context, c Config) (*Sealer, error) {
	if c.Store == nil {
		return nil, errors.New("seal: no store")
	}
	s := &Sealer{store: c.Store, sources: c.Sources, deployments: make(map[string]tink.AEAD), loading: make(map[string]*load)}
	if len(c.Sources) == 0 {
		if c.Dir == "" {
			return nil, ErrNoKey
		}
		s.original = filepath.Join(c.Dir, DefaultFile)
		s.sources = []Source{File(s.original)}
		if _, err := os.Stat(s.original); errors.Is(err, os.ErrNotExist) {
			return s, nil // made when something is sealed first
		}
	}
	_, err := s.keks()
	return s, err
}

// keks are all keys there are, the one that seals first.
func (s *Sealer) keks() ([]KEK, error) {
	var all []KEK
	for _, source := range s.sources {
		keys, err := source.Keys()
		if err != nil {
			return nil, err
		}
		for _, k := range keys {
			if !validKeyID(k.ID()) {
				return nil, fmt.Errorf("seal: %s: the id of its key has more than %d characters, or some that are not visible", source, maxKeyID)
			}
			if !slices.ContainsFunc(all, func(o KEK) bool { return o.ID() == k.ID() }) {
				all = append(all, k)
			}
		}
	}
	return all, nil
}

// current is the key that seals. If none is configured, the file is made.
func (s *Sealer) current(ctx context.Context) (KEK, error) {
	if s.original != "" {
		if err := s.makeOriginal(ctx); err != nil {
			return nil, err
		}
	}
	keys, err := s.keks()
	if err != nil {
		return nil, err
	}
	s.mu.Lock()
	s.sealing = keys[0].ID()
	s.mu.Unlock()
	return keys[0], nil
}

// makeOriginal makes the key file of a new deployment. Where one is missing
// although values were sealed with it, a new one would only hide the loss.
func (s *Sealer) makeOriginal(ctx context.Context) error {
	if _, err := os.Stat(s.original); !errors.Is(err, os.ErrNotExist) {
		return nil //nolint:nilerr // reading it says what is wrong
	}
	names, err := s.store.SealedKeys(ctx)
	if err != nil {
		return err
	}
	for _, name := range names {
		if id, ok := strings.CutPrefix(name, deploymentPrefix); ok {
			return fmt.Errorf("%w (the file %s is gone)", &MissingKeyError{KeyID: id}, s.original)
		}
	}
	line, _, err := newKey()
	if err != nil {
		return err
	}
	return makeFile(s.original, []byte(line), nil)
}

// KeyID is the id of the KEK that seals now; empty if that is not known yet
// because nothing was sealed.
func (s *Sealer) KeyID() string {
	if keys, err := s.keks(); err == nil {
		return keys[0].ID()
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sealing
}

// Check reports whether values can be sealed: it gets the deployment key, which
// it makes if there is none, and asks the key service for that if there is one.
func (s *Sealer) Check(ctx context.Context) error {
	kek, err := s.current(ctx)
	if err != nil {
		return err
	}
	_, err = s.deployment(ctx, kek, true)
	return err
}

// Seal encrypts plain for a place. The error wraps [ErrUnavailable] if a key
// service has to be asked and cannot be.
func (s *Sealer) Seal(ctx context.Context, p Place, plain []byte) ([]byte, error) {
	if len(plain) > MaxPlain {
		return nil, fmt.Errorf("seal: %d bytes: want at most %d", len(plain), MaxPlain)
	}
	kek, err := s.current(ctx)
	if err != nil {
		return nil, err
	}
	cipher, err := s.deployment(ctx, kek, true)
	if err != nil {
		return nil, err
	}
	envelope, err := cipher.Encrypt(plain, associated(kek.ID(), p))
	if err != nil {
		return nil, fmt.Errorf("seal: %w", err)
	}
	return append(header(kek.ID()), envelope...), nil
}

// Open decrypts what Seal made for the same place. The error is [ErrDamaged],
// a [*MissingKeyError], or wraps [ErrUnavailable].
func (s *Sealer) Open(ctx context.Context, p Place, sealed []byte) ([]byte, error) {
	keyID, envelope, err := split(sealed)
	if err != nil {
		return nil, err
	}
	cipher, err := s.opener(ctx, keyID)
	if err != nil {
		return nil, err
	}
	plain, err := cipher.Decrypt(envelope, associated(keyID, p))
	if err != nil {
		return nil, ErrDamaged // Tink's own text says nothing that helps
	}
	return plain, nil
}

// SealedWith is the id of the KEK with which a value was sealed.
func (s *Sealer) SealedWith(sealed []byte) (keyID string, err error) {
	keyID, _, err = split(sealed)
	return keyID, err
}

// opener is the deployment key of a KEK by its id.
func (s *Sealer) opener(ctx context.Context, keyID string) (tink.AEAD, error) {
	s.mu.Lock()
	known := s.deployments[keyID]
	s.mu.Unlock()
	if known != nil {
		return known, nil
	}
	keys, err := s.keks()
	if s.original != "" && errors.Is(err, os.ErrNotExist) {
		return nil, fmt.Errorf("%w (the file %s is gone)", &MissingKeyError{KeyID: keyID}, s.original)
	}
	if err != nil {
		return nil, err
	}
	var have []string
	for _, k := range keys {
		if k.ID() == keyID {
			return s.deployment(ctx, k, false)
		}
		have = append(have, k.ID())
	}
	return nil, &MissingKeyError{KeyID: keyID, Have: have}
}
