// SPDX-License-Identifier: Apache-2.0

package keystore

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/key"
)

// Create implements key.Creator: a random key under the common password, in a
// file called name (letters, digits, '.', '_', '-'), or as go-ethereum would
// call it if name is empty. A key file has no place for tags. If ctx is done
// before the file is written, there is no file.
func (ks *Keystore) Create(ctx context.Context, name string, tags map[string]string) (key.Key, error) {
	k, err := ks.create(ctx, name, tags)
	if err != nil {
		return key.Key{}, fmt.Errorf("keystore: create key: %w", err)
	}
	return k, nil
}

func (ks *Keystore) create(ctx context.Context, name string, tags map[string]string) (key.Key, error) {
	if err := ctx.Err(); err != nil {
		return key.Key{}, err
	}
	if len(tags) > 0 {
		return key.Key{}, refused("a key file has no place for tags; give none")
	}
	if name != "" && !goodName(name) {
		return key.Key{}, refused(fmt.Sprintf("name %q: want 1 to 128 of A-Z a-z 0-9 . _ - , beginning with a letter or digit, not ending with .tmp or %s", name, passwordSuffix))
	}
	if ks.cfg.Password == nil {
		return key.Key{}, refused("no common password is configured to encrypt it with")
	}
	password, err := ks.cfg.Password()
	if err != nil {
		return key.Key{}, fmt.Errorf("common password: %w", err)
	}
	data, address, err := ks.encryptNew(ctx, password)
	if err != nil {
		return key.Key{}, err
	}
	if name == "" {
		name = fileName(time.Now(), address)
	}
	if err := writeFile(ks.cfg.Path, name, data); err != nil {
		if errors.Is(err, ErrExists) {
			return key.Key{}, fmt.Errorf("%w (%w)", refused("a key file of that name is there already: choose another name"), cause(err))
		}
		return key.Key{}, cause(err)
	}
	if err := ks.rescan(ctx); err != nil {
		// The key is there all the same, and the listing will show it.
		ks.log.Warn("reading the directory after creating a key", "file", name, "err", err)
	}
	return key.Key{Ref: refOf(address, name), Name: name, Address: address, Protection: key.Software, State: key.Enabled}, nil
}

// encryptNew makes a new key and its file's content. The derivation waits its
// turn behind the others, and is left to itself if ctx is done.
func (ks *Keystore) encryptNew(ctx context.Context, password []byte) ([]byte, common.Address, error) {
	type made struct {
		data    []byte
		address common.Address
		err     error
	}
	select {
	case ks.gate <- struct{}{}:
	case <-ctx.Done():
		return nil, common.Address{}, ctx.Err()
	case <-ks.ctx.Done():
		return nil, common.Address{}, errClosed
	}
	result := make(chan made, 1)
	ks.mu.RLock() // Close waits only for what began before it
	if ks.closed {
		ks.mu.RUnlock()
		<-ks.gate
		return nil, common.Address{}, errClosed
	}
	ks.wg.Go(func() {
		defer func() { <-ks.gate }()
		secret, err := newSecret()
		if err != nil {
			result <- made{err: err}
			return
		}
		defer wipe(secret)
		data, address, err := encrypt(secret, password, ks.cfg.Scrypt)
		result <- made{data, address, err}
	})
	ks.mu.RUnlock()
	select {
	case m := <-result:
		return m.data, m.address, m.err
	case <-ctx.Done():
		return nil, common.Address{}, ctx.Err()
	}
}

// refused is the error of who has asked for what cannot be.
func refused(why string) error {
	return &key.CallError{Op: "new file", Kind: key.ErrDenied, Why: why}
}

func goodName(name string) bool {
	if len(name) > 128 || ignored(name) || strings.ContainsRune("._-", rune(name[0])) {
		return false
	}
	for _, c := range []byte(name) {
		switch {
		case c >= 'a' && c <= 'z', c >= 'A' && c <= 'Z', c >= '0' && c <= '9', c == '.', c == '_', c == '-':
		default:
			return false
		}
	}
	return true
}
