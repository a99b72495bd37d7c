// SPDX-License-Identifier: Apache-2.0

package keystore_test

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/key/keystore"
)

func awaitChange(t *testing.T, ks *keystore.Keystore, what string) {
	t.Helper()
	select {
	case <-ks.Changed():
	case <-time.After(time.Minute):
		t.Fatalf("no change was told within a minute: %s", what)
	}
}

// drain waits until nothing more is told of what happened so far.
func drain(ks *keystore.Keystore) {
	for {
		select {
		case <-ks.Changed():
		case <-time.After(500 * time.Millisecond):
			return
		}
	}
}

func TestFilesThatComeAndGoAreTold(t *testing.T) {
	for name, rescan := range map[string]time.Duration{"by the system": time.Hour, "by rescan": 20 * time.Millisecond} {
		t.Run(name, func(t *testing.T) {
			dir := privateDir(t)
			ks := open(t, keystore.Config{Path: dir, Password: password("secret"), Rescan: rescan})
			drain(ks)
			a := newKey(t, dir, "", "secret", cheap)
			awaitChange(t, ks, "a new file")
			keys, _ := list(t, ks)
			if len(keys) != 1 {
				t.Fatalf("keys %v, want %s", keys, a)
			}
			drain(ks)
			for name, k := range keys {
				mustSign(t, ks, k)
				if err := os.Remove(filepath.Join(dir, name)); err != nil {
					t.Fatal(err)
				}
				awaitChange(t, ks, "a removed file")
				if _, err := ks.SignDigest(t.Context(), k.Ref, [32]byte{1}); !errors.Is(err, key.ErrNotFound) {
					t.Errorf("sign with a removed file: %v, want key.ErrNotFound", err)
				}
			}
		})
	}
}

// A reference stays with its key: under the same name, another key is another
// reference.
func TestReplacedFileIsAnotherKey(t *testing.T) {
	dir := privateDir(t)
	newKey(t, dir, "a", "secret", cheap)
	ks := open(t, keystore.Config{Path: dir, Password: password("secret")})
	before, _ := list(t, ks)
	mustSign(t, ks, before["a"])
	newKey(t, dir, "a", "secret", cheap)
	after, _ := list(t, ks)
	if before["a"].Ref == after["a"].Ref || before["a"].Address == after["a"].Address {
		t.Errorf("before %+v, after %+v", before["a"], after["a"])
	}
	if _, err := ks.SignDigest(t.Context(), before["a"].Ref, [32]byte{1}); !errors.Is(err, key.ErrNotFound) {
		t.Errorf("sign with the old reference: %v, want key.ErrNotFound", err)
	}
	mustSign(t, ks, after["a"])
}

func TestUnchangedDirectoryTellsNothing(t *testing.T) {
	dir := privateDir(t)
	newKey(t, dir, "a", "secret", cheap)
	newKey(t, dir, "b", "wrong", cheap)
	write(t, dir, "c", "{")
	ks := open(t, keystore.Config{Path: dir, Password: password("secret"), Rescan: 5 * time.Millisecond})
	eventually(t, ks, "the wrong password is found", func(keys map[string]key.Key, problems map[string]string) bool {
		return keys["b"].State == key.Disabled && problems["c"] != ""
	})
	drain(ks)
	select {
	case <-ks.Changed():
		t.Error("a change was told, but nothing changed")
	case <-time.After(300 * time.Millisecond):
	}
}

// Some mounts replace the whole directory.
func TestReplacedDirectoryIsFollowed(t *testing.T) {
	dir := privateDir(t)
	newKey(t, dir, "a", "secret", cheap)
	ks := open(t, keystore.Config{Path: dir, Password: password("secret"), Rescan: 20 * time.Millisecond})
	before, _ := list(t, ks)
	mustSign(t, ks, before["a"])
	if err := os.Rename(dir, dir+".old"); err != nil {
		t.Fatal(err)
	}
	for deadline := time.Now().Add(time.Minute); ks.Health(t.Context()) == nil; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("healthy without a directory")
		}
	}
	// What is in memory serves on while the directory is away.
	mustSign(t, ks, before["a"])
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	newKey(t, dir, "b", "secret", cheap)
	eventuallyHealthy(t, ks)
	after, _ := list(t, ks)
	if len(after) != 1 || after["b"].State != key.Enabled {
		t.Errorf("keys %v, want b alone", after)
	}
}

func eventuallyHealthy(t *testing.T, ks *keystore.Keystore) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(time.Millisecond) {
		err := ks.Health(t.Context())
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}

// Kubernetes mounts a secret as links through ..data, which it replaces in one
// step.
func TestKubernetesSecretUpdateIsNoticed(t *testing.T) {
	dir := privateDir(t)
	version := func(n int, target string) {
		v := filepath.Join(dir, fmt.Sprintf("..v%d", n))
		newKey(t, v, "key", "secret", cheap)
		if err := os.Symlink(filepath.Base(v), filepath.Join(dir, "..new")); err != nil {
			t.Fatal(err)
		}
		if err := os.Rename(filepath.Join(dir, "..new"), filepath.Join(dir, target)); err != nil {
			t.Fatal(err)
		}
	}
	version(1, "..data")
	if err := os.Symlink("..data/key", filepath.Join(dir, "key")); err != nil {
		t.Fatal(err)
	}
	ks := open(t, keystore.Config{Path: dir, Password: password("secret"), Rescan: time.Hour})
	before, _ := list(t, ks)
	drain(ks)
	version(2, "..data")
	awaitChange(t, ks, "the link leads to another file")
	after, _ := list(t, ks)
	if len(before) != 1 || len(after) != 1 || before["key"].Address == after["key"].Address {
		t.Errorf("before %v, after %v", before, after)
	}
}

func TestPagesReachTenThousandFilesOnce(t *testing.T) {
	dir := privateDir(t)
	newKey(t, dir, "template", "secret", cheap)
	template := read(t, filepath.Join(dir, "template"))
	const n = 10_000
	for i := range n {
		// Another address in each; the keys inside would not match, but listing
		// does not look.
		write(t, dir, fmt.Sprintf("k%05d", i), fmt.Sprintf(`{"address":"%040x",%s`, i+1, template[len(`{"address":"",`)+40:]))
	}
	ks := open(t, keystore.Config{Path: dir})
	begin := time.Now()
	keys, problems := list(t, ks)
	if len(keys) != n+1 || len(problems) != 0 {
		t.Errorf("%d keys and %d problems, want %d and 0", len(keys), len(problems), n+1)
	}
	t.Logf("listed %d keys in %s", len(keys), time.Since(begin).Round(time.Millisecond))
}
