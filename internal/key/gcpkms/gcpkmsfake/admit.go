// SPDX-License-Identifier: Apache-2.0

package gcpkmsfake

import (
	"crypto"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"slices"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/protoadapt"
	"google.golang.org/protobuf/types/known/durationpb"
)

const service = "cloudkms.googleapis.com"

// permissions by method:
// https://cloud.google.com/kms/docs/reference/permissions-and-roles.
var permissions = map[string]string{
	"ListCryptoKeys":          "cloudkms.cryptoKeys.list",
	"GetCryptoKey":            "cloudkms.cryptoKeys.get",
	"CreateCryptoKey":         "cloudkms.cryptoKeys.create",
	"ListCryptoKeyVersions":   "cloudkms.cryptoKeyVersions.list",
	"GetCryptoKeyVersion":     "cloudkms.cryptoKeyVersions.get",
	"UpdateCryptoKeyVersion":  "cloudkms.cryptoKeyVersions.update",
	"DestroyCryptoKeyVersion": "cloudkms.cryptoKeyVersions.destroy",
	"GetPublicKey":            "cloudkms.cryptoKeyVersions.viewPublicKey",
	"AsymmetricSign":          "cloudkms.cryptoKeyVersions.useToSign",
	"CreateImportJob":         "cloudkms.importJobs.create",
	"GetImportJob":            "cloudkms.importJobs.get",
	"ImportCryptoKeyVersion":  "cloudkms.importJobs.useToImport",
}

// admit does what stands before the service itself: routing, identity, rights, quotas.
func (s *Server) admit(method string, headers metadata.MD) error {
	// Without this header the service answers so
	// (https://google.aip.dev/client-libraries/4222).
	if len(headers.Get("x-goog-request-params")) != 1 {
		return status.Error(codes.InvalidArgument, "The request was misrouted. gRPC clients must ensure that 'x-goog-request-params' is specified in request metadata.")
	}
	if err := s.authenticate(headers.Get("authorization")); err != nil {
		return err
	}
	s.mu.Lock()
	permission := permissions[method]
	denied := s.denied[permission]
	s.mu.Unlock()
	if denied {
		return Error(codes.PermissionDenied,
			"Permission '"+permission+"' denied on resource '"+s.options.Ring+"' (or it may not exist).",
			&errdetails.ErrorInfo{Reason: "IAM_PERMISSION_DENIED", Domain: service, Metadata: map[string]string{"permission": permission}})
	}
	limit, metric := s.reads, "Read requests"
	switch method {
	case "AsymmetricSign", "GetPublicKey":
		limit, metric = s.crypto, "HSM asymmetric cryptographic requests"
	case "CreateCryptoKey", "CreateImportJob", "ImportCryptoKeyVersion", "UpdateCryptoKeyVersion", "DestroyCryptoKeyVersion":
		return nil
	}
	if !limit.Allow() {
		return s.exhausted(metric)
	}
	return nil
}

// exhausted is what Google's front ends answer above a quota
// (https://cloud.google.com/docs/quotas/troubleshoot).
func (s *Server) exhausted(metric string) error {
	info := &errdetails.ErrorInfo{Reason: "RATE_LIMIT_EXCEEDED", Domain: "googleapis.com", Metadata: map[string]string{"service": service}}
	text := "Quota exceeded for quota metric '" + metric + "' and limit '" + metric + " per minute' of service '" + service + "' for consumer 'project_number:1'."
	if s.options.RetryInfo == 0 {
		return Error(codes.ResourceExhausted, text, info)
	}
	return Error(codes.ResourceExhausted, text, info, &errdetails.RetryInfo{RetryDelay: durationpb.New(s.options.RetryInfo)})
}

// Error makes a status with the details that Google sends.
func Error(code codes.Code, text string, details ...protoadapt.MessageV1) error {
	st, err := status.New(code, text).WithDetails(details...)
	if err != nil {
		return status.Error(codes.Internal, err.Error())
	}
	return st.Err()
}

type account struct {
	email  string
	public *rsa.PublicKey // nil: revoked
}

// authenticate takes JWTs that a service account signed itself, for this
// service and for an hour at most (https://google.aip.dev/auth/4111).
func (s *Server) authenticate(authorization []string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.accounts) == 0 {
		return nil
	}
	refuse := Error(codes.Unauthenticated,
		"Request had invalid authentication credentials. Expected OAuth 2 access token, login cookie or other valid authentication credential.",
		&errdetails.ErrorInfo{Reason: "ACCESS_TOKEN_TYPE_UNSUPPORTED", Domain: "googleapis.com", Metadata: map[string]string{"service": service}})
	if len(authorization) != 1 {
		return refuse
	}
	token, ok := strings.CutPrefix(authorization[0], "Bearer ")
	if !ok || s.refused[token] || !slices.Contains(s.opaque, token) && !s.good(token) {
		return refuse
	}
	s.seen[token] = true
	return nil
}

func (s *Server) good(token string) bool {
	signed, last, ok := cutLast(token, ".")
	first, second, ok2 := strings.Cut(signed, ".")
	if !ok || !ok2 {
		return false
	}
	var header struct{ Alg, Kid string }
	var claims struct {
		Iss, Sub, Aud string
		Iat, Exp      int64
	}
	signature, err := base64.RawURLEncoding.DecodeString(last)
	if err != nil || !decode(first, &header) || !decode(second, &claims) || header.Alg != "RS256" {
		return false
	}
	a := s.accounts[header.Kid]
	now := time.Now().Unix()
	if a.public == nil || claims.Iss != a.email || claims.Sub != a.email || claims.Aud != "https://"+service+"/" ||
		claims.Iat > now || claims.Exp <= now || claims.Exp-claims.Iat > 3600 {
		return false
	}
	digest := sha256.Sum256([]byte(signed))
	return rsa.VerifyPKCS1v15(a.public, crypto.SHA256, digest[:], signature) == nil
}

func cutLast(text, sep string) (before, after string, ok bool) {
	i := strings.LastIndex(text, sep)
	if i < 0 {
		return text, "", false
	}
	return text[:i], text[i+len(sep):], true
}

func decode(text string, to any) bool {
	b, err := base64.RawURLEncoding.DecodeString(text)
	return err == nil && json.Unmarshal(b, to) == nil
}
