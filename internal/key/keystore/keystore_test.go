// SPDX-License-Identifier: Apache-2.0

package keystore_test

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/crypto"
	"go.uber.org/goleak"

	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/key/keystore"
	"github.com/hsmsigner/hsmsigner/internal/key/keytest"
	"github.com/hsmsigner/hsmsigner/internal/secp"
)

// cheap makes files that open in no time.
var cheap = keystore.ScryptParams{N: 2, R: 8, P: 1}

const vectors = "../../../testdata/keystore/"

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// privateDir is a directory without the warning that t.TempDir would get.
func privateDir(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "keys")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	return dir
}

func password(s string) func() ([]byte, error) {
	return func() ([]byte, error) { return []byte(s), nil }
}

func write(t *testing.T, dir, name, content string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// newKey makes a key file called name and returns its address.
func newKey(t *testing.T, dir, name, pass string, p keystore.ScryptParams) common.Address {
	t.Helper()
	path, address, err := keystore.Create(dir, []byte(pass), p)
	if err != nil {
		t.Fatal(err)
	}
	if name != "" {
		if err := os.Rename(path, filepath.Join(dir, name)); err != nil {
			t.Fatal(err)
		}
	}
	return address
}

func open(t *testing.T, cfg keystore.Config) *keystore.Keystore {
	t.Helper()
	if cfg.Scrypt == (keystore.ScryptParams{}) {
		cfg.Scrypt = cheap
	}
	ks, err := keystore.Open(cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ks.Close() })
	return ks
}

func list(t *testing.T, ks *keystore.Keystore) (keys map[string]key.Key, problems map[string]string) {
	t.Helper()
	keys, problems = map[string]key.Key{}, map[string]string{}
	for cursor := ""; ; {
		page, err := ks.Keys(t.Context(), cursor)
		if err != nil {
			t.Fatal(err)
		}
		for _, k := range page.Keys {
			keys[k.Name] = k
		}
		for _, p := range page.Problems {
			problems[p.Name] = p.Reason
		}
		if cursor = page.Next; cursor == "" {
			return keys, problems
		}
	}
}

// eventually lists until good is content with the listing.
func eventually(t *testing.T, ks *keystore.Keystore, what string, good func(keys map[string]key.Key, problems map[string]string) bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		keys, problems := list(t, ks)
		if good(keys, problems) {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not within a minute: %s; keys %v, problems %v", what, keys, problems)
		}
	}
}

func mustSign(t *testing.T, ks *keystore.Keystore, k key.Key) {
	t.Helper()
	digest := [32]byte(crypto.Keccak256([]byte(t.Name())))
	sig, err := ks.SignDigest(t.Context(), k.Ref, digest)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := secp.Finish(k.Address, digest, sig.R, sig.S); err != nil {
		t.Fatal(err)
	}
}

func TestContract(t *testing.T) {
	keytest.Run(t, func(t *testing.T) keytest.Fixture {
		dir := privateDir(t)
		f := keytest.Fixture{MinPages: 4, CreateName: "made-by-suite", Problems: []string{"broken"}}
		for i := range 20 {
			f.Addresses = append(f.Addresses, newKey(t, dir, fmt.Sprintf("key%02d", i), "secret", cheap))
		}
		f.MinKeys = len(f.Addresses)
		write(t, dir, "broken", "{")
		bad := newKey(t, dir, "other-password", "other", cheap)
		f.Disabled = []key.Ref{key.Ref("0x" + hex.EncodeToString(bad[:]) + "/other-password")}
		f.Unknown = key.Ref("0x" + strings.Repeat("11", 20) + "/key00")
		f.Add = func(t *testing.T) common.Address { return newKey(t, dir, "zz-added", "secret", cheap) }
		f.Remove = func(t *testing.T, _ common.Address) {
			if err := os.Remove(filepath.Join(dir, "zz-added")); err != nil {
				t.Fatal(err)
			}
		}
		ks := open(t, keystore.Config{Path: dir, Password: password("secret"), PageSize: 6})
		eventually(t, ks, "the warm-up finds the wrong password", func(keys map[string]key.Key, _ map[string]string) bool {
			return keys["other-password"].State == key.Disabled
		})
		f.Backend = ks
		return f
	})
}

func TestMissingDirectorySaysWhatToDo(t *testing.T) {
	path := filepath.Join(t.TempDir(), "absent")
	_, err := keystore.Open(keystore.Config{Path: path})
	if !errors.Is(err, fs.ErrNotExist) || !strings.Contains(err.Error(), path) || !strings.Contains(err.Error(), "make it") {
		t.Errorf("error %v", err)
	}
	write(t, filepath.Dir(path), "absent", "")
	if _, err := keystore.Open(keystore.Config{Path: path}); err == nil || !strings.Contains(err.Error(), "is a file") {
		t.Errorf("error for a file: %v", err)
	}
	if _, err := keystore.Open(keystore.Config{}); err == nil || !strings.Contains(err.Error(), "no path") {
		t.Errorf("error for no path: %v", err)
	}
}

func TestCloseStopsEverythingAndMayBeRepeated(t *testing.T) {
	dir := privateDir(t)
	newKey(t, dir, "a", "secret", keystore.LightScrypt)
	newKey(t, dir, "b", "secret", keystore.LightScrypt)
	ks := open(t, keystore.Config{Path: dir, Password: password("secret")})
	keys, _ := list(t, ks)
	if err := ks.Close(); err != nil {
		t.Fatal(err)
	}
	goleak.VerifyNone(t)
	for name, call := range map[string]func() error{
		"keys":       func() error { _, err := ks.Keys(t.Context(), ""); return err },
		"next page":  func() error { _, err := ks.Keys(t.Context(), "a"); return err },
		"public key": func() error { _, err := ks.PublicKey(t.Context(), keys["a"].Ref); return err },
		"sign":       func() error { _, err := ks.SignDigest(t.Context(), keys["a"].Ref, [32]byte{1}); return err },
		"health":     func() error { return ks.Health(t.Context()) },
		"create":     func() error { _, err := ks.Create(t.Context(), "c", nil); return err },
	} {
		if err := call(); !errors.Is(err, key.ErrUnavailable) {
			t.Errorf("%s after Close: %v, want key.ErrUnavailable", name, err)
		}
	}
	if err := ks.Close(); err != nil {
		t.Errorf("second Close: %v", err)
	}
}

func TestErrorsShowNoPath(t *testing.T) {
	dir := privateDir(t)
	ks := open(t, keystore.Config{Path: dir, Password: password("secret")})
	if err := os.Remove(dir); err != nil {
		t.Fatal(err)
	}
	_, err := ks.Keys(t.Context(), "")
	if !errors.Is(err, key.ErrUnavailable) || strings.Contains(err.Error(), dir) {
		t.Errorf("keys without directory: %v", err)
	}
	if err := ks.Health(t.Context()); !errors.Is(err, key.ErrUnavailable) || strings.Contains(err.Error(), dir) {
		t.Errorf("health without directory: %v", err)
	}
	if _, err := ks.Create(context.Background(), "x", nil); err == nil || strings.Contains(err.Error(), dir) {
		t.Errorf("create without directory: %v", err)
	}
}
