// SPDX-License-Identifier: Apache-2.0

package pkcs11

import (
	"bytes"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/crypto"

	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/secp"
)

const generator = "0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798"

func TestRefsRoundTrip(t *testing.T) {
	for _, id := range [][]byte{{}, {0}, {0xab, 1}, bytes.Repeat([]byte{7}, 256)} {
		for range 20 { // both signs of Y come
			k, err := crypto.GenerateKey()
			if err != nil {
				t.Fatal(err)
			}
			point := secp.PublicKey(crypto.FromECDSAPub(&k.PublicKey)[1:])
			gotID, gotPoint, ok := parseRef(refOf(id, point))
			if !ok || !bytes.Equal(gotID, id) || gotPoint != point {
				t.Fatalf("ref %s gives %x, %x, %v", refOf(id, point), gotID, gotPoint, ok)
			}
		}
	}
}

func TestMalformedRefsNameNothing(t *testing.T) {
	for _, ref := range []string{
		"", ".", "00", "00.", generator, "0." + generator, "0g." + generator, "00." + generator[2:], "00." + strings.ToUpper(generator),
		"AB." + generator, "00." + generator + "00", "00.05" + generator[2:], "00.02" + strings.Repeat("f", 64), "00.00" + generator,
		strings.Repeat("00", 257) + "." + generator, "00." + generator + ".",
	} {
		if _, _, ok := parseRef(key.Ref(ref)); ok {
			t.Errorf("%q was taken", ref)
		}
	}
}

func FuzzParseRef(f *testing.F) {
	f.Add("00ff." + generator)
	f.Add("." + generator)
	f.Add("00.03" + generator[2:])
	f.Fuzz(func(t *testing.T, ref string) {
		id, point, ok := parseRef(key.Ref(ref))
		if !ok {
			return
		}
		if back := refOf(id, point); string(back) != ref {
			t.Fatalf("%q came back as %q", ref, back)
		}
		if _, err := secp.ParsePoint(append([]byte{4}, point[:]...)); err != nil {
			t.Fatalf("%q: %v", ref, err)
		}
	})
}

func TestCommonPartsOfASecretAreBlottedOut(t *testing.T) {
	log := tail{secrets: secretsOf("user:password 1")}
	log.add("login of user with password 1 failed")
	log.add("user:password 1")
	if text := log.text(); strings.Contains(text, "password 1") || !strings.Contains(text, "login of user with *** failed") {
		t.Errorf("the log has %q", text)
	}
}
