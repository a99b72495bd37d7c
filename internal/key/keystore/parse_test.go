// SPDX-License-Identifier: Apache-2.0

package keystore

import (
	"errors"
	"testing"
)

// Whatever is accepted costs no more than the bounds say: the parser, not the
// derivation, is the guard.
func FuzzParseV3(f *testing.F) {
	good, _, err := encrypt(append(make([]byte, 31), 1), []byte("foo"), ScryptParams{N: 2, R: 8, P: 1})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte(`{"version":3,"Crypto":{"cipher":"aes-128-ctr","cipherparams":{"iv":"00000000000000000000000000000000"},"ciphertext":"00","kdf":"pbkdf2","kdfparams":{"c":1,"dklen":32,"prf":"hmac-sha256","salt":"00"},"mac":"0000000000000000000000000000000000000000000000000000000000000000"}}`))
	f.Add([]byte(`{"version":3,"crypto":{}}`))
	f.Add([]byte(`{"version":3,"address":null}`))
	f.Fuzz(func(t *testing.T, in []byte) {
		file, err := parseV3(in)
		if err != nil {
			if file != nil || !errors.Is(err, ErrFormat) && !errors.Is(err, ErrUnsupported) {
				t.Fatalf("refused with %v and %v", err, file)
			}
			return
		}
		if n := len(file.ciphertext); n < 1 || n > keySize {
			t.Fatalf("ciphertext of %d bytes", n)
		}
		k := file.kdf
		if k.length < minDerivedKey || k.length > maxDerivedKey || len(k.salt) < 1 || len(k.salt) > maxSalt {
			t.Fatalf("dklen %d, salt of %d bytes", k.length, len(k.salt))
		}
		if k.pbkdf2 != 0 {
			if k.pbkdf2 < 1 || k.pbkdf2 > maxIterations || k.scrypt != (ScryptParams{}) {
				t.Fatalf("pbkdf2 with %d iterations, scrypt %+v", k.pbkdf2, k.scrypt)
			}
			return
		}
		p := k.scrypt
		if p.N < 2 || p.R < 1 || p.P < 1 || 128*p.N*p.R > maxScryptMemory || p.N*p.R*p.P > maxScryptWork {
			t.Fatalf("scrypt %+v", p)
		}
	})
}
