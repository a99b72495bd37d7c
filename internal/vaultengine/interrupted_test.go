// SPDX-License-Identifier: Apache-2.0

package vaultengine_test

import (
	"context"
	"errors"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/crypto"
	"github.com/hashicorp/vault/sdk/logical"

	"github.com/hsmsigner/hsmsigner/internal/key/byok"
)

// failing is a storage that refuses writes below a prefix while that is set.
type failing struct {
	logical.InmemStorage
	puts, deletes string
}

func (s *failing) Put(ctx context.Context, e *logical.StorageEntry) error {
	if s.puts != "" && strings.HasPrefix(e.Key, s.puts) {
		return errors.New("disk full")
	}
	return s.InmemStorage.Put(ctx, e)
}

func (s *failing) Delete(ctx context.Context, path string) error {
	if s.deletes != "" && strings.HasPrefix(path, s.deletes) {
		return errors.New("disk full")
	}
	return s.InmemStorage.Delete(ctx, path)
}

// sealed wraps a new private key for the mount, again and again the same.
func (m *mount) sealed() map[string]any {
	m.t.Helper()
	k, err := crypto.GenerateKey()
	if err != nil {
		m.t.Fatal(err)
	}
	der, err := byok.PKCS8(crypto.FromECDSA(k))
	if err != nil {
		m.t.Fatal(err)
	}
	return map[string]any{"ciphertext": wrap(m.t, m.wrappingKey(), der)}
}

// A key that was imported under a second name, after the first import broke off,
// does not belong to the first name.
func TestNameOfABrokenImportIsNotTheKeysOfTheNext(t *testing.T) {
	storage := new(failing)
	m := remount(t, storage, map[string]string{"exportable": "true"})
	key := m.sealed()
	key["exportable"] = true
	storage.puts = "key/"
	if _, err := m.ask(logical.UpdateOperation, "keys/first/import", key); err == nil {
		t.Fatal("imported without a record")
	}
	storage.puts = ""
	address := m.must(logical.UpdateOperation, "keys/second/import", key)["address"].(string)
	m.refuses(404, "no key", logical.ReadOperation, "keys/first", nil)
	m.refuses(404, "no key", logical.ReadOperation, "keys/first/export", nil)
	m.refuses(404, "no key", logical.DeleteOperation, "keys/first", nil)
	m.refuses(404, "no key", logical.UpdateOperation, "keys/first", map[string]any{"enabled": false})
	m.must(logical.UpdateOperation, "sign/"+address, map[string]any{"digest": digest})
	if other := m.create("first"); other == address {
		t.Error("the name leads to the other key")
	}
	m.must(logical.UpdateOperation, "sign/"+address, map[string]any{"digest": digest})
}

func TestBrokenDeletionIsFinishedWhenAskedAgain(t *testing.T) {
	for _, step := range []string{"secret/", "key/", "name/"} {
		storage := new(failing)
		m := remount(t, storage, nil)
		address := m.create("one")
		storage.deletes = step
		if _, err := m.ask(logical.DeleteOperation, "keys/one", nil); err == nil {
			t.Errorf("%s: deleted", step)
		}
		storage.deletes = ""
		if _, err := m.ask(logical.DeleteOperation, "keys/one", nil); err != nil && step != "name/" { // then all but the name is gone
			t.Errorf("%s: %v", step, err)
		}
		for _, path := range []string{"secret/" + address, "key/" + address} {
			if left, err := storage.Get(t.Context(), path); left != nil || err != nil {
				t.Errorf("%s: %s is left: %v", step, path, err)
			}
		}
		m.create("one")
	}
}

// The same key may be imported under another name while it is being deleted: who
// is told that it was imported has it.
func TestImportDuringADeletionKeepsItsKey(t *testing.T) {
	var hook func()
	storage := &hooked{after: func() { hook() }}
	hook = func() {}
	m := remount(t, storage, nil)
	key := m.sealed()
	address := m.must(logical.UpdateOperation, "keys/first/import", key)["address"].(string)
	imported := false
	hook = func() {
		if !imported {
			_, err := m.ask(logical.UpdateOperation, "keys/second/import", key)
			imported = err == nil
		}
	}
	m.must(logical.DeleteOperation, "keys/first", nil)
	if !imported {
		t.Fatal("never imported")
	}
	m.must(logical.UpdateOperation, "sign/"+address, map[string]any{"digest": digest})
}

// hooked is a storage that calls after when it has deleted something.
type hooked struct {
	logical.InmemStorage
	after func()
}

func (s *hooked) Delete(ctx context.Context, path string) error {
	err := s.InmemStorage.Delete(ctx, path)
	s.after()
	return err
}

// The SDK hands a plugin numbers of JSON as floating point: 2⁶⁴+1 wei would be
// signed as 2⁶⁴.
func TestNumbersThatLostDigitsAreNotSigned(t *testing.T) {
	m := newMount(t, nil)
	address := m.create("one")
	for name, value := range map[string]any{
		"value": uint64(1<<53 + 1), "gasPrice": uint64(1 << 53), "nonce": 0.5, "chainId": true, "gas": false, "to": 7e40,
	} {
		m.refuses(400, name+": want a text", logical.UpdateOperation, "sign-transaction/"+address, plain(map[string]any{name: value}))
	}
	m.refuses(400, "digest: want a text", logical.UpdateOperation, "sign/"+address, map[string]any{"digest": 1e63})
	m.must(logical.UpdateOperation, "sign-transaction/"+address, plain(map[string]any{"value": 1<<53 - 1}))
}
