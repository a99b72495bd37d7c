// SPDX-License-Identifier: Apache-2.0

package gcpkms_test

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"cloud.google.com/go/kms/apiv1/kmspb"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/proto"

	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/key/gcpkms"
	"github.com/hsmsigner/hsmsigner/internal/key/gcpkms/gcpkmsfake"
)

// Every state that Cloud KMS has, for a version whose public key was seen while
// it was enabled, and for one that was never seen so.
func TestEveryStateIsListedAsWhatItIs(t *testing.T) {
	const disabled, gone, problem = "disabled", "gone", "problem"
	want := map[kmspb.CryptoKeyVersion_CryptoKeyVersionState][2]string{
		kmspb.CryptoKeyVersion_ENABLED:                              {"enabled", "enabled"},
		kmspb.CryptoKeyVersion_DISABLED:                             {disabled, problem},
		kmspb.CryptoKeyVersion_DESTROY_SCHEDULED:                    {disabled, problem},
		kmspb.CryptoKeyVersion_PENDING_GENERATION:                   {disabled, problem},
		kmspb.CryptoKeyVersion_PENDING_IMPORT:                       {disabled, problem},
		kmspb.CryptoKeyVersion_IMPORT_FAILED:                        {disabled, problem},
		kmspb.CryptoKeyVersion_GENERATION_FAILED:                    {disabled, problem},
		kmspb.CryptoKeyVersion_CRYPTO_KEY_VERSION_STATE_UNSPECIFIED: {disabled, problem},
		kmspb.CryptoKeyVersion_DESTROYED:                            {gone, gone},
		kmspb.CryptoKeyVersion_PENDING_EXTERNAL_DESTRUCTION:         {gone, gone},
		kmspb.CryptoKeyVersion_EXTERNAL_DESTRUCTION_FAILED:          {gone, gone},
	}
	for number, name := range kmspb.CryptoKeyVersion_CryptoKeyVersionState_name {
		state := kmspb.CryptoKeyVersion_CryptoKeyVersionState(number)
		for i, seen := range []bool{true, false} {
			t.Run(fmt.Sprintf("%s, seen before %v", name, seen), func(t *testing.T) {
				s := start(t, gcpkmsfake.Options{})
				ref, address := s.Add(gcpkmsfake.Key{ID: "a"})
				b := open(t, s)
				if seen {
					list(t, b)
				}
				s.SetState(ref, state)
				keys, problems := list(t, b)
				got := gone
				switch {
				case len(keys) == 1:
					got = string(keys[0].State)
					if keys[0].Address != address || keys[0].Ref != key.Ref(ref) || keys[0].Name != "a/1" {
						t.Errorf("listed as %+v", keys[0])
					}
				case len(problems) == 1:
					got = problem
				}
				if expected, ok := want[state]; !ok || got != expected[i] || len(keys)+len(problems) > 1 {
					t.Errorf("got %s, want %v: %v %v", got, want[state], keys, problems)
				}
				if state != kmspb.CryptoKeyVersion_ENABLED {
					if _, err := b.SignDigest(t.Context(), key.Ref(ref), [32]byte{1}); !errors.Is(err, key.ErrDisabled) && !errors.Is(err, key.ErrNotFound) {
						t.Errorf("signing: %v", err)
					}
				}
			})
		}
	}
}

func TestProtectionIsThatOfTheVersion(t *testing.T) {
	for level, want := range map[kmspb.ProtectionLevel]key.Protection{
		kmspb.ProtectionLevel_HSM: key.HSM, kmspb.ProtectionLevel_HSM_SINGLE_TENANT: key.HSM, kmspb.ProtectionLevel_SOFTWARE: key.Software,
		kmspb.ProtectionLevel_EXTERNAL: key.Unknown, kmspb.ProtectionLevel_EXTERNAL_VPC: key.Unknown, 99: key.Unknown,
	} {
		s := start(t, gcpkmsfake.Options{})
		s.Add(gcpkmsfake.Key{ID: "a", Protection: level, Labels: map[string]string{"team": "treasury"}})
		if keys, _ := list(t, open(t, s)); len(keys) != 1 || keys[0].Protection != want || keys[0].Tags["team"] != "treasury" {
			t.Errorf("%s: %v", level, keys)
		}
	}
}

func TestKnownPublicKeysAreNotFetchedAgain(t *testing.T) {
	s := start(t, gcpkmsfake.Options{PageSize: 7})
	for i := range 30 {
		s.Add(gcpkmsfake.Key{ID: fmt.Sprint(i)})
	}
	b := open(t, s)
	for range 3 {
		if keys, _ := list(t, b); len(keys) != 30 {
			t.Fatalf("%d keys", len(keys))
		}
	}
	if n := s.Calls("GetPublicKey"); n != 30 {
		t.Errorf("%d public keys fetched in three listings of 30 keys", n)
	}
	if n := s.Calls("ListCryptoKeys"); n != 3*5 {
		t.Errorf("%d pages", n)
	}
}

func TestManyVersionsOfOneKeyArePaged(t *testing.T) {
	s := start(t, gcpkmsfake.Options{PageSize: 10})
	for range 35 {
		s.Add(gcpkmsfake.Key{ID: "a"})
	}
	if keys, _ := list(t, open(t, s)); len(keys) != 35 {
		t.Errorf("%d versions", len(keys))
	}
}

func TestPageOfVersionsThatFailedIsReadAgain(t *testing.T) {
	s := start(t, gcpkmsfake.Options{PageSize: 10})
	for range 25 {
		s.Add(gcpkmsfake.Key{ID: "a"})
	}
	s.Fault("ListCryptoKeyVersions", func(call int) *gcpkmsfake.Fault {
		if call != 2 {
			return nil
		}
		return &gcpkmsfake.Fault{Err: gcpkmsfake.Error(codes.Unavailable, "")}
	})
	seen := map[key.Ref]bool{}
	keys, _ := list(t, open(t, s))
	for _, k := range keys {
		seen[k.Ref] = true
	}
	if len(keys) != 25 || len(seen) != 25 {
		t.Errorf("%d versions, %d of them different; want 25", len(keys), len(seen))
	}
}

func TestOneForbiddenKeyIsAProblem(t *testing.T) {
	s := start(t, gcpkmsfake.Options{})
	s.Add(gcpkmsfake.Key{ID: "mine"})
	s.Add(gcpkmsfake.Key{ID: "theirs"})
	b := open(t, s)
	denied := gcpkmsfake.Error(codes.PermissionDenied, "Permission 'cloudkms.cryptoKeyVersions.viewPublicKey' denied on resource 'x'")
	s.Fault("GetPublicKey", func(call int) *gcpkmsfake.Fault {
		if call > 1 {
			return nil
		}
		return &gcpkmsfake.Fault{Err: denied}
	})
	keys, problems := list(t, b)
	if len(keys) != 1 || len(problems) != 1 || !strings.Contains(problems[0].Reason, "roles/cloudkms.publicKeyViewer") {
		t.Errorf("%v %v", keys, problems)
	}
}

// A key whose state can be seen shows that the right is not missing for all.
func TestForbiddenKeyBesideADisabledOneIsAProblem(t *testing.T) {
	s := start(t, gcpkmsfake.Options{})
	s.Add(gcpkmsfake.Key{ID: "off", State: kmspb.CryptoKeyVersion_DISABLED})
	s.Add(gcpkmsfake.Key{ID: "theirs"})
	s.Deny("cloudkms.cryptoKeyVersions.viewPublicKey", true)
	if keys, problems := list(t, open(t, s)); len(keys) != 0 || len(problems) != 2 {
		t.Errorf("%v %v", keys, problems)
	}
}

func TestRightThatIsMissingEverywhereFailsTheListing(t *testing.T) {
	for _, permission := range []string{"cloudkms.cryptoKeyVersions.list", "cloudkms.cryptoKeyVersions.viewPublicKey"} {
		s := start(t, gcpkmsfake.Options{})
		for i := range 5 {
			s.Add(gcpkmsfake.Key{ID: fmt.Sprint(i)})
		}
		// Of which nothing is asked but the list.
		s.Add(gcpkmsfake.Key{ID: "p256", Algorithm: kmspb.CryptoKeyVersion_EC_SIGN_P256_SHA256})
		s.Deny(permission, true)
		if _, err := open(t, s).Keys(t.Context(), ""); !errors.Is(err, key.ErrDenied) || !strings.Contains(err.Error(), "lacks "+permission) {
			t.Errorf("without %s: %v", permission, err)
		}
	}
}

func TestCredentialThatEndsWithinAListingFailsIt(t *testing.T) {
	s := start(t, gcpkmsfake.Options{TLS: true})
	for i := range 40 {
		s.Add(gcpkmsfake.Key{ID: fmt.Sprint(i)})
	}
	id, text, err := s.NewAccountKey("signer")
	if err != nil {
		t.Fatal(err)
	}
	b := openWith(t, secured(s, func() (string, error) { return text, nil }))
	s.Fault("ListCryptoKeyVersions", func(call int) *gcpkmsfake.Fault {
		if call == 20 {
			s.Revoke(id)
		}
		return nil
	})
	if page, err := b.Keys(t.Context(), ""); !errors.Is(err, key.ErrDenied) || page.Problems != nil {
		t.Errorf("%d problems, %v", len(page.Problems), err)
	}
}

// What is left out of a listing looks vanished, so a failure that may pass fails all.
func TestOutageIsNoProblemOfOneKey(t *testing.T) {
	s := start(t, gcpkmsfake.Options{})
	for i := range 40 {
		s.Add(gcpkmsfake.Key{ID: fmt.Sprint(i)})
	}
	b := open(t, s)
	s.Fault("GetPublicKey", func(call int) *gcpkmsfake.Fault {
		if call < 20 {
			return nil
		}
		return &gcpkmsfake.Fault{Err: gcpkmsfake.Error(codes.Unavailable, "")}
	})
	if page, err := b.Keys(t.Context(), ""); !errors.Is(err, key.ErrUnavailable) || page.Keys != nil {
		t.Errorf("%d keys, %v", len(page.Keys), err)
	}
	s.Fault("GetPublicKey", nil)
	if keys, _ := list(t, b); len(keys) != 40 {
		t.Errorf("%d keys after the outage", len(keys))
	}
	if n := s.Calls("GetPublicKey"); n > 21+16 {
		t.Errorf("%d public keys fetched after the outage, though 19 were known", n)
	}
}

func TestThrottledListingGoesOn(t *testing.T) {
	for _, hint := range []time.Duration{0, 20 * time.Millisecond} {
		s := start(t, gcpkmsfake.Options{ReadsPerSecond: 40, CryptoPerSecond: 40, RetryInfo: hint})
		for i := range 100 {
			s.Add(gcpkmsfake.Key{ID: fmt.Sprint(i)})
		}
		if keys, problems := list(t, open(t, s)); len(keys) != 100 || len(problems) != 0 {
			t.Errorf("%d keys, %v", len(keys), problems)
		}
	}
}

func TestHangingListingEndsWithItsDeadline(t *testing.T) {
	s := start(t, gcpkmsfake.Options{})
	for i := range 40 {
		s.Add(gcpkmsfake.Key{ID: fmt.Sprint(i)})
	}
	b := open(t, s)
	s.Fault("GetPublicKey", func(int) *gcpkmsfake.Fault { return &gcpkmsfake.Fault{Hang: true} })
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
	defer cancel()
	begun := time.Now()
	if _, err := b.Keys(ctx, ""); !errors.Is(err, context.DeadlineExceeded) || time.Since(begun) > 20*time.Second {
		t.Errorf("%v after %s", err, time.Since(begun))
	}
}

func TestListsOfOtherRingsAreNotBelieved(t *testing.T) {
	s := start(t, gcpkmsfake.Options{})
	s.Add(gcpkmsfake.Key{ID: "a"})
	b := open(t, s)
	other := strings.Replace(s.Ring(), "/signer", "/other", 1)
	s.Fault("ListCryptoKeys", func(int) *gcpkmsfake.Fault {
		return &gcpkmsfake.Fault{Answer: func(_, reply proto.Message) {
			reply.(*kmspb.ListCryptoKeysResponse).CryptoKeys[0].Name = other + "/cryptoKeys/a"
		}}
	})
	if _, err := b.Keys(t.Context(), ""); !errors.Is(err, key.ErrBadResponse) {
		t.Errorf("a key of another ring: %v", err)
	}
	s.Fault("ListCryptoKeys", nil)
	s.Fault("ListCryptoKeyVersions", func(int) *gcpkmsfake.Fault {
		return &gcpkmsfake.Fault{Answer: func(_, reply proto.Message) {
			reply.(*kmspb.ListCryptoKeyVersionsResponse).CryptoKeyVersions[0].Name = s.Ring() + "/cryptoKeys/b/cryptoKeyVersions/1"
		}}
	})
	if _, err := b.Keys(t.Context(), ""); !errors.Is(err, key.ErrBadResponse) {
		t.Errorf("a version of another key: %v", err)
	}
}

// A filter that the service does not apply must not let other curves in.
func TestOtherAlgorithmsAreLeftOutWhateverTheListHolds(t *testing.T) {
	s := start(t, gcpkmsfake.Options{})
	s.Add(gcpkmsfake.Key{ID: "a"})
	b := open(t, s)
	s.Fault("ListCryptoKeyVersions", func(int) *gcpkmsfake.Fault {
		return &gcpkmsfake.Fault{Answer: func(_, reply proto.Message) {
			reply.(*kmspb.ListCryptoKeyVersionsResponse).CryptoKeyVersions[0].Algorithm = kmspb.CryptoKeyVersion_EC_SIGN_P256_SHA256
		}}
	})
	if keys, problems := list(t, b); len(keys)+len(problems) != 0 || s.Calls("GetPublicKey") != 0 {
		t.Errorf("%v %v", keys, problems)
	}
}

func openUnresolvable(t *testing.T) *gcpkms.Backend {
	t.Helper()
	s := start(t, gcpkmsfake.Options{TLS: true})
	_, text, err := s.NewAccountKey("signer")
	if err != nil {
		t.Fatal(err)
	}
	c := secured(s, func() (string, error) { return text, nil })
	c.Endpoint = "kms.invalid:443" // RFC 2606
	return openWith(t, c)
}
