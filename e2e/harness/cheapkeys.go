// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"os"
	"path/filepath"

	"github.com/ethereum/go-ethereum/accounts/keystore"
)

// NewCheapKeys is NewKeys with the least scrypt cost that there is, so that
// thousands of keys are written, and later unlocked, within seconds.
func NewCheapKeys(t T, n int) Keys {
	t.Helper()
	dir := t.TempDir()
	k := Keys{Dir: filepath.Join(dir, "keys"), PasswordFile: filepath.Join(dir, "password")}
	if err := os.WriteFile(k.PasswordFile, []byte(cheapPassword+"\n"), 0o600); err != nil {
		t.Fatalf("harness: %v", err)
	}
	k.Add(t, n)
	return k
}

const cheapPassword = "only for tests"

// Add writes n more cheap keys into the directory of NewCheapKeys.
func (k *Keys) Add(t T, n int) {
	t.Helper()
	for range n {
		a, err := keystore.StoreKey(k.Dir, cheapPassword, 2, 1)
		if err != nil {
			t.Fatalf("harness: store key: %v", err)
		}
		k.Addresses = append(k.Addresses, a.Address)
	}
}
