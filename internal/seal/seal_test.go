// SPDX-License-Identifier: Apache-2.0

package seal_test

import (
	"bytes"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/seal"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

func openStore(t testing.TB) (*store.DB, string) {
	t.Helper()
	dir := t.TempDir()
	db, err := store.OpenSQLite(t.Context(), store.Config{Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = db.Close() })
	return db, dir
}

// keyFile writes a file of keys, each of 32 equal bytes.
func keyFile(t testing.TB, fill ...byte) string {
	t.Helper()
	var text strings.Builder
	for _, b := range fill {
		text.WriteString(base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{b}, 32)) + "\n")
	}
	path := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(path, []byte(text.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func open(t testing.TB, c seal.Config) *seal.Sealer {
	t.Helper()
	s, err := seal.Open(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func mustSeal(t testing.TB, s *seal.Sealer, p seal.Place, plain string) []byte {
	t.Helper()
	sealed, err := s.Seal(t.Context(), p, []byte(plain))
	if err != nil {
		t.Fatal(err)
	}
	return sealed
}

func wantPlain(t testing.TB, s *seal.Sealer, p seal.Place, sealed []byte, want string) {
	t.Helper()
	plain, err := s.Open(t.Context(), p, sealed)
	if err != nil || string(plain) != want {
		t.Fatalf("opened %q, %v; want %q", plain, err, want)
	}
}

var home = seal.Place{Consortium: "u0consort0", Environment: "u0environ0", Membership: "u0member00", ID: "u0configur", Field: "sealed"}

func TestValueOpensOnlyAtItsPlace(t *testing.T) {
	db, dir := openStore(t)
	s := open(t, seal.Config{Store: db, Dir: dir})
	sealed := mustSeal(t, s, home, "hunter2")
	wantPlain(t, s, home, sealed, "hunter2")
	for _, move := range []func(*seal.Place){
		func(p *seal.Place) { p.Consortium = "u0another0" },
		func(p *seal.Place) { p.Environment = "u0another0" },
		func(p *seal.Place) { p.Membership = "u0another0" },
		func(p *seal.Place) { p.ID = "u0another0" },
		func(p *seal.Place) { p.Field = "details.user_secret" },
		func(p *seal.Place) { p.Membership, p.ID = p.ID, p.Membership },
		func(p *seal.Place) { p.Membership, p.ID = p.Membership+p.ID, "" },
		func(p *seal.Place) { p.Consortium, p.Environment = p.Consortium+p.Environment[:1], p.Environment[1:] },
		func(p *seal.Place) { *p = seal.Place{} },
	} {
		p := home
		move(&p)
		if plain, err := s.Open(t.Context(), p, sealed); !errors.Is(err, seal.ErrDamaged) {
			t.Errorf("at %+v: %q, %v; want ErrDamaged", p, plain, err)
		}
	}
}

func TestRowsSwappedBetweenTenantsDoNotOpen(t *testing.T) {
	db, dir := openStore(t)
	s := open(t, seal.Config{Store: db, Dir: dir})
	put := func(r store.Resource) {
		r.Sealed = mustSeal(t, s, seal.OfResource(r), "the secret of "+r.Membership)
		if err := db.Write(t.Context(), func(w *store.Writer) error { return w.InsertResource(r) }); err != nil {
			t.Fatal(err)
		}
	}
	put(resource("u0aaaaaaaa", "u0member0a"))
	put(resource("u0bbbbbbbb", "u0member0b"))
	a, b := read(t, db, "u0aaaaaaaa"), read(t, db, "u0bbbbbbbb")
	if err := db.ResealResource(t.Context(), a.ID, a.Sealed, b.Sealed); err != nil {
		t.Fatal(err)
	}
	a = read(t, db, a.ID)
	if plain, err := s.Open(t.Context(), seal.OfResource(a), a.Sealed); !errors.Is(err, seal.ErrDamaged) {
		t.Errorf("opened %q, %v", plain, err)
	}
	// A row whose owner was changed is no longer that place either.
	b.Membership = a.Membership
	if plain, err := s.Open(t.Context(), seal.OfResource(b), b.Sealed); !errors.Is(err, seal.ErrDamaged) {
		t.Errorf("opened %q, %v", plain, err)
	}
}

func resource(id, membership string) store.Resource {
	return store.Resource{
		ID: id, Kind: "configurations", Consortium: "u0consort0", Environment: "u0environ0", Membership: membership,
		Name: id, State: "started", Created: time.Now(), Updated: time.Now(), Data: []byte("{}"),
	}
}

func read(t testing.TB, db *store.DB, id string) store.Resource {
	t.Helper()
	r, err := db.Resource(t.Context(), id)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestEveryFlippedBitAndEveryCutIsRefused(t *testing.T) {
	db, dir := openStore(t)
	s := open(t, seal.Config{Store: db, Dir: dir})
	sealed := mustSeal(t, s, home, "hunter2")
	for i := range len(sealed) * 8 {
		flipped := bytes.Clone(sealed)
		flipped[i/8] ^= 1 << (i % 8)
		if plain, err := s.Open(t.Context(), home, flipped); err == nil {
			t.Errorf("bit %d of %d flipped: opened %q", i, len(sealed)*8, plain)
		}
	}
	for n := range sealed {
		if _, err := s.Open(t.Context(), home, sealed[:n]); err == nil {
			t.Errorf("cut to %d of %d bytes: opened", n, len(sealed))
		}
	}
	if _, err := s.Open(t.Context(), home, append(bytes.Clone(sealed), 0)); err == nil {
		t.Error("with a byte more: opened")
	}
}

func TestMissingKeyIsNamed(t *testing.T) {
	db, _ := openStore(t)
	old := open(t, seal.Config{Store: db, Sources: []seal.Source{seal.File(keyFile(t, 1))}})
	sealed := mustSeal(t, old, home, "hunter2")
	other := open(t, seal.Config{Store: db, Sources: []seal.Source{seal.File(keyFile(t, 2))}})
	_, err := other.Open(t.Context(), home, sealed)
	var missing *seal.MissingKeyError
	if !errors.As(err, &missing) || missing.KeyID != old.KeyID() {
		t.Fatalf("%v; want that %s is missing", err, old.KeyID())
	}
	if text := err.Error(); !strings.Contains(text, old.KeyID()) || !strings.Contains(text, other.KeyID()) {
		t.Errorf("%q names not both %s, which is missing, and %s, which is there", text, old.KeyID(), other.KeyID())
	}
	if id, err := other.SealedWith(sealed); id != old.KeyID() || err != nil {
		t.Errorf("sealed with %q, %v", id, err)
	}
}

func TestKeyOfTheSameNameWithOtherBytesDoesNotOpen(t *testing.T) {
	db, _ := openStore(t)
	dir := t.TempDir()
	keyset := func(value byte) string {
		// AES-256-GCM as Tink writes it: field 3, 32 bytes.
		key := base64.StdEncoding.EncodeToString(append([]byte{0x1a, 32}, bytes.Repeat([]byte{value}, 32)...))
		path := filepath.Join(dir, fmt.Sprint(value))
		text := `{"primaryKeyId": 7, "key": [{"keyData": {"typeUrl": "type.googleapis.com/google.crypto.tink.AesGcmKey", "value": "` + key + `", "keyMaterialType": "SYMMETRIC"}, "status": "ENABLED", "keyId": 7, "outputPrefixType": "TINK"}]}`
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	one := open(t, seal.Config{Store: db, Sources: []seal.Source{seal.File(keyset(1))}})
	sealed := mustSeal(t, one, home, "hunter2")
	wantPlain(t, open(t, seal.Config{Store: db, Sources: []seal.Source{seal.File(keyset(1))}}), home, sealed, "hunter2")
	if one.KeyID() != "tink:7" {
		t.Errorf("the key is %s", one.KeyID())
	}
	two := open(t, seal.Config{Store: db, Sources: []seal.Source{seal.File(keyset(2))}})
	if _, err := two.Open(t.Context(), home, sealed); !errors.Is(err, seal.ErrDamaged) || !strings.Contains(err.Error(), "tink:7") {
		t.Errorf("opened with %v; want ErrDamaged that names the key", err)
	}
}

func TestLostKeyFileIsNotReplaced(t *testing.T) {
	db, dir := openStore(t)
	s := open(t, seal.Config{Store: db, Dir: dir})
	sealed := mustSeal(t, s, home, "hunter2")
	path := filepath.Join(dir, seal.DefaultFile)
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	again := open(t, seal.Config{Store: db, Dir: dir}) // the daemon starts for its other wallets
	for name, err := range map[string]error{
		"open":                    func() error { _, err := again.Open(t.Context(), home, sealed); return err }(),
		"seal":                    func() error { _, err := again.Seal(t.Context(), home, nil); return err }(),
		"check":                   again.Check(t.Context()),
		"seal of the running one": func() error { _, err := s.Seal(t.Context(), home, nil); return err }(),
	} {
		var missing *seal.MissingKeyError
		if !errors.As(err, &missing) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v; want the key that is missing, and %s", name, err, path)
		}
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Error("a new key file was made over the loss")
	}
	wantPlain(t, s, home, sealed, "hunter2") // the running one has the key in memory
}

func TestDefaultKeyFileIsMadeAtFirstUseForItsOwnerOnly(t *testing.T) {
	db, dir := openStore(t)
	path := filepath.Join(dir, seal.DefaultFile)
	s := open(t, seal.Config{Store: db, Dir: dir})
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Fatal("the file is there before it is needed")
	}
	sealed := mustSeal(t, s, home, "hunter2")
	info, err := os.Stat(path)
	if err != nil || info.Mode().Perm() != 0o600 {
		t.Fatalf("%v, %v", info.Mode(), err)
	}
	wantPlain(t, open(t, seal.Config{Store: db, Dir: dir}), home, sealed, "hunter2")
	if left, _ := filepath.Glob(filepath.Join(dir, ".seal-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

func TestNothingConfiguredOnPostgreSQLIsAnErrorThatSaysWhatToDo(t *testing.T) {
	db, _ := openStore(t)
	if _, err := seal.Open(t.Context(), seal.Config{Store: db}); !errors.Is(err, seal.ErrNoKey) || !strings.Contains(err.Error(), "seal.keys") {
		t.Errorf("%v", err)
	}
}

func TestBadKeyFilesAreRefusedWithoutBeingShown(t *testing.T) {
	db, _ := openStore(t)
	good := base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{7}, 32))
	for name, c := range map[string]struct {
		text, want string
		mode       os.FileMode
	}{
		"others may read":  {good, "0600", 0o644},
		"others may write": {good, "0600", 0o602},
		"empty":            {"\n# nothing\n", "holds no key", 0o600},
		"too short":        {good[:20], "line 1", 0o600},
		"second line":      {good + "\nhunter2\n", "line 2", 0o600},
		"zeros":            {base64.StdEncoding.EncodeToString(make([]byte, 32)), "all zeros", 0o600},
		"no keyset":        {`{"hunter2": 1}`, "keyset", 0o600},
	} {
		path := filepath.Join(t.TempDir(), "key")
		if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, c.mode); err != nil { // past the umask
			t.Fatal(err)
		}
		_, err := seal.Open(t.Context(), seal.Config{Store: db, Sources: []seal.Source{seal.File(path)}})
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v; want %q and the path", name, err, c.want)
		} else if strings.Contains(err.Error(), "hunter2") || strings.Contains(err.Error(), good[:10]) {
			t.Errorf("%s: shows the content: %v", name, err)
		}
	}
	path := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(path, []byte(good), 0o640); err != nil {
		t.Fatal(err)
	}
	open(t, seal.Config{Store: db, Sources: []seal.Source{seal.File(path)}}) // a group may be the daemon's
}

func TestKeyOfAnEnvironmentVariableIsTheKeyOfAFile(t *testing.T) {
	db, _ := openStore(t)
	t.Setenv("SEAL_TEST_KEY", base64.StdEncoding.EncodeToString(bytes.Repeat([]byte{5}, 32)))
	s := open(t, seal.Config{Store: db, Sources: []seal.Source{seal.Env("SEAL_TEST_KEY")}})
	sealed := mustSeal(t, s, home, "hunter2")
	wantPlain(t, open(t, seal.Config{Store: db, Sources: []seal.Source{seal.File(keyFile(t, 5))}}), home, sealed, "hunter2")
	t.Setenv("SEAL_TEST_KEY", "")
	if _, err := seal.Open(t.Context(), seal.Config{Store: db, Sources: []seal.Source{seal.Env("SEAL_TEST_KEY")}}); err == nil || !strings.Contains(err.Error(), "SEAL_TEST_KEY") {
		t.Errorf("%v", err)
	}
}

func TestReplicasThatStartTogetherAgreeOnOneDeploymentKey(t *testing.T) {
	db, _ := openStore(t)
	path := keyFile(t, 1)
	sealers := make([]*seal.Sealer, 8)
	sealed := make([][]byte, len(sealers))
	var wg sync.WaitGroup
	for i := range sealers {
		sealers[i] = open(t, seal.Config{Store: db, Sources: []seal.Source{seal.File(path)}})
		wg.Go(func() { sealed[i], _ = sealers[i].Seal(context.WithoutCancel(t.Context()), home, []byte("hunter2")) })
	}
	wg.Wait()
	for i := range sealers {
		wantPlain(t, sealers[(i+1)%len(sealers)], home, sealed[i], "hunter2")
	}
	if names, err := db.SealedKeys(t.Context()); len(names) != 1 || err != nil {
		t.Errorf("deployment keys %v, %v", names, err)
	}
}

func TestKeyOfTheDeploymentIsTheSameForAll(t *testing.T) {
	db, dir := openStore(t)
	one, err := open(t, seal.Config{Store: db, Dir: dir}).Key(t.Context(), "verifier")
	if err != nil || len(one) != 32 {
		t.Fatal(one, err)
	}
	two, err := open(t, seal.Config{Store: db, Dir: dir}).Key(t.Context(), "verifier")
	if err != nil || !bytes.Equal(one, two) {
		t.Fatal(two, err)
	}
	if _, err := open(t, seal.Config{Store: db, Dir: dir}).Key(t.Context(), "seal/x"); err == nil {
		t.Error("a deployment key was handed out")
	}
}
