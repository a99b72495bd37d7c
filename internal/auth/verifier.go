// SPDX-License-Identifier: Apache-2.0

package auth

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"hash"
	"io"
	"sync"
)

// What a keyed hash is for. A hash made for one purpose or one id is worth
// nothing for another.
const (
	ForAppCred = "appcred" // id: of the app credential
	ForAPIKey  = "apikey"  // id: of the API key
	forSession = "session" // id: none
	forCSRF    = "csrf"    // id: none
)

// VerifierKey is the name of the verifier's key among the deployment's keys.
const VerifierKey = "verifier"

const keySize = 32

// Verifier makes and compares the keyed hashes of secrets: HMAC-SHA256 with a
// key of the deployment. There is no slow password hash, since what it hashes is
// 256 random bits, which nobody finds by trying, and since every request pays
// for it. Without the key, a copy of the database does not even show whether a
// secret that somebody has is one of ours.
//
// It is safe for concurrent use, and shows its key to nobody.
type Verifier struct{ macs *sync.Pool }

// mac is a keyed hash to be used again, with room for what it hashes.
type mac struct {
	hash.Hash
	buf []byte
}

// NewVerifier makes a verifier with a key of 32 bytes.
func NewVerifier(key []byte) (*Verifier, error) {
	if len(key) != keySize {
		return nil, fmt.Errorf("auth: the verifier's key has %d bytes: want %d", len(key), keySize)
	}
	key = append([]byte(nil), key...)
	return &Verifier{&sync.Pool{New: func() any { return &mac{Hash: hmac.New(sha256.New, key)} }}}, nil
}

// Keys keeps the deployment's own keys, sealed: *seal.Sealer.
type Keys interface {
	// Key is a random key of 32 bytes, made when it is first asked for, and the
	// same on all replicas.
	Key(ctx context.Context, name string) ([]byte, error)
}

// OpenVerifier opens the verifier of a deployment.
func OpenVerifier(ctx context.Context, k Keys) (*Verifier, error) {
	key, err := k.Key(ctx, VerifierKey)
	if err != nil {
		return nil, fmt.Errorf("auth: key of the credentials' hashes: %w", err)
	}
	return NewVerifier(key)
}

// Hash is the keyed hash of a secret: 32 bytes.
func (v *Verifier) Hash(purpose, id, secret string) []byte {
	h := v.sum(purpose, id, secret)
	return h[:]
}

// Check reports, in a time that depends only on the lengths, whether h is the
// hash of the secret.
func (v *Verifier) Check(h []byte, purpose, id, secret string) bool {
	have := v.sum(purpose, id, secret)
	return subtle.ConstantTimeCompare(have[:], h) == 1
}

func (v *Verifier) sum(purpose, id, secret string) (out [sha256.Size]byte) {
	m := v.macs.Get().(*mac)
	m.Reset()
	// With the lengths before the parts, no two triples give the same bytes.
	m.buf = binary.BigEndian.AppendUint32(m.buf[:0], uint32(len(purpose)))
	m.buf = append(m.buf, purpose...)
	m.buf = binary.BigEndian.AppendUint32(m.buf, uint32(len(id)))
	m.buf = append(m.buf, id...)
	m.buf = append(m.buf, secret...)
	_, _ = m.Write(m.buf) // a hash never fails
	m.Sum(out[:0])
	clear(m.buf)
	if cap(m.buf) <= 1<<10 { // what a stranger sends may be long
		v.macs.Put(m)
	}
	return out
}

// Format shows nothing of the key, with any verb.
func (v *Verifier) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "auth.Verifier") }

// MarshalJSON shows nothing of the key.
func (v *Verifier) MarshalJSON() ([]byte, error) { return []byte(`"auth.Verifier"`), nil }

// NewSecret is 256 random bits in 43 characters that need no escaping in a URL.
func NewSecret() string {
	b := make([]byte, 32)
	_, _ = rand.Read(b) // never fails: crypto/rand
	return base64.RawURLEncoding.EncodeToString(b)
}
