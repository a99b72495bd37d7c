// SPDX-License-Identifier: Apache-2.0

package gcpkmsfake

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"fmt"
	"hash/crc32"
	"math/big"
	"strconv"
	"strings"
	"time"

	"cloud.google.com/go/kms/apiv1/kmspb"
	"github.com/ethereum/go-ethereum/common"
	"github.com/ethereum/go-ethereum/crypto"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/hsmsigner/hsmsigner/internal/secp"
)

// Key describes a key, or one more version of a key that is there. What is
// left out is that of an ordinary secp256k1 key in the HSM.
type Key struct {
	ID         string // last part of its resource name
	Purpose    kmspb.CryptoKey_CryptoKeyPurpose
	Algorithm  kmspb.CryptoKeyVersion_CryptoKeyVersionAlgorithm
	Protection kmspb.ProtectionLevel
	State      kmspb.CryptoKeyVersion_CryptoKeyVersionState
	Labels     map[string]string
	Private    *ecdsa.PrivateKey // nil: a new one
}

type cryptoKey struct {
	pb       *kmspb.CryptoKey
	versions []*version
}

type version struct {
	pb      *kmspb.CryptoKeyVersion
	private *ecdsa.PrivateKey
	polls   int // until it is ready
}

// Add adds a version and returns its resource name and its address, which is
// zero if it is not of secp256k1.
func (s *Server) Add(k Key) (ref string, address common.Address) {
	if k.Purpose == 0 {
		k.Purpose = kmspb.CryptoKey_ASYMMETRIC_SIGN
	}
	if k.Algorithm == 0 {
		k.Algorithm = kmspb.CryptoKeyVersion_EC_SIGN_SECP256K1_SHA256
	}
	if k.Protection == 0 {
		k.Protection = kmspb.ProtectionLevel_HSM
	}
	if k.State == 0 {
		k.State = kmspb.CryptoKeyVersion_ENABLED
	}
	if k.Private == nil {
		k.Private = newPrivate(k.Algorithm)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	name := s.options.Ring + "/cryptoKeys/" + k.ID
	parent := s.keys[name]
	if parent == nil {
		parent = s.newKey(name, &kmspb.CryptoKey{
			Purpose: k.Purpose, Labels: k.Labels,
			VersionTemplate: &kmspb.CryptoKeyVersionTemplate{Algorithm: k.Algorithm, ProtectionLevel: k.Protection},
		})
	}
	v := s.newVersion(parent, k.Private, 0)
	v.pb.Algorithm, v.pb.ProtectionLevel, v.pb.State = k.Algorithm, k.Protection, k.State
	if k.Algorithm == kmspb.CryptoKeyVersion_EC_SIGN_SECP256K1_SHA256 {
		address = crypto.PubkeyToAddress(k.Private.PublicKey)
	}
	return v.pb.Name, address
}

// SetState changes the state of a version by hand, to any that there is.
func (s *Server) SetState(ref string, state kmspb.CryptoKeyVersion_CryptoKeyVersionState) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if v := s.find(ref); v != nil {
		v.pb.State = state
		if state == kmspb.CryptoKeyVersion_DESTROY_SCHEDULED {
			v.pb.DestroyTime = timestamppb.New(time.Now().Add(30 * 24 * time.Hour))
		}
	}
}

func newPrivate(a kmspb.CryptoKeyVersion_CryptoKeyVersionAlgorithm) *ecdsa.PrivateKey {
	curve := elliptic.Curve(crypto.S256())
	if a != kmspb.CryptoKeyVersion_EC_SIGN_SECP256K1_SHA256 {
		curve = elliptic.P256()
	}
	if curve == crypto.S256() {
		for {
			if k, err := crypto.GenerateKey(); err == nil {
				return k
			}
		}
	}
	for {
		if k, err := ecdsa.GenerateKey(curve, rand.Reader); err == nil {
			return k
		}
	}
}

// newKey adds a key without versions. The caller holds the lock.
func (s *Server) newKey(name string, pb *kmspb.CryptoKey) *cryptoKey {
	pb = proto.CloneOf(pb)
	pb.Name, pb.CreateTime = name, timestamppb.Now()
	k := &cryptoKey{pb: pb}
	s.keys[name] = k
	s.order = append(s.order, name)
	return k
}

// newVersion adds a version, which is pending for so many polls. The caller
// holds the lock.
func (s *Server) newVersion(k *cryptoKey, private *ecdsa.PrivateKey, polls int) *version {
	v := &version{private: private, polls: polls, pb: &kmspb.CryptoKeyVersion{
		Name:  k.pb.Name + "/cryptoKeyVersions/" + strconv.Itoa(len(k.versions)+1),
		State: kmspb.CryptoKeyVersion_ENABLED, ProtectionLevel: k.pb.VersionTemplate.ProtectionLevel,
		Algorithm: k.pb.VersionTemplate.Algorithm, CreateTime: timestamppb.Now(),
	}}
	k.versions = append(k.versions, v)
	return v
}

// find returns a version by its resource name. The caller holds the lock.
func (s *Server) find(ref string) *version {
	parent, number, ok := strings.Cut(ref, "/cryptoKeyVersions/")
	i, err := strconv.Atoi(number)
	k := s.keys[parent]
	if !ok || err != nil || k == nil || i < 1 || i > len(k.versions) || k.versions[i-1].pb.Name != ref {
		return nil
	}
	return k.versions[i-1]
}

// publicPEM is RFC 7468 §13, as PublicKey.pem is documented.
func publicPEM(public *ecdsa.PublicKey) string {
	der, err := x509.MarshalPKIXPublicKey(public)
	if public.Curve == crypto.S256() {
		der, err = secp.PublicKey(crypto.FromECDSAPub(public)[1:]).SPKI(), nil
	}
	if err != nil {
		panic(fmt.Sprintf("gcpkmsfake: encode a public key: %v", err)) // the key was made here
	}
	return string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
}

// sign returns DER as Cloud KMS does: s is above n/2 half of the time.
func sign(private *ecdsa.PrivateKey, digest []byte) []byte {
	r, s, err := ecdsaSign(private, digest)
	if err != nil {
		panic(fmt.Sprintf("gcpkmsfake: sign: %v", err)) // the key was made here
	}
	return der(r, s)
}

func ecdsaSign(private *ecdsa.PrivateKey, digest []byte) (r, s *big.Int, err error) {
	if private.Curve != crypto.S256() {
		return ecdsa.Sign(rand.Reader, private, digest)
	}
	raw, err := crypto.Sign(digest, private)
	if err != nil {
		return nil, nil, err
	}
	r, s = new(big.Int).SetBytes(raw[:32]), new(big.Int).SetBytes(raw[32:64])
	if digest[31]&1 == 1 {
		s.Sub(crypto.S256().Params().N, s)
	}
	return r, s, nil
}

func der(r, s *big.Int) []byte {
	b, err := asn1.Marshal(struct{ R, S *big.Int }{r, s})
	if err != nil {
		panic(fmt.Sprintf("gcpkmsfake: encode a signature: %v", err)) // two numbers
	}
	return b
}

// crc is CRC32C (Castagnoli), as every *_crc32c field is documented.
func crc(b []byte) int64 { return int64(crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli))) }
