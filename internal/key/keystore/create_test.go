// SPDX-License-Identifier: Apache-2.0

package keystore_test

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/crypto"

	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/key/keystore"
)

func TestCreatedFileOpensAgain(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "new", "keys")
	path, address, err := keystore.Create(dir, []byte("secret"), keystore.LightScrypt)
	if err != nil {
		t.Fatal(err)
	}
	pattern := `^UTC--\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d\.\d{9}Z--` + hex.EncodeToString(address[:]) + `$`
	if !regexp.MustCompile(pattern).MatchString(filepath.Base(path)) || filepath.Dir(path) != dir {
		t.Errorf("path %s, want a name like %s", path, pattern)
	}
	for p, want := range map[string]os.FileMode{path: 0o600, dir: 0o700} {
		if info, err := os.Stat(p); err != nil || info.Mode().Perm() != want {
			t.Errorf("mode of %s: %v, %v; want %v", p, info.Mode(), err, want)
		}
	}
	data := read(t, path)
	if !strings.Contains(data, `"n":4096,"p":6,"r":8,`) {
		t.Errorf("file %s does not name go-ethereum's light cost", data)
	}
	secret, err := keystore.Decrypt([]byte(data), []byte("secret"))
	if err != nil {
		t.Fatal(err)
	}
	priv, err := crypto.ToECDSA(secret)
	if err != nil || crypto.PubkeyToAddress(priv.PublicKey) != address {
		t.Errorf("the file holds another key (%v)", err)
	}
	onlyFile(t, dir)
}

// onlyFile checks that nothing but one file is there: no temporary is left.
func onlyFile(t *testing.T, dir string) {
	t.Helper()
	items, err := os.ReadDir(dir)
	if err != nil || len(items) != 1 {
		t.Errorf("directory holds %v, want one file (%v)", items, err)
	}
}

func TestTwoCreatedKeysShareNothing(t *testing.T) {
	dir := t.TempDir()
	seen := map[string]bool{}
	field := regexp.MustCompile(`"(address|ciphertext|iv|salt|mac|id)":"([^"]+)"`)
	for range 20 {
		path, _, err := keystore.Create(dir, []byte("secret"), cheap)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range field.FindAllStringSubmatch(read(t, path), -1) {
			if seen[m[2]] {
				t.Errorf("%s %s came twice", m[1], m[2])
			}
			seen[m[2]] = true
		}
	}
	if len(seen) != 20*6 {
		t.Errorf("%d values, want 120", len(seen))
	}
}

func TestImportRefusesAnAddressThatIsThere(t *testing.T) {
	dir := t.TempDir()
	secret := bytes.Repeat([]byte{0x42}, 32)
	_, address, err := keystore.Import(dir, secret, []byte("secret"), cheap)
	if want := common.HexToAddress("0x17c5185167401ed00cf5f5b2fc97d9bbfdb7d025"); err != nil || address != want {
		t.Fatalf("address %s, %v; want %s", address, err, want)
	}
	_, _, err = keystore.Import(dir, secret, []byte("another"), cheap)
	if !errors.Is(err, keystore.ErrExists) || !strings.Contains(err.Error(), address.Hex()) {
		t.Errorf("second import: %v, want ErrExists", err)
	}
	onlyFile(t, dir)
}

func TestCostOfNewKeysIsChecked(t *testing.T) {
	for _, p := range []keystore.ScryptParams{{}, {N: 3, R: 8, P: 1}, {N: 1 << 24, R: 8, P: 1}} {
		if _, _, err := keystore.Create(t.TempDir(), []byte("x"), p); !errors.Is(err, keystore.ErrUnsupported) {
			t.Errorf("Create with %+v: %v, want ErrUnsupported", p, err)
		}
	}
	if _, err := keystore.Open(keystore.Config{Path: t.TempDir(), Scrypt: keystore.ScryptParams{N: 3, R: 1, P: 1}}); !errors.Is(err, keystore.ErrUnsupported) {
		t.Errorf("Open: %v, want ErrUnsupported", err)
	}
}

func TestCreatorMakesAUsableKey(t *testing.T) {
	dir := privateDir(t)
	ks := open(t, keystore.Config{Path: dir, Password: password("secret")})
	named, err := ks.Create(t.Context(), "payroll", nil)
	if err != nil || named.Name != "payroll" {
		t.Fatalf("%+v, %v", named, err)
	}
	unnamed, err := ks.Create(t.Context(), "", nil)
	if err != nil || !strings.HasPrefix(unnamed.Name, "UTC--") {
		t.Fatalf("%+v, %v", unnamed, err)
	}
	mustSign(t, ks, named)
	mustSign(t, ks, unnamed)

	before := read(t, filepath.Join(dir, "payroll"))
	// What its caller got wrong is a CallError, whose reason is told to him.
	denied := func(err error, why string) {
		t.Helper()
		var call *key.CallError
		if !errors.As(err, &call) || call.Kind != key.ErrDenied || !strings.Contains(call.Why, why) {
			t.Errorf("%v, want a CallError that says %q", err, why)
		}
	}
	_, err = ks.Create(t.Context(), "payroll", nil)
	if denied(err, "choose another name"); !errors.Is(err, keystore.ErrExists) {
		t.Errorf("the same name again: %v, want ErrExists", err)
	}
	if read(t, filepath.Join(dir, "payroll")) != before {
		t.Error("the first key was overwritten")
	}
	for _, name := range []string{"../x", "a/b", ".x", "-x", "x.password", "x.tmp", "x~", "ä", "a b", strings.Repeat("x", 129)} {
		_, err := ks.Create(t.Context(), name, nil)
		denied(err, "want 1 to 128")
	}
	_, err = ks.Create(t.Context(), "tagged", map[string]string{"a": "b"})
	denied(err, "no place for tags")
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := ks.Create(ctx, "late", nil); !errors.Is(err, context.Canceled) {
		t.Errorf("with a cancelled context: %v", err)
	}
	if keys, problems := list(t, ks); len(keys) != 2 || len(problems) != 0 {
		t.Errorf("keys %v, problems %v; want two keys", keys, problems)
	}
}

func TestCreatorWithoutCommonPasswordSaysSo(t *testing.T) {
	ks := open(t, keystore.Config{Path: privateDir(t)})
	if _, err := ks.Create(t.Context(), "x", nil); !errors.Is(err, key.ErrDenied) || !strings.Contains(err.Error(), "no common password") {
		t.Errorf("error %v", err)
	}
	var _ key.Creator = ks
}
