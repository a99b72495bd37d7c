// SPDX-License-Identifier: Apache-2.0

package azure_test

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/crypto"

	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/key/azure"
	"github.com/hsmsigner/hsmsigner/internal/key/azure/azurefake"
	"github.com/hsmsigner/hsmsigner/internal/key/azure/azuretest"
	"github.com/hsmsigner/hsmsigner/internal/secp"
)

// signs wants the key to sign as an enabled account.
func signs(t *testing.T, b *azure.Backend, k key.Key) {
	t.Helper()
	sig, err := b.SignDigest(t.Context(), k.Ref, [32]byte{7})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := secp.Finish(k.Address, [32]byte{7}, sig.R, sig.S); err != nil {
		t.Error(err)
	}
}

func TestCreatedKeyHasTheWantedProtection(t *testing.T) {
	for name, c := range map[string]struct {
		o        azurefake.Options
		software bool
		want     key.Protection // empty: refused
	}{
		"premium vault":                {azurefake.Options{}, false, key.HSM},
		"software in a premium vault":  {azurefake.Options{}, true, key.Software},
		"standard vault":               {azurefake.Options{Standard: true}, false, ""},
		"software in a standard vault": {azurefake.Options{Standard: true}, true, key.Software},
		"Managed HSM":                  {azurefake.Options{Managed: true}, false, key.HSM},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, c.o)
			b := open(t, s, func(cfg *azure.Config) { cfg.Software = c.software })
			k, err := b.Create(t.Context(), "made", map[string]string{"a": "b"})
			if c.want == "" {
				wantKind(t, err, key.ErrDenied, "premium vault")
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if k.Protection != c.want || k.Tags["a"] != "b" || k.State != key.Enabled {
				t.Errorf("%+v", k)
			}
			signs(t, b, k)
			_, err = b.Create(t.Context(), "made", nil)
			wantKind(t, err, key.ErrDenied, "second account")
		})
	}
}

func TestCreateIsRefusedInOurWords(t *testing.T) {
	s := start(t, azurefake.Options{})
	b := open(t, s)
	add(t, s, "gone", azurefake.Spec{})
	s.Vault.Remove("gone")
	for name, say := range map[string]string{"a_b": "letters, digits", "": "letters, digits", "gone": "recover or purge"} {
		_, err := b.Create(t.Context(), name, nil)
		wantKind(t, err, key.ErrDenied, say)
	}
	s.Vault.SetRights(azuretest.Rights()...)
	_, err := b.Create(t.Context(), "new", nil)
	wantKind(t, err, key.ErrDenied, "administrator")
}

func TestImportIsWrappedByTheExchangeKey(t *testing.T) {
	s := start(t, azurefake.Options{})
	add(t, s, "exchange", azurefake.Spec{Kty: "RSA-HSM", Ops: []string{"import"}})
	add(t, s, "software", azurefake.Spec{Kty: "RSA", Ops: []string{"import"}})
	add(t, s, "too-able", azurefake.Spec{Kty: "RSA-HSM", Ops: []string{"wrapKey"}})
	private, err := crypto.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	secret := crypto.FromECDSA(private)
	for kek, say := range map[string]string{
		"": "no key-exchange key", "missing": "no such key", "software": "RSA-HSM", "too-able": "may not import",
	} {
		_, err := open(t, s, func(c *azure.Config) { c.KEK = kek }).Import(t.Context(), "mine", secret, nil)
		var call *key.CallError
		if !errors.As(err, &call) || !strings.Contains(err.Error(), say) {
			t.Errorf("kek %q: error %v, want %q", kek, err, say)
		}
	}
	b := open(t, s, func(c *azure.Config) { c.KEK = "exchange" })
	k, err := b.Import(t.Context(), "mine", secret, map[string]string{"from": "paper"})
	if err != nil {
		t.Fatal(err)
	}
	if k.Address != crypto.PubkeyToAddress(private.PublicKey) || k.Protection != key.HSM || k.Tags["from"] != "paper" {
		t.Errorf("%+v", k)
	}
	signs(t, b, k)
	_, err = b.Import(t.Context(), "mine", secret, nil)
	wantKind(t, err, key.ErrDenied, "second account")
	_, err = b.Import(t.Context(), "bad", bytes.Repeat([]byte{0xff}, 32), nil)
	wantKind(t, err, key.ErrDenied, "32 bytes")
}

func TestPlainImportOnlyWhereItIsAllowed(t *testing.T) {
	s := start(t, azurefake.Options{Standard: true})
	private, err := crypto.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	b := open(t, s, func(c *azure.Config) { c.PlainImport, c.Software = true, true })
	k, err := b.Import(t.Context(), "mine", crypto.FromECDSA(private), nil)
	if err != nil {
		t.Fatal(err)
	}
	if k.Address != crypto.PubkeyToAddress(private.PublicKey) || k.Protection != key.Software {
		t.Errorf("%+v", k)
	}
	signs(t, b, k)
}

func TestDisabledAndEnabledAgain(t *testing.T) {
	s := start(t, azurefake.Options{})
	k := add(t, s, "k", azurefake.Spec{Hidden: true})
	ref := key.Ref(k.KID)
	b := open(t, s)
	list(t, b)
	for _, on := range []bool{false, true} {
		if err := b.SetEnabled(t.Context(), ref, on); err != nil {
			t.Fatal(err)
		}
		_, err := b.SignDigest(t.Context(), ref, [32]byte{1})
		if on != (err == nil) || !on && !errors.Is(err, key.ErrDisabled) {
			t.Errorf("enabled %v: %v", on, err)
		}
		keys, _ := list(t, b)
		if len(keys) != 1 || (keys[0].State == key.Enabled) != on {
			t.Errorf("enabled %v: %+v", on, keys)
		}
	}
}

func TestDeleteSaysUntilWhenItCanBeRecovered(t *testing.T) {
	s := start(t, azurefake.Options{})
	one := key.Ref(add(t, s, "one", azurefake.Spec{Disabled: true, Hidden: true}).KID)
	first := key.Ref(add(t, s, "two", azurefake.Spec{}).KID)
	add(t, s, "two", azurefake.Spec{})
	b := open(t, s)
	when, err := b.Delete(t.Context(), one)
	if err != nil || time.Until(when) < 80*24*time.Hour {
		t.Errorf("when %s, error %v", when, err)
	}
	_, err = b.Delete(t.Context(), one)
	wantKind(t, err, key.ErrNotFound)
	_, err = b.Delete(t.Context(), first)
	wantKind(t, err, key.ErrUnsupported, "2 versions")
	signs(t, b, func() key.Key { keys, _ := list(t, b); return keys[0] }())
	_, err = b.Delete(t.Context(), key.Ref(strings.Replace(string(first), "/two/", "/no/", 1)))
	wantKind(t, err, key.ErrNotFound)
}
