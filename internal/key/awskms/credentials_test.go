// SPDX-License-Identifier: Apache-2.0

package awskms_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/key/awskms"
	"github.com/hsmsigner/hsmsigner/internal/key/awskms/awskmsfake"
)

const (
	newID     = "AKIANEWNEWNEWEXAMPLE"
	newSecret = "newnewnewwBF/2Zp9Utk/h3yCo8nvbEXAMPLEKEY"
	role      = "arn:aws:iam::111122223333:role/signer"
)

func known() map[string]string { return map[string]string{fakeID: fakeSecret} }

func TestWrongCredentialsSayWhich(t *testing.T) {
	s := startFake(t, awskmsfake.Config{Secrets: known(), RoleExternalID: "right"})
	k := s.AddKey("a", nil)
	for _, test := range []struct {
		change func(*awskms.Config)
		kind   error
		why    string
	}{
		{func(*awskms.Config) {}, nil, ""},
		{func(c *awskms.Config) { c.Secret = func() (string, error) { return "wrong", nil } }, key.ErrDenied, "the secret access key is not the one of the access key"},
		{func(c *awskms.Config) { c.AccessKeyID = newID }, key.ErrDenied, "AWS does not know the access key"},
		{func(c *awskms.Config) {
			c.Secret = func() (string, error) { return "", errors.New("no such file: kms-secret") }
		}, key.ErrUnavailable, "no such file: kms-secret"},
		{func(c *awskms.Config) { c.Secret = func() (string, error) { return "\n", nil } }, key.ErrUnavailable, "empty"},
		{func(c *awskms.Config) { c.Secret = func() (string, error) { return "a:b:c:d", nil } }, key.ErrUnavailable, "id:secret"},
		{func(c *awskms.Config) { c.RoleARN, c.ExternalID = role, "right" }, nil, ""},
		{func(c *awskms.Config) { c.RoleARN, c.ExternalID = role, "wrong" }, key.ErrDenied, "may not assume the role " + role},
		{func(c *awskms.Config) { c.RoleARN = role }, key.ErrDenied, "asks for an external id"},
		{func(c *awskms.Config) {
			c.RoleARN, c.ExternalID, c.Secret = role, "right", func() (string, error) { return "wrong", nil }
		}, key.ErrDenied, "the secret access key is not the one of the access key"},
		{func(c *awskms.Config) { c.Region = "eu-west-9" }, key.ErrNotFound, "of region eu-central-1"},
	} {
		config := fakeConfig(s)
		test.change(&config)
		_, err := open(t, config).SignDigest(t.Context(), key.Ref(k.ARN), [32]byte{1})
		if !errors.Is(err, test.kind) || err != nil && !strings.Contains(err.Error(), test.why) {
			t.Errorf("got %v, want %v with %q", err, test.kind, test.why)
		}
		if err != nil && strings.Contains(err.Error(), fakeSecret) {
			t.Errorf("the secret is in %q", err)
		}
	}
	config := fakeConfig(s)
	config.Region = "eu-west-9"
	if _, err := open(t, config).Keys(t.Context(), ""); !errors.Is(err, key.ErrDenied) || !strings.Contains(err.Error(), "another region than eu-west-9") {
		t.Errorf("got %v", err)
	}
}

// All callers that were under way with the old key are told to ask again, and the
// next request of each is signed with the new one.
func TestRotatedKeyIsReadWhenTheOldOneIsRefused(t *testing.T) {
	for name, change := range map[string]func(*awskms.Config){
		"keys": func(*awskms.Config) {},
		"role": func(c *awskms.Config) { c.RoleARN, c.ExternalID = role, "a-tenant" },
	} {
		t.Run(name, func(t *testing.T) {
			s := startFake(t, awskmsfake.Config{Secrets: known(), RoleExternalID: "a-tenant"})
			k := s.AddKey("a", nil)
			var secret atomic.Value
			secret.Store(fakeSecret)
			var reads atomic.Int64
			config := fakeConfig(s)
			config.Secret = func() (string, error) { reads.Add(1); return secret.Load().(string), nil }
			change(&config)
			b := open(t, config)
			sign := func() error { _, err := b.SignDigest(t.Context(), key.Ref(k.ARN), [32]byte{1}); return err }
			if err := sign(); err != nil {
				t.Fatal(err)
			}
			s.SetSecrets(map[string]string{newID: newSecret})
			s.EndSessions()
			secret.Store(newID + ":" + newSecret + "\n")
			var wg sync.WaitGroup
			var failed atomic.Int64
			for range 64 {
				wg.Go(func() {
					var err error
					for range 4 { // the access key and the session may each take one
						if err = sign(); err == nil {
							return
						}
						if !key.Transient(err) {
							break
						}
					}
					failed.Add(1)
					t.Log(err)
				})
			}
			wg.Wait()
			if failed.Load() > 0 {
				t.Errorf("%d of 64 callers failed", failed.Load())
			}
			if n := reads.Load(); n > 10 {
				t.Errorf("the secret was read %d times", n)
			}
		})
	}
}

func TestEndedSessionIsRenewed(t *testing.T) {
	s := startFake(t, awskmsfake.Config{Secrets: known(), RoleExternalID: "a-tenant"})
	k := s.AddKey("a", nil)
	config := fakeConfig(s)
	config.RoleARN, config.ExternalID = role, "a-tenant"
	b := open(t, config)
	for range 3 {
		_, err := b.SignDigest(t.Context(), key.Ref(k.ARN), [32]byte{1})
		if err != nil && !key.Transient(err) {
			t.Fatal(err)
		}
		if _, err = b.SignDigest(t.Context(), key.Ref(k.ARN), [32]byte{1}); err != nil {
			t.Fatal(err)
		}
		s.EndSessions()
	}
	if n := s.Calls("AssumeRole"); n != 3 {
		t.Errorf("the role was assumed %d times", n)
	}
}

// The environment of the process offers every identity there is.
func TestStaticKeysNeverUseTheIdentityOfTheProcess(t *testing.T) {
	var asked atomic.Int64
	metadata := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		asked.Add(1)
		w.WriteHeader(http.StatusNotFound)
	}))
	defer metadata.Close()
	s := startFake(t, awskmsfake.Config{Secrets: map[string]string{newID: newSecret}})
	k := s.AddKey("a", nil)
	profile := filepath.Join(t.TempDir(), "config")
	if err := os.WriteFile(profile, []byte("[default]\naws_access_key_id = "+newID+"\naws_secret_access_key = "+newSecret+"\nendpoint_url = "+metadata.URL+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, value := range map[string]string{
		"AWS_ACCESS_KEY_ID": newID, "AWS_SECRET_ACCESS_KEY": newSecret, "AWS_CONFIG_FILE": profile, "AWS_SHARED_CREDENTIALS_FILE": profile,
		"AWS_EC2_METADATA_SERVICE_ENDPOINT": metadata.URL, "AWS_CONTAINER_CREDENTIALS_FULL_URI": metadata.URL,
		"AWS_ENDPOINT_URL": metadata.URL, "AWS_ENDPOINT_URL_KMS": metadata.URL, "AWS_REGION": "us-east-1",
	} {
		t.Setenv(name, value)
	}
	for _, secret := range []func() (string, error){
		func() (string, error) { return fakeSecret, nil }, // of a key that is not known
		func() (string, error) { return "", errors.New("no such file") },
	} {
		for _, assume := range []string{"", role} {
			config := fakeConfig(s)
			config.Secret, config.RoleARN = secret, assume
			b := open(t, config)
			if _, err := b.SignDigest(t.Context(), key.Ref(k.ARN), [32]byte{1}); err == nil {
				t.Error("signed with an identity that was not configured")
			}
		}
	}
	if asked.Load() > 0 {
		t.Errorf("the metadata service was asked %d times", asked.Load())
	}
	// And Ambient does use it.
	for _, ambient := range []awskms.Ambient{{}, {Profile: "default"}} {
		config := fakeConfig(s)
		config.AccessKeyID, config.Secret, config.Ambient = "", nil, &ambient
		if _, err := open(t, config).SignDigest(t.Context(), key.Ref(k.ARN), [32]byte{1}); err != nil {
			t.Errorf("%+v: %v", ambient, err)
		}
	}
}

func TestAmbientIdentityThatDoesNotExist(t *testing.T) {
	s := startFake(t, awskmsfake.Config{})
	for _, name := range []string{"AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"} {
		t.Setenv(name, "")
	}
	t.Setenv("AWS_CONFIG_FILE", filepath.Join(t.TempDir(), "none"))
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", filepath.Join(t.TempDir(), "none"))
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	config := fakeConfig(s)
	config.AccessKeyID, config.Secret, config.Ambient = "", nil, &awskms.Ambient{}
	_, err := open(t, config).SignDigest(t.Context(), "arn:aws:kms:eu-central-1:111122223333:key/x", [32]byte{1})
	if err == nil || !strings.Contains(err.Error(), "the ambient identity gives no credential") {
		t.Errorf("got %v", err)
	}
	config.Ambient.Profile = "nobody"
	if _, err := awskms.Open(t.Context(), config); err == nil || !strings.Contains(err.Error(), "nobody") {
		t.Errorf("got %v", err)
	}
}
