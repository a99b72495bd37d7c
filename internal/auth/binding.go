// SPDX-License-Identifier: Apache-2.0

package auth

import (
	"crypto/sha256"
	"encoding/binary"
	"errors"

	"github.com/hsmsigner/hsmsigner/internal/store"
)

// What is stored of a credential is bound to what it may do: the keyed hash of
// its secret, then the keyed hash of that and of its scope. Who may write to the
// database but has not the verifier's key can take credentials away, and bring
// back a row as it once was, but give no credential more than it was made for.

// Hasher makes keyed hashes, for a purpose: *Verifier.
type Hasher interface {
	Hash(purpose, id, secret string) []byte
}

// AppCred is what an app credential lets in, and where.
type AppCred struct {
	ID          string
	AuthType    string // Basic or MTLS
	Username    string // the identity of a certificate, with MTLS
	Membership  string
	Environment string
}

// Stored is the verifier of the credential's row. With MTLS it has no secret:
// leave it empty.
func (c AppCred) Stored(h Hasher, secret string) []byte {
	if c.AuthType == MTLS {
		return c.bound(h, nil)
	}
	return c.bound(h, h.Hash(ForAppCred, c.ID, secret))
}

func (c AppCred) bound(h Hasher, hash []byte) []byte {
	scope := packed(c.ID, c.AuthType, c.Username, c.Membership, c.Environment)
	return bind(h, "scope of an app credential", scope, hash)
}

// StoredKey is the verifier of an API key's row.
func StoredKey(h Hasher, id string, grants []Grant, secret string) []byte {
	return boundKey(h, id, grants, h.Hash(ForAPIKey, id, secret))
}

func boundKey(h Hasher, id string, grants []Grant, hash []byte) []byte {
	return bind(h, "grants of an API key", packed(append([]string{id}, listed(grants)...)...), hash)
}

func listed(grants []Grant) []string {
	var parts []string
	for _, g := range grants {
		parts = append(parts, g.Consortium, g.Membership, string(g.Role))
	}
	return parts
}

// bind is a hash with, behind it, what binds it to a scope.
func bind(h Hasher, purpose, scope string, hash []byte) []byte {
	return append(hash[:len(hash):len(hash)], h.Hash(purpose, scope, string(hash))...)
}

var errChanged = errors.New("what it may do was changed in the database, outside of the API, or it was made with another key: it lets nobody in")

// unbind takes the hash of the secret from a stored verifier, size bytes of it,
// if bound makes the same verifier of it.
func unbind(stored []byte, size int, bound func(hash []byte) []byte) (hash []byte, err error) {
	switch {
	case len(stored) == 0:
		return nil, errors.New("it has no secret")
	case len(stored) != size+sha256.Size || !same(bound(stored[:size:size]), stored):
		return nil, errChanged
	}
	return stored[:size:size], nil
}

// boundSession binds a session's row to whom it is of, for how long and for what.
func boundSession(h Hasher, s store.SignIn, rules string, grants []Grant) []byte {
	until := string(binary.BigEndian.AppendUint64(nil, uint64(s.Expires.UnixMicro())))
	return h.Hash("session's grants", packed(append([]string{s.Subject, s.Name, until, rules}, listed(grants)...)...), string(s.Hash))
}

// packed has the length before each part, so that no two lists give the same
// text.
func packed(parts ...string) string {
	var b []byte
	for _, p := range parts {
		b = binary.BigEndian.AppendUint32(b, uint32(len(p)))
		b = append(b, p...)
	}
	return string(b)
}
