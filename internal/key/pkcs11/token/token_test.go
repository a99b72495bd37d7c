// SPDX-License-Identifier: Apache-2.0

//go:build cgo

package token

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/x509"
	"testing"

	"github.com/ethereum/go-ethereum/crypto"
	"github.com/miekg/pkcs11"

	"github.com/hsmsigner/hsmsigner/internal/secp"
)

func TestShortSignaturesArePadded(t *testing.T) {
	r, s, err := split(append(bytes.Repeat([]byte{1}, 31), bytes.Repeat([]byte{2}, 31)...))
	if err != nil || r != [32]byte(append([]byte{0}, bytes.Repeat([]byte{1}, 31)...)) || s != [32]byte(append([]byte{0}, bytes.Repeat([]byte{2}, 31)...)) {
		t.Errorf("got %x, %x, %v", r, s, err)
	}
	for _, n := range []int{0, 1, 63, 65, 66, 128} {
		if _, _, err := split(make([]byte, n)); err == nil {
			t.Errorf("a signature of %d bytes was taken", n)
		}
	}
}

func TestErrorsAreCalledWhatTheManualCallsThem(t *testing.T) {
	for c, want := range map[uint]string{
		pkcs11.CKR_PIN_INCORRECT: "CKR_PIN_INCORRECT", pkcs11.CKR_VENDOR_DEFINED | 5: "the vendor's error 0x80000005", 0x7777: "error 0x7777",
	} {
		if got := name(pkcs11.Error(c)); got != want {
			t.Errorf("%#x is called %q, want %q", c, got, want)
		}
	}
}

// The encoding is of a fixed length; the standard library knows P-256 only, so
// its own encoding of such a key is the pattern.
func TestPKCS8IsWhatTheStandardLibraryMakes(t *testing.T) {
	k, err := crypto.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	got := pkcs8(crypto.FromECDSA(k), crypto.FromECDSAPub(&k.PublicKey))
	if len(got) != 135 || cap(got) != 135 {
		t.Fatalf("%d bytes of %d", len(got), cap(got))
	}
	// P-256's OID is three bytes longer.
	other := bytes.Replace(bytes.Clone(got), curveNames[0], []byte{0x06, 0x08, 0x2a, 0x86, 0x48, 0xce, 0x3d, 0x03, 0x01, 0x07}, 1)
	other[2] += 3
	other[7] += 3
	p, err := x509.ParsePKCS8PrivateKey(other)
	if err != nil {
		t.Fatal(err)
	}
	d, err := p.(*ecdsa.PrivateKey).Bytes()
	if err != nil || !bytes.Equal(d, crypto.FromECDSA(k)) {
		t.Errorf("got %x, %v", d, err)
	}
}

// FuzzPair gives arbitrary objects: nobody gets a public key that no object of
// his CKA_ID or label (or himself) carries.
func FuzzPair(f *testing.F) {
	k, err := crypto.GenerateKey()
	if err != nil {
		f.Fatal(err)
	}
	point := append([]byte{4, 65}, crypto.FromECDSAPub(&k.PublicKey)...)
	f.Add([]byte{1}, "a", []byte{1}, "a", point, curveNames[0], false)
	f.Add([]byte{1}, "a", []byte{}, "a", point[2:], []byte(nil), true)
	f.Add([]byte{}, "", []byte{}, "", point, curveNames[1], false)
	f.Fuzz(func(t *testing.T, id []byte, label string, publicID []byte, publicLabel string, point, params []byte, twice bool) {
		private := []object{{id: id, label: label}}
		if twice {
			private = append(private, object{id: id, label: label})
		}
		for _, p := range pair(private, []object{{id: publicID, label: publicLabel, point: point, params: params}}) {
			if p.entry.Problem {
				if p.entry.Reason == "" || p.entry.Label == "" {
					t.Fatalf("problem without a name or a reason: %+v", p.entry)
				}
				continue
			}
			want, err := secp.ParsePoint(point)
			sameID, sameLabel := len(id) > 0 && bytes.Equal(id, publicID), label != "" && label == publicLabel
			if err != nil || p.entry.Point != want || twice || !sameID && !sameLabel {
				t.Fatalf("%x %q got the key of %x %q", id, label, publicID, publicLabel)
			}
		}
	})
}
