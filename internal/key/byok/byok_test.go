// SPDX-License-Identifier: Apache-2.0

package byok_test

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"testing"

	gethcrypto "github.com/ethereum/go-ethereum/crypto"

	"github.com/hsmsigner/hsmsigner/internal/key/byok"
)

func rsaKey(t *testing.T) *rsa.PrivateKey {
	t.Helper()
	k, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestWrappedKeyComesBack(t *testing.T) {
	priv := rsaKey(t)
	for _, hash := range []crypto.Hash{crypto.SHA1, crypto.SHA256} {
		for i := range 20 {
			secret := gethcrypto.FromECDSA(mustKey(t))
			if i == 0 {
				secret = append(make([]byte, 31), 1) // leading zeros count
			}
			der, err := byok.PKCS8(secret)
			if err != nil {
				t.Fatal(err)
			}
			kept := bytes.Clone(der)
			blob, err := byok.RSAAESWrap(&priv.PublicKey, hash, der)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(der, kept) {
				t.Fatal("the payload was changed")
			}
			if want := 256 + 8 + 136; len(blob) != want {
				t.Fatalf("blob of %d bytes, want %d", len(blob), want)
			}
			got, err := byok.Unwrap(priv, hash, blob)
			if err != nil {
				t.Fatal(err)
			}
			again, err := byok.ParsePKCS8(got)
			if err != nil || !bytes.Equal(again, secret) {
				t.Fatalf("got %x, %v", again, err)
			}
		}
	}
}

func TestNoTwoBlobsAreAlike(t *testing.T) {
	priv := rsaKey(t)
	payload := bytes.Repeat([]byte{7}, 135)
	a, err := byok.RSAAESWrap(&priv.PublicKey, crypto.SHA256, payload)
	if err != nil {
		t.Fatal(err)
	}
	b, err := byok.RSAAESWrap(&priv.PublicKey, crypto.SHA256, payload)
	if err != nil {
		t.Fatal(err)
	}
	if bytes.Equal(a[:256], b[:256]) || bytes.Equal(a[256:], b[256:]) {
		t.Error("two wrappings share an AES key")
	}
}

func TestDamagedBlobIsRefused(t *testing.T) {
	priv := rsaKey(t)
	blob, err := byok.RSAAESWrap(&priv.PublicKey, crypto.SHA256, bytes.Repeat([]byte{7}, 135))
	if err != nil {
		t.Fatal(err)
	}
	for _, at := range []int{0, 100, 255, 256, 300, len(blob) - 1} {
		bad := bytes.Clone(blob)
		bad[at] ^= 1
		if _, err := byok.Unwrap(priv, crypto.SHA256, bad); !errors.Is(err, byok.ErrMalformed) {
			t.Errorf("byte %d changed: %v", at, err)
		}
	}
	for _, short := range [][]byte{nil, blob[:255], blob[:256], blob[:264], blob[:len(blob)-1], blob[:len(blob)-8]} {
		if _, err := byok.Unwrap(priv, crypto.SHA256, short); !errors.Is(err, byok.ErrMalformed) {
			t.Errorf("%d bytes: %v", len(short), err)
		}
	}
	if _, err := byok.Unwrap(priv, crypto.SHA1, blob); !errors.Is(err, byok.ErrMalformed) {
		t.Errorf("another hash: %v", err)
	}
}

func TestWrapRefusesWhatNoServiceUses(t *testing.T) {
	priv := rsaKey(t)
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	for name, call := range map[string]func() ([]byte, error){
		"no key":      func() ([]byte, error) { return byok.RSAAESWrap(nil, crypto.SHA256, []byte{1}) },
		"no modulus":  func() ([]byte, error) { return byok.RSAAESWrap(&rsa.PublicKey{E: 3}, crypto.SHA256, []byte{1}) },
		"small key":   func() ([]byte, error) { return byok.RSAAESWrap(&small.PublicKey, crypto.SHA256, []byte{1}) },
		"no hash":     func() ([]byte, error) { return byok.RSAAESWrap(&priv.PublicKey, 0, []byte{1}) },
		"no payload":  func() ([]byte, error) { return byok.RSAAESWrap(&priv.PublicKey, crypto.SHA256, nil) },
		"big payload": func() ([]byte, error) { return byok.RSAAESWrap(&priv.PublicKey, crypto.SHA256, make([]byte, 1<<16+1)) },
	} {
		if blob, err := call(); err == nil || blob != nil {
			t.Errorf("%s: got %d bytes, %v", name, len(blob), err)
		}
	}
}

func TestPKCS8RefusesWhatIsNoKey(t *testing.T) {
	order, _ := hex.DecodeString("fffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141")
	for name, private := range map[string][]byte{
		"nothing": nil, "short": make([]byte, 31), "long": bytes.Repeat([]byte{1}, 33), "zero": make([]byte, 32), "n": order,
		"above n": bytes.Repeat([]byte{0xff}, 32),
	} {
		if der, err := byok.PKCS8(private); err == nil || der != nil {
			t.Errorf("%s: got %x, %v", name, der, err)
		}
	}
}

// The structure is checked by a parser that knows nothing of our template.
func TestPKCS8IsThatOfTheStandards(t *testing.T) {
	k := mustKey(t)
	der, err := byok.PKCS8(gethcrypto.FromECDSA(k))
	if err != nil {
		t.Fatal(err)
	}
	var outer struct { // RFC 5208 §5
		Version   int
		Algorithm struct{ OID, Curve asn1.ObjectIdentifier }
		Key       []byte
	}
	if rest, err := asn1.Unmarshal(der, &outer); err != nil || len(rest) > 0 {
		t.Fatal(err)
	}
	var inner struct { // RFC 5915 §3
		Version int
		Key     []byte
		Public  asn1.BitString `asn1:"optional,explicit,tag:1"`
	}
	if rest, err := asn1.Unmarshal(outer.Key, &inner); err != nil || len(rest) > 0 {
		t.Fatal(err)
	}
	if outer.Version != 0 || inner.Version != 1 || outer.Algorithm.OID.String() != "1.2.840.10045.2.1" || outer.Algorithm.Curve.String() != "1.3.132.0.10" {
		t.Errorf("got %+v, %+v", outer, inner)
	}
	if !bytes.Equal(inner.Key, gethcrypto.FromECDSA(k)) || !bytes.Equal(inner.Public.Bytes, gethcrypto.FromECDSAPub(&k.PublicKey)) {
		t.Error("the key is another")
	}
	for _, bad := range [][]byte{nil, der[:134], append(bytes.Clone(der), 0), withByte(der, 30, 2), withByte(der, 134, der[134]^1)} {
		if _, err := byok.ParsePKCS8(bad); !errors.Is(err, byok.ErrMalformed) {
			t.Errorf("%x: %v", bad, err)
		}
	}
}

func mustKey(t *testing.T) *ecdsa.PrivateKey {
	t.Helper()
	k, err := gethcrypto.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func withByte(b []byte, at int, v byte) []byte {
	c := bytes.Clone(b)
	c[at] = v
	return c
}
