// SPDX-License-Identifier: Apache-2.0

package awskms_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/key/awskms"
	"github.com/hsmsigner/hsmsigner/internal/key/awskms/awskmsfake"
	"github.com/hsmsigner/hsmsigner/internal/key/keytest"
	"github.com/hsmsigner/hsmsigner/internal/secp"
)

const (
	fakeID     = "AKIAI44QH8DHBEXAMPLE"
	fakeSecret = "je7MtGbClwBF/2Zp9Utk/h3yCo8nvbEXAMPLEKEY"
)

func startFake(t *testing.T, c awskmsfake.Config) *awskmsfake.Server {
	t.Helper()
	s := awskmsfake.Start(c)
	t.Cleanup(s.Close)
	return s
}

func fakeConfig(s *awskmsfake.Server) awskms.Config {
	return awskms.Config{
		Region: awskmsfake.Region, AccessKeyID: fakeID, Secret: func() (string, error) { return fakeSecret, nil },
		Endpoint: s.URL, STSEndpoint: s.URL, TaggingEndpoint: s.URL,
	}
}

func list(t *testing.T, b *awskms.Backend) (keys []key.Key, problems []key.Problem) {
	t.Helper()
	for cursor := ""; ; {
		page, err := b.Keys(t.Context(), cursor)
		if err != nil {
			t.Fatal(err)
		}
		keys, problems = append(keys, page.Keys...), append(problems, page.Problems...)
		if cursor = page.Next; cursor == "" {
			return keys, problems
		}
	}
}

func TestContractOnTheFake(t *testing.T) {
	for _, test := range []struct {
		name      string
		discovery awskms.Discovery
		tags      bool
	}{
		{"All", awskms.Discovery{}, true},
		{"ByAlias", awskms.Discovery{AliasPrefix: "signer/"}, false},
		{"ByTag", awskms.Discovery{TagKey: "use"}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			keytest.Run(t, func(t *testing.T) keytest.Fixture {
				s := startFake(t, awskmsfake.Config{Secrets: map[string]string{fakeID: fakeSecret}})
				tags := map[string]string{"use": "signer"}
				f := keytest.Fixture{MinKeys: 130, CreateName: "signer/created"}
				for _, k := range s.AddKeys(130, "signer/", tags) {
					f.Addresses = append(f.Addresses, k.Address)
				}
				s.AddOther("ECC_NIST_P256", "SIGN_VERIFY", "signer/p256")
				s.AddOther("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT", "signer/aes")
				s.AddOther("ECC_SECG_P256K1", "KEY_AGREEMENT", "signer/agree")
				disabled := s.AddKey("signer/disabled", tags)
				config := fakeConfig(s)
				config.Discovery, config.Tags = test.discovery, test.tags
				f.Backend = open(t, config)
				if _, err := f.Backend.Keys(t.Context(), ""); err != nil {
					t.Fatal(err)
				}
				s.SetState(disabled, "Disabled")
				f.Disabled = []key.Ref{key.Ref(disabled.ARN)}
				f.Unknown = key.Ref("arn:aws:kms:" + awskmsfake.Region + ":" + awskmsfake.Account + ":key/none")
				f.Add = func(*testing.T) common.Address { return s.AddKey("signer/added", tags).Address }
				f.Remove = func(_ *testing.T, a common.Address) { s.Remove(s.Find(a)) }
				return f
			})
		})
	}
}

func TestOneSignatureIsOneCallOnAWarmConnection(t *testing.T) {
	s := startFake(t, awskmsfake.Config{})
	k := s.AddKey("a", nil)
	b := open(t, fakeConfig(s))
	sign := func() {
		sig, err := b.SignDigest(t.Context(), key.Ref(k.ARN), [32]byte{7})
		if err != nil {
			t.Error(err)
			return
		}
		if _, err := secp.Finish(k.Address, [32]byte{7}, sig.R, sig.S); err != nil {
			t.Error(err)
		}
		if len(sig.RequestID) != 36 {
			t.Errorf("request id %q", sig.RequestID)
		}
	}
	together := func(n int) {
		var wg sync.WaitGroup
		for range n {
			wg.Go(sign)
		}
		wg.Wait()
	}
	together(64)
	together(64)
	before, opened := s.Total(), s.Connections()
	for range 10 {
		together(32)
	}
	if n := s.Total() - before; n != 320 || s.Calls("Sign") != s.Total() {
		t.Errorf("320 signatures took %d calls, %d of them Sign", n, s.Calls("Sign"))
	}
	if n := s.Connections() - opened; n != 0 {
		t.Errorf("%d connections were opened although there were %d", n, opened)
	}
}

func TestEveryKeyStateIsListedAndRefused(t *testing.T) {
	for state, kind := range map[string]error{
		"Disabled": key.ErrDisabled, "PendingDeletion": key.ErrDisabled, "PendingReplicaDeletion": key.ErrDisabled,
		"PendingImport": key.ErrDisabled, "Unavailable": key.ErrDisabled, "Creating": key.ErrUnavailable,
	} {
		t.Run(state, func(t *testing.T) {
			s := startFake(t, awskmsfake.Config{})
			seen, unseen := s.AddKey("seen", nil), s.AddKey("unseen", nil)
			b := open(t, fakeConfig(s))
			s.SetState(unseen, state)
			list(t, b)
			s.SetState(seen, state)
			keys, problems := list(t, b)
			if len(keys) != 1 || keys[0].Ref != key.Ref(seen.ARN) || keys[0].State != key.Disabled || keys[0].Reason == "" {
				t.Errorf("got %+v", keys)
			}
			if len(problems) != 1 || problems[0].Name != "unseen" || problems[0].Reason == "" {
				t.Errorf("got %+v", problems)
			}
			t.Logf("%s; %s", keys[0].Reason, problems[0].Reason)
			if _, err := b.SignDigest(t.Context(), key.Ref(seen.ARN), [32]byte{1}); !errors.Is(err, kind) {
				t.Errorf("got %v, want %v", err, kind)
			}
			s.SetState(seen, "Enabled")
			s.SetState(unseen, "Enabled")
			if keys, problems := list(t, b); len(keys) != 2 || len(problems) != 0 || keys[0].State != key.Enabled {
				t.Errorf("got %+v, %+v", keys, problems)
			}
		})
	}
}

func TestKeyThatChangesItsPrimaryRegionGoesOnSigning(t *testing.T) {
	s := startFake(t, awskmsfake.Config{})
	k, late := s.AddKey("a", nil), s.AddKey("b", nil)
	s.SetState(late, "Updating")
	b := open(t, fakeConfig(s))
	list(t, b)
	s.SetState(k, "Updating")
	keys, problems := list(t, b)
	if len(keys) != 2 || keys[0].State != key.Enabled || keys[1].State != key.Enabled || len(problems) != 0 {
		t.Errorf("got %+v, %+v", keys, problems)
	}
	if _, err := b.SignDigest(t.Context(), key.Ref(k.ARN), [32]byte{1}); err != nil {
		t.Error(err)
	}
}

func TestUnknownStateIsDisabled(t *testing.T) {
	s := startFake(t, awskmsfake.Config{})
	k := s.AddKey("a", nil)
	b := open(t, fakeConfig(s))
	list(t, b)
	s.SetState(k, "Sleeping")
	if keys, _ := list(t, b); len(keys) != 1 || keys[0].State != key.Disabled {
		t.Errorf("got %+v", keys)
	}
}

func TestKeyWithTwoAliasesIsListedOnce(t *testing.T) {
	for _, d := range []awskms.Discovery{{}, {AliasPrefix: "a"}} {
		s := startFake(t, awskmsfake.Config{})
		k := s.AddKey("a2", nil)
		s.Alias("a1", k)
		config := fakeConfig(s)
		config.Discovery = d
		if keys, problems := list(t, open(t, config)); len(keys) != 1 || keys[0].Name != "a1" || len(problems) != 0 {
			t.Errorf("got %+v, %+v", keys, problems)
		}
	}
}

// What a person sees as one name may be pointed at another key: who signed for
// an address before must do so after.
func TestMovedAliasDoesNotMoveTheKey(t *testing.T) {
	s := startFake(t, awskmsfake.Config{})
	first, second := s.AddKey("treasury", nil), s.AddKey("spare", nil)
	config := fakeConfig(s)
	config.Discovery.AliasPrefix = "treasury"
	b := open(t, config)
	keys, _ := list(t, b)
	s.Alias("treasury", second)
	sig, err := b.SignDigest(t.Context(), keys[0].Ref, [32]byte{9})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := secp.Finish(first.Address, [32]byte{9}, sig.R, sig.S); err != nil {
		t.Error(err)
	}
	for _, ref := range []key.Ref{"alias/treasury", "arn:aws:kms:eu-central-1:111122223333:alias/treasury"} {
		before := s.Total()
		if _, err := b.SignDigest(t.Context(), ref, [32]byte{9}); !errors.Is(err, key.ErrNotFound) || s.Total() != before {
			t.Errorf("%s: got %v after %d calls", ref, err, s.Total()-before)
		}
	}
}

func TestKnownKeysCostOneCallAndOthersNone(t *testing.T) {
	s := startFake(t, awskmsfake.Config{})
	s.AddKeys(50, "a", nil)
	for range 50 {
		s.AddOther("SYMMETRIC_DEFAULT", "ENCRYPT_DECRYPT", "")
	}
	b := open(t, fakeConfig(s))
	list(t, b)
	if n := s.Calls("GetPublicKey"); n != 100 {
		t.Errorf("first listing: %d public keys", n)
	}
	before := s.Total()
	list(t, b)
	if public, all := s.Calls("GetPublicKey"), s.Total()-before; public != 100 || all != 50+2 { // + ListKeys, ListAliases
		t.Errorf("second listing: %d calls, %d public keys in all", all, public)
	}
}

func TestTagsAreFetchedWhereAskedFor(t *testing.T) {
	s := startFake(t, awskmsfake.Config{})
	s.AddKey("a", map[string]string{"team": "ops"})
	for _, test := range []struct {
		discovery awskms.Discovery
		tags      bool
		want      string
	}{{awskms.Discovery{}, true, "ops"}, {awskms.Discovery{}, false, ""}, {awskms.Discovery{TagKey: "team"}, false, "ops"}} {
		config := fakeConfig(s)
		config.Discovery, config.Tags = test.discovery, test.tags
		if keys, _ := list(t, open(t, config)); len(keys) != 1 || keys[0].Tags["team"] != test.want {
			t.Errorf("%+v: got %+v", test, keys)
		}
	}
	// A filter by tag could not be obeyed without them.
	s.Fail(awskmsfake.Fault{Operation: "ListResourceTags", Code: "AccessDeniedException"})
	config := fakeConfig(s)
	config.Tags = true
	if keys, problems := list(t, open(t, config)); len(keys) != 0 || len(problems) != 1 {
		t.Errorf("got %+v, %+v", keys, problems)
	}
}

func TestOneBadKeyDoesNotSpoilTheOthers(t *testing.T) {
	s := startFake(t, awskmsfake.Config{})
	keys := s.AddKeys(20, "a", nil)
	s.Fail(awskmsfake.Fault{Operation: "GetPublicKey", Key: keys[3].ARN, Code: "AccessDeniedException"})
	s.Fail(awskmsfake.Fault{Operation: "GetPublicKey", Key: keys[4].ARN, Code: "ValidationException"})
	s.Fail(awskmsfake.Fault{Operation: "GetPublicKey", Key: keys[5].ARN, Code: "NotFoundException"})
	config := fakeConfig(s)
	config.Discovery.AliasPrefix = "a"
	found, problems := list(t, open(t, config))
	if len(found) != 17 || len(problems) != 2 {
		t.Errorf("got %d keys, problems %+v", len(found), problems)
	}
	// In a listing of everything, what may not be read is reported in one line.
	s.Fail(awskmsfake.Fault{Operation: "GetPublicKey", Key: keys[6].ARN, Code: "AccessDeniedException"})
	found, problems = list(t, open(t, fakeConfig(s)))
	if len(found) != 16 || len(problems) != 2 || !slices.ContainsFunc(problems, func(p key.Problem) bool { return p.Name == keys[3].ID }) {
		t.Errorf("got %d keys, problems %+v", len(found), problems)
	}
}

func TestOutageFailsTheListingAsAWhole(t *testing.T) {
	s := startFake(t, awskmsfake.Config{})
	keys := s.AddKeys(20, "a", nil)
	s.Fail(awskmsfake.Fault{Operation: "GetPublicKey", Key: keys[3].ARN, Code: "KMSInternalException", Status: 500})
	_, err := open(t, fakeConfig(s)).Keys(t.Context(), "")
	if !errors.Is(err, key.ErrUnavailable) {
		t.Errorf("got %v", err)
	}
}

// The accounts would all look gone, when it is the credential that has changed.
func TestRightThatIsMissingForAllKeysFailsTheListing(t *testing.T) {
	s := startFake(t, awskmsfake.Config{})
	s.AddKeys(20, "a", map[string]string{"use": "signer"})
	s.AddOther("ECC_NIST_P256", "SIGN_VERIFY", "a-p256")
	for _, d := range []awskms.Discovery{{AliasPrefix: "a"}, {TagKey: "use"}} {
		s.ClearFaults()
		config := fakeConfig(s)
		config.Discovery = d
		b := open(t, config)
		list(t, b)
		s.Fail(awskmsfake.Fault{Operation: "GetPublicKey", Code: "AccessDeniedException"})
		s.Fail(awskmsfake.Fault{Operation: "DescribeKey", Code: "AccessDeniedException"})
		for name, b := range map[string]*awskms.Backend{"known": b, "unknown": open(t, config)} {
			if page, err := b.Keys(t.Context(), ""); !errors.Is(err, key.ErrDenied) || !strings.Contains(err.Error(), "lacks the right") {
				t.Errorf("%+v, %s keys: %d problems, %v", d, name, len(page.Problems), err)
			}
		}
	}
}

func TestHealthAsksWithoutSigning(t *testing.T) {
	s := startFake(t, awskmsfake.Config{})
	b := open(t, fakeConfig(s))
	if err := b.Health(t.Context()); err != nil { // not even a key is needed
		t.Error(err)
	}
	k := s.AddKey("a", nil)
	list(t, b)
	for _, state := range []string{"Enabled", "Disabled"} { // one key's state is not the service's
		s.SetState(k, state)
		if err := b.Health(t.Context()); err != nil {
			t.Error(err)
		}
	}
	s.Remove(k)
	if err := b.Health(t.Context()); err != nil {
		t.Error(err)
	}
	if s.Calls("Sign") != 0 {
		t.Error("health signed")
	}
	s.Fail(awskmsfake.Fault{Code: "UnrecognizedClientException"})
	if err := b.Health(t.Context()); !errors.Is(err, key.ErrDenied) {
		t.Errorf("got %v", err)
	}
}

func TestHangingCallReturnsWithItsContext(t *testing.T) {
	s := startFake(t, awskmsfake.Config{})
	k := s.AddKey("a", nil)
	b := open(t, fakeConfig(s))
	s.Fail(awskmsfake.Fault{Hang: true})
	for name, call := range map[string]func(context.Context) error{
		"sign":   func(ctx context.Context) error { _, err := b.SignDigest(ctx, key.Ref(k.ARN), [32]byte{1}); return err },
		"keys":   func(ctx context.Context) error { _, err := b.Keys(ctx, ""); return err },
		"health": b.Health,
	} {
		ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
		begun := time.Now()
		if err := call(ctx); !errors.Is(err, context.DeadlineExceeded) || time.Since(begun) > 20*time.Second {
			t.Errorf("%s: got %v after %v", name, err, time.Since(begun))
		}
		cancel()
	}
	s.ClearFaults()
	if _, err := b.SignDigest(t.Context(), key.Ref(k.ARN), [32]byte{1}); err != nil {
		t.Error(err)
	}
}
