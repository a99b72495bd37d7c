// SPDX-License-Identifier: Apache-2.0

package witness

import (
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
)

// The sorts of signatures of c2sp.org/signed-note that are known here.
const (
	plain = 1 // Ed25519 over the text
	timed = 4 // Ed25519 over a time and the text (c2sp.org/tlog-cosignature)
)

const timedSize = 8 + ed25519.SignatureSize

// verifier checks signatures that carry a time.
type verifier struct {
	name string
	hash uint32
	key  ed25519.PublicKey
}

// NewVerifier reads the public key of a witness, NAME+HASH+KEY.
func NewVerifier(key string) (note.Verifier, error) {
	wrong := errors.New("witness: the key is none: want NAME+HASH+KEY with a key of Ed25519")
	name, rest, _ := strings.Cut(key, "+")
	hash, coded, _ := strings.Cut(rest, "+")
	data, err := base64.StdEncoding.DecodeString(coded)
	if err != nil || len(data) != 1+ed25519.PublicKeySize {
		return nil, wrong
	}
	if data[0] == plain {
		v, err := note.NewVerifier(key)
		if err != nil {
			return nil, wrong
		}
		return v, nil
	}
	id := keyID(name, data)
	if data[0] != timed || hex.EncodeToString(id) != hash || name == "" || strings.ContainsAny(name, " \n+") {
		return nil, wrong
	}
	return &verifier{name: name, hash: binary.BigEndian.Uint32(id), key: data[1:]}, nil
}

// keyID is by what a signature names its key: c2sp.org/signed-note#key-id.
func keyID(name string, key []byte) []byte {
	sum := sha256.Sum256(append([]byte(name+"\n"), key...))
	return sum[:4]
}

// Name implements note.Verifier.
func (v *verifier) Name() string { return v.name }

// KeyHash implements note.Verifier.
func (v *verifier) KeyHash() uint32 { return v.hash }

// Verify implements note.Verifier.
func (v *verifier) Verify(message, signature []byte) bool {
	if len(signature) != timedSize {
		return false
	}
	return ed25519.Verify(v.key, timedMessage(binary.BigEndian.Uint64(signature), message), signature[8:])
}

// timedMessage is what a cosignature signs.
func timedMessage(at uint64, text []byte) []byte {
	return append(fmt.Appendf(nil, "cosignature/v1\ntime %d\n", at), text...)
}

// Cosigned returns when a witness with this key has signed a checkpoint, from its
// last cosignature. The time is zero, without an error, if the key's signatures
// carry none.
func Cosigned(signed, key string) (time.Time, error) {
	v, err := NewVerifier(key)
	if err != nil {
		return time.Time{}, err
	}
	n, err := note.Open([]byte(signed), note.VerifierList(v))
	if err != nil || len(n.Sigs) == 0 {
		return time.Time{}, fmt.Errorf("witness: the checkpoint has no valid signature of %s", v.Name())
	}
	if _, carries := v.(*verifier); !carries {
		return time.Time{}, nil
	}
	data, err := base64.StdEncoding.DecodeString(n.Sigs[len(n.Sigs)-1].Base64)
	if err != nil || len(data) != 4+timedSize {
		return time.Time{}, fmt.Errorf("witness: the signature of %s cannot be read", v.Name())
	}
	return time.Unix(int64(binary.BigEndian.Uint64(data[4:])), 0).UTC(), nil
}
