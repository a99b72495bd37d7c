// SPDX-License-Identifier: Apache-2.0

package logbook

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"log/slog"
	"strings"

	"golang.org/x/mod/sumdb/note"
)

// SeedSize is the length of a key's seed in bytes.
const SeedSize = ed25519.SeedSize

// Key is the log's key: Ed25519, in the encoding of golang.org/x/mod/sumdb/note.
// Whoever has it can write another history. Its methods are safe for concurrent
// use. It prints as its verifier.
type Key struct {
	name     string
	private  ed25519.PrivateKey
	signer   note.Signer
	verifier Verifier
	mac      [sha256.Size]byte
}

// Verifier is the public half of the log's key.
type Verifier struct {
	text   string
	name   string
	public ed25519.PublicKey
	note   note.Verifier
}

// KeyFrom makes the key of a log from 32 secret bytes. name is the log's
// name, without spaces and pluses, which checkpoints begin with; it should be
// one that no other log in the world has, such as signer.example.org/audit.
func KeyFrom(name string, seed []byte) (*Key, error) {
	if len(seed) != SeedSize {
		return nil, fmt.Errorf("audit key: seed of %d bytes; want %d", len(seed), SeedSize)
	}
	private := ed25519.NewKeyFromSeed(seed)
	text, err := note.NewEd25519VerifierKey(name, private.Public().(ed25519.PublicKey))
	if err != nil {
		return nil, fmt.Errorf("audit key: %w", err)
	}
	v, err := ParseVerifier(text)
	if err != nil {
		return nil, err
	}
	k := &Key{name: name, private: private, verifier: v}
	if k.signer, err = note.NewSigner(k.Text()); err != nil {
		return nil, fmt.Errorf("audit key: %w", err)
	}
	// One key, two uses, which must not touch: the second is derived by a hash.
	h := hmac.New(sha256.New, seed)
	h.Write([]byte("hsmsigner audit record v1"))
	h.Sum(k.mac[:0])
	return k, nil
}

// NewKey makes a new key for the log of that name.
func NewKey(name string) (*Key, error) {
	seed := make([]byte, SeedSize)
	_, _ = rand.Read(seed) // never fails: it ends the process instead
	return KeyFrom(name, seed)
}

// ParseKey reads a key as [Key.Text] gives it; space around it does not matter.
// No error has any of it.
func ParseKey(text string) (*Key, error) {
	text = strings.TrimSpace(text)
	rest, ok := strings.CutPrefix(text, "PRIVATE+KEY+")
	parts := strings.SplitN(rest, "+", 3)
	if !ok || len(parts) != 3 {
		return nil, fmt.Errorf("audit key: not a private key in note format; want one line PRIVATE+KEY+<name>+<hash>+<base64>")
	}
	if _, err := note.NewSigner(text); err != nil {
		return nil, fmt.Errorf("audit key: not a private key in note format: its name, hash and key do not belong together")
	}
	key, err := base64.StdEncoding.DecodeString(parts[2])
	if err != nil || len(key) != 1+SeedSize {
		return nil, fmt.Errorf("audit key: not a private key in note format: bad base64")
	}
	return KeyFrom(parts[0], key[1:])
}

// Text is the key as one line, PRIVATE+KEY+<name>+<hash>+<base64>: a secret.
func (k *Key) Text() string {
	_, rest, _ := strings.Cut(k.verifier.text, "+")
	hash, _, _ := strings.Cut(rest, "+")
	return "PRIVATE+KEY+" + k.name + "+" + hash + "+" + base64.StdEncoding.EncodeToString(append([]byte{1}, k.private.Seed()...))
}

// Verifier is what others verify the log with.
func (k *Key) Verifier() Verifier { return k.verifier }

// Origin is the name of the log.
func (k *Key) Origin() string { return k.name }

// String is the verifier's.
func (k *Key) String() string { return k.verifier.text }

// GoString keeps %#v from telling the key.
func (k *Key) GoString() string { return k.verifier.text }

// LogValue keeps a log from telling the key.
func (k *Key) LogValue() slog.Value { return slog.StringValue(k.verifier.text) }

// MarshalText keeps JSON from telling the key.
func (k *Key) MarshalText() ([]byte, error) { return []byte(k.verifier.text), nil }

// ParseVerifier reads a verifier key, <name>+<hash>+<base64>; space around it
// does not matter. No error has any of it: it may be the other half.
func ParseVerifier(text string) (Verifier, error) {
	text = strings.TrimSpace(text)
	v, err := note.NewVerifier(text)
	if err != nil {
		return Verifier{}, fmt.Errorf("audit key: not a verifier key in note format: %w; want one line <name>+<hash>+<base64>", err)
	}
	key, err := base64.StdEncoding.DecodeString(strings.SplitN(text, "+", 3)[2]) // base64 has pluses of its own
	if err != nil || len(key) != 1+ed25519.PublicKeySize {
		return Verifier{}, fmt.Errorf("audit key: the verifier key is not one of Ed25519")
	}
	return Verifier{text: text, name: v.Name(), public: key[1:], note: v}, nil
}

// String is the verifier key in note format.
func (v Verifier) String() string { return v.text }

// Name is the name of the log.
func (v Verifier) Name() string { return v.name }

// Note is the verifier for package note.
func (v Verifier) Note() note.Verifier { return v.note }
