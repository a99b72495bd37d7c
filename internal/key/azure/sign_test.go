// SPDX-License-Identifier: Apache-2.0

package azure_test

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"math/big"
	mathrand "math/rand/v2"
	"strings"
	"sync"
	"testing"

	"github.com/ethereum/go-ethereum/crypto"

	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/key/azure/azurefake"
	"github.com/hsmsigner/hsmsigner/internal/secp"
)

func TestOneSignatureIsOneCallAndNoConnection(t *testing.T) {
	s := start(t, azurefake.Options{})
	k := add(t, s, "k", azurefake.Spec{})
	b := open(t, s)
	burst := func() {
		var wg sync.WaitGroup
		for range 64 {
			wg.Go(func() {
				for range 5 {
					sig, err := b.SignDigest(t.Context(), key.Ref(k.KID), [32]byte{1})
					if err != nil {
						t.Error(err)
						return
					}
					if _, err := secp.Finish(k.Address, [32]byte{1}, sig.R, sig.S); err != nil || sig.RequestID == "" {
						t.Errorf("%v, request id %q", err, sig.RequestID)
					}
				}
			})
		}
		wg.Wait()
	}
	burst() // opens the connections
	calls, connections := s.Vault.Calls(), s.Vault.Connections()
	burst()
	if n := s.Vault.Calls() - calls; n != 320 {
		t.Errorf("%d calls for 320 signatures", n)
	}
	if n := s.Vault.Connections() - connections; n != 0 {
		t.Errorf("%d new connections when warm", n)
	}
	if n := s.Entra.Requests(); n != 1 {
		t.Errorf("%d token requests", n)
	}
}

// A key of the curve's old name costs a second call once, if no listing came
// before its first signature.
func TestOldCurveNameSignsByTheOldAlgorithm(t *testing.T) {
	s := start(t, azurefake.Options{})
	k := add(t, s, "old", azurefake.Spec{Crv: "SECP256K1"})
	cold, warm := open(t, s), open(t, s)
	for i, want := range []int{2, 1, 1} {
		before := s.Vault.Signs()
		sig, err := cold.SignDigest(t.Context(), key.Ref(k.KID), [32]byte{9})
		if err != nil {
			t.Fatal(err)
		}
		if _, err := secp.Finish(k.Address, [32]byte{9}, sig.R, sig.S); err != nil {
			t.Error(err)
		}
		if n := s.Vault.Signs() - before; n != want {
			t.Errorf("signature %d: %d calls, want %d", i, n, want)
		}
	}
	list(t, warm)
	before := s.Vault.Signs()
	if _, err := warm.SignDigest(t.Context(), key.Ref(k.KID), [32]byte{9}); err != nil {
		t.Fatal(err)
	}
	if n := s.Vault.Signs() - before; n != 1 {
		t.Errorf("%d calls after a listing", n)
	}
}

func TestForeignReferenceIsNotFoundWithoutACall(t *testing.T) {
	s := start(t, azurefake.Options{})
	k := add(t, s, "k", azurefake.Spec{})
	b := open(t, s)
	_, version, _ := strings.Cut(k.Name, "/")
	for _, ref := range []string{
		"", "k", k.Name, "https://other.vault.azure.net/keys/" + k.Name, s.Vault.URL() + "/keys/k",
		s.Vault.URL() + "/keys/k/", s.Vault.URL() + "/keys//" + version, s.Vault.URL() + "/secrets/" + k.Name,
		k.KID + "/sign", k.KID + "?x", s.Vault.URL() + "/keys/../" + version, s.Vault.URL() + "/keys/k/%2e%2e",
	} {
		_, err := b.SignDigest(t.Context(), key.Ref(ref), [32]byte{1})
		if !errors.Is(err, key.ErrNotFound) {
			t.Errorf("sign with %q: %v", ref, err)
		}
		if _, err := b.PublicKey(t.Context(), key.Ref(ref)); !errors.Is(err, key.ErrNotFound) {
			t.Errorf("public key of %q: %v", ref, err)
		}
	}
	if n := s.Vault.Calls(); n != 0 {
		t.Errorf("%d calls", n)
	}
}

// Whatever the vault answers, a signature comes out right or not at all. Each
// row is asked many times with fresh randomness.
func TestStrangeSignatureIsValidOrRefused(t *testing.T) {
	const rounds = 400
	order := crypto.S256().Params().N
	random := func(n int) []byte {
		b := make([]byte, n)
		_, _ = rand.Read(b)
		return b
	}
	flip := func(sig []byte) []byte {
		s := new(big.Int).SetBytes(sig[32:])
		s.Sub(order, s).FillBytes(sig[32:])
		return sig
	}
	other, err := crypto.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		wire  azurefake.Wire
		valid bool
	}{
		"high and low s": {azurefake.Wire{Signature: flip}, true},
		"cut short":      {azurefake.Wire{Signature: func(sig []byte) []byte { return sig[:mathrand.N(64)] }}, false},
		"too long":       {azurefake.Wire{Signature: func(sig []byte) []byte { return append(sig, random(1+mathrand.N(64))...) }}, false},
		"DER": {azurefake.Wire{Signature: func(sig []byte) []byte {
			return append([]byte{0x30, 0x44, 2, 32}, append(sig[:32:32], append([]byte{2, 32}, sig[32:]...)...)...)
		}}, false},
		"zero r":         {azurefake.Wire{Signature: func(sig []byte) []byte { clear(sig[:32]); return sig }}, false},
		"zero s":         {azurefake.Wire{Signature: func(sig []byte) []byte { clear(sig[32:]); return sig }}, false},
		"r of the order": {azurefake.Wire{Signature: func(sig []byte) []byte { order.FillBytes(sig[:32]); return sig }}, false},
		"r twice":        {azurefake.Wire{Signature: func(sig []byte) []byte { copy(sig[32:], sig[:32]); return sig }}, false},
		"one bit off": {azurefake.Wire{Signature: func(sig []byte) []byte {
			sig[mathrand.N(64)] ^= 1 << mathrand.N(8)
			return sig
		}}, false},
		"random": {azurefake.Wire{Signature: func([]byte) []byte { return random(64) }}, false},
		"another key's": {azurefake.Wire{Signature: func([]byte) []byte {
			sig, _ := crypto.Sign(make([]byte, 32), other)
			return sig[:64]
		}}, false},
		"nothing":                 {azurefake.Wire{Signature: func([]byte) []byte { return nil }}, false},
		"the name of another key": {azurefake.Wire{SignKID: func(kid string) string { return strings.Replace(kid, "/k/", "/l/", 1) }}, false},
		"no name":                 {azurefake.Wire{SignKID: func(string) string { return "https://x" }}, false},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, azurefake.Options{})
			k := add(t, s, "k", azurefake.Spec{})
			b := open(t, s)
			s.Vault.SetWire(c.wire)
			for range rounds {
				digest := [32]byte(random(32))
				raw, err := b.SignDigest(t.Context(), key.Ref(k.KID), digest)
				if err == nil {
					_, err = secp.Finish(k.Address, digest, raw.R, raw.S)
				} else if !errors.Is(err, key.ErrBadResponse) || key.Transient(err) {
					t.Fatalf("error %v, want ErrBadResponse", err)
				}
				if (err == nil) != c.valid {
					t.Fatalf("valid: %v, want %v", err, c.valid)
				}
			}
		})
	}
}

// Leading zero bytes of r and s stay.
func TestLeadingZeroBytesStay(t *testing.T) {
	s := start(t, azurefake.Options{})
	k := add(t, s, "k", azurefake.Spec{})
	b := open(t, s)
	zeros := 0
	for i := range 1500 { // one in 128 has one
		digest := [32]byte{byte(i), byte(i >> 8), 1}
		raw, err := b.SignDigest(t.Context(), key.Ref(k.KID), digest)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := secp.Finish(k.Address, digest, raw.R, raw.S); err != nil {
			t.Fatalf("r %x s %x: %v", raw.R, raw.S, err)
		}
		if raw.R[0] == 0 || raw.S[0] == 0 {
			zeros++
		}
	}
	if zeros == 0 {
		t.Error("no signature had a leading zero byte")
	}
}

// RFC 7518 wants the leading zero bytes of a coordinate, and not everybody
// writes them.
func TestCoordinateWithoutItsZerosIsTheSameKey(t *testing.T) {
	var secret []byte
	for secret == nil {
		k, err := crypto.GenerateKey()
		if err != nil {
			t.Fatal(err)
		}
		if crypto.FromECDSAPub(&k.PublicKey)[1] == 0 {
			secret = crypto.FromECDSA(k)
		}
	}
	s := start(t, azurefake.Options{})
	want := add(t, s, "k", azurefake.Spec{Secret: secret})
	s.Vault.SetWire(azurefake.Wire{Bundle: func(bundle map[string]any) {
		jwk := bundle["key"].(map[string]any)
		x, err := base64.RawURLEncoding.DecodeString(jwk["x"].(string))
		if err != nil {
			t.Error(err)
		}
		jwk["x"] = base64.RawURLEncoding.EncodeToString(bytes.TrimLeft(x, "\x00"))
	}})
	keys, problems := list(t, open(t, s))
	if len(keys) != 1 || keys[0].Address != want.Address {
		t.Errorf("keys %v, problems %v, want %s", keys, problems, want.Address)
	}
}

func TestStrangePublicKeyIsAProblem(t *testing.T) {
	jwk := func(change func(map[string]any)) azurefake.Wire {
		return azurefake.Wire{Bundle: func(bundle map[string]any) { change(bundle["key"].(map[string]any)) }}
	}
	for name, c := range map[string]struct {
		wire azurefake.Wire
		say  string // empty: left out in silence
	}{
		"no x":          {jwk(func(k map[string]any) { delete(k, "x") }), "coordinates"},
		"long y":        {jwk(func(k map[string]any) { k["y"] = strings.Repeat("A", 44) }), "coordinates"},
		"off the curve": {jwk(func(k map[string]any) { k["x"] = k["y"] }), "secp256k1"},
		"no curve":      {jwk(func(k map[string]any) { delete(k, "crv") }), "without a curve"},
		"no type":       {jwk(func(k map[string]any) { delete(k, "kty") }), "without a type"},
		"another key":   {jwk(func(k map[string]any) { k["kid"] = strings.Replace(k["kid"].(string), "/k/", "/l/", 1) }), "another key"},
		"bad base64":    {jwk(func(k map[string]any) { k["x"] = "*" }), "not what a key vault answers"},
		"no key":        {azurefake.Wire{Bundle: func(b map[string]any) { delete(b, "key") }}, "without a type"},
		"another curve": {jwk(func(k map[string]any) { k["crv"] = "P-521" }), ""},
		"symmetric":     {jwk(func(k map[string]any) { k["kty"] = "oct-HSM" }), ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, azurefake.Options{})
			add(t, s, "k", azurefake.Spec{})
			b := open(t, s)
			s.Vault.SetWire(c.wire)
			keys, problems := list(t, b)
			switch {
			case len(keys) != 0:
				t.Errorf("keys %v", keys)
			case c.say == "" && len(problems) != 0:
				t.Errorf("problems %v", problems)
			case c.say != "" && (len(problems) != 1 || !strings.Contains(problems[0].Reason, c.say)):
				t.Errorf("problems %v, want %q", problems, c.say)
			}
		})
	}
}
