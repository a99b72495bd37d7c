// SPDX-License-Identifier: Apache-2.0

package awskms_test

import (
	"context"
	"errors"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/key/awskms"
	"github.com/hsmsigner/hsmsigner/internal/key/awskms/awskmsfake"
	"github.com/hsmsigner/hsmsigner/internal/secp"
)

func TestErrorsOfKMSSayWhatToMend(t *testing.T) {
	s := startFake(t, awskmsfake.Config{})
	k := s.AddKey("a", nil)
	b := open(t, fakeConfig(s))
	wrongClock := http.Header{"Date": {time.Now().Add(time.Hour).UTC().Format(http.TimeFormat)}}
	for _, test := range []struct {
		fault awskmsfake.Fault
		kind  error // nil: throttled
		why   string
	}{
		{awskmsfake.Fault{Code: "ThrottlingException"}, nil, "quota"},
		{awskmsfake.Fault{Code: "ThrottlingException", RetryAfter: "3"}, nil, "quota"},
		{awskmsfake.Fault{Code: "RequestLimitExceeded", Status: 503}, nil, "quota"},
		{awskmsfake.Fault{Code: "SomethingNew", Status: 429}, nil, "SomethingNew"},
		{awskmsfake.Fault{Body: "slow down", Status: 429, RetryAfter: "3"}, nil, "429"},
		{awskmsfake.Fault{Code: "NotFoundException"}, key.ErrNotFound, "eu-central-1"},
		{awskmsfake.Fault{Code: "InvalidArnException"}, key.ErrNotFound, "eu-central-1"},
		{awskmsfake.Fault{Code: "InvalidKeyUsageException"}, key.ErrNotFound, "ECDSA_SHA_256"},
		{awskmsfake.Fault{Code: "UnsupportedOperationException"}, key.ErrNotFound, "ECDSA_SHA_256"},
		{awskmsfake.Fault{Code: "DisabledException"}, key.ErrDisabled, "EnableKey"},
		{awskmsfake.Fault{Code: "KMSInvalidStateException", Message: "arn:x is pending deletion."}, key.ErrDisabled, "CancelKeyDeletion"},
		{awskmsfake.Fault{Code: "KMSInvalidStateException", Message: "arn:x is pending import."}, key.ErrDisabled, "ImportKeyMaterial"},
		{awskmsfake.Fault{Code: "KMSInvalidStateException", Message: "arn:x is creating."}, key.ErrUnavailable, "passes by itself"},
		{awskmsfake.Fault{Code: "KMSInvalidStateException", Message: "?"}, key.ErrDisabled, "DescribeKey"},
		{awskmsfake.Fault{Code: "AccessDeniedException"}, key.ErrDenied, "kms:Sign"},
		{awskmsfake.Fault{Code: "UnrecognizedClientException"}, key.ErrDenied, "does not know the access key"},
		{awskmsfake.Fault{Code: "InvalidSignatureException", Message: "The request signature we calculated does not match"}, key.ErrDenied, "secret access key is not the one"},
		{awskmsfake.Fault{Code: "InvalidSignatureException", Message: "Credential should be scoped to a valid region."}, key.ErrDenied, "another region"},
		{awskmsfake.Fault{Code: "InvalidSignatureException", Message: "Signature expired: 20260101T000000Z is now earlier than"}, key.ErrUnavailable, "clock"},
		{awskmsfake.Fault{Code: "InvalidSignatureException", Header: wrongClock}, key.ErrUnavailable, "1h0m0s"},
		{awskmsfake.Fault{Code: "RequestExpired"}, key.ErrUnavailable, "NTP"},
		{awskmsfake.Fault{Code: "ExpiredTokenException"}, key.ErrDenied, "session token"},
		{awskmsfake.Fault{Code: "MissingAuthenticationTokenException"}, key.ErrDenied, "credential"},
		{awskmsfake.Fault{Code: "KMSInternalException", Status: 500}, key.ErrUnavailable, "now"},
		{awskmsfake.Fault{Code: "KeyUnavailableException", Status: 500}, key.ErrUnavailable, "now"},
		{awskmsfake.Fault{Code: "DependencyTimeoutException", Status: 503}, key.ErrUnavailable, "now"},
		{awskmsfake.Fault{Code: "SomethingNew", Status: 502}, key.ErrUnavailable, "SomethingNew"},
		{awskmsfake.Fault{Code: "SomethingNew"}, key.ErrDenied, "SomethingNew"},
		{awskmsfake.Fault{Body: "<html>bad gateway</html>", Status: 502}, key.ErrUnavailable, "502"},
		{awskmsfake.Fault{Body: "<html>hello</html>", Status: 404}, key.ErrBadResponse, "check the endpoint"},
		{awskmsfake.Fault{Body: "<html>hello</html>", Status: 200}, key.ErrBadResponse, "check the endpoint"},
		{awskmsfake.Fault{Body: `{"KeyId":`, Status: 200, Header: http.Header{"Content-Length": {"500"}}}, key.ErrUnavailable, "broke"},
		{awskmsfake.Fault{Body: "", Status: 302, Header: http.Header{"Location": {"http://127.0.0.1:1/"}}}, key.ErrBadResponse, "302"},
	} {
		s.ClearFaults()
		s.Fail(test.fault)
		before := s.Total()
		_, err := b.SignDigest(t.Context(), key.Ref(k.ARN), [32]byte{1})
		var call *key.CallError
		if !errors.As(err, &call) {
			t.Errorf("%+v: got %v", test.fault, err)
			continue
		}
		var throttled *key.ThrottledError
		switch {
		case test.kind == nil && !errors.As(err, &throttled), test.kind != nil && call.Kind != test.kind:
			t.Errorf("%+v: got %v", test.fault, err)
		case test.kind == nil && (throttled.RetryAfter == 3*time.Second) != (test.fault.RetryAfter == "3"):
			t.Errorf("%+v: retry after %v", test.fault, throttled.RetryAfter)
		case !strings.Contains(call.Why, test.why):
			t.Errorf("%+v: got %q, want %q in it", test.fault, call.Why, test.why)
		case call.RequestID == "", call.Op != "sign", call.Ref != key.Ref(k.ARN):
			t.Errorf("%+v: got %+v", test.fault, call)
		}
		for _, secret := range []string{fakeSecret, "html", "earlier than", "scoped"} {
			if strings.Contains(err.Error(), secret) {
				t.Errorf("%+v: %q is in %q", test.fault, secret, err)
			}
		}
		if n := s.Total() - before; n != 1 {
			t.Errorf("%+v: %d calls", test.fault, n)
		}
	}
}

func TestUnreachablePlacesAreToldApart(t *testing.T) {
	plain, secure := startFake(t, awskmsfake.Config{}), startFake(t, awskmsfake.Config{TLS: true})
	gone := awskmsfake.Start(awskmsfake.Config{})
	gone.Close()
	for _, test := range []struct{ endpoint, why string }{
		{gone.URL, "cannot be reached"},
		{"https" + strings.TrimPrefix(plain.URL, "http"), "does not speak TLS"},
		{secure.URL, "authority that is not trusted"},
		{"https://kms.does-not-exist.invalid", "does not exist"},
	} {
		config := fakeConfig(plain)
		config.Endpoint = test.endpoint
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		_, err := open(t, config).SignDigest(ctx, "arn:aws:kms:eu-central-1:111122223333:key/x", [32]byte{1})
		cancel()
		if err == nil || !strings.Contains(err.Error(), test.why) {
			t.Errorf("%s: got %v, want %q in it", test.endpoint, err, test.why)
		}
		t.Log(err)
	}
}

func TestThrottlingDoesNotStopAListing(t *testing.T) {
	s := startFake(t, awskmsfake.Config{})
	s.AddKeys(60, "a", nil)
	s.Fail(awskmsfake.Fault{Code: "ThrottlingException", Share: 0.5})
	keys, problems := list(t, open(t, fakeConfig(s)))
	if len(keys) != 60 || len(problems) != 0 {
		t.Errorf("got %d keys, problems %+v", len(keys), problems)
	}
}

func TestThrottlingWithoutEndIsReportedAtTheDeadline(t *testing.T) {
	s := startFake(t, awskmsfake.Config{})
	s.Fail(awskmsfake.Fault{Code: "ThrottlingException"})
	ctx, cancel := context.WithTimeout(t.Context(), 4*time.Second)
	defer cancel()
	_, err := open(t, fakeConfig(s)).Keys(ctx, "")
	var throttled *key.ThrottledError
	if !errors.As(err, &throttled) {
		t.Errorf("got %v", err)
	}
}

// Whatever KMS answers to Sign is a good signature or ErrBadResponse, and a
// strange one is never taken for good.
func TestStrangeSignaturesAreRefused(t *testing.T) {
	s := startFake(t, awskmsfake.Config{})
	k, other := s.AddKey("a", nil), s.AddKey("b", nil)
	b := open(t, fakeConfig(s))
	digest := [32]byte{5}
	zeros := append(make([]byte, 31), 9)
	for name, alter := range map[string]func(answer map[string]any){
		"trailing bytes": func(a map[string]any) { a["Signature"] = append(a["Signature"].([]byte), 0) },
		"empty":          func(a map[string]any) { a["Signature"] = []byte{} },
		"missing":        func(a map[string]any) { delete(a, "Signature") },
		"not base64":     func(a map[string]any) { a["Signature"] = "&&&" },
		"raw r and s":    func(a map[string]any) { a["Signature"] = make([]byte, 64) },
		"truncated":      func(a map[string]any) { b := a["Signature"].([]byte); a["Signature"] = b[:len(b)-1] },
		"zero r":         func(a map[string]any) { a["Signature"] = awskmsfake.DER(make([]byte, 32), zeros, false) },
		"huge r":         func(a map[string]any) { a["Signature"] = awskmsfake.DER(slices.Repeat([]byte{0xff}, 40), zeros, false) },
		"another key":    func(a map[string]any) { a["KeyId"] = other.ARN },
		"no key":         func(a map[string]any) { delete(a, "KeyId") },
	} {
		s.Alter(func(_ string, answer map[string]any) { alter(answer) })
		sig, err := b.SignDigest(t.Context(), key.Ref(k.ARN), digest)
		if !errors.Is(err, key.ErrBadResponse) || sig.R != [32]byte{} || key.Transient(err) {
			t.Errorf("%s: got %v, %v", name, sig, err)
		}
	}
	// Short integers are padded.
	s.Alter(func(_ string, a map[string]any) { a["Signature"] = awskmsfake.DER(zeros, zeros, false) })
	if sig, err := b.SignDigest(t.Context(), key.Ref(k.ARN), digest); err != nil || sig.R != [32]byte(zeros) || sig.S != [32]byte(zeros) {
		t.Errorf("got %v, %v", sig, err)
	}
	// One changed byte anywhere: refused here, or by the check that the wallet
	// makes of every signature.
	random := rand.New(rand.NewPCG(1, 2))
	for range 2000 {
		s.Alter(func(_ string, a map[string]any) {
			sig := a["Signature"].([]byte)
			sig[random.IntN(len(sig))] ^= byte(1 + random.IntN(255))
		})
		sig, err := b.SignDigest(t.Context(), key.Ref(k.ARN), digest)
		if err == nil {
			_, err = secp.Finish(k.Address, digest, sig.R, sig.S)
		} else if !errors.Is(err, key.ErrBadResponse) {
			t.Fatal(err)
		}
		if err == nil {
			t.Fatal("a changed signature was accepted")
		}
	}
}

func TestStrangePublicKeysAreProblems(t *testing.T) {
	s := startFake(t, awskmsfake.Config{})
	k, other := s.AddKey("a", nil), s.AddKey("b", nil)
	for name, alter := range map[string]func(a map[string]any){
		"trailing bytes": func(a map[string]any) { a["PublicKey"] = append(slices.Clone(a["PublicKey"].([]byte)), 0) },
		"not a point":    func(a map[string]any) { p := slices.Clone(a["PublicKey"].([]byte)); p[80] ^= 1; a["PublicKey"] = p },
		"nothing":        func(a map[string]any) { delete(a, "PublicKey") },
		"another's":      func(a map[string]any) { a["KeyId"] = other.ARN },
	} {
		s.Alter(func(operation string, a map[string]any) {
			if operation == "GetPublicKey" && a["KeyId"] == k.ARN {
				alter(a)
			}
		})
		keys, problems := list(t, open(t, fakeConfig(s)))
		if len(keys) != 1 || len(problems) != 1 || problems[0].Name != "a" {
			t.Errorf("%s: got %+v, %+v", name, keys, problems)
		}
	}
}

func TestMarkersThatGoNowhereEndTheListing(t *testing.T) {
	s := startFake(t, awskmsfake.Config{})
	s.AddKeys(5, "a", nil)
	for _, d := range []awskms.Discovery{{}, {AliasPrefix: "a"}, {TagKey: "use"}} {
		for name, alter := range map[string]func(operation string, a map[string]any){
			"circle": func(_ string, a map[string]any) {
				a["Truncated"], a["NextMarker"], a["PaginationToken"] = true, "0", "0"
			},
			"none": func(operation string, a map[string]any) {
				if a["Truncated"] = true; operation == "GetResources" {
					a["PaginationToken"] = "0"
				}
			},
		} {
			s.Alter(func(operation string, a map[string]any) {
				if operation != "GetPublicKey" {
					alter(operation, a)
				}
			})
			config := fakeConfig(s)
			config.Discovery = d
			if page, err := open(t, config).Keys(t.Context(), ""); !errors.Is(err, key.ErrBadResponse) {
				t.Errorf("%s, %+v: got %+v, %v", name, d, page, err)
			}
		}
	}
}
