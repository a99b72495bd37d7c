// SPDX-License-Identifier: Apache-2.0

package oidc

import (
	"context"
	"crypto"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/hsmsigner/hsmsigner/internal/auth"
)

const (
	keysFresh = time.Hour        // then they are asked for again: a key that was taken back must not count for ever
	keysStale = 24 * time.Hour   // nor may they be older, if the provider does not answer
	keysPause = 10 * time.Second // between two questions that a token with an unknown key leads to
)

// keySet is the provider's keys. The library's own would ask the provider for
// them again for every token that is not good, which any stranger can send; this
// one asks when it does not know a token's key, and not more often than it may.
type keySet struct {
	http *http.Client

	asking sync.Mutex // held by who asks the provider
	asked  time.Time  // with asking held

	mu   sync.Mutex
	url  string
	keys map[string][]crypto.PublicKey // by key id; "" has those without one
	read time.Time
}

var errNoKey = errors.New("it is signed by no key of the provider's")

func (k *keySet) at(url string) {
	k.mu.Lock()
	k.url = url
	k.mu.Unlock()
}

// known returns the keys with an id, or all of them for a token that names none,
// and how long ago they were read.
func (k *keySet) known(id string) ([]crypto.PublicKey, time.Duration) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if id != "" {
		return k.keys[id], time.Since(k.read)
	}
	var all []crypto.PublicKey
	for _, keys := range k.keys {
		all = append(all, keys...)
	}
	return all, time.Since(k.read)
}

// named is known, and asks the provider if it may have others by now. Only what
// cannot be answered otherwise waits for that.
func (k *keySet) named(ctx context.Context, id string) ([]crypto.PublicKey, error) {
	keys, age := k.known(id)
	if len(keys) > 0 && age <= keysFresh {
		return keys, nil
	}
	if len(keys) > 0 && age <= keysStale {
		if !k.asking.TryLock() {
			return keys, nil
		}
	} else {
		k.asking.Lock()
	}
	defer k.asking.Unlock()
	var err error
	if time.Since(k.asked) >= keysPause {
		k.asked = time.Now()
		err = k.ask(ctx)
	}
	keys, age = k.known(id)
	switch {
	case age > keysStale:
		if err == nil {
			err = errors.New("not known")
		}
		return nil, fmt.Errorf("%w: the identity provider's keys: %w", auth.ErrUnavailable, err)
	case len(keys) == 0:
		return nil, errNoKey
	}
	return keys, nil
}

func (k *keySet) ask(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), askTime)
	defer cancel()
	k.mu.Lock()
	url := k.url
	k.mu.Unlock()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	answer, err := k.http.Do(r)
	if err != nil {
		return err
	}
	defer answer.Body.Close()
	if answer.StatusCode != http.StatusOK {
		return fmt.Errorf("status %d", answer.StatusCode)
	}
	var set struct {
		Keys []json.RawMessage `json:"keys"`
	}
	if err := json.NewDecoder(answer.Body).Decode(&set); err != nil {
		return errors.New("not a set of keys")
	}
	keys := make(map[string][]crypto.PublicKey)
	for _, raw := range set.Keys {
		var key jose.JSONWebKey
		// A key of a kind that we do not know is none of ours; nor is one that
		// encrypts, or one that is not public.
		if key.UnmarshalJSON(raw) != nil || !key.Valid() || !key.IsPublic() || key.Use == "enc" {
			continue
		}
		keys[key.KeyID] = append(keys[key.KeyID], key.Key)
	}
	if len(keys) == 0 {
		return errors.New("no key that can be used")
	}
	k.mu.Lock()
	k.keys, k.read = keys, time.Now()
	k.mu.Unlock()
	return nil
}
