// SPDX-License-Identifier: Apache-2.0

package keystore_test

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/crypto"

	"github.com/hsmsigner/hsmsigner/internal/key/keystore"
)

func TestWeb3SecretStorageVectors(t *testing.T) {
	var cases map[string]struct {
		JSON     json.RawMessage
		Password string
		Priv     string
	}
	if err := json.Unmarshal([]byte(read(t, vectors+"v3_test_vector.json")), &cases); err != nil {
		t.Fatal(err)
	}
	for name, c := range cases {
		secret, err := keystore.Decrypt(c.JSON, []byte(c.Password))
		if want := fmt.Sprintf("%064s", c.Priv); err != nil || hex.EncodeToString(secret) != want {
			t.Errorf("%s: %x, %v; want %s", name, secret, err, want)
		}
	}
	t.Logf("%d vectors", len(cases))
	if len(cases) != 4 {
		t.Errorf("%d vectors, want 4", len(cases))
	}
}

func TestEthersprojectWallets(t *testing.T) {
	var cases []struct {
		Name, Type, Address, PrivateKey, Password, JSON string
	}
	if err := json.Unmarshal([]byte(read(t, vectors+"ethersproject-wallets.json")), &cases); err != nil {
		t.Fatal(err)
	}
	opened, refused := 0, 0
	for _, c := range cases {
		secret, err := keystore.Decrypt([]byte(c.JSON), []byte(c.Password))
		if c.Type != "secret-storage" {
			refused++
			if !errors.Is(err, keystore.ErrFormat) {
				t.Errorf("%s: error %v, want ErrFormat", c.Name, err)
			}
			continue
		}
		opened++
		if err != nil || "0x"+hex.EncodeToString(secret) != c.PrivateKey {
			t.Errorf("%s: %x, %v; want %s", c.Name, secret, err, c.PrivateKey)
			continue
		}
		priv, err := crypto.ToECDSA(secret)
		if err != nil || crypto.PubkeyToAddress(priv.PublicKey) != common.HexToAddress(c.Address) {
			t.Errorf("%s: address is not %s (%v)", c.Name, c.Address, err)
		}
	}
	t.Logf("%d wallets: %d version 3, %d of another form refused", len(cases), opened, refused)
	if opened != 7 || refused != 2 {
		t.Errorf("%d opened and %d refused, want 7 and 2", opened, refused)
	}
}

// The directory with which go-ethereum tests its own keystore.
func TestGethDirectory(t *testing.T) {
	dir := privateDir(t)
	if err := os.CopyFS(dir, os.DirFS(vectors+"geth")); err != nil {
		t.Fatal(err)
	}
	write(t, dir, "very-light-scrypt.json.password", "")
	write(t, dir, "zzz~", read(t, dir+"/zzz"))
	ks := open(t, keystore.Config{Path: dir, Password: password("foobar")})
	keys, problems := list(t, ks)
	want := map[string]string{
		"UTC--2016-03-22T12-57-55.920751759Z--7ef5a6135f1fd6a02593eedc869c6d41d934aef8": "0x7ef5a6135f1fd6a02593eedc869c6d41d934aef8",
		"aaa":                    "0xf466859ead1932d743d622cb74fc058882e8648a",
		"zzz":                    "0x289d485d9771714cce91d3393d764e1311907acc",
		"very-light-scrypt.json": "0x45dea0fb0bba44f4fcf290bba71fd57d7117cbb8",
	}
	for name, address := range want {
		if keys[name].Address != common.HexToAddress(address) {
			t.Errorf("%s: %+v, want address %s", name, keys[name], address)
			continue
		}
		mustSign(t, ks, keys[name])
	}
	if len(keys) != len(want) {
		t.Errorf("%d keys, want %d: %v", len(keys), len(want), keys)
	}
	for name, says := range map[string]string{
		"README": "not valid JSON", "garbage": "not valid JSON", "empty": "empty",
		"zero": "address is zero", "no-address": "that of file aaa too",
	} {
		if !strings.Contains(problems[name], says) {
			t.Errorf("problem of %s is %q, want it to say %q", name, problems[name], says)
		}
	}
	t.Logf("%d keys, %d problems", len(keys), len(problems))
}

// template is a key file of cost 2 for the password "foo"; the key is 1.
func template(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	path, _, err := keystore.Import(dir, append(make([]byte, 31), 1), []byte("foo"), cheap)
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

func TestBadFilesAreRefusedWithAReason(t *testing.T) {
	good := template(t)
	if _, err := keystore.Decrypt([]byte(good), []byte("foo")); err != nil {
		t.Fatal(err)
	}
	var parsed struct {
		Address string
		Crypto  struct {
			Ciphertext, MAC string
			KDFParams       struct{ Salt string }
			CipherParams    struct{ IV string }
		}
	}
	if err := json.Unmarshal([]byte(good), &parsed); err != nil {
		t.Fatal(err)
	}
	replace := func(from, to string) string {
		if strings.Count(good, from) != 1 {
			t.Fatalf("%q is not exactly once in the template", from)
		}
		return strings.Replace(good, from, to, 1)
	}
	flipped := func(hexText string) string {
		c := byte('0')
		if hexText[0] == '0' {
			c = '1'
		}
		return string(c) + hexText[1:]
	}
	tests := []struct {
		name, file string
		kind       error
		says       string
	}{
		{"empty", "", keystore.ErrFormat, "empty"},
		{"blank", " \n", keystore.ErrFormat, "empty"},
		{"cut off", good[:len(good)/2], keystore.ErrFormat, "not valid JSON"},
		{"twice", good + good, keystore.ErrFormat, "data after the end"},
		{"array", "[]", keystore.ErrFormat, "an array, want an object"},
		{"too large", `{"a":"` + strings.Repeat("x", 70<<10) + `"}`, keystore.ErrFormat, "larger than 64 KiB"},
		{"no version", replace(`,"version":3`, ""), keystore.ErrFormat, "no version"},
		{"version 1", replace(`"version":3`, `"version":"1"`), keystore.ErrUnsupported, `version "1", want 3`},
		{"version 4", replace(`"version":3`, `"version":4`), keystore.ErrUnsupported, "version 4, want 3"},
		{"no crypto", `{"version":3}`, keystore.ErrFormat, "crypto is nothing"},
		{"two cryptos", replace(`"version":3`, `"version":3,"Crypto":{}`), keystore.ErrFormat, "both crypto and Crypto"},
		{"duplicate member", replace(`"version":3`, `"version":3,"version":3`), keystore.ErrFormat, "duplicate member"},
		{"short address", replace(parsed.Address, parsed.Address[2:]), keystore.ErrFormat, "address has 19 bytes, want 20"},
		{"address no hex", replace(parsed.Address, "xx"+parsed.Address[2:]), keystore.ErrFormat, "address is not hex"},
		{"address number", replace(`"`+parsed.Address+`"`, "7"), keystore.ErrFormat, "address is a number"},
		{"other address", replace(parsed.Address, flipped(parsed.Address)), keystore.ErrFormat, "but the key inside is that of"},
		{"cipher", replace("aes-128-ctr", "aes-128-cbc"), keystore.ErrUnsupported, `cipher "aes-128-cbc", want aes-128-ctr`},
		{"short iv", replace(parsed.Crypto.CipherParams.IV, "00"), keystore.ErrFormat, "iv has 1 bytes, want 16"},
		{"no cipherparams", replace("cipherparams", "params"), keystore.ErrFormat, "iv is nothing"},
		{"long ciphertext", replace(parsed.Crypto.Ciphertext, parsed.Crypto.Ciphertext+"00"), keystore.ErrFormat, "ciphertext has 33 bytes"},
		{"no ciphertext", replace(parsed.Crypto.Ciphertext, ""), keystore.ErrFormat, "ciphertext has 0 bytes"},
		{"short mac", replace(parsed.Crypto.MAC, "00"), keystore.ErrFormat, "mac has 1 bytes, want 32"},
		{"altered mac", replace(parsed.Crypto.MAC, flipped(parsed.Crypto.MAC)), keystore.ErrPassword, "wrong password"},
		{"altered ciphertext", replace(parsed.Crypto.Ciphertext, flipped(parsed.Crypto.Ciphertext)), keystore.ErrPassword, "wrong password"},
		{"altered salt", replace(parsed.Crypto.KDFParams.Salt, flipped(parsed.Crypto.KDFParams.Salt)), keystore.ErrPassword, "wrong password"},
		{"kdf", replace(`"kdf":"scrypt"`, `"kdf":"argon2id"`), keystore.ErrUnsupported, `kdf "argon2id", want scrypt or pbkdf2`},
		{"prf", replace(`"kdf":"scrypt","kdfparams":{`, `"kdf":"pbkdf2","kdfparams":{"c":1,"prf":"hmac-sha512",`), keystore.ErrUnsupported, "prf"},
		{"pbkdf2 without c", replace(`"kdf":"scrypt","kdfparams":{`, `"kdf":"pbkdf2","kdfparams":{"prf":"hmac-sha256",`), keystore.ErrFormat, "kdfparams.c is nothing"},
		{"pbkdf2 for days", replace(`"kdf":"scrypt","kdfparams":{`, `"kdf":"pbkdf2","kdfparams":{"prf":"hmac-sha256","c":2000000000,`), keystore.ErrUnsupported, "c=2000000000"},
		{"pbkdf2 c=0", replace(`"kdf":"scrypt","kdfparams":{`, `"kdf":"pbkdf2","kdfparams":{"prf":"hmac-sha256","c":0,`), keystore.ErrUnsupported, "c=0"},
		{"n not a power of two", replace(`"n":2`, `"n":3`), keystore.ErrUnsupported, "power of two"},
		{"n one", replace(`"n":2`, `"n":1`), keystore.ErrUnsupported, "power of two"},
		{"n negative", replace(`"n":2`, `"n":-2`), keystore.ErrUnsupported, "power of two"},
		{"n fraction", replace(`"n":2`, `"n":2.5`), keystore.ErrFormat, "kdfparams.n is 2.5, want a whole number"},
		{"n text", replace(`"n":2`, `"n":"2"`), keystore.ErrFormat, `kdfparams.n is "2"`},
		{"n beyond int64", replace(`"n":2`, `"n":36893488147419103232`), keystore.ErrFormat, "whole number below 2^31"},
		{"2 GiB", replace(`"n":2,"p":1,"r":8`, `"n":2097152,"p":1,"r":8`), keystore.ErrUnsupported, "more than 1 GiB"},
		{"memory overflow", replace(`"n":2,"p":1,"r":8`, `"n":1073741824,"p":1,"r":2147483647`), keystore.ErrUnsupported, "more than 1 GiB"},
		{"p absurd", replace(`"p":1`, `"p":2147483647`), keystore.ErrUnsupported, "memory"},
		{"p wants memory", replace(`"p":1`, `"p":16777216`), keystore.ErrUnsupported, "memory"},
		{"r zero", replace(`"r":8`, `"r":0`), keystore.ErrUnsupported, "at least 1"},
		{"dklen short", replace(`"dklen":32`, `"dklen":16`), keystore.ErrUnsupported, "dklen 16"},
		{"dklen long", replace(`"dklen":32`, `"dklen":2000000000`), keystore.ErrUnsupported, "dklen 2000000000"},
		{"no salt", replace(parsed.Crypto.KDFParams.Salt, ""), keystore.ErrFormat, "salt has 0 bytes"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			secret, err := keystore.Decrypt([]byte(tt.file), []byte("foo"))
			if !errors.Is(err, tt.kind) || !strings.Contains(err.Error(), tt.says) {
				t.Errorf("error %q, want one that wraps %q and says %q", err, tt.kind, tt.says)
			}
			if secret != nil {
				t.Error("a secret came with the error")
			}
		})
	}
	t.Logf("%d bad files", len(tests))
}

func TestWhatOtherWalletsWriteIsAccepted(t *testing.T) {
	good := template(t)
	for name, file := range map[string]string{
		"Crypto":           strings.Replace(good, `"crypto"`, `"Crypto"`, 1),
		"address with 0x":  strings.Replace(good, `"address":"`, `"address":"0x`, 1),
		"no address":       `{` + good[strings.Index(good, `"crypto"`):],
		"address null":     strings.Replace(good, `"address"`, `"address":null,"was"`, 1),
		"unknown members":  strings.Replace(good, `"version":3`, `"version":3,"x-ethers":{"client":"x"},"meta":"{}"`, 1),
		"spaces and lines": "\n " + strings.ReplaceAll(good, ",", " ,\n\t") + "\n",
	} {
		if secret, err := keystore.Decrypt([]byte(file), []byte("foo")); err != nil || len(secret) != 32 || secret[31] != 1 {
			t.Errorf("%s: %x, %v", name, secret, err)
		}
	}
}

func TestWrongPasswordIsErrPassword(t *testing.T) {
	for _, wrong := range []string{"", "Foo", "foo\n", "foo "} {
		if _, err := keystore.Decrypt([]byte(template(t)), []byte(wrong)); !errors.Is(err, keystore.ErrPassword) {
			t.Errorf("password %q: error %v, want ErrPassword", wrong, err)
		}
	}
}

// A file that hides zero, or the group order, as its key.
func TestInvalidKeyInsideIsRefused(t *testing.T) {
	for name, secret := range map[string][]byte{
		"zero": make([]byte, 32), "group order": crypto.S256().Params().N.Bytes(),
		"31 bytes": append(make([]byte, 30), 1), "33 bytes": append(make([]byte, 32), 1),
	} {
		if _, _, err := keystore.Import(t.TempDir(), secret, []byte("foo"), cheap); !errors.Is(err, keystore.ErrFormat) {
			t.Errorf("import of %s: %v, want ErrFormat", name, err)
		}
	}
}
