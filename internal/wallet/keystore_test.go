// SPDX-License-Identifier: Apache-2.0

package wallet

import (
	"errors"
	"os"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/accounts"
	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/core/types"
	"github.com/ethereum/go-ethereum/crypto"

	"github.com/hsmsigner/hsmsigner/internal/key/keystore"
)

// A directory of real key files: found at start, signed with, noticed when
// one is added, refused when one is gone.
func TestKeystoreFilesAreAccounts(t *testing.T) {
	dir, password := t.TempDir(), []byte("correct horse")
	cheap := keystore.ScryptParams{N: 2, R: 8, P: 1}
	path, first, err := keystore.Create(dir, password, cheap)
	if err != nil {
		t.Fatal(err)
	}
	files, err := keystore.Open(keystore.Config{
		Path: dir, Password: func() ([]byte, error) { return []byte("correct horse"), nil },
		Scrypt: cheap, Rescan: 50 * time.Millisecond,
	})
	if err != nil {
		t.Fatal(err)
	}
	d := newDisk(t)
	w := openWallet(t, files, d, nil)

	signed, err := w.SignTransaction(t.Context(), alice, first, transfer(0))
	if err != nil {
		t.Fatal(err)
	}
	if sender, err := types.Sender(types.LatestSignerForChainID(testChain), signed); err != nil || sender != first {
		t.Errorf("sender %s, %v; want %s", sender, err, first)
	}
	sig, err := w.SignMessage(t.Context(), alice, first, []byte("hello"))
	if err != nil {
		t.Fatal(err)
	}
	sig[64] -= 27
	if pub, err := crypto.SigToPub(accounts.TextHash([]byte("hello")), sig); err != nil || crypto.PubkeyToAddress(*pub) != first {
		t.Errorf("the message does not recover to %s: %v", first, err)
	}
	if err := w.Prove(t.Context(), first); err != nil {
		t.Error(err)
	}
	if err := w.Health(t.Context()); err != nil {
		t.Error(err)
	}

	_, second, err := keystore.Create(dir, password, cheap)
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the added file is an account", func() bool { return w.Usable(second) == nil })
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the removed file's account is refused", func() bool {
		var unusable *UnusableError
		return errors.As(w.Usable(first), &unusable)
	})
	if a, _ := w.Account(first); a.State != Missing || a.Address == (common.Address{}) {
		t.Errorf("account %+v", a)
	}
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for range 3000 {
		if holds() {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
	t.Fatalf("not after a minute: %s", what)
}
