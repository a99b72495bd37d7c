// SPDX-License-Identifier: Apache-2.0

package secp_test

import (
	"crypto/rand"
	"encoding/asn1"
	"encoding/hex"
	"math/big"
	"testing"

	"github.com/ethereum/go-ethereum/crypto"

	"github.com/hsmsigner/hsmsigner/internal/secp"
)

// der encodes r and s by encoding/asn1, so that the tests do not compare the
// parser with itself.
func der(t testing.TB, r, s [32]byte) []byte {
	t.Helper()
	b, err := asn1.Marshal(struct{ R, S *big.Int }{new(big.Int).SetBytes(r[:]), new(big.Int).SetBytes(s[:])})
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func unhex32(t testing.TB, s string) [32]byte {
	t.Helper()
	return [32]byte(unhex(t, s))
}

// flip returns n − s, the s of the other signature with the same r.
func flip(s [32]byte) (out [32]byte) {
	n := crypto.S256().Params().N
	new(big.Int).Sub(n, new(big.Int).SetBytes(s[:])).FillBytes(out[:])
	return out
}

func randomDigest(t testing.TB) (d [32]byte) {
	t.Helper()
	if _, err := rand.Read(d[:]); err != nil {
		t.Fatal(err)
	}
	return d
}

// signed is a key and the canonical signature that go-ethereum makes with it.
type signed struct {
	pub    secp.PublicKey
	digest [32]byte
	sig    secp.Signature
}

func signRandom(t testing.TB, secret []byte) signed {
	t.Helper()
	priv, err := crypto.ToECDSA(secret)
	if err != nil {
		t.Fatal(err)
	}
	digest := randomDigest(t)
	raw, err := crypto.Sign(digest[:], priv)
	if err != nil {
		t.Fatal(err)
	}
	return signed{
		pub:    secp.PublicKey(crypto.FromECDSAPub(&priv.PublicKey)[1:]),
		digest: digest,
		sig:    secp.Signature{R: [32]byte(raw[:32]), S: [32]byte(raw[32:64]), V: raw[64]},
	}
}

func randomSecret(t testing.TB) []byte {
	t.Helper()
	priv, err := crypto.GenerateKey()
	if err != nil {
		t.Fatal(err)
	}
	return crypto.FromECDSA(priv)
}
