// SPDX-License-Identifier: Apache-2.0

package secp_test

import (
	"errors"
	"testing"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/crypto"

	"github.com/hsmsigner/hsmsigner/internal/secp"
)

// Of 10,000 random keys and digests each signature is found again from its
// high-S twin, and through both encodings.
func TestRandomSignaturesComeOutCanonical(t *testing.T) {
	const cases = 10000
	var leadingZero [2]int
	for range cases {
		k := signRandom(t, randomSecret(t))
		address := k.pub.Address()
		r, high := k.sig.R, flip(k.sig.S)
		if r[0] == 0 {
			leadingZero[0]++
		}
		if k.sig.S[0] == 0 {
			leadingZero[1]++
		}
		for _, s := range [][32]byte{k.sig.S, high} {
			gotR, gotS, err := secp.ParseDER(der(t, r, s))
			if err != nil || gotR != r || gotS != s {
				t.Fatalf("ParseDER(%x, %x) = %x, %x, %v", r, s, gotR, gotS, err)
			}
			sig, err := secp.Finish(address, k.digest, gotR, gotS)
			if err != nil || sig != k.sig {
				t.Fatalf("Finish(%s, %x, %x, %x) = %+v, %v; want %+v", address, k.digest, r, s, sig, err, k.sig)
			}
		}
		if err := secp.Check(address, k.digest, k.sig); err != nil {
			t.Fatal(err)
		}
		if err := secp.Check(address, k.digest, secp.Signature{R: r, S: high, V: k.sig.V ^ 1}); !errors.Is(err, secp.ErrMalformed) {
			t.Fatalf("Check of high S: %v, want ErrMalformed", err)
		}
		if err := secp.Check(address, k.digest, secp.Signature{R: r, S: k.sig.S, V: k.sig.V ^ 1}); err == nil {
			t.Fatal("Check accepted the other recovery id")
		}
	}
	t.Logf("%d cases, %d with a leading zero in r, %d in s", cases, leadingZero[0], leadingZero[1])
	if leadingZero[0] == 0 || leadingZero[1] == 0 {
		t.Error("no case with a leading zero byte")
	}
}

func TestWrongHintChangesNothing(t *testing.T) {
	for range 100 {
		k := signRandom(t, randomSecret(t))
		for _, s := range [][32]byte{k.sig.S, flip(k.sig.S)} {
			for _, hint := range []byte{0, 1, 2, 0xff} {
				sig, err := secp.FinishHinted(k.pub.Address(), k.digest, k.sig.R, s, hint)
				if err != nil || sig != k.sig {
					t.Fatalf("FinishHinted with hint %d = %+v, %v; want %+v", hint, sig, err, k.sig)
				}
			}
		}
	}
}

func TestAnotherKeysSignatureIsErrWrongKey(t *testing.T) {
	a := signRandom(t, randomSecret(t))
	b := signRandom(t, randomSecret(t))
	if _, err := secp.Finish(b.pub.Address(), a.digest, a.sig.R, a.sig.S); !errors.Is(err, secp.ErrWrongKey) {
		t.Errorf("Finish: %v, want ErrWrongKey", err)
	}
	if _, err := secp.Finish(a.pub.Address(), b.digest, a.sig.R, a.sig.S); !errors.Is(err, secp.ErrWrongKey) {
		t.Errorf("Finish over another digest: %v, want ErrWrongKey", err)
	}
	if err := secp.Check(b.pub.Address(), a.digest, a.sig); !errors.Is(err, secp.ErrWrongKey) {
		t.Errorf("Check: %v, want ErrWrongKey", err)
	}
}

// A backend that answers r‖r (sigstore #2409) must not get through.
func TestRepeatedRIsErrWrongKey(t *testing.T) {
	a := signRandom(t, randomSecret(t))
	if _, err := secp.Finish(a.pub.Address(), a.digest, a.sig.R, a.sig.R); !errors.Is(err, secp.ErrWrongKey) {
		t.Errorf("Finish: %v, want ErrWrongKey", err)
	}
}

func TestOutOfRangeIsErrMalformed(t *testing.T) {
	good := signRandom(t, randomSecret(t))
	n := unhex32(t, groupOrder)
	for name, rs := range map[string][2][32]byte{
		"r = 0": {{}, good.sig.S}, "s = 0": {good.sig.R, {}},
		"r = n": {n, good.sig.S}, "s = n": {good.sig.R, n},
	} {
		if _, err := secp.Finish(good.pub.Address(), good.digest, rs[0], rs[1]); !errors.Is(err, secp.ErrMalformed) {
			t.Errorf("Finish with %s: %v, want ErrMalformed", name, err)
		}
		if _, err := secp.Recover(good.digest, secp.Signature{R: rs[0], S: rs[1]}); !errors.Is(err, secp.ErrMalformed) {
			t.Errorf("Recover with %s: %v, want ErrMalformed", name, err)
		}
	}
	bad := good.sig
	// With small r some of these would recover, to the point of X = r + n.
	for _, v := range []byte{2, 3, 4, 27, 28, 255} {
		bad.V = v
		for r := range byte(20) {
			bad.R = [32]byte{31: r + 1}
			if got, err := secp.Recover(good.digest, bad); !errors.Is(err, secp.ErrMalformed) {
				t.Errorf("Recover with V = %d, r = %d: %s, %v; want ErrMalformed", v, r+1, got, err)
			}
		}
	}
	// 5 is not the X of a point of secp256k1.
	bad = secp.Signature{S: good.sig.S}
	bad.R[31] = 5
	if _, err := secp.Recover(good.digest, bad); !errors.Is(err, secp.ErrMalformed) {
		t.Errorf("Recover with r = 5: %v, want ErrMalformed", err)
	}
}

// Signatures from an Azure vault over the EIP-191 message 0xfeaa, published in
// the tests of Consensys/quorum-key-manager (src/stores/connectors/ethereum/
// sign_test.go): public key, r, s, v.
func TestAzureVaultVectors(t *testing.T) {
	digest := [32]byte(crypto.Keccak256([]byte("\x19Ethereum Signed Message:\n2\xfe\xaa")))
	tests := []struct {
		point, r, s string
		v           byte
	}{
		{
			"04e2e7621c0c08e43905648be731a482e8eb3d3186023335812f52130e4a18dd729b22d88fbf0f22b8fa4390267ef0c54367dc638a25b38ea74290bdb9f79ff917",
			"e276fd7524ed7af67b7f914de5be16fad6b9038009d2d78f2315351fbd48deee",
			"57a897964e80e041c674942ef4dbd860cb79a6906fb965d5e4645f5c44f7eae4", 0,
		},
		{
			"048e12a3333368c1c4c7c8fe9d1fd172444f6de328cd1650b76836928be9e71e952f61d75d87133f881bf4d25e02c3147aebf69abf7587c39cb5d177693ce1ca8f",
			"63341e2c837449de3735b6f4402b154aa0a118d02e45a2b311fba39c444025dd",
			"39db7699cb3d8a5caf7728a87e778c2cdccc4085cf2a346e37c1823dec5ce2ed", 1,
		},
	}
	for _, tt := range tests {
		pub, err := secp.ParsePoint(unhex(t, tt.point))
		if err != nil {
			t.Fatal(err)
		}
		want := secp.Signature{R: unhex32(t, tt.r), S: unhex32(t, tt.s), V: tt.v}
		for name, s := range map[string][32]byte{"low": want.S, "high": flip(want.S)} {
			got, err := secp.Finish(pub.Address(), digest, want.R, s)
			if err != nil || got != want {
				t.Errorf("%s S of %s: %+v, %v; want %+v", name, pub.Address(), got, err, want)
			}
		}
	}
}

func TestBytesAreWhatGoEthereumRecovers(t *testing.T) {
	k := signRandom(t, randomSecret(t))
	pub, err := crypto.SigToPub(k.digest[:], k.sig.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if got := crypto.PubkeyToAddress(*pub); got != k.pub.Address() || got == (common.Address{}) {
		t.Errorf("address %s, want %s", got, k.pub.Address())
	}
}
