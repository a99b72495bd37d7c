// SPDX-License-Identifier: Apache-2.0

package gcpkms_test

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/key/gcpkms"
	"github.com/hsmsigner/hsmsigner/internal/key/gcpkms/gcpkmsfake"
)

// ambient opens a backend with the identity of a credential file that names a
// token service of ours, as an operator's may.
func ambient(t *testing.T, s *gcpkmsfake.Server, tokens http.HandlerFunc) *gcpkms.Backend {
	t.Helper()
	service := httptest.NewServer(tokens)
	t.Cleanup(service.Close)
	_, text, err := s.NewAccountKey("machine")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "adc.json")
	if err := os.WriteFile(file, []byte(edited(t, text, "token_uri", service.URL)), 0o600); err != nil {
		t.Fatal(err)
	}
	t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", file)
	return openWith(t, gcpkms.Config{KeyRing: s.Ring(), Endpoint: s.Addr(), Insecure: true, Ambient: true})
}

func TestAmbientTokenIsFetchedOnceAndAgainWhenRefused(t *testing.T) {
	s := start(t, gcpkmsfake.Options{})
	ref, _ := s.Add(gcpkmsfake.Key{ID: "a"})
	var fetched atomic.Int64
	b := ambient(t, s, func(w http.ResponseWriter, _ *http.Request) {
		n := fetched.Add(1)
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte(`{"access_token":"token-` + string('0'+rune(n)) + `","token_type":"Bearer","expires_in":3600}`))
	})
	if fetched.Load() != 0 {
		t.Error("opening fetched a token")
	}
	s.AcceptTokens("token-1")
	for range 5 {
		mustSign(t, b, ref)
	}
	if n := fetched.Load(); n != 1 {
		t.Errorf("%d tokens for five signatures", n)
	}
	s.AcceptTokens("token-2")
	mustSign(t, b, ref)
	if n := fetched.Load(); n != 2 {
		t.Errorf("%d tokens after the first was refused", n)
	}
}

func TestAmbientIdentityWithoutATokenSaysWhy(t *testing.T) {
	for name, c := range map[string]struct {
		status int
		kind   error
		why    string
	}{
		"refused": {http.StatusBadRequest, key.ErrDenied, "were refused a token"},
		"away":    {http.StatusServiceUnavailable, key.ErrUnavailable, "no token could be fetched"},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, gcpkmsfake.Options{})
			ref, _ := s.Add(gcpkmsfake.Key{ID: "a"})
			b := ambient(t, s, func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "s3cret", c.status) })
			_, err := b.SignDigest(t.Context(), key.Ref(ref), [32]byte{1})
			if !errors.Is(err, c.kind) || !strings.Contains(err.Error(), c.why) || strings.Contains(err.Error(), "s3cret") {
				t.Errorf("got %v", err)
			}
		})
	}
	t.Run("none", func(t *testing.T) {
		s := start(t, gcpkmsfake.Options{})
		t.Setenv("GOOGLE_APPLICATION_CREDENTIALS", filepath.Join(t.TempDir(), "missing.json"))
		b := openWith(t, gcpkms.Config{KeyRing: s.Ring(), Endpoint: s.Addr(), Insecure: true, Ambient: true})
		begun := time.Now()
		if err := b.Health(t.Context()); !errors.Is(err, key.ErrDenied) || !strings.Contains(err.Error(), "no application default credentials") || time.Since(begun) > 20*time.Second {
			t.Errorf("got %v", err)
		}
	})
}
