// SPDX-License-Identifier: Apache-2.0

package gcpkmsfake

import (
	"context"
	"encoding/base64"
	"slices"
	"strconv"
	"strings"
	"time"

	"cloud.google.com/go/kms/apiv1/kmspb"
	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// ListCryptoKeys knows pages, and filters of equalities joined by AND
// (https://cloud.google.com/kms/docs/sorting-and-filtering).
func (s *Server) ListCryptoKeys(_ context.Context, r *kmspb.ListCryptoKeysRequest) (*kmspb.ListCryptoKeysResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.GetParent() != s.options.Ring {
		return nil, status.Errorf(codes.NotFound, "KeyRing %s not found.", r.GetParent())
	}
	var matching []*kmspb.CryptoKey
	for _, name := range s.order {
		if k := s.keys[name].pb; matches(r.GetFilter(), map[string]string{"purpose": k.GetPurpose().String()}) {
			matching = append(matching, k)
		}
	}
	page, next, err := cut(matching, r.GetPageToken(), int(r.GetPageSize()), s.options.PageSize)
	if err != nil {
		return nil, err
	}
	answer := &kmspb.ListCryptoKeysResponse{NextPageToken: next}
	for _, k := range page {
		answer.CryptoKeys = append(answer.CryptoKeys, proto.CloneOf(k))
	}
	return answer, nil
}

// ListCryptoKeyVersions is as ListCryptoKeys.
func (s *Server) ListCryptoKeyVersions(_ context.Context, r *kmspb.ListCryptoKeyVersionsRequest) (*kmspb.ListCryptoKeyVersionsResponse, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.keys[r.GetParent()]
	if k == nil {
		return nil, status.Errorf(codes.NotFound, "CryptoKey %s not found.", r.GetParent())
	}
	var matching []*kmspb.CryptoKeyVersion
	for _, v := range k.versions {
		if matches(r.GetFilter(), map[string]string{"algorithm": v.pb.GetAlgorithm().String(), "state": v.pb.GetState().String()}) {
			matching = append(matching, v.pb)
		}
	}
	page, next, err := cut(matching, r.GetPageToken(), int(r.GetPageSize()), s.options.PageSize)
	if err != nil {
		return nil, err
	}
	answer := &kmspb.ListCryptoKeyVersionsResponse{NextPageToken: next}
	for _, v := range page {
		answer.CryptoKeyVersions = append(answer.CryptoKeyVersions, proto.CloneOf(v))
	}
	return answer, nil
}

func matches(filter string, fields map[string]string) bool {
	if filter == "" {
		return true
	}
	for term := range strings.SplitSeq(filter, " AND ") {
		name, want, _ := strings.Cut(term, "=")
		if fields[name] != want {
			return false
		}
	}
	return true
}

func cut[T any](all []T, token string, size, most int) (page []T, next string, err error) {
	from := 0
	if token != "" {
		text, err := base64.URLEncoding.DecodeString(token)
		if from, _ = strconv.Atoi(string(text)); err != nil || from < 1 || from > len(all) {
			return nil, "", status.Error(codes.InvalidArgument, "Invalid page_token.")
		}
	}
	if size <= 0 || size > most {
		size = most
	}
	to := min(from+size, len(all))
	if to < len(all) {
		next = base64.URLEncoding.EncodeToString([]byte(strconv.Itoa(to)))
	}
	return all[from:to], next, nil
}

// enabled returns a version that may be used, or the error of one that may not:
// the text and the detail are those of Cloud KMS.
func (s *Server) enabled(ref string) (*version, error) {
	v := s.find(ref)
	if v == nil {
		return nil, status.Errorf(codes.NotFound, "CryptoKeyVersion %s not found.", ref)
	}
	if v.pb.State != kmspb.CryptoKeyVersion_ENABLED {
		return nil, Error(codes.FailedPrecondition, ref+" is not enabled, current state is: "+v.pb.State.String()+".",
			&errdetails.PreconditionFailure{Violations: []*errdetails.PreconditionFailure_Violation{{Type: "KEY_" + v.pb.State.String(), Subject: ref}}})
	}
	return v, nil
}

// GetPublicKey answers for enabled versions only.
func (s *Server) GetPublicKey(_ context.Context, r *kmspb.GetPublicKeyRequest) (*kmspb.PublicKey, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, err := s.enabled(r.GetName())
	if err != nil {
		return nil, err
	}
	text := publicPEM(&v.private.PublicKey)
	return &kmspb.PublicKey{
		Pem: text, PemCrc32C: wrapperspb.Int64(crc([]byte(text))), Algorithm: v.pb.Algorithm,
		Name: v.pb.Name, ProtectionLevel: v.pb.ProtectionLevel, PublicKeyFormat: kmspb.PublicKey_PEM,
	}, nil
}

// AsymmetricSign checks the digest's checksum if there is one, and says so
// (AsymmetricSignResponse.verified_digest_crc32c).
func (s *Server) AsymmetricSign(_ context.Context, r *kmspb.AsymmetricSignRequest) (*kmspb.AsymmetricSignResponse, error) {
	s.mu.Lock()
	v, err := s.enabled(r.GetName())
	s.mu.Unlock()
	if err != nil {
		return nil, err
	}
	digest := r.GetDigest().GetSha256()
	if len(digest) != 32 {
		return nil, status.Error(codes.InvalidArgument, "The digest must be 32 bytes of SHA256 for this key.")
	}
	if c := r.GetDigestCrc32C(); c != nil && c.GetValue() != crc(digest) {
		return nil, status.Error(codes.InvalidArgument, "The checksum in field digest_crc32c did not match the data in field digest.")
	}
	signature := sign(v.private, digest)
	return &kmspb.AsymmetricSignResponse{
		Signature: signature, SignatureCrc32C: wrapperspb.Int64(crc(signature)), Name: r.GetName(),
		VerifiedDigestCrc32C: r.GetDigestCrc32C() != nil, ProtectionLevel: v.pb.ProtectionLevel,
	}, nil
}

// GetCryptoKey describes a key.
func (s *Server) GetCryptoKey(_ context.Context, r *kmspb.GetCryptoKeyRequest) (*kmspb.CryptoKey, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	k := s.keys[r.GetName()]
	if k == nil {
		return nil, status.Errorf(codes.NotFound, "CryptoKey %s not found.", r.GetName())
	}
	return proto.CloneOf(k.pb), nil
}

// GetCryptoKeyVersion describes a version, and brings a pending one nearer to its end.
func (s *Server) GetCryptoKeyVersion(_ context.Context, r *kmspb.GetCryptoKeyVersionRequest) (*kmspb.CryptoKeyVersion, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.find(r.GetName())
	if v == nil {
		return nil, status.Errorf(codes.NotFound, "CryptoKeyVersion %s not found.", r.GetName())
	}
	if pending := v.pb.State == kmspb.CryptoKeyVersion_PENDING_GENERATION || v.pb.State == kmspb.CryptoKeyVersion_PENDING_IMPORT; pending {
		if v.polls--; v.polls < 0 {
			v.pb.State = kmspb.CryptoKeyVersion_ENABLED
		}
	}
	return proto.CloneOf(v.pb), nil
}

// CreateCryptoKey makes a key, and its first version unless told not to.
// secp256k1 is for the HSM only (CryptoKeyVersionAlgorithm.EC_SIGN_SECP256K1_SHA256).
func (s *Server) CreateCryptoKey(_ context.Context, r *kmspb.CreateCryptoKeyRequest) (*kmspb.CryptoKey, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name, template := r.GetParent()+"/cryptoKeys/"+r.GetCryptoKeyId(), r.GetCryptoKey().GetVersionTemplate()
	switch {
	case s.keys[name] != nil:
		return nil, status.Errorf(codes.AlreadyExists, "CryptoKey %s already exists.", name)
	case template.GetAlgorithm() != kmspb.CryptoKeyVersion_EC_SIGN_SECP256K1_SHA256, template.GetProtectionLevel() != kmspb.ProtectionLevel_HSM,
		r.GetCryptoKey().GetPurpose() != kmspb.CryptoKey_ASYMMETRIC_SIGN, r.GetCryptoKey().GetImportOnly() != r.GetSkipInitialVersionCreation():
		return nil, status.Error(codes.InvalidArgument, "Invalid combination of purpose, algorithm and protection level.")
	}
	k := s.newKey(name, r.GetCryptoKey())
	if !r.GetSkipInitialVersionCreation() {
		v := s.newVersion(k, newPrivate(template.GetAlgorithm()), s.options.Polls)
		v.pb.State = kmspb.CryptoKeyVersion_PENDING_GENERATION
	}
	return proto.CloneOf(k.pb), nil
}

// UpdateCryptoKeyVersion switches versions on and off; other states cannot be left so
// (https://cloud.google.com/kms/docs/key-states).
func (s *Server) UpdateCryptoKeyVersion(_ context.Context, r *kmspb.UpdateCryptoKeyVersionRequest) (*kmspb.CryptoKeyVersion, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switchable := []kmspb.CryptoKeyVersion_CryptoKeyVersionState{kmspb.CryptoKeyVersion_ENABLED, kmspb.CryptoKeyVersion_DISABLED}
	v := s.find(r.GetCryptoKeyVersion().GetName())
	want := r.GetCryptoKeyVersion().GetState()
	switch {
	case v == nil:
		return nil, status.Errorf(codes.NotFound, "CryptoKeyVersion %s not found.", r.GetCryptoKeyVersion().GetName())
	case !slices.Equal(r.GetUpdateMask().GetPaths(), []string{"state"}), !slices.Contains(switchable, want):
		return nil, status.Error(codes.InvalidArgument, "Only the states ENABLED and DISABLED can be set.")
	case !slices.Contains(switchable, v.pb.State):
		return nil, status.Errorf(codes.FailedPrecondition, "%s cannot be updated, current state is: %s.", v.pb.Name, v.pb.State)
	}
	v.pb.State = want
	return proto.CloneOf(v.pb), nil
}

// DestroyCryptoKeyVersion schedules the destruction in 30 days
// (CryptoKey.destroy_scheduled_duration).
func (s *Server) DestroyCryptoKeyVersion(_ context.Context, r *kmspb.DestroyCryptoKeyVersionRequest) (*kmspb.CryptoKeyVersion, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v := s.find(r.GetName())
	if v == nil {
		return nil, status.Errorf(codes.NotFound, "CryptoKeyVersion %s not found.", r.GetName())
	}
	if v.pb.State != kmspb.CryptoKeyVersion_ENABLED && v.pb.State != kmspb.CryptoKeyVersion_DISABLED {
		return nil, status.Errorf(codes.FailedPrecondition, "%s cannot be destroyed, current state is: %s.", v.pb.Name, v.pb.State)
	}
	v.pb.State = kmspb.CryptoKeyVersion_DESTROY_SCHEDULED
	v.pb.DestroyTime = timestamppb.New(time.Now().Add(30 * 24 * time.Hour))
	return proto.CloneOf(v.pb), nil
}
