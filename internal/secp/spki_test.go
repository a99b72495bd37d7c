// SPDX-License-Identifier: Apache-2.0

package secp_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"errors"
	"strings"
	"testing"

	"github.com/hsmsigner/hsmsigner/internal/secp"
)

// generator is the point G of SEC 2 §2.4.1; its address is that of the
// private key 1, 0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf.
const generator = "79be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798" +
	"483ada7726a3c4655da4fbfc0e1108a8fd17b448a68554199c47d08ffb10d4b8"

const generatorSPKI = "3056301006072a8648ce3d020106052b8104000a03420004" + generator

func TestSPKIOfGeneratorHasKnownAddress(t *testing.T) {
	pub, err := secp.ParseSPKI(unhex(t, generatorSPKI))
	if err != nil {
		t.Fatal(err)
	}
	if got, want := pub.Address().Hex(), "0x7E5F4552091A69125d5DfCb7b8C2659029395Bdf"; got != want {
		t.Errorf("address %s, want %s", got, want)
	}
	if got := hex.EncodeToString(pub.SPKI()); got != generatorSPKI {
		t.Errorf("SPKI() = %s, want %s", got, generatorSPKI)
	}
}

func TestSPKIPrefixIsWhatASN1Encodes(t *testing.T) {
	type algorithm struct{ OID, Curve asn1.ObjectIdentifier }
	got, err := asn1.Marshal(struct {
		Algorithm algorithm
		Key       asn1.BitString
	}{
		algorithm{asn1.ObjectIdentifier{1, 2, 840, 10045, 2, 1}, asn1.ObjectIdentifier{1, 3, 132, 0, 10}},
		asn1.BitString{Bytes: append([]byte{4}, unhex(t, generator)...), BitLength: 520},
	})
	if err != nil {
		t.Fatal(err)
	}
	if hex.EncodeToString(got) != generatorSPKI {
		t.Errorf("encoding/asn1 gives %x, want %s", got, generatorSPKI)
	}
}

func TestMalformedSPKIIsRefused(t *testing.T) {
	p256, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	nist, err := x509.MarshalPKIXPublicKey(&p256.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	rsaSPKI, err := x509.MarshalPKIXPublicKey(&rsaKey.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	tests := []struct {
		name, der string
		otherKey  bool
		says      string
	}{
		{"empty", "", false, "not a DER SubjectPublicKeyInfo"},
		{"trailing byte", generatorSPKI + "00", false, "1 bytes after"},
		{"truncated", generatorSPKI[:len(generatorSPKI)-2], false, "not a DER SubjectPublicKeyInfo"},
		{"P-256", hex.EncodeToString(nist), true, "curve 1.2.840.10045.3.1.7"},
		{"RSA", hex.EncodeToString(rsaSPKI), true, "algorithm 1.2.840.113549.1.1.1"},
		{"wrong curve OID, same length", strings.Replace(generatorSPKI, "2b8104000a", "2b81040022", 1), true, "curve 1.3.132.0.34"},
		{"no curve", "304f300906072a8648ce3d0201" + generatorSPKI[40:], false, "curve is not given by name"},
		{"curve NULL", "3051300b06072a8648ce3d02010500" + generatorSPKI[40:], false, "curve is not given by name"},
		{"unused bits", strings.Replace(generatorSPKI, "03420004", "03420104", 1), false, "parse SPKI"},
		{"compressed point", "3036301006072a8648ce3d020106052b8104000a032200" + "02" + generator[:64], false, "uncompressed"},
		{"hybrid point", strings.Replace(generatorSPKI, "03420004", "03420006", 1), false, "begins with 0x06"},
		{"off the curve", generatorSPKI[:len(generatorSPKI)-1] + "9", false, "not on secp256k1"},
		{"point at zero", "3056301006072a8648ce3d020106052b8104000a03420004" + strings.Repeat("00", 64), false, "not on secp256k1"},
		{"X not below p", "3056301006072a8648ce3d020106052b8104000a03420004" + strings.Repeat("ff", 64), false, "field prime"},
		{"long-form length", "3081563010" + generatorSPKI[8:], false, "not a DER SubjectPublicKeyInfo"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			_, err := secp.ParseSPKI(unhex(t, tt.der))
			if !errors.Is(err, secp.ErrMalformed) {
				t.Fatalf("error %v, want ErrMalformed", err)
			}
			if errors.Is(err, secp.ErrOtherKey) != tt.otherKey {
				t.Errorf("error %v: is ErrOtherKey = %v, want %v", err, !tt.otherKey, tt.otherKey)
			}
			if !strings.Contains(err.Error(), tt.says) {
				t.Errorf("error %q does not say %q", err, tt.says)
			}
		})
	}
}

func TestPointIsJudgedByLength(t *testing.T) {
	want, err := secp.ParseSPKI(unhex(t, generatorSPKI))
	if err != nil {
		t.Fatal(err)
	}
	good := map[string]string{"raw": "04" + generator, "octet string": "044104" + generator}
	for name, in := range good {
		if got, err := secp.ParsePoint(unhex(t, in)); err != nil || got != want {
			t.Errorf("%s: %x, %v; want the generator", name, got, err)
		}
	}
	bad := map[string]string{
		"empty": "", "without 04": generator, "compressed": "02" + generator[:64],
		"wrong tag": "034104" + generator, "wrong length byte": "044204" + generator,
		"trailing byte": "04" + generator + "00", "two trailing bytes": "04" + generator + "0000",
		"trailing after octet string": "044104" + generator + "00",
		"octet string of hybrid":      "044106" + generator,
		"off the curve":               "04" + generator[:127] + "9",
	}
	for name, in := range bad {
		if _, err := secp.ParsePoint(unhex(t, in)); !errors.Is(err, secp.ErrMalformed) {
			t.Errorf("%s: error %v, want ErrMalformed", name, err)
		}
	}
}

// A public key with a leading zero byte in X or Y must keep its 64 bytes.
func TestLeadingZeroCoordinateKeepsItsAddress(t *testing.T) {
	var seen [2]bool
	for i := 0; i < 20000 && (!seen[0] || !seen[1]); i++ {
		k := signRandom(t, randomSecret(t))
		x, y := k.pub[0] == 0, k.pub[32] == 0
		if !x && !y {
			continue
		}
		seen[0], seen[1] = seen[0] || x, seen[1] || y
		got, err := secp.ParseSPKI(k.pub.SPKI())
		if err != nil || got != k.pub {
			t.Fatalf("ParseSPKI(%x) = %x, %v", k.pub.SPKI(), got, err)
		}
		if err := secp.Check(got.Address(), k.digest, k.sig); err != nil {
			t.Fatal(err)
		}
	}
	if !seen[0] || !seen[1] {
		t.Error("no key with a leading zero in X and in Y among 20,000")
	}
}

func FuzzParseSPKI(f *testing.F) {
	f.Add(unhex(f, generatorSPKI))
	f.Add(unhex(f, generatorSPKI+"00"))
	f.Add(unhex(f, strings.Replace(generatorSPKI, "2b8104000a", "2b81040022", 1)))
	f.Add(unhex(f, "3036301006072a8648ce3d020106052b8104000a032200"+"02"+generator[:64]))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, in []byte) {
		pub, err := secp.ParseSPKI(in)
		if err != nil {
			if !errors.Is(err, secp.ErrMalformed) || pub != (secp.PublicKey{}) {
				t.Fatalf("%x: refused with %v and key %x", in, err, pub)
			}
			return
		}
		if !bytes.Equal(pub.SPKI(), in) {
			t.Fatalf("accepted %x, which encodes as %x", in, pub.SPKI())
		}
		// The two doors must agree on what a point is.
		if again, err := secp.ParsePoint(in[len(in)-65:]); err != nil || again != pub {
			t.Fatalf("ParsePoint(%x) = %x, %v", in[len(in)-65:], again, err)
		}
	})
}
