// SPDX-License-Identifier: Apache-2.0

package gcpkmsfake

import (
	"context"
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"time"

	"cloud.google.com/go/kms/apiv1/kmspb"
	ethcrypto "github.com/ethereum/go-ethereum/crypto"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/hsmsigner/hsmsigner/internal/key/byok"
)

type importJob struct {
	pb      *kmspb.ImportJob
	private *rsa.PrivateKey
	polls   int
}

// CreateImportJob makes a job that is active for three days
// (https://cloud.google.com/kms/docs/importing-a-key).
func (s *Server) CreateImportJob(_ context.Context, r *kmspb.CreateImportJobRequest) (*kmspb.ImportJob, error) {
	if r.GetImportJob().GetImportMethod() != kmspb.ImportJob_RSA_OAEP_4096_SHA256_AES_256 {
		return nil, status.Error(codes.InvalidArgument, "This server has one import method.")
	}
	private, err := rsa.GenerateKey(rand.Reader, 4096)
	if err != nil {
		return nil, status.Error(codes.Internal, err.Error())
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	name := r.GetParent() + "/importJobs/" + r.GetImportJobId()
	if s.jobs[name] != nil {
		return nil, status.Errorf(codes.AlreadyExists, "ImportJob %s already exists.", name)
	}
	j := &importJob{pb: proto.CloneOf(r.GetImportJob()), private: private, polls: s.options.Polls}
	j.pb.Name, j.pb.State = name, kmspb.ImportJob_PENDING_GENERATION
	j.pb.ExpireTime = timestamppb.New(time.Now().Add(3 * 24 * time.Hour))
	s.jobs[name] = j
	return proto.CloneOf(j.pb), nil
}

// GetImportJob describes a job; its public key is there once it is active.
func (s *Server) GetImportJob(_ context.Context, r *kmspb.GetImportJobRequest) (*kmspb.ImportJob, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	j := s.jobs[r.GetName()]
	if j == nil {
		return nil, status.Errorf(codes.NotFound, "ImportJob %s not found.", r.GetName())
	}
	if j.pb.State == kmspb.ImportJob_PENDING_GENERATION {
		if j.polls--; j.polls < 0 {
			der, err := x509.MarshalPKIXPublicKey(&j.private.PublicKey)
			if err != nil {
				return nil, status.Error(codes.Internal, err.Error())
			}
			j.pb.State = kmspb.ImportJob_ACTIVE
			j.pb.PublicKey = &kmspb.ImportJob_WrappingPublicKey{Pem: string(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))}
		}
	}
	return proto.CloneOf(j.pb), nil
}

// ImportCryptoKeyVersion unwraps PKCS#8
// (https://cloud.google.com/kms/docs/formatting-keys-for-import).
func (s *Server) ImportCryptoKeyVersion(_ context.Context, r *kmspb.ImportCryptoKeyVersionRequest) (*kmspb.CryptoKeyVersion, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k, j := s.keys[r.GetParent()], s.jobs[r.GetImportJob()]
	if k == nil || j == nil || j.pb.State != kmspb.ImportJob_ACTIVE || r.GetAlgorithm() != k.pb.VersionTemplate.Algorithm {
		return nil, status.Error(codes.FailedPrecondition, "The import job or the key cannot be used for this import.")
	}
	payload, err := byok.Unwrap(j.private, crypto.SHA256, r.GetWrappedKey())
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, "The wrapped key could not be unwrapped.")
	}
	raw, err := byok.ParsePKCS8(payload)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, "The key material is not PKCS#8 of the key's algorithm.")
	}
	private, err := ethcrypto.ToECDSA(raw)
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, "The key material is not of the key's algorithm.")
	}
	v := s.newVersion(k, private, s.options.Polls)
	v.pb.State, v.pb.ImportJob = kmspb.CryptoKeyVersion_PENDING_IMPORT, j.pb.Name
	return proto.CloneOf(v.pb), nil
}
