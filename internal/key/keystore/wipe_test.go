// SPDX-License-Identifier: Apache-2.0

package keystore

import (
	"math/big"
	"os"
	"path/filepath"
	"testing"
)

// unlocked opens a keystore with one decrypted key and returns the words of
// its secret number, where they lie in memory.
func unlocked(t *testing.T) (ks *Keystore, dir string, words []big.Word) {
	t.Helper()
	dir = t.TempDir()
	if _, _, err := Create(dir, []byte("secret"), ScryptParams{N: 2, R: 8, P: 1}); err != nil {
		t.Fatal(err)
	}
	ks, err := Open(Config{Path: dir, Password: func() ([]byte, error) { return []byte("secret"), nil }})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = ks.Close() })
	page, err := ks.Keys(t.Context(), "")
	if err != nil || len(page.Keys) != 1 {
		t.Fatalf("%+v, %v", page, err)
	}
	if _, err := ks.SignDigest(t.Context(), page.Keys[0].Ref, [32]byte{1}); err != nil {
		t.Fatal(err)
	}
	ks.mu.RLock()
	defer ks.mu.RUnlock()
	//lint:ignore SA1019 This is the memory that must be overwritten.
	words = ks.entries[page.Keys[0].Name].priv.D.Bits() //nolint:staticcheck // as above
	if allZero(words) {
		t.Fatal("the key is zero before anything wiped it")
	}
	return ks, dir, words
}

func allZero(words []big.Word) bool {
	for _, w := range words {
		if w != 0 {
			return false
		}
	}
	return true
}

func TestCloseOverwritesKeys(t *testing.T) {
	ks, _, words := unlocked(t)
	if err := ks.Close(); err != nil {
		t.Fatal(err)
	}
	if !allZero(words) {
		t.Error("the key is still in memory after Close")
	}
}

func TestRemovedFileIsOverwrittenInMemory(t *testing.T) {
	ks, dir, words := unlocked(t)
	items, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(filepath.Join(dir, items[0].Name())); err != nil {
		t.Fatal(err)
	}
	if _, err := ks.Keys(t.Context(), ""); err != nil {
		t.Fatal(err)
	}
	if !allZero(words) {
		t.Error("the key is still in memory after its file went")
	}
}
