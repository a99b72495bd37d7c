// SPDX-License-Identifier: Apache-2.0

package keystore

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/crypto"
)

// ErrExists is returned for a key or file name that is already there.
var ErrExists = errors.New("already exists")

// Create makes a random key and stores it in dir, which it makes (0700) if
// need be. It returns the path of the new file, named as go-ethereum names its
// own, and the address. An interrupted Create leaves either the whole file or
// none. It takes as much time and memory as p says.
func Create(dir string, password []byte, p ScryptParams) (path string, address common.Address, err error) {
	secret, err := newSecret()
	if err != nil {
		return "", address, fmt.Errorf("keystore: create key: %w", err)
	}
	defer wipe(secret)
	path, address, err = store(dir, secret, password, p)
	if err != nil {
		return "", address, fmt.Errorf("keystore: create key: %w", err)
	}
	return path, address, nil
}

// Import stores a given private key, 32 bytes, as [Create] stores a new one.
// An address that a file of dir already names is refused with [ErrExists]. The
// caller wipes secret.
func Import(dir string, secret, password []byte, p ScryptParams) (path string, address common.Address, err error) {
	path, address, err = store(dir, secret, password, p)
	if err != nil {
		return "", address, fmt.Errorf("keystore: import key: %w", err)
	}
	return path, address, nil
}

func newSecret() ([]byte, error) {
	priv, err := crypto.GenerateKey()
	if err != nil {
		return nil, err
	}
	defer wipeKey(priv)
	return crypto.FromECDSA(priv), nil
}

func store(dir string, secret, password []byte, p ScryptParams) (string, common.Address, error) {
	address, err := addressOf(secret)
	if err != nil {
		return "", address, err
	}
	// Before the dear derivation, so that a mistake is told at once.
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return "", address, err
	}
	if err := refuseKnown(dir, address); err != nil {
		return "", address, err
	}
	data, _, err := encrypt(secret, password, p)
	if err != nil {
		return "", address, err
	}
	name := fileName(time.Now(), address)
	if err := writeFile(dir, name, data); err != nil {
		return "", address, err
	}
	return filepath.Join(dir, name), address, nil
}

// fileName is go-ethereum's name for a key file.
func fileName(now time.Time, address common.Address) string {
	return "UTC--" + now.UTC().Format("2006-01-02T15-04-05.000000000Z") + "--" + hex.EncodeToString(address[:])
}

// refuseKnown returns ErrExists if a key file of dir names the address. A file
// without an address member cannot be judged without its password.
func refuseKnown(dir string, address common.Address) error {
	items, err := os.ReadDir(dir)
	if err != nil {
		return err
	}
	for _, item := range items {
		if ignored(item.Name()) {
			continue
		}
		data, err := readRegular(filepath.Join(dir, item.Name()), maxFileSize)
		if err != nil {
			continue // not a key file, or not a readable one
		}
		if f, err := parseV3(data); err == nil && f.hasAddress && f.address == address {
			return fmt.Errorf("address %s: %w in file %s", address, ErrExists, item.Name())
		}
	}
	return nil
}

// writeFile stores data as dir/name, whole or not at all, mode 0600. It never
// replaces a file.
func writeFile(dir, name string, data []byte) (err error) {
	// The dot keeps the directory's watchers from reading half a file.
	tmp, err := os.CreateTemp(dir, ".new-*") // mode 0600
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			_ = tmp.Close()
		}
		_ = os.Remove(tmp.Name()) // gone already if all went well
	}()
	if _, err := tmp.Write(data); err != nil {
		return err
	}
	if err := tmp.Sync(); err != nil {
		return err
	}
	if err := tmp.Close(); err != nil {
		return err
	}
	if err := place(tmp.Name(), filepath.Join(dir, name)); err != nil {
		return err
	}
	return syncDir(dir)
}

// place gives the file its final name unless that is taken. A hard link does
// both in one step; where the file system has none, a rename has to do.
func place(tmp, final string) error {
	if os.Link(tmp, final) == nil {
		return os.Remove(tmp)
	}
	if _, statErr := os.Lstat(final); !errors.Is(statErr, fs.ErrNotExist) {
		return fmt.Errorf("file %s: %w", filepath.Base(final), ErrExists)
	}
	return os.Rename(tmp, final)
}

func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer func() { _ = d.Close() }()
	return d.Sync()
}
