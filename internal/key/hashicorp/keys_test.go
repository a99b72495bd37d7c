// SPDX-License-Identifier: Apache-2.0

package hashicorp_test

import (
	"encoding/hex"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/crypto"

	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/key/hashicorp"
	"github.com/hsmsigner/hsmsigner/internal/key/hashicorp/vaulttest"
	"github.com/hsmsigner/hsmsigner/internal/secp"
)

func administrator(t *testing.T, mount string) *hashicorp.Backend {
	t.Helper()
	return open(t, first(withAppRole(t, mount, nil, vaulttest.Administrator))).(*hashicorp.Backend)
}

func signer(t *testing.T, mount string) key.Backend {
	t.Helper()
	return open(t, first(withAppRole(t, mount, nil, vaulttest.DigestSigner)))
}

func TestImportedKeySignsAndCrossesTheWireWrapped(t *testing.T) {
	mount := newMount(t, false)
	admin := administrator(t, mount)
	k, err := crypto.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	private := crypto.FromECDSA(k)
	got, err := admin.Import(t.Context(), "imported", private, map[string]string{"desk": "one"})
	if err != nil {
		t.Fatal(err)
	}
	if want := crypto.PubkeyToAddress(k.PublicKey); got.Address != want || got.Ref != refOf(mount, want) || got.Tags["desk"] != "one" || got.Protection != key.Software {
		t.Errorf("%+v, want %s", got, want)
	}
	digest := [32]byte{7}
	raw, err := signer(t, mount).SignDigest(t.Context(), got.Ref, digest)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := secp.Finish(got.Address, digest, raw.R, raw.S); err != nil {
		t.Error(err)
	}
	_, err = admin.Import(t.Context(), "again", private, nil)
	says(t, err, key.ErrDenied, "already")
	_, err = admin.Import(t.Context(), "imported", crypto.FromECDSA(must1(crypto.GenerateKey())), nil)
	says(t, err, key.ErrDenied, "already")
	for _, bad := range [][]byte{nil, make([]byte, 32), make([]byte, 31), []byte(strings.Repeat("\xff", 32))} {
		if _, err := admin.Import(t.Context(), "bad", bad, nil); err == nil {
			t.Errorf("imported %x", bad)
		}
	}
	for name, log := range map[string]string{"server": server.Log(), "audit": server.AuditLog()} {
		if strings.Contains(strings.ToLower(log), hex.EncodeToString(private)) {
			t.Errorf("the %s log holds the private key", name)
		}
	}
}

func must1[T any](v T, err error) T {
	if err != nil {
		panic(err)
	}
	return v
}

func TestRequestIDIsThatOfTheAuditLog(t *testing.T) {
	mount := newMount(t, false)
	sig, err := signer(t, mount).SignDigest(t.Context(), refOf(mount, newKey(t, mount)), [32]byte{9})
	if err != nil {
		t.Fatal(err)
	}
	if sig.RequestID == "" || !strings.Contains(server.AuditLog(), `"id":"`+sig.RequestID+`"`) {
		t.Errorf("request id %q is not in Vault's audit log", sig.RequestID)
	}
}

func TestSwitchedOffKeyRefusesUntilItIsOnAgain(t *testing.T) {
	mount := newMount(t, false)
	ref := refOf(mount, newKey(t, mount))
	admin, b := administrator(t, mount), signer(t, mount)
	for _, enabled := range []bool{false, true} {
		if err := admin.SetEnabled(t.Context(), ref, enabled); err != nil {
			t.Fatal(err)
		}
		page, err := b.Keys(t.Context(), "")
		if err != nil || len(page.Keys) != 1 || (page.Keys[0].State == key.Enabled) != enabled {
			t.Errorf("enabled %v: listed as %+v, %v", enabled, page, err)
		}
		_, err = b.SignDigest(t.Context(), ref, [32]byte{1})
		if enabled && err != nil {
			t.Error(err)
		}
		if !enabled {
			says(t, err, key.ErrDisabled, "switched off")
		}
	}
}

// What its caller got wrong is a CallError, whose reason is told to him.
func TestNameIsCheckedBeforeVaultIsAsked(t *testing.T) {
	admin := administrator(t, newMount(t, false))
	for _, name := range []string{"a b", "-a", "a/", "ä", strings.Repeat("x", 129)} {
		_, err := admin.Create(t.Context(), name, nil)
		says(t, err, key.ErrDenied, "want 1 to 128 letters")
		_, err = admin.Import(t.Context(), name, []byte{31: 1}, nil)
		says(t, err, key.ErrDenied, "want 1 to 128 letters")
	}
}

// A name may be used again after its key was deleted; a reference may not.
func TestReferenceOfADeletedKeyIsNeverAnothers(t *testing.T) {
	mount := newMount(t, false)
	admin, b := administrator(t, mount), signer(t, mount)
	old, err := admin.Create(t.Context(), "payroll", nil)
	if err != nil {
		t.Fatal(err)
	}
	if when, err := admin.Delete(t.Context(), old.Ref); err != nil || !when.IsZero() {
		t.Fatalf("%v, %v", when, err)
	}
	fresh, err := admin.Create(t.Context(), "payroll", nil)
	if err != nil {
		t.Fatal(err)
	}
	if fresh.Ref == old.Ref || fresh.Address == old.Address {
		t.Fatalf("the new key is the old one: %+v", fresh)
	}
	_, err = b.SignDigest(t.Context(), old.Ref, [32]byte{1})
	says(t, err, key.ErrNotFound, "deleted")
	_, err = admin.Delete(t.Context(), old.Ref)
	says(t, err, key.ErrNotFound)
	if _, err := b.SignDigest(t.Context(), fresh.Ref, [32]byte{1}); err != nil {
		t.Errorf("the new key: %v", err)
	}
}

func TestRealListingIsPaged(t *testing.T) {
	mount := newMount(t, false)
	const n = 501 // one more than a page
	for range n {
		newKey(t, mount)
	}
	if got := listAll(t, signer(t, mount)); len(got) != n {
		t.Errorf("%d keys, want %d", len(got), n)
	}
}

func TestMutualTLS(t *testing.T) {
	s, err := vaulttest.Start(t.Context(), vaulttest.WithTLS())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	address, err := s.CreateKey(t.Context(), vaulttest.Mount, "one")
	if err != nil {
		t.Fatal(err)
	}
	token, err := s.Token(t.Context(), []string{vaulttest.DigestSigner}, nil)
	if err != nil {
		t.Fatal(err)
	}
	give := func(text string) func() (string, error) { return func() (string, error) { return text, nil } }
	good := hashicorp.Config{
		Address: s.URL(), Token: give(token), CACert: []byte(s.TLS().CA), ClientCert: give(s.TLS().ClientCert), ClientKey: give(s.TLS().ClientKey),
	}
	if _, err := open(t, good).SignDigest(t.Context(), refOf(vaulttest.Mount, address), [32]byte{1}); err != nil {
		t.Fatal(err)
	}
	for why, change := range map[string]func(c *hashicorp.Config){
		"give it in ca_cert":                 func(c *hashicorp.Config) { c.CACert = nil },
		"client_cert is missing":             func(c *hashicorp.Config) { c.ClientCert, c.ClientKey = nil, nil },
		"do not belong together":             func(c *hashicorp.Config) { c.ClientCert = give(s.TLS().CA) },
		"not for the host in target_address": func(c *hashicorp.Config) { c.Address = strings.Replace(c.Address, "127.0.0.1", "localhost", 1) },
		"Vault wants TLS": func(c *hashicorp.Config) {
			c.Address = strings.Replace(c.Address, "https", "http", 1)
			c.CACert, c.ClientCert, c.ClientKey = nil, nil, nil
		},
	} {
		c := good
		change(&c)
		_, err := open(t, c).SignDigest(t.Context(), refOf(vaulttest.Mount, address), [32]byte{1})
		says(t, err, key.ErrUnavailable, why)
	}
}
