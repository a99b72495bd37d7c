// SPDX-License-Identifier: Apache-2.0

package seal

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"

	"github.com/hsmsigner/hsmsigner/internal/store"
)

// Key is a random key of the deployment, 32 bytes, the same on all replicas. It
// is made when it is first asked for, and kept sealed in the store under name.
func (s *Sealer) Key(ctx context.Context, name string) ([]byte, error) {
	if strings.HasPrefix(name, deploymentPrefix) {
		return nil, fmt.Errorf("seal: key %s: names that begin with %s are not for others", name, deploymentPrefix)
	}
	sealed, err := s.store.SealedKey(ctx, name, nil)
	if errors.Is(err, store.ErrNotFound) {
		fresh := make([]byte, keySize)
		_, _ = rand.Read(fresh) // never fails
		mine, sealErr := s.Seal(ctx, OfKey(name), fresh)
		clear(fresh)
		if sealErr != nil {
			return nil, sealErr
		}
		sealed, err = s.store.SealedKey(ctx, name, mine)
	}
	if err != nil {
		return nil, err
	}
	key, err := s.Open(ctx, OfKey(name), sealed)
	if err != nil {
		return nil, fmt.Errorf("seal: key %s: %w", name, err)
	}
	return key, nil
}

// Use says how much is sealed with one key.
type Use struct {
	KeyID  string `json:"key"`
	Seals  bool   `json:"seals"`  // it seals what comes
	Have   bool   `json:"have"`   // it is configured
	Values int    `json:"values"` // sealed with it in the database
}

// Status lists the keys that are configured, the one that seals first, and then
// those that are missing although values were sealed with them.
func (s *Sealer) Status(ctx context.Context, db *store.DB) ([]Use, error) {
	var uses []Use
	keys, err := s.keks()
	if err != nil && s.original == "" {
		return nil, err
	}
	for i, k := range keys {
		uses = append(uses, Use{KeyID: k.ID(), Seals: i == 0, Have: true})
	}
	err = s.each(ctx, db, func(v value) error {
		for i := range uses {
			if uses[i].KeyID == v.keyID {
				uses[i].Values++
				return nil
			}
		}
		uses = append(uses, Use{KeyID: v.keyID, Values: 1})
		return nil
	})
	return uses, err
}

// Resealed is what [Sealer.Reseal] has done.
type Resealed struct {
	KeyID  string   `json:"key"`    // that everything is sealed with now
	Values int      `json:"values"` // sealed anew
	Failed []string `json:"failed"` // what could not be opened, and why; nothing of it was changed
}

// passes bounds how often Reseal looks for values that somebody has sealed with
// the old key meanwhile.
const passes = 10

// Reseal seals everything in the database with the key that seals now, while
// daemons run: a value that somebody changes meanwhile is left to the next pass,
// and whoever still has the old text of a row in memory opens it with the old
// key, which must stay configured until then.
func (s *Sealer) Reseal(ctx context.Context, db *store.DB) (Resealed, error) {
	kek, err := s.current(ctx)
	if err != nil {
		return Resealed{}, err
	}
	if _, err := s.deployment(ctx, kek, true); err != nil {
		return Resealed{}, err
	}
	done := Resealed{KeyID: kek.ID(), Failed: []string{}}
	for range passes {
		changed := 0
		done.Failed = done.Failed[:0]
		err := s.each(ctx, db, func(v value) error {
			if v.keyID == done.KeyID {
				return nil
			}
			changed++
			err := s.reseal(ctx, v)
			switch {
			case errors.Is(err, store.ErrRevision): // the next pass sees what it is now
			case errors.Is(err, ErrDamaged), is[*MissingKeyError](err):
				done.Failed = append(done.Failed, v.what+": "+err.Error())
			case err != nil:
				return fmt.Errorf("%s: %w", v.what, err)
			default:
				done.Values++
			}
			return nil
		})
		if err != nil || changed == len(done.Failed) {
			return done, err
		}
	}
	return done, errors.New("seal: values with the old key keep coming: some daemon does not have the new key first")
}

func (s *Sealer) reseal(ctx context.Context, v value) error {
	plain, err := s.Open(ctx, v.place, v.sealed)
	if err != nil {
		return err
	}
	defer clear(plain)
	sealed, err := s.Seal(ctx, v.place, plain)
	if err != nil {
		return err
	}
	return v.replace(ctx, v.sealed, sealed)
}

// value is something sealed in the database.
type value struct {
	what    string // for people
	keyID   string
	place   Place
	sealed  []byte
	replace func(ctx context.Context, was, is []byte) error
}

// each visits everything in the database that this package has sealed, but
// deployment keys.
func (s *Sealer) each(ctx context.Context, db *store.DB, visit func(value) error) error {
	names, err := db.SealedKeys(ctx)
	if err != nil {
		return err
	}
	var all []value
	for _, name := range names {
		if strings.HasPrefix(name, deploymentPrefix) {
			continue
		}
		sealed, err := db.SealedKey(ctx, name, nil)
		if errors.Is(err, store.ErrNotFound) {
			continue // deleted meanwhile, with the service that it was for
		}
		if err != nil {
			return err
		}
		all = append(all, value{what: "key " + name, place: OfKey(name), sealed: sealed, replace: func(ctx context.Context, was, is []byte) error {
			return db.ReplaceSealedKey(ctx, name, was, is)
		}})
	}
	resources, err := db.Resources(ctx, store.ResourceFilter{})
	if err != nil {
		return err
	}
	for _, r := range resources {
		if r.Sealed == nil {
			continue
		}
		all = append(all, value{what: "resource " + r.ID, place: OfResource(r), sealed: r.Sealed, replace: func(ctx context.Context, was, is []byte) error {
			return db.ResealResource(ctx, r.ID, was, is)
		}})
	}
	if all, err = streams(ctx, db, all); err != nil {
		return err
	}
	for _, v := range all {
		if v.keyID, _, err = split(v.sealed); err != nil {
			v.keyID = "unknown"
		}
		if err := visit(v); err != nil {
			return err
		}
	}
	return nil
}

// streams adds the secrets of event streams.
func streams(ctx context.Context, db *store.DB, all []value) ([]value, error) {
	for after := ""; ; {
		page, err := db.Streams(ctx, store.StreamFilter{After: after})
		if err != nil {
			return nil, err
		}
		if len(page) == 0 {
			return all, nil
		}
		for _, s := range page {
			after = s.ID
			if s.Secret == nil {
				continue
			}
			all = append(all, value{what: "event stream " + s.ID, place: OfStream(s), sealed: s.Secret, replace: func(ctx context.Context, was, is []byte) error {
				return db.ResealStream(ctx, s.ID, was, is)
			}})
		}
	}
}

func is[T error](err error) bool {
	var target T
	return errors.As(err, &target)
}
