// SPDX-License-Identifier: Apache-2.0

package awskmsfake

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/ethereum/go-ethereum/common"
	gethcrypto "github.com/ethereum/go-ethereum/crypto"

	"github.com/hsmsigner/hsmsigner/internal/secp"
)

// Key is a key of the fake. Its exported fields do not change.
type Key struct {
	ID      string
	ARN     string
	Spec    string // as KMS calls it
	Usage   string
	Origin  string
	Address common.Address // of a secp256k1 key with material

	private *ecdsa.PrivateKey // nil: symmetric, or no material yet
	spki    []byte
	state   string
	deleted time.Time
	tags    map[string]string
	token   string // of the import that goes on
}

// AddKey makes an enabled secp256k1 signing key, under an alias unless that is
// empty.
func (s *Server) AddKey(aliasName string, tags map[string]string) *Key {
	private, err := gethcrypto.GenerateKey()
	if err != nil {
		panic(err) // no randomness
	}
	return s.add(&Key{Spec: "ECC_SECG_P256K1", Usage: "SIGN_VERIFY", private: private}, aliasName, tags)
}

// AddKeys makes n of them, with aliases prefix + number.
func (s *Server) AddKeys(n int, prefix string, tags map[string]string) []*Key {
	keys := make([]*Key, n)
	for i := range keys {
		keys[i] = s.AddKey(fmt.Sprintf("%s%06d", prefix, i), tags)
	}
	return keys
}

// AddOther makes a key of another kind: SYMMETRIC_DEFAULT, HMAC_256,
// ECC_NIST_P256, or ECC_SECG_P256K1 with another usage.
func (s *Server) AddOther(spec, usage, aliasName string) *Key {
	k := &Key{Spec: spec, Usage: usage}
	var err error
	switch spec {
	case "ECC_NIST_P256":
		k.private, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err == nil {
			k.spki, err = x509.MarshalPKIXPublicKey(&k.private.PublicKey)
		}
	case "ECC_SECG_P256K1":
		k.private, err = gethcrypto.GenerateKey()
	}
	if err != nil {
		panic(err)
	}
	return s.add(k, aliasName, nil)
}

func (s *Server) add(k *Key, aliasName string, tags map[string]string) *Key {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.addLocked(k, aliasName, tags)
}

func (s *Server) addLocked(k *Key, aliasName string, tags map[string]string) *Key {
	k.ID = s.nextID("")
	k.ARN = "arn:aws:kms:" + Region + ":" + Account + ":key/" + k.ID
	if k.Origin == "" {
		k.Origin = "AWS_KMS"
	}
	if k.state == "" {
		k.state = "Enabled"
	}
	k.tags = maps.Clone(tags)
	k.learn()
	s.keys[k.ID] = k
	s.order = append(s.order, k)
	if aliasName != "" {
		s.alias(aliasName, k.ID)
	}
	return k
}

// learn works out what follows from the private key.
func (k *Key) learn() {
	if k.private == nil || k.Spec != "ECC_SECG_P256K1" {
		return
	}
	public := secp.PublicKey(gethcrypto.FromECDSAPub(&k.private.PublicKey)[1:])
	k.spki, k.Address = public.SPKI(), public.Address()
}

// SetState puts a key into a state of KMS.
func (s *Server) SetState(k *Key, state string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k.state = state
	if state == "PendingDeletion" {
		k.deleted = time.Now().AddDate(0, 0, 30)
	}
}

// State is the state of a key.
func (s *Server) State(k *Key) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return k.state
}

// Remove makes a key vanish, with its aliases, as at the end of its waiting
// period.
func (s *Server) Remove(k *Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.keys, k.ID)
	s.order = slices.DeleteFunc(s.order, func(o *Key) bool { return o == k })
	s.aliases = slices.DeleteFunc(s.aliases, func(a alias) bool { return a.id == k.ID })
}

// Alias points an alias (without "alias/") at a key, wherever it pointed before.
func (s *Server) Alias(name string, k *Key) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.aliases = slices.DeleteFunc(s.aliases, func(a alias) bool { return a.name == "alias/"+name })
	s.alias(name, k.ID)
}

func (s *Server) alias(name, id string) {
	a := alias{"alias/" + name, id}
	at, _ := slices.BinarySearchFunc(s.aliases, a, func(x, y alias) int { return strings.Compare(x.name, y.name) })
	s.aliases = slices.Insert(s.aliases, at, a)
}

// Find is the key of an address; nil if there is none.
func (s *Server) Find(address common.Address) *Key {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, k := range s.order {
		if k.Address == address {
			return k
		}
	}
	return nil
}

// find resolves a key id, key ARN, alias or alias ARN. The lock is held.
func (s *Server) find(id string) *Key {
	if i := strings.Index(id, ":alias/"); i >= 0 {
		id = id[i+1:]
	}
	if strings.HasPrefix(id, "alias/") {
		for _, a := range s.aliases {
			if a.name == id {
				return s.keys[a.id]
			}
		}
		return nil
	}
	if rest, ok := strings.CutPrefix(id, "arn:aws:kms:"+Region+":"+Account+":key/"); ok {
		id = rest
	}
	return s.keys[id]
}
