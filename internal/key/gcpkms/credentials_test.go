// SPDX-License-Identifier: Apache-2.0

package gcpkms_test

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/key/gcpkms"
	"github.com/hsmsigner/hsmsigner/internal/key/gcpkms/gcpkmsfake"
)

func secured(s *gcpkmsfake.Server, credentials func() (string, error)) gcpkms.Config {
	return gcpkms.Config{
		KeyRing: s.Ring(), Endpoint: s.Addr(), Credentials: credentials,
		TLS: &tls.Config{RootCAs: s.Roots(), MinVersion: tls.VersionTLS12},
	}
}

// edited returns the JSON with one field changed, or without it.
func edited(t *testing.T, text, field string, value any) string {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal([]byte(text), &m); err != nil {
		t.Fatal(err)
	}
	if m[field] = value; value == nil {
		delete(m, field)
	}
	b, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func TestCredentialsThatLeadElsewhereAreRefused(t *testing.T) {
	s := start(t, gcpkmsfake.Options{TLS: true})
	_, good, err := s.NewAccountKey("signer")
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct{ text, want string }{
		"another token_uri":      {edited(t, good, "token_uri", "https://evil.example/token"), "token_uri is not Google's"},
		"token_uri of the LAN":   {edited(t, good, "token_uri", "http://169.254.169.254/token"), "token_uri is not Google's"},
		"token_uri no string":    {edited(t, good, "token_uri", []string{"https://oauth2.googleapis.com/token"}), "token_uri is not Google's"},
		"another universe":       {edited(t, good, "universe_domain", "evil.example"), "universe_domain is not googleapis.com"},
		"external account":       {`{"type":"external_account","credential_source":{"url":"http://evil.example"}}`, "only service_account is accepted"},
		"impersonation":          {`{"type":"impersonated_service_account"}`, "only service_account is accepted"},
		"a person's":             {`{"type":"authorized_user","refresh_token":"s3cret"}`, "only service_account is accepted"},
		"another type":           {edited(t, good, "type", "s3cret"), "not service_account"},
		"no type":                {edited(t, good, "type", nil), "not service_account"},
		"type twice":             {`{"type":"external_account",` + good[1:], "not the JSON of a service account key"},
		"no JSON":                {"s3cret", "not the JSON of a service account key"},
		"an array":               {"[" + good + "]", "not the JSON of a service account key"},
		"no e-mail":              {edited(t, good, "client_email", nil), "client_email"},
		"e-mail of another kind": {edited(t, good, "client_email", "me@example.com"), "client_email"},
		"no key id":              {edited(t, good, "private_key_id", nil), "private_key_id"},
		"no key":                 {edited(t, good, "private_key", "s3cret"), "private_key is not an RSA key"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := gcpkms.Open(t.Context(), secured(s, func() (string, error) { return c.text, nil }))
			if err == nil || !strings.Contains(err.Error(), c.want) || !errors.Is(err, key.ErrDenied) {
				t.Errorf("got %v, want …%s…", err, c.want)
			}
			if err != nil && (strings.Contains(err.Error(), "s3cret") || strings.Contains(err.Error(), "evil")) {
				t.Errorf("the error repeats the secret: %v", err)
			}
		})
	}
	if s.Connections() != 0 {
		t.Error("a refused credential led to a connection")
	}
}

// secret is a file that is rotated.
type secret struct{ text atomic.Value }

func (s *secret) load() (string, error) { return s.text.Load().(string), nil }

func TestRotatedKeyIsTakenUpAndTheOldRefused(t *testing.T) {
	s := start(t, gcpkmsfake.Options{TLS: true})
	ref, _ := s.Add(gcpkmsfake.Key{ID: "a"})
	oldID, oldText, err := s.NewAccountKey("signer")
	if err != nil {
		t.Fatal(err)
	}
	var file secret
	file.text.Store(oldText)
	b := openWith(t, secured(s, file.load))
	mustSign(t, b, ref)

	s.Revoke(oldID)
	_, err = b.SignDigest(t.Context(), key.Ref(ref), [32]byte{1})
	if !errors.Is(err, key.ErrDenied) || !strings.Contains(err.Error(), "the credential was refused") {
		t.Errorf("with a revoked key: %v", err)
	}
	_, newText, err := s.NewAccountKey("signer")
	if err != nil {
		t.Fatal(err)
	}
	file.text.Store(newText)
	mustSign(t, b, ref)
	before := s.Calls("AsymmetricSign")
	for range 10 {
		mustSign(t, b, ref)
	}
	if got := s.Calls("AsymmetricSign") - before; got != 10 {
		t.Errorf("%d calls for 10 signatures after the rotation", got)
	}
}

// A token that the service takes no more costs one call and no failure, however
// many callers there are.
func TestExpiredTokenIsReplacedUnderLoad(t *testing.T) {
	s := start(t, gcpkmsfake.Options{TLS: true})
	ref, _ := s.Add(gcpkmsfake.Key{ID: "a"})
	_, text, err := s.NewAccountKey("signer")
	if err != nil {
		t.Fatal(err)
	}
	b := openWith(t, secured(s, func() (string, error) { return text, nil }))
	mustSign(t, b, ref)
	time.Sleep(1100 * time.Millisecond) // tokens of one second are the same
	s.ExpireTokens()
	var wg sync.WaitGroup
	for range 64 {
		wg.Go(func() {
			if _, err := b.SignDigest(t.Context(), key.Ref(ref), [32]byte{1}); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	if s.Connections() != 1 {
		t.Errorf("%d connections", s.Connections())
	}
}

func TestSecretThatCannotBeReadIsNotAsked(t *testing.T) {
	s := start(t, gcpkmsfake.Options{TLS: true})
	ref, _ := s.Add(gcpkmsfake.Key{ID: "a"})
	_, text, err := s.NewAccountKey("signer")
	if err != nil {
		t.Fatal(err)
	}
	reads := 0
	b := openWith(t, secured(s, func() (string, error) {
		if reads++; reads == 1 { // at Open
			return text, nil
		}
		return "", errors.New("permission denied")
	}))
	_, err = b.SignDigest(t.Context(), key.Ref(ref), [32]byte{1})
	// A file that is being replaced is there again in a moment.
	if !key.Transient(err) || s.Calls("AsymmetricSign") != 0 {
		t.Errorf("%v after %d calls", err, s.Calls("AsymmetricSign"))
	}
}

func TestHangingSecretHoldsNobodyPastHisDeadline(t *testing.T) {
	s := start(t, gcpkmsfake.Options{TLS: true})
	ref, _ := s.Add(gcpkmsfake.Key{ID: "a"})
	_, text, err := s.NewAccountKey("signer")
	if err != nil {
		t.Fatal(err)
	}
	opened := false
	hang := make(chan struct{})
	defer close(hang)
	b := openWith(t, secured(s, func() (string, error) {
		if opened {
			<-hang
		}
		opened = true
		return text, nil
	}))
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	if _, err := b.SignDigest(ctx, key.Ref(ref), [32]byte{1}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v", err)
	}
}

func TestForeignCertificateIsNotTrusted(t *testing.T) {
	s, other := start(t, gcpkmsfake.Options{TLS: true}), start(t, gcpkmsfake.Options{TLS: true})
	_, text, err := s.NewAccountKey("signer")
	if err != nil {
		t.Fatal(err)
	}
	c := secured(s, func() (string, error) { return text, nil })
	c.TLS.RootCAs = other.Roots()
	err = openWith(t, c).Health(t.Context())
	if !errors.Is(err, key.ErrUnavailable) || !strings.Contains(err.Error(), "its certificate is not trusted here") {
		t.Errorf("got %v", err)
	}
	if s.Calls("ListCryptoKeys") != 0 {
		t.Error("the call went out")
	}
}
