// SPDX-License-Identifier: Apache-2.0

package seal

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
)

// KEK is a key-encryption key. Its methods are safe for concurrent use.
type KEK interface {
	// ID names the key for good: at most 255 visible ASCII characters, no secret.
	ID() string
	// Wrap encrypts 32 bytes. Where the key can, the result is bound to about.
	Wrap(ctx context.Context, key []byte, about string) ([]byte, error)
	// Unwrap is the reverse. An error that wraps [ErrUnavailable] may pass by
	// itself.
	Unwrap(ctx context.Context, wrapped []byte, about string) ([]byte, error)
}

// ErrUnavailable says that the service with the key-encryption key cannot be
// asked now.
var ErrUnavailable = errors.New("the key service is not available")

// Source is where key-encryption keys come from. It is asked again whenever a
// value is sealed, or was sealed with a key that is not known yet.
type Source interface {
	// Keys are those there are now; the first one seals.
	Keys() ([]KEK, error)
	// String says what it is, for people.
	String() string
}

// Remote is the source of one key in a key service.
func Remote(k KEK) Source { return remote{k} }

type remote struct{ key KEK }

func (r remote) Keys() ([]KEK, error) { return []KEK{r.key}, nil }
func (r remote) String() string       { return r.key.ID() }

// Env is the source of the keys in an environment variable, which is written as
// a [File] is.
func Env(name string) Source { return env(name) }

type env string

func (e env) String() string { return "environment variable " + string(e) }

func (e env) Keys() ([]KEK, error) {
	text := os.Getenv(string(e))
	if text == "" {
		return nil, fmt.Errorf("seal: %s is not set: want 32 bytes in base64", e)
	}
	keys, err := parseKeys([]byte(text))
	if err != nil {
		return nil, fmt.Errorf("seal: %s: %w", e, err)
	}
	return keys, nil
}

// maxKeyFile bounds a key file: a mistyped path must not fill the memory.
const maxKeyFile = 64 << 10

// File is the source of the keys in a file: lines of 32 bytes in base64, the
// first of which seals, or a Tink keyset in clear-text JSON, whose primary key
// does. It is read again when it has changed. A file that others than its owner
// and group may read or write is refused.
func File(path string) Source { return &file{path: path} }

type file struct {
	path string

	mu   sync.Mutex
	seen os.FileInfo // when keys were read
	keys []KEK
}

func (f *file) String() string { return "file " + f.path }

func (f *file) Keys() ([]KEK, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if info, err := os.Stat(f.path); err == nil && f.seen != nil && os.SameFile(info, f.seen) &&
		info.ModTime().Equal(f.seen.ModTime()) && info.Size() == f.seen.Size() && info.Mode() == f.seen.Mode() {
		return f.keys, nil
	}
	data, info, err := readKeyFile(f.path)
	if err != nil {
		return nil, fmt.Errorf("seal: key file: %w", err)
	}
	defer clear(data)
	keys, err := parseKeys(data)
	if err != nil {
		return nil, fmt.Errorf("seal: key file %s: %w", f.path, err)
	}
	f.keys, f.seen = keys, info
	return keys, nil
}

func readKeyFile(path string) ([]byte, os.FileInfo, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	info, err := f.Stat() // of what was opened, whatever the name means by now
	if err != nil {
		return nil, nil, err
	}
	if open := info.Mode().Perm() & 0o007; open != 0 {
		return nil, nil, fmt.Errorf("%s has mode %04o, so that every user of this machine may use it: want 0600 (chmod 600 %s)", path, info.Mode().Perm(), path)
	}
	data, err := io.ReadAll(io.LimitReader(f, maxKeyFile+1))
	if err != nil {
		return nil, nil, err
	}
	if len(data) > maxKeyFile {
		return nil, nil, fmt.Errorf("%s is larger than %d bytes", path, maxKeyFile)
	}
	return data, info, nil
}

// AddKey makes a new key and puts it first in a file of lines: from then on it
// seals, and the others open. Running daemons see it without a restart. It
// returns the new key's id.
func AddKey(path string) (keyID string, err error) {
	old, info, err := readKeyFile(path)
	if err != nil {
		return "", fmt.Errorf("seal: key file: %w", err)
	}
	defer clear(old)
	if strings.HasPrefix(strings.TrimSpace(string(old)), "{") {
		return "", fmt.Errorf("seal: key file %s is a Tink keyset: add a key to it with tinkey", path)
	}
	if _, err := parseKeys(old); err != nil {
		return "", fmt.Errorf("seal: key file %s: %w", path, err)
	}
	line, id, err := newKey()
	if err != nil {
		return "", err
	}
	whole := append([]byte(line), old...)
	defer clear(whole)
	return id, makeFile(path, whole, info)
}

// makeFile writes a file that is there whole or not at all, also after a loss
// of power. It takes the place, mode and owner of old; if that is nil, the mode
// is 0600, and a file that is there already is left alone.
func makeFile(path string, data []byte, old os.FileInfo) (err error) {
	defer func() {
		if err != nil {
			err = fmt.Errorf("seal: make key file: %w", err)
		}
	}()
	if old != nil { // a link stays one
		if path, err = filepath.EvalSymlinks(path); err != nil {
			return err
		}
	}
	dir := filepath.Dir(path)
	f, err := os.CreateTemp(dir, ".seal-*") // with mode 0600
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }() // gone already if it was renamed
	_, err = f.Write(data)
	if err == nil && old != nil {
		if err = f.Chmod(old.Mode().Perm()); err == nil {
			err = keepOwner(f, old)
		}
	}
	if err == nil {
		err = f.Sync()
	}
	if err = errors.Join(err, f.Close()); err != nil {
		return err
	}
	if old != nil {
		err = os.Rename(f.Name(), path)
	} else if err = os.Link(f.Name(), path); errors.Is(err, os.ErrExist) {
		return nil // another process was first, and its key counts
	}
	if err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
