// SPDX-License-Identifier: Apache-2.0

package keystore

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"runtime"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/crypto"
	"github.com/google/uuid"
	"golang.org/x/crypto/pbkdf2"
	"golang.org/x/crypto/scrypt"
)

// Decrypt returns the private key of a version 3 key file, 32 bytes,
// big-endian, left-padded. The caller wipes it. Errors are [ErrFormat],
// [ErrUnsupported] and [ErrPassword].
//
// Decrypt takes as much time and memory as the file asks for, up to 1 GiB and
// some 16 seconds, and cannot be interrupted.
func Decrypt(data, password []byte) ([]byte, error) {
	f, err := parseV3(data)
	if err != nil {
		return nil, err
	}
	secret, err := f.decrypt(password)
	if err != nil {
		return nil, err
	}
	if address, err := addressOf(secret); err != nil {
		wipe(secret)
		return nil, err
	} else if f.hasAddress && address != f.address {
		wipe(secret)
		return nil, f.mismatch(address)
	}
	return secret, nil
}

func (f *v3File) mismatch(actual common.Address) error {
	return fmt.Errorf("%w: address member says %s, but the key inside is that of %s", ErrFormat, f.address, actual)
}

// decrypt returns the 32 bytes that the password opens. They need not be a
// valid key, nor that of f.address.
func (f *v3File) decrypt(password []byte) ([]byte, error) {
	derived, err := f.kdf.derive(password)
	if err != nil {
		return nil, err
	}
	defer wipe(derived)
	mac := crypto.Keccak256(derived[16:32], f.ciphertext)
	if subtle.ConstantTimeCompare(mac, f.mac[:]) != 1 {
		return nil, ErrPassword
	}
	secret := make([]byte, keySize)
	if err := xorCTR(derived[:16], f.iv, secret[keySize-len(f.ciphertext):], f.ciphertext); err != nil {
		return nil, err
	}
	return secret, nil
}

func (k *kdf) derive(password []byte) ([]byte, error) {
	if k.pbkdf2 > 0 {
		return pbkdf2.Key(password, k.salt, k.pbkdf2, k.length, sha256.New), nil
	}
	derived, err := scrypt.Key(password, k.salt, k.scrypt.N, k.scrypt.R, k.scrypt.P, k.length)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrUnsupported, err)
	}
	if k.scrypt.memory() >= 64<<20 {
		// Otherwise the next derivation comes on top of this one's garbage:
		// a series peaks at 530 MiB instead of 270.
		runtime.GC()
	}
	return derived, nil
}

func xorCTR(aesKey []byte, iv [16]byte, dst, src []byte) error {
	block, err := aes.NewCipher(aesKey)
	if err != nil {
		return err
	}
	cipher.NewCTR(block, iv[:]).XORKeyStream(dst, src)
	return nil
}

// The form of a key file, in the order in which go-ethereum writes it.
type (
	fileJSON struct {
		Address string     `json:"address"`
		Crypto  cryptoJSON `json:"crypto"`
		ID      string     `json:"id"`
		Version int        `json:"version"`
	}
	cryptoJSON struct {
		Cipher       string     `json:"cipher"`
		CipherText   string     `json:"ciphertext"`
		CipherParams ivJSON     `json:"cipherparams"`
		KDF          string     `json:"kdf"`
		KDFParams    scryptJSON `json:"kdfparams"`
		MAC          string     `json:"mac"`
	}
	ivJSON struct {
		IV string `json:"iv"`
	}
	scryptJSON struct {
		DKLen int    `json:"dklen"`
		N     int    `json:"n"`
		P     int    `json:"p"`
		R     int    `json:"r"`
		Salt  string `json:"salt"`
	}
)

// encrypt makes a key file of a 32-byte secret.
func encrypt(secret, password []byte, p ScryptParams) (data []byte, address common.Address, err error) {
	if err := p.check(); err != nil {
		return nil, address, err
	}
	if address, err = addressOf(secret); err != nil {
		return nil, address, err
	}
	salt := make([]byte, 32)
	var iv [16]byte
	_, _ = rand.Read(salt) // never fails (crypto/rand)
	_, _ = rand.Read(iv[:])
	k := kdf{salt: salt, length: minDerivedKey, scrypt: p}
	derived, err := k.derive(password)
	if err != nil {
		return nil, address, err
	}
	defer wipe(derived)
	ciphertext := make([]byte, len(secret))
	if err := xorCTR(derived[:16], iv, ciphertext, secret); err != nil {
		return nil, address, err
	}
	data, err = json.Marshal(fileJSON{
		Address: hex.EncodeToString(address[:]),
		Crypto: cryptoJSON{
			Cipher:       "aes-128-ctr",
			CipherText:   hex.EncodeToString(ciphertext),
			CipherParams: ivJSON{IV: hex.EncodeToString(iv[:])},
			KDF:          "scrypt",
			KDFParams:    scryptJSON{DKLen: k.length, N: p.N, P: p.P, R: p.R, Salt: hex.EncodeToString(salt)},
			MAC:          hex.EncodeToString(crypto.Keccak256(derived[16:32], ciphertext)),
		},
		ID:      uuid.NewString(),
		Version: 3,
	})
	return data, address, err
}

// toKey turns 32 bytes into a private key; they must be in 1…n−1.
func toKey(secret []byte) (*ecdsa.PrivateKey, error) {
	if len(secret) != keySize {
		return nil, fmt.Errorf("%w: private key of %d bytes, want 32", ErrFormat, len(secret))
	}
	priv, err := crypto.ToECDSA(secret)
	if err != nil {
		return nil, fmt.Errorf("%w: the private key is zero or not below the group order", ErrFormat)
	}
	return priv, nil
}

func addressOf(secret []byte) (common.Address, error) {
	priv, err := toKey(secret)
	if err != nil {
		return common.Address{}, err
	}
	defer wipeKey(priv)
	return crypto.PubkeyToAddress(priv.PublicKey), nil
}

// wipe overwrites b. Go's heap does not move, so there is no other copy of it.
func wipe(b []byte) { clear(b) }

// wipeKey overwrites the secret number of priv.
func wipeKey(priv *ecdsa.PrivateKey) {
	if priv != nil {
		//lint:ignore SA1019 The words of D are the secret, and nothing else reaches them.
		clear(priv.D.Bits()) //nolint:staticcheck // as above
	}
}
