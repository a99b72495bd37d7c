// SPDX-License-Identifier: Apache-2.0

package gcpkms_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"google.golang.org/genproto/googleapis/rpc/errdetails"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/types/known/durationpb"

	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/key/gcpkms/gcpkmsfake"
)

func reasonOf(reason string) *errdetails.ErrorInfo {
	return &errdetails.ErrorInfo{Reason: reason, Domain: "googleapis.com"}
}

func TestWhatGoogleSaysIsExplained(t *testing.T) {
	const secret = "s3cret"
	disabled := "projects/p/…/cryptoKeyVersions/1 is not enabled, current state is: "
	for name, c := range map[string]struct {
		err  error
		kind error
		why  string
	}{
		"unauthenticated":        {gcpkmsfake.Error(codes.Unauthenticated, secret), key.ErrDenied, "the credential was refused"},
		"API off":                {gcpkmsfake.Error(codes.PermissionDenied, secret, reasonOf("SERVICE_DISABLED")), key.ErrDenied, "gcloud services enable"},
		"no billing":             {gcpkmsfake.Error(codes.PermissionDenied, secret, reasonOf("BILLING_DISABLED")), key.ErrDenied, "no billing account"},
		"perimeter":              {gcpkmsfake.Error(codes.PermissionDenied, secret, reasonOf("SECURITY_POLICY_VIOLATED")), key.ErrDenied, "VPC Service Controls"},
		"scopes":                 {gcpkmsfake.Error(codes.PermissionDenied, secret, reasonOf("ACCESS_TOKEN_SCOPE_INSUFFICIENT")), key.ErrDenied, "scope cloud-platform"},
		"project":                {gcpkmsfake.Error(codes.PermissionDenied, secret, reasonOf("CONSUMER_INVALID")), key.ErrDenied, "(CONSUMER_INVALID)"},
		"no right":               {gcpkmsfake.Error(codes.PermissionDenied, "Permission 'cloudkms.cryptoKeyVersions.useToSign' denied on resource '"+secret+"' (or it may not exist)."), key.ErrDenied, "lacks cloudkms.cryptoKeyVersions.useToSign"},
		"and which role has it":  {gcpkmsfake.Error(codes.PermissionDenied, "Permission 'cloudkms.cryptoKeyVersions.useToSign' denied on resource"), key.ErrDenied, "roles/cloudkms.signer"},
		"denied without a word":  {gcpkmsfake.Error(codes.PermissionDenied, secret), key.ErrDenied, "the identity may not do this"},
		"not found":              {gcpkmsfake.Error(codes.NotFound, secret), key.ErrNotFound, ""},
		"disabled":               {gcpkmsfake.Error(codes.FailedPrecondition, disabled+"DISABLED."), key.ErrDisabled, "gcloud kms keys versions enable"},
		"destroy scheduled":      {gcpkmsfake.Error(codes.FailedPrecondition, disabled+"DESTROY_SCHEDULED."), key.ErrDisabled, "gcloud kms keys versions restore"},
		"destroyed":              {gcpkmsfake.Error(codes.FailedPrecondition, disabled+"DESTROYED."), key.ErrNotFound, "is destroyed"},
		"destroyed elsewhere":    {gcpkmsfake.Error(codes.FailedPrecondition, disabled+"EXTERNAL_DESTRUCTION_FAILED."), key.ErrNotFound, "is destroyed"},
		"being generated":        {gcpkmsfake.Error(codes.FailedPrecondition, disabled+"PENDING_GENERATION."), key.ErrDisabled, "still being generated"},
		"being imported":         {gcpkmsfake.Error(codes.FailedPrecondition, disabled+"PENDING_IMPORT."), key.ErrDisabled, "still being imported"},
		"import failed":          {gcpkmsfake.Error(codes.FailedPrecondition, disabled+"IMPORT_FAILED."), key.ErrDisabled, "the import of the key version failed"},
		"generation failed":      {gcpkmsfake.Error(codes.FailedPrecondition, disabled+"GENERATION_FAILED."), key.ErrDisabled, "the generation of the key version failed"},
		"a state of the future":  {gcpkmsfake.Error(codes.FailedPrecondition, disabled+"FROZEN."), key.ErrDisabled, "does not know"},
		"another precondition":   {gcpkmsfake.Error(codes.FailedPrecondition, secret), key.ErrDisabled, "does not allow it"},
		"wrong location":         {gcpkmsfake.Error(codes.InvalidArgument, "The request concerns location 'mars' but was sent to location 'global'."), key.ErrNotFound, "is not in the location"},
		"invalid":                {gcpkmsfake.Error(codes.InvalidArgument, secret), key.ErrBadResponse, "found the request invalid"},
		"damaged on the way":     {gcpkmsfake.Error(codes.InvalidArgument, "The checksum in field digest_crc32c did not match the data in field digest."), key.ErrBadResponse, "arrived damaged"},
		"unavailable":            {gcpkmsfake.Error(codes.Unavailable, secret), key.ErrUnavailable, "is unavailable for now"},
		"internal":               {gcpkmsfake.Error(codes.Internal, secret), key.ErrUnavailable, "failed for now (Internal)"},
		"unknown":                {gcpkmsfake.Error(codes.Unknown, secret), key.ErrUnavailable, "failed for now (Unknown)"},
		"its own deadline":       {gcpkmsfake.Error(codes.DeadlineExceeded, secret), key.ErrUnavailable, "failed for now (DeadlineExceeded)"},
		"cancelled by it":        {gcpkmsfake.Error(codes.Canceled, secret), key.ErrUnavailable, "failed for now"},
		"unimplemented":          {gcpkmsfake.Error(codes.Unimplemented, secret), key.ErrBadResponse, "Unimplemented"},
		"a code of the future":   {gcpkmsfake.Error(codes.Code(77), secret), key.ErrBadResponse, "Code(77)"},
		"ambiguous precondition": {gcpkmsfake.Error(codes.FailedPrecondition, secret, reasonOf("SERVICE_DISABLED")), key.ErrDenied, "gcloud services enable"},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, gcpkmsfake.Options{})
			ref, _ := s.Add(gcpkmsfake.Key{ID: "a"})
			b := open(t, s)
			s.Fault("AsymmetricSign", func(int) *gcpkmsfake.Fault { return &gcpkmsfake.Fault{Err: c.err} })
			_, err := b.SignDigest(t.Context(), key.Ref(ref), [32]byte{1})
			var call *key.CallError
			if !errors.As(err, &call) || !errors.Is(err, c.kind) || !strings.Contains(call.Why, c.why) {
				t.Fatalf("got %v", err)
			}
			if strings.Contains(err.Error(), secret) {
				t.Errorf("Google's text is repeated: %v", err)
			}
			if call.Op != "sign" || call.Ref != key.Ref(ref) || !s.SawReason(call.RequestID) {
				t.Errorf("op %q, ref %q, request %q", call.Op, call.Ref, call.RequestID)
			}
		})
	}
}

func TestListingSaysWhichSettingIsWrong(t *testing.T) {
	s := start(t, gcpkmsfake.Options{})
	b := open(t, s)
	s.Fault("ListCryptoKeys", func(int) *gcpkmsfake.Fault { return &gcpkmsfake.Fault{Err: gcpkmsfake.Error(codes.NotFound, "")} })
	if err := b.Health(t.Context()); !errors.Is(err, key.ErrNotFound) || !strings.Contains(err.Error(), "there is no key ring "+s.Ring()) {
		t.Errorf("unknown ring: %v", err)
	}
	s.Fault("ListCryptoKeys", nil)
	s.Deny("cloudkms.cryptoKeys.list", true)
	if _, err := b.Keys(t.Context(), ""); !errors.Is(err, key.ErrDenied) || !strings.Contains(err.Error(), "lacks cloudkms.cryptoKeys.list") {
		t.Errorf("no right: %v", err)
	}
}

func TestThrottledSaysHowLong(t *testing.T) {
	for name, c := range map[string]struct {
		info []*errdetails.RetryInfo
		want time.Duration
	}{
		"with RetryInfo": {[]*errdetails.RetryInfo{{RetryDelay: durationpb.New(1500 * time.Millisecond)}}, 1500 * time.Millisecond},
		"negative":       {[]*errdetails.RetryInfo{{RetryDelay: durationpb.New(-time.Second)}}, 0},
		"without":        {nil, 0},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, gcpkmsfake.Options{})
			ref, _ := s.Add(gcpkmsfake.Key{ID: "a"})
			b := open(t, s)
			err := gcpkmsfake.Error(codes.ResourceExhausted, "Quota exceeded")
			for _, i := range c.info {
				err = gcpkmsfake.Error(codes.ResourceExhausted, "Quota exceeded", i)
			}
			s.Fault("AsymmetricSign", func(int) *gcpkmsfake.Fault { return &gcpkmsfake.Fault{Err: err} })
			_, got := b.SignDigest(t.Context(), key.Ref(ref), [32]byte{1})
			var throttled *key.ThrottledError
			if !errors.As(got, &throttled) || throttled.RetryAfter != c.want || s.Calls("AsymmetricSign") != 1 {
				t.Errorf("%v, %v, after %d calls", got, throttled, s.Calls("AsymmetricSign"))
			}
		})
	}
}

func TestUnknownHostIsNamed(t *testing.T) {
	b := openUnresolvable(t)
	err := b.Health(t.Context())
	if !errors.Is(err, key.ErrUnavailable) || !strings.Contains(err.Error(), "the name of kms.invalid:443 does not resolve") {
		t.Errorf("got %v", err)
	}
}
