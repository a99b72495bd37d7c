// SPDX-License-Identifier: Apache-2.0

package azure_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/json"
	"encoding/pem"
	"errors"
	"math/big"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/key/azure"
	"github.com/hsmsigner/hsmsigner/internal/key/azure/azurefake"
)

func TestRefusalOfTheTokenServiceSaysWhatToDo(t *testing.T) {
	for _, c := range []struct {
		code      int
		say, mark string
	}{
		{7000215, "user_secret", "AADSTS7000215"},
		{7000222, "expired", "AADSTS7000222"},
		{700016, "user_id", "AADSTS700016"},
		{90002, "tenant_id", "AADSTS90002"},
		{700024, "clock", "AADSTS700024"},
		{53003, "conditional access", "AADSTS53003"},
		{123456, "check tenant_id, user_id and the secret", "AADSTS123456"},
	} {
		t.Run(c.mark, func(t *testing.T) {
			s := start(t, azurefake.Options{})
			s.Entra.Refuse(c.code)
			wantKind(t, open(t, s).Health(t.Context()), key.ErrDenied, c.say, c.mark)
		})
	}
}

func TestBadConfigurationSaysWhichSetting(t *testing.T) {
	const wrong = "hunter2-wrong-secret"
	for name, c := range map[string]struct {
		change func(*azure.Config)
		before func(*azurefake.Service)
		kind   error
		say    string
	}{
		"wrong secret":        {change: func(c *azure.Config) { c.Secret = fixed(wrong) }, kind: key.ErrDenied, say: "the client secret is wrong"},
		"empty secret":        {change: func(c *azure.Config) { c.Secret = fixed("\n") }, kind: key.ErrDenied, say: "user_secret is empty"},
		"secret file gone":    {change: func(c *azure.Config) { c.Secret = func() (string, error) { return "", errors.New(wrong) } }, kind: key.ErrUnavailable, say: "user_secret cannot be read"},
		"unknown application": {change: func(c *azure.Config) { c.ClientID = "33333333-3333-3333-3333-333333333333" }, kind: key.ErrDenied, say: "no such application"},
		"unknown directory":   {change: func(c *azure.Config) { c.TenantID = "nowhere.example" }, kind: key.ErrDenied, say: "no such directory"},
		"vault elsewhere":     {change: func(c *azure.Config) { c.RelaxedHosts = nil }, kind: key.ErrDenied, say: "asks for one of another domain"},
		"unknown vault": {change: func(c *azure.Config) {
			c.VaultURL = "https://nothing.invalid"
			c.RelaxedHosts = []string{"nothing.invalid"}
		}, kind: key.ErrUnavailable, say: "vault_name or target_address"},
		"vault with an odd name": {change: func(c *azure.Config) { c.VaultURL = "https://challenge.invalid" }, kind: key.ErrUnavailable, say: "does not exist by that name"},
		"unreachable vault":      {change: func(c *azure.Config) { c.VaultURL = "https://127.0.0.1:1"; c.RelaxedHosts = []string{"127.0.0.1"} }, kind: key.ErrUnavailable, say: "refuses connections"},
		"untrusted certificate":  {change: func(c *azure.Config) { c.RootCAs = x509.NewCertPool() }, kind: key.ErrUnavailable, say: "not trusted here"},
		"certificate's name":     {change: func(c *azure.Config) { c.VaultURL = strings.Replace(c.VaultURL, "127.0.0.1", "localhost", 1) }, kind: key.ErrUnavailable, say: "for another name"},
		"no TLS":                 {change: plainHTTP, kind: key.ErrUnavailable, say: "does not speak TLS"},
		"certificate no PEM":     {change: func(c *azure.Config) { c.Secret, c.ClientCertificate = nil, fixed(wrong) }, kind: key.ErrDenied, say: "client_cert cannot be used"},
		"unreachable tokens":     {change: func(c *azure.Config) { c.AuthorityHost = "https://127.0.0.1:1" }, kind: key.ErrUnavailable, say: "the token service at https://127.0.0.1:1 refuses connections"},
		"tokens down":            {before: func(s *azurefake.Service) { s.Entra.Fail(503) }, kind: key.ErrUnavailable, say: "token service"},
		"tokens not understood":  {before: func(s *azurefake.Service) { s.Entra.Fail(204) }, kind: key.ErrBadResponse, say: "AuthorityHost"},
		"no right to list":       {before: func(s *azurefake.Service) { s.Vault.SetRights("get", "sign") }, kind: key.ErrDenied, say: "Get, List, Sign and Verify"},
		"vault of another tenant": {
			before: func(s *azurefake.Service) { s.Vault.SetTenant("44444444-4444-4444-4444-444444444444") },
			change: func(c *azure.Config) {}, kind: key.ErrDenied, say: "belongs to the directory 44444444-4444-4444-4444-444444444444",
		},
		"no vault at all": {
			before: func(s *azurefake.Service) { s.Vault.SetWire(azurefake.Wire{Challenge: `Basic realm="printer"`}) },
			kind:   key.ErrBadResponse, say: "does not answer as a key vault",
		},
		"challenge that would end the library": {
			before: func(s *azurefake.Service) {
				s.Vault.SetWire(azurefake.Wire{Challenge: `Bearer authorization="x", resource="https://vault.azure.net"`})
			},
			kind: key.ErrBadResponse, say: "does not answer as a key vault",
		},
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, azurefake.Options{})
			if c.before != nil {
				c.before(s.Service)
			}
			var changes []func(*azure.Config)
			if name == "vault of another tenant" {
				changes = append(changes, realNames(s))
			}
			if c.change != nil {
				changes = append(changes, c.change)
			}
			b := open(t, s, changes...)
			_, err := b.Keys(t.Context(), "")
			wantKind(t, err, c.kind, c.say)
			_, signErr := b.SignDigest(t.Context(), key.Ref(s.Vault.URL()+"/keys/k/"+strings.Repeat("0", 32)), [32]byte{})
			for _, err := range []error{err, signErr, b.Health(t.Context())} {
				if err != nil && (strings.Contains(err.Error(), wrong) || strings.Contains(err.Error(), "first secret")) {
					t.Errorf("error %q holds the secret", err)
				}
			}
		})
	}
}

func fixed(value string) func() (string, error) {
	return func() (string, error) { return value, nil }
}

// plainHTTP points the vault at a server without TLS. It never ends, which
// costs the test one listener.
func plainHTTP(c *azure.Config) {
	plain := httptest.NewServer(http.NotFoundHandler())
	c.VaultURL = strings.Replace(plain.URL, "http://", "https://", 1)
	c.RelaxedHosts = []string{"127.0.0.1"}
}

func TestIncompleteConfigurationIsRefusedAtOnce(t *testing.T) {
	s := start(t, azurefake.Options{})
	for say, change := range map[string]func(*azure.Config){
		"no vault":              func(c *azure.Config) { c.VaultURL = "" },
		"target_address":        func(c *azure.Config) { c.VaultURL = "http://treasury.vault.azure.net" },
		"nothing after it":      func(c *azure.Config) { c.VaultURL = "https://treasury.vault.azure.net/keys" },
		"no credential":         func(c *azure.Config) { c.Secret = nil },
		"more than one":         func(c *azure.Config) { c.ManagedIdentity = true },
		"no tenant_id":          func(c *azure.Config) { c.TenantID = "" },
		"no user_id":            func(c *azure.Config) { c.ClientID = "" },
		"user_id: want":         func(c *azure.Config) { c.ClientID = "treasury-app" },
		"tenant_id: want":       func(c *azure.Config) { c.TenantID = "a/b" },
		"token service's":       func(c *azure.Config) { c.AuthorityHost = "http://login.example" },
		"key-exchange key":      func(c *azure.Config) { c.KEK = "a b" },
		"AZURE_FEDERATED_TOKEN": func(c *azure.Config) { c.Secret, c.WorkloadIdentity = nil, true },
	} {
		c := s.Config()
		change(&c)
		b, err := azure.Open(t.Context(), c)
		if err == nil {
			_ = b.Close()
			t.Errorf("%s: opened", say)
		} else if !strings.Contains(err.Error(), say) {
			t.Errorf("error %q does not say %q", err, say)
		}
	}
	for name, ok := range map[string]bool{"treasury": true, "T-1": true, "ab": false, "a.b": false, "x@evil.example/": false, strings.Repeat("a", 25): false} {
		if address, err := azure.VaultAddress(name); (err == nil) != ok {
			t.Errorf("vault name %q: %q, %v", name, address, err)
		}
	}
}

// Rotation by the book: the new secret is in place, the old one is withdrawn and
// its tokens with it. Nobody notices.
func TestRotatedSecretIsPickedUp(t *testing.T) {
	s := start(t, azurefake.Options{})
	ref := key.Ref(add(t, s, "k", azurefake.Spec{}).KID)
	var secret atomic.Value
	secret.Store("first secret")
	b := open(t, s, func(c *azure.Config) {
		c.Secret = func() (string, error) { return secret.Load().(string), nil }
	})
	if _, err := b.SignDigest(t.Context(), ref, [32]byte{1}); err != nil {
		t.Fatal(err)
	}
	time.Sleep(2100 * time.Millisecond) // a token is not thrown away more often
	secret.Store("second secret")
	s.Entra.SetSecret("second secret")
	s.Entra.Revoke()
	var wg sync.WaitGroup
	for range 32 {
		wg.Go(func() {
			for range 5 {
				if _, err := b.SignDigest(t.Context(), ref, [32]byte{1}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	// The file comes later than the withdrawal: it is found as soon as it is there.
	s.Entra.SetSecret("third secret")
	s.Entra.Revoke()
	time.Sleep(2100 * time.Millisecond)
	_, err := b.SignDigest(t.Context(), ref, [32]byte{1})
	wantKind(t, err, key.ErrDenied, "AADSTS7000215")
	secret.Store("third secret")
	if _, err := b.SignDigest(t.Context(), ref, [32]byte{1}); err != nil {
		t.Error(err)
	}
}

func TestWrongSecretIsNotTriedByEveryCaller(t *testing.T) {
	s := start(t, azurefake.Options{Secret: "another"})
	b := open(t, s, func(c *azure.Config) { c.Secret = fixed("wrong") })
	ref := key.Ref(add(t, s, "k", azurefake.Spec{}).KID)
	var wg sync.WaitGroup
	for range 50 {
		wg.Go(func() { _, _ = b.SignDigest(t.Context(), ref, [32]byte{1}) })
	}
	wg.Wait()
	if n := s.Entra.Requests(); n > 10 { // one a second
		t.Errorf("%d token requests for one wrong secret", n)
	}
}

func TestRevokedTokensAreReplacedWithinOneCall(t *testing.T) {
	s := start(t, azurefake.Options{})
	ref := key.Ref(add(t, s, "k", azurefake.Spec{}).KID)
	b := open(t, s)
	if _, err := b.SignDigest(t.Context(), ref, [32]byte{1}); err != nil {
		t.Fatal(err)
	}
	time.Sleep(2100 * time.Millisecond)
	s.Entra.Revoke()
	if _, err := b.SignDigest(t.Context(), ref, [32]byte{1}); err != nil {
		t.Error(err)
	}
	if n := s.Entra.Requests(); n != 2 {
		t.Errorf("%d token requests, want 2", n)
	}
}

func TestOutageOfTheTokenServiceEndsWithItsCause(t *testing.T) {
	s := start(t, azurefake.Options{})
	ref := key.Ref(add(t, s, "k", azurefake.Spec{}).KID)
	b := open(t, s)
	s.Entra.Hang(true)
	hangs(t, b, ref)
	s.Entra.Hang(false)
	begin := time.Now()
	for time.Since(begin) < 30*time.Second {
		if _, err := b.SignDigest(t.Context(), ref, [32]byte{1}); err == nil {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	if took := time.Since(begin); took > 12*time.Second { // less than a token request may take
		t.Errorf("recovered after %s", took)
	}
	// With a token in hand, the token service is not needed.
	s.Entra.Fail(503)
	if _, err := b.SignDigest(t.Context(), ref, [32]byte{1}); err != nil {
		t.Error(err)
	}
	if s.Entra.Discoveries() != 0 {
		t.Error("the client asked the token service which clouds there are")
	}
}

func TestClientCertificate(t *testing.T) {
	s := start(t, azurefake.Options{})
	private, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: "app"}, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, private.Public(), private)
	if err != nil {
		t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	text := string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})) + string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}))
	use := func(c *azure.Config) { c.Secret, c.ClientCertificate = nil, fixed(text) }
	wantKind(t, open(t, s, use).Health(t.Context()), key.ErrDenied, "client_cert", "AADSTS700027")
	s.Entra.SetCertificate(&private.PublicKey)
	if err := open(t, s, use).Health(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestWorkloadIdentity(t *testing.T) {
	s := start(t, azurefake.Options{})
	s.Entra.SetAssertion("the.pods.token")
	file := filepath.Join(t.TempDir(), "token")
	use := func(c *azure.Config) { c.Secret, c.WorkloadIdentity, c.TokenFile = nil, true, file }
	wantKind(t, open(t, s, use).Health(t.Context()), key.ErrUnavailable, "token file cannot be read")
	if err := os.WriteFile(file, []byte("the.pods.token"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := open(t, s, use).Health(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestManagedIdentity(t *testing.T) {
	s := start(t, azurefake.Options{})
	var asked atomic.Value
	asked.Store("")
	machine := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked.Store(r.URL.Query().Get("resource") + " " + r.URL.Query().Get("client_id"))
		w.Header().Set("Content-Type", "application/json")
		_ = json.NewEncoder(w).Encode(map[string]any{"access_token": s.Entra.Issue(), "expires_on": time.Now().Add(time.Hour).Unix(), "token_type": "Bearer", "resource": "https://vault.azure.net"})
	}))
	defer machine.Close()
	t.Setenv("IDENTITY_ENDPOINT", machine.URL)
	t.Setenv("IDENTITY_HEADER", "a header")
	b := open(t, s, func(c *azure.Config) { c.Secret, c.TenantID, c.ManagedIdentity = nil, "", true })
	if err := b.Health(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := asked.Load(); got != "https://vault.azure.net "+s.Entra.ClientID {
		t.Errorf("asked for %q", got)
	}
}
