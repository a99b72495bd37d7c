// SPDX-License-Identifier: Apache-2.0

package azurefake

import (
	"crypto/ecdsa"
	"crypto/rand"
	"crypto/rsa"
	"encoding/hex"
	"errors"
	"slices"
	"time"

	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/crypto"
)

// Spec is a key version to be added. The zero value is an enabled P-256K key
// that is HSM-protected.
type Spec struct {
	Kty                string // EC-HSM, EC, RSA, RSA-HSM
	Crv                string // P-256K, SECP256K1, P-256 …
	Ops                []string
	Disabled           bool
	NotBefore, Expires time.Time
	Tags               map[string]string
	Secret             []byte // private key; nil: random
	Hidden             bool   // GetKey refuses to show it while it is disabled, as Azure does
}

type namedKey struct {
	versions []*version
	policy   string // ISO 8601 duration after which it rotates; empty: never
}

type version struct {
	name, id         string
	spec             Spec
	private          *ecdsa.PrivateKey
	rsa              *rsa.PrivateKey
	created, updated time.Time
}

// Key is a version of the vault.
type Key struct {
	KID     string
	Name    string
	Address common.Address
}

// Add makes a version of a key, the first or a further one.
func (v *Vault) Add(name string, s Spec) (Key, error) {
	k, err := newVersion(name, s)
	if err != nil {
		return Key{}, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	v.insert(k)
	return v.keyOf(k), nil
}

func (v *Vault) keyOf(k *version) Key {
	out := Key{KID: v.kid(k), Name: k.name + "/" + k.id}
	if k.private != nil {
		out.Address = crypto.PubkeyToAddress(k.private.PublicKey)
	}
	return out
}

func newVersion(name string, s Spec) (k *version, err error) {
	if s.Kty == "" {
		s.Kty = "EC-HSM"
	}
	if s.Crv == "" {
		s.Crv = "P-256K"
	}
	if s.Ops == nil {
		s.Ops = []string{"sign", "verify"}
	}
	var random [16]byte
	_, _ = rand.Read(random[:]) // never fails (crypto/rand)
	now := time.Now().Truncate(time.Second)
	k = &version{name: name, id: hex.EncodeToString(random[:]), spec: s, created: now, updated: now}
	switch {
	case s.Kty == "RSA" || s.Kty == "RSA-HSM":
		k.rsa, err = rsa.GenerateKey(rand.Reader, 2048)
	case s.Secret != nil:
		k.private, err = crypto.ToECDSA(s.Secret)
	default: // whatever curve it says: nobody signs with the others
		k.private, err = crypto.GenerateKey()
	}
	return k, err
}

func (v *Vault) insert(k *version) {
	n := v.keys[k.name]
	if n == nil {
		n = &namedKey{}
		v.keys[k.name] = n
		i, _ := slices.BinarySearch(v.names, k.name)
		v.names = slices.Insert(v.names, i, k.name)
	}
	n.versions = append(n.versions, k)
}

// ErrNoKey is returned for a key that the vault does not have.
var ErrNoKey = errors.New("azurefake: no such key")

// Change alters a version, as an administrator would.
func (v *Vault) Change(kid string, change func(*Spec)) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	for _, n := range v.keys {
		for _, k := range n.versions {
			if v.kid(k) == kid {
				change(&k.spec)
				k.updated = k.updated.Add(time.Second)
				return nil
			}
		}
	}
	return ErrNoKey
}

// Remove takes a key away with all its versions.
func (v *Vault) Remove(name string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.remove(name)
}

func (v *Vault) remove(name string) {
	if _, ok := v.keys[name]; !ok {
		return
	}
	delete(v.keys, name)
	if i, ok := slices.BinarySearch(v.names, name); ok {
		v.names = slices.Delete(v.names, i, i+1)
	}
	v.deleted[name] = true
}

// Rotate gives a key a rotation policy: a new version so long (ISO 8601) after
// the last; empty: none.
func (v *Vault) Rotate(name, after string) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if n := v.keys[name]; n != nil {
		n.policy = after
	}
}

// RSA returns the RSA key of a name, to unwrap what was wrapped by it.
func (v *Vault) RSA(name string) *rsa.PrivateKey {
	v.mu.Lock()
	defer v.mu.Unlock()
	if n := v.keys[name]; n != nil {
		return n.versions[len(n.versions)-1].rsa
	}
	return nil
}

func (v *Vault) kid(k *version) string { return v.base + "/keys/" + k.name + "/" + k.id }

// find returns a version; the last one if id is empty.
func (v *Vault) find(name, id string) *version {
	n := v.keys[name]
	if n == nil {
		return nil
	}
	if id == "" {
		return n.versions[len(n.versions)-1]
	}
	for _, k := range n.versions {
		if k.id == id {
			return k
		}
	}
	return nil
}
