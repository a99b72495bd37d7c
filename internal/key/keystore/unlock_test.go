// SPDX-License-Identifier: Apache-2.0

package keystore_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/key/keystore"
)

func TestEachBadFileIsReportedAndTheOthersSign(t *testing.T) {
	dir := privateDir(t)
	newKey(t, dir, "good1", "secret", cheap)
	newKey(t, dir, "good2", "secret", cheap)
	newKey(t, dir, "other-password", "other", cheap)
	good1 := read(t, filepath.Join(dir, "good1"))
	write(t, dir, "good1-copy", good1)
	write(t, dir, "corrupt", good1[:100])
	write(t, dir, "version1", strings.Replace(good1, `"version":3`, `"version":1`, 1))
	write(t, dir, "argon", strings.Replace(good1, `"scrypt"`, `"argon2id"`, 1))
	write(t, dir, "hungry", strings.Replace(good1, `"n":2`, `"n":268435456`, 1))
	var file struct{ Address string }
	if err := json.Unmarshal([]byte(good1), &file); err != nil {
		t.Fatal(err)
	}
	write(t, dir, "liar", strings.Replace(good1, file.Address, strings.Repeat("ab", 20), 1))
	if err := os.Symlink("nowhere", filepath.Join(dir, "dangling")); err != nil {
		t.Fatal(err)
	}
	// Not key files, and not to be mentioned.
	write(t, dir, ".hidden", "x")
	write(t, dir, "edited~", "x")
	write(t, dir, "#lock#", "x")
	write(t, dir, "half.tmp", "x")
	write(t, dir, "unrelated.password", "x")
	if err := os.Mkdir(filepath.Join(dir, "sub"), 0o700); err != nil {
		t.Fatal(err)
	}

	ks := open(t, keystore.Config{Path: dir, Password: password("secret")})
	wantProblems := map[string]string{
		"good1-copy": "that of file good1 too",
		"corrupt":    "not valid JSON",
		"version1":   "version 1, want 3",
		"argon":      `kdf "argon2id", want scrypt or pbkdf2`,
		"hungry":     "more than 1 GiB",
		"liar":       "address member says 0xABaBaBaBABabABabAbAbABAbABabababaBaBABaB",
		"dangling":   "cannot be read: no such file",
	}
	eventually(t, ks, "every bad file is reported", func(keys map[string]key.Key, problems map[string]string) bool {
		return keys["other-password"].State == key.Disabled && len(problems) == len(wantProblems)
	})
	keys, problems := list(t, ks)
	for name, says := range wantProblems {
		if !strings.Contains(problems[name], says) {
			t.Errorf("problem of %s is %q, want it to say %q", name, problems[name], says)
		}
	}
	if len(keys) != 3 || !strings.Contains(keys["other-password"].Reason, "wrong password") {
		t.Errorf("keys %+v", keys)
	}
	mustSign(t, ks, keys["good1"])
	mustSign(t, ks, keys["good2"])
	if _, err := ks.SignDigest(t.Context(), keys["other-password"].Ref, [32]byte{1}); !errors.Is(err, key.ErrDisabled) {
		t.Errorf("sign under a wrong password: %v, want key.ErrDisabled", err)
	}
	if _, err := ks.SignDigest(t.Context(), key.Ref("0x"+strings.Repeat("ab", 20)+"/liar"), [32]byte{1}); !errors.Is(err, key.ErrDisabled) {
		t.Errorf("sign with the liar: %v, want key.ErrDisabled", err)
	}
}

func TestOpenDirectoryIsWarnedOfButUsable(t *testing.T) {
	dir := privateDir(t)
	newKey(t, dir, "a", "secret", cheap)
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	ks := open(t, keystore.Config{Path: dir, Password: password("secret")})
	keys, problems := list(t, ks)
	if !strings.Contains(problems["(directory)"], "mode 0755") || len(problems) != 1 {
		t.Errorf("problems %v", problems)
	}
	mustSign(t, ks, keys["a"])
}

func TestPasswordBesideTheFileWins(t *testing.T) {
	dir := privateDir(t)
	for name, content := range map[string]string{"plain": "own", "newline": "own\n", "crlf": "own\r\n", "two": "own\n\n", "none": ""} {
		pass := map[string]string{"two": "own\n", "none": ""}[name]
		if pass == "" && name != "none" {
			pass = "own"
		}
		newKey(t, dir, name, pass, cheap)
		write(t, dir, name+".password", content)
	}
	newKey(t, dir, "common", "secret", cheap)
	ks := open(t, keystore.Config{Path: dir, Password: password("secret")})
	keys, problems := list(t, ks)
	if len(keys) != 6 || len(problems) != 0 {
		t.Fatalf("keys %v, problems %v", keys, problems)
	}
	for _, k := range keys {
		mustSign(t, ks, k)
	}
}

func TestKeyWithoutPasswordIsDisabledUntilThereIsOne(t *testing.T) {
	dir := privateDir(t)
	newKey(t, dir, "a", "secret", cheap)
	newKey(t, dir, "b", "secret", cheap)
	write(t, dir, "b.password", "wrong")
	ks := open(t, keystore.Config{Path: dir})
	eventually(t, ks, "both are disabled", func(keys map[string]key.Key, _ map[string]string) bool {
		return strings.Contains(keys["a"].Reason, "no password: put it into a.password") &&
			strings.Contains(keys["b"].Reason, "wrong password")
	})
	write(t, dir, "a.password", "secret")
	write(t, dir, "b.password", "secret")
	eventually(t, ks, "both are enabled", func(keys map[string]key.Key, _ map[string]string) bool {
		return keys["a"].State == key.Enabled && keys["b"].State == key.Enabled
	})
	keys, _ := list(t, ks)
	mustSign(t, ks, keys["a"])
	mustSign(t, ks, keys["b"])
}

func TestCommonPasswordMayChangeOrBeLate(t *testing.T) {
	dir := privateDir(t)
	newKey(t, dir, "a", "secret", cheap)
	var current atomic.Pointer[string] // nil: cannot be read
	ks := open(t, keystore.Config{Path: dir, Rescan: 10 * time.Millisecond, Password: func() ([]byte, error) {
		if p := current.Load(); p != nil {
			return []byte(*p), nil
		}
		return nil, errors.New("open /etc/secret/path: no such file")
	}})
	eventually(t, ks, "disabled for want of the password", func(keys map[string]key.Key, _ map[string]string) bool {
		return strings.Contains(keys["a"].Reason, "the common password cannot be had")
	})
	keys, _ := list(t, ks)
	if strings.Contains(keys["a"].Reason, "/etc") {
		t.Errorf("reason %q shows a path", keys["a"].Reason)
	}
	wrong, right := "wrong", "secret"
	current.Store(&wrong)
	eventually(t, ks, "disabled for the wrong password", func(keys map[string]key.Key, _ map[string]string) bool {
		return strings.Contains(keys["a"].Reason, "wrong password")
	})
	current.Store(&right)
	eventually(t, ks, "enabled", func(keys map[string]key.Key, _ map[string]string) bool {
		return keys["a"].State == key.Enabled
	})
	keys, _ = list(t, ks)
	mustSign(t, ks, keys["a"])
}

// The password is asked for once in each decryption, so counting one counts
// the other.
func TestConcurrentSignaturesDecryptOnce(t *testing.T) {
	dir := privateDir(t)
	newKey(t, dir, "a", "secret", keystore.LightScrypt)
	var decryptions atomic.Int32
	ks := open(t, keystore.Config{Path: dir, Password: func() ([]byte, error) {
		decryptions.Add(1)
		return []byte("secret"), nil
	}})
	keys, _ := list(t, ks)
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			if _, err := ks.SignDigest(t.Context(), keys["a"].Ref, [32]byte{1}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if n := decryptions.Load(); n != 1 {
		t.Errorf("%d decryptions for 64 signatures, want 1", n)
	}
}

func TestOneDerivationAtATimeAndWaitersMayGiveUp(t *testing.T) {
	dir := privateDir(t)
	for i := range 3 {
		newKey(t, dir, fmt.Sprint("k", i), "secret", cheap)
	}
	var running, most atomic.Int32
	release := make(chan struct{})
	ks := open(t, keystore.Config{Path: dir, Password: func() ([]byte, error) {
		if n := running.Add(1); n > most.Load() {
			most.Store(n)
		}
		<-release // stands for a long derivation
		running.Add(-1)
		return []byte("secret"), nil
	}})
	keys, _ := list(t, ks)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	var wg sync.WaitGroup
	for _, k := range keys {
		wg.Go(func() {
			begin := time.Now()
			if _, err := ks.SignDigest(ctx, k.Ref, [32]byte{1}); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("sign %s: %v, want the deadline", k.Name, err)
			}
			if took := time.Since(begin); took > 20*time.Second {
				t.Errorf("sign %s gave up after %s", k.Name, took)
			}
		})
	}
	wg.Wait()
	close(release)
	for _, k := range keys {
		mustSign(t, ks, k)
	}
	if most.Load() != 1 {
		t.Errorf("%d derivations at a time, want 1", most.Load())
	}
}

func TestWarmUpTakesTheFirst64(t *testing.T) {
	dir := privateDir(t)
	for i := range 70 {
		newKey(t, dir, fmt.Sprintf("k%02d", i), "other", cheap)
	}
	ks := open(t, keystore.Config{Path: dir, Password: password("secret")})
	disabled := func(keys map[string]key.Key) (n int) {
		for _, k := range keys {
			if k.State == key.Disabled {
				n++
			}
		}
		return n
	}
	eventually(t, ks, "64 wrong passwords are found", func(keys map[string]key.Key, _ map[string]string) bool {
		return disabled(keys) == 64
	})
	keys, _ := list(t, ks)
	if keys["k64"].State != key.Enabled || keys["k63"].State != key.Disabled {
		t.Errorf("k63 is %s and k64 %s", keys["k63"].State, keys["k64"].State)
	}
	if _, err := ks.SignDigest(t.Context(), keys["k69"].Ref, [32]byte{1}); !errors.Is(err, key.ErrDisabled) {
		t.Errorf("sign with k69: %v, want key.ErrDisabled", err)
	}
	if keys, _ = list(t, ks); keys["k69"].State != key.Disabled {
		t.Errorf("k69 is %s after its password was wrong", keys["k69"].State)
	}
}

// Without an address member only the key tells the address; the first listing
// has it all the same.
func TestAddressIsLearntFromTheKey(t *testing.T) {
	dir := privateDir(t)
	want := newKey(t, dir, "a", "secret", cheap)
	nameless := func(name string) {
		full := read(t, filepath.Join(dir, name))
		write(t, dir, name, "{"+full[strings.Index(full, `"crypto"`):])
	}
	nameless("a")
	newKey(t, dir, "b", "other", cheap)
	nameless("b")
	ks := open(t, keystore.Config{Path: dir, Password: password("secret")})
	keys, problems := list(t, ks)
	if keys["a"].Address != want || len(keys) != 1 {
		t.Errorf("keys %+v, want a with %s", keys, want)
	}
	if !strings.Contains(problems["b"], "no address member, and it cannot be decrypted") || !strings.Contains(problems["b"], "wrong password") {
		t.Errorf("problems %v", problems)
	}
	mustSign(t, ks, keys["a"])
	// A reference from an earlier run, before anybody listed.
	again := open(t, keystore.Config{Path: dir, Password: password("secret")})
	mustSign(t, again, keys["a"])
	other := keys["a"]
	other.Ref = key.Ref("0x" + strings.Repeat("22", common.AddressLength) + "/a")
	third := open(t, keystore.Config{Path: dir, Password: password("secret")})
	if _, err := third.SignDigest(t.Context(), other.Ref, [32]byte{1}); !errors.Is(err, key.ErrNotFound) {
		t.Errorf("sign with another address for the file: %v, want key.ErrNotFound", err)
	}
}
