// SPDX-License-Identifier: Apache-2.0

package harness

import (
	"os"
	"path/filepath"

	"github.com/ethereum/go-ethereum/accounts/keystore"
	"github.com/ethereum/go-ethereum/common"
)

// Keys is a directory of Web3 Secret Storage files with one password.
type Keys struct {
	Dir          string
	PasswordFile string
	Addresses    []common.Address
}

// NewKeys writes n fresh keys. go-ethereum writes them, not our own code: the
// daemon must read what others have made. The scrypt cost is the light one, so
// that tests do not spend their time in it.
func NewKeys(t T, n int) Keys {
	t.Helper()
	dir := t.TempDir()
	k := Keys{Dir: filepath.Join(dir, "keys"), PasswordFile: filepath.Join(dir, "password")}
	const password = "only for tests"
	if err := os.WriteFile(k.PasswordFile, []byte(password+"\n"), 0o600); err != nil {
		t.Fatalf("harness: %v", err)
	}
	for range n {
		a, err := keystore.StoreKey(k.Dir, password, keystore.LightScryptN, keystore.LightScryptP)
		if err != nil {
			t.Fatalf("harness: store key: %v", err)
		}
		k.Addresses = append(k.Addresses, a.Address)
	}
	return k
}
