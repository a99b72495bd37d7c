// SPDX-License-Identifier: Apache-2.0

package kms_test

import (
	"context"
	"hash/crc32"
	"net"
	"sync/atomic"
	"testing"

	"cloud.google.com/go/kms/apiv1/kmspb"
	"github.com/tink-crypto/tink-go/v2/aead/subtle"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/hsmsigner/hsmsigner/internal/seal"
	"github.com/hsmsigner/hsmsigner/internal/seal/kms"
)

// symmetric plays Encrypt and Decrypt of Cloud KMS.
type symmetric struct {
	kmspb.UnimplementedKeyManagementServiceServer
	cipher *subtle.AESGCM
	calls  atomic.Int64
	code   atomic.Uint32
}

const gcpKey = "projects/a-project/locations/europe-west3/keyRings/seal/cryptoKeys/kek"

func sum(b []byte) int64 { return int64(crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli))) }

func (s *symmetric) judge(name string) error {
	s.calls.Add(1)
	if c := codes.Code(s.code.Load()); c != codes.OK {
		return status.Error(c, "canary of the provider")
	}
	if name != gcpKey {
		return status.Error(codes.NotFound, "canary of the provider")
	}
	return nil
}

func (s *symmetric) Encrypt(_ context.Context, r *kmspb.EncryptRequest) (*kmspb.EncryptResponse, error) {
	if err := s.judge(r.GetName()); err != nil {
		return nil, err
	}
	sealed, err := s.cipher.Encrypt(r.GetPlaintext(), r.GetAdditionalAuthenticatedData())
	return &kmspb.EncryptResponse{
		Name: gcpKey, Ciphertext: sealed, CiphertextCrc32C: wrapperspb.Int64(sum(sealed)),
		VerifiedPlaintextCrc32C: r.GetPlaintextCrc32C().GetValue() == sum(r.GetPlaintext()),
	}, err
}

func (s *symmetric) Decrypt(_ context.Context, r *kmspb.DecryptRequest) (*kmspb.DecryptResponse, error) {
	if err := s.judge(r.GetName()); err != nil {
		return nil, err
	}
	plain, err := s.cipher.Decrypt(r.GetCiphertext(), r.GetAdditionalAuthenticatedData())
	if err != nil {
		return nil, status.Error(codes.InvalidArgument, "canary of the provider")
	}
	return &kmspb.DecryptResponse{Plaintext: plain, PlaintextCrc32C: wrapperspb.Int64(sum(plain))}, nil
}

func TestGoogleCloudKMS(t *testing.T) {
	cipher, err := subtle.NewAESGCM(make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	fake := &symmetric{cipher: cipher}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	kmspb.RegisterKeyManagementServiceServer(server, fake)
	go func() { _ = server.Serve(listener) }()
	defer server.Stop()
	exercise(t, service{
		open: func() (seal.KEK, error) {
			return kms.OpenGCP(kms.GCP{Key: gcpKey, Endpoint: listener.Addr().String(), Insecure: true})
		},
		id:   "gcp_kms:" + gcpKey,
		call: func() int { return int(fake.calls.Load()) },
		deny: func(on bool) {
			fake.code.Store(map[bool]uint32{true: uint32(codes.PermissionDenied)}[on])
		},
	})
}
