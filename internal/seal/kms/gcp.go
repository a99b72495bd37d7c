// SPDX-License-Identifier: Apache-2.0

package kms

import (
	"context"
	"errors"
	"fmt"
	"hash/crc32"
	"regexp"

	kms "cloud.google.com/go/kms/apiv1"
	"cloud.google.com/go/kms/apiv1/kmspb"
	"golang.org/x/oauth2/google"
	"google.golang.org/api/option"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/hsmsigner/hsmsigner/internal/seal"
)

// GCP is a symmetric key of Google Cloud KMS.
type GCP struct {
	Key         string                 // projects/P/locations/L/keyRings/R/cryptoKeys/K
	Credentials func() (string, error) // JSON key of a service account; nil: the application default credentials
	Endpoint    string                 // host:port in place of Google's own
	Insecure    bool                   // no TLS and no credentials, for tests on this machine
}

type gcpKey struct{ cfg GCP }

var gcpKeyName = regexp.MustCompile(`^projects/[a-z0-9.:-]{1,300}/locations/[a-z0-9-]{1,63}/keyRings/[a-zA-Z0-9_-]{1,63}/cryptoKeys/[a-zA-Z0-9_-]{1,63}$`)

const gcpScope = "https://www.googleapis.com/auth/cloudkms"

// OpenGCP checks the key's name. It asks nobody.
func OpenGCP(c GCP) (seal.KEK, error) {
	if !gcpKeyName.MatchString(c.Key) || len(c.Key) > 240 {
		return nil, fmt.Errorf("gcp_kms: key %q: want projects/PROJECT/locations/LOCATION/keyRings/RING/cryptoKeys/KEY", c.Key)
	}
	return &gcpKey{c}, nil
}

// ID implements [seal.KEK].
func (k *gcpKey) ID() string { return "gcp_kms:" + k.cfg.Key }

func (k *gcpKey) open(ctx context.Context) (*kms.KeyManagementClient, error) {
	var options []option.ClientOption
	if k.cfg.Endpoint != "" {
		options = append(options, option.WithEndpoint(k.cfg.Endpoint))
	}
	switch {
	case k.cfg.Insecure:
		options = append(options, option.WithoutAuthentication(), option.WithGRPCDialOption(grpc.WithTransportCredentials(insecure.NewCredentials())))
	case k.cfg.Credentials != nil:
		text, err := k.cfg.Credentials()
		if err != nil {
			return nil, fmt.Errorf("gcp_kms: the service account's key cannot be read: %w", err)
		}
		account, err := google.JWTAccessTokenSourceWithScope([]byte(text), gcpScope) // signs its tokens here and asks nobody
		if err != nil {
			return nil, errors.New("gcp_kms: the service account's key is not one: want the JSON file that Google made")
		}
		options = append(options, option.WithTokenSource(account))
	}
	client, err := kms.NewKeyManagementClient(ctx, options...)
	if err != nil {
		return nil, errors.New("gcp_kms: no credential: want a service account's key, or application default credentials")
	}
	return client, nil
}

func crc(b []byte) int64 { return int64(crc32.Checksum(b, crc32.MakeTable(crc32.Castagnoli))) }

// Wrap implements [seal.KEK].
func (k *gcpKey) Wrap(ctx context.Context, key []byte, about string) ([]byte, error) {
	client, err := k.open(ctx)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	answer, err := client.Encrypt(ctx, &kmspb.EncryptRequest{
		Name: k.cfg.Key, Plaintext: key, PlaintextCrc32C: wrapperspb.Int64(crc(key)),
		AdditionalAuthenticatedData: []byte(about), AdditionalAuthenticatedDataCrc32C: wrapperspb.Int64(crc([]byte(about))),
	})
	if err != nil {
		return nil, gcpFault("Encrypt", err)
	}
	if !answer.GetVerifiedPlaintextCrc32C() || crc(answer.GetCiphertext()) != answer.GetCiphertextCrc32C().GetValue() {
		return nil, fault("gcp_kms", "Encrypt", "a wrong checksum", true, nil)
	}
	return answer.GetCiphertext(), nil
}

// Unwrap implements [seal.KEK].
func (k *gcpKey) Unwrap(ctx context.Context, wrapped []byte, about string) ([]byte, error) {
	client, err := k.open(ctx)
	if err != nil {
		return nil, err
	}
	defer client.Close()
	answer, err := client.Decrypt(ctx, &kmspb.DecryptRequest{
		Name: k.cfg.Key, Ciphertext: wrapped, CiphertextCrc32C: wrapperspb.Int64(crc(wrapped)),
		AdditionalAuthenticatedData: []byte(about), AdditionalAuthenticatedDataCrc32C: wrapperspb.Int64(crc([]byte(about))),
	})
	if err != nil {
		return nil, gcpFault("Decrypt", err)
	}
	if crc(answer.GetPlaintext()) != answer.GetPlaintextCrc32C().GetValue() {
		return nil, fault("gcp_kms", "Decrypt", "a wrong checksum", true, nil)
	}
	return answer.GetPlaintext(), nil
}

func gcpFault(call string, err error) error {
	s, ok := status.FromError(err)
	if !ok {
		return fault("gcp_kms", call, "", false, err)
	}
	switch s.Code() {
	case codes.InvalidArgument:
		if call == "Decrypt" {
			return fmt.Errorf("gcp_kms: Decrypt: refused with INVALID_ARGUMENT: %w", seal.ErrDamaged)
		}
	case codes.Unavailable, codes.DeadlineExceeded, codes.Canceled, codes.Unknown:
		return fault("gcp_kms", call, "", false, err)
	case codes.Internal, codes.ResourceExhausted, codes.Aborted:
		return fault("gcp_kms", call, s.Code().String(), true, err)
	}
	return fault("gcp_kms", call, s.Code().String(), false, err)
}
