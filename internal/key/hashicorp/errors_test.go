// SPDX-License-Identifier: Apache-2.0

package hashicorp_test

import (
	"crypto/ecdsa"
	"errors"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/ethereum/go-ethereum/crypto"

	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/key/hashicorp"
	"github.com/hsmsigner/hsmsigner/internal/key/hashicorp/vaultfake"
)

func sign(t *testing.T, digest []byte, k *ecdsa.PrivateKey) []byte {
	t.Helper()
	sig, err := crypto.Sign(digest, k)
	if err != nil {
		t.Fatal(err)
	}
	return sig
}

// says checks kind and text of an error, and that it holds no secret.
func says(t *testing.T, err, kind error, texts ...string) {
	t.Helper()
	if !errors.Is(err, kind) {
		t.Errorf("%v, want %v", err, kind)
		return
	}
	for _, text := range texts {
		if !strings.Contains(err.Error(), text) {
			t.Errorf("%q does not say %q", err, text)
		}
	}
	for _, secret := range []string{vaultfake.Token, "s3cr3t", "body-of-vault"} {
		if strings.Contains(err.Error(), secret) {
			t.Errorf("%q holds %q", err, secret)
		}
	}
}

func TestEachRefusalHasItsKindAndSaysWhatToMend(t *testing.T) {
	f := newFake(t, 1)
	for _, tt := range []struct {
		status int
		errors []string
		kind   error
		why    string
	}{
		{400, []string{"body-of-vault"}, key.ErrBadResponse, "is it hsmsigner"},
		{400, []string{"server is not yet initialized"}, key.ErrUnavailable, "not initialised"},
		{403, []string{"1 error occurred:\n\t* permission denied\n\n"}, key.ErrDenied, "update on hsmsigner/sign/"},
		{404, []string{"there is no key of address body-of-vault"}, key.ErrNotFound, "it was deleted"},
		{404, []string{"no handler for route \"hsmsigner/sign\". route entry not found."}, key.ErrDenied, "nothing is mounted at hsmsigner/"},
		{404, []string{"1 error occurred:\n\t* unsupported path\n\n"}, key.ErrBadResponse, "is it hsmsigner"},
		{405, []string{"1 error occurred:\n\t* unsupported operation\n\n"}, key.ErrBadResponse, "is it hsmsigner"},
		{409, []string{"body-of-vault"}, key.ErrDenied, "already"},
		{412, []string{"required index state not present"}, key.ErrUnavailable, "lags behind"},
		{423, []string{"the key of address 0x is switched off"}, key.ErrDisabled, "switched off"},
		{307, nil, key.ErrUnavailable, "active node"},
		{472, nil, key.ErrUnavailable, "disaster recovery"},
		{500, []string{"1 error occurred:\n\t* internal error body-of-vault\n\n"}, key.ErrUnavailable, "its log"},
		{502, nil, key.ErrUnavailable, "status 502"},
		{503, []string{"Vault is sealed"}, key.ErrUnavailable, "vault operator unseal"},
		{503, nil, key.ErrUnavailable, "load balancer"},
	} {
		f.SetIntercept(func(w http.ResponseWriter, r *http.Request) bool {
			if strings.Contains(r.URL.Path, "/sign/") {
				vaultfake.Refuse(w, tt.status, tt.errors...)
				return true
			}
			return false
		})
		_, err := open(t, fakeConfig(f)).SignDigest(t.Context(), fakeRef(f, 0), [32]byte{1})
		says(t, err, tt.kind, tt.why, "sign ")
	}
}

func TestHealthSaysWhatVaultIs(t *testing.T) {
	f := newFake(t, 1)
	b := open(t, fakeConfig(f))
	for body, why := range map[string]string{
		`{"initialized":true,"sealed":false,"standby":true}`:                                   "",
		`{"initialized":true,"sealed":false,"performance_standby":true}`:                       "",
		`{"initialized":true,"sealed":true,"standby":true}`:                                    "sealed",
		`{"initialized":false,"sealed":true}`:                                                  "not initialised",
		`{"initialized":true,"sealed":false,"standby":true,"replication_dr_mode":"secondary"}`: "disaster recovery",
	} {
		f.SetIntercept(func(w http.ResponseWriter, r *http.Request) bool {
			if r.URL.Path == "/v1/sys/health" {
				_, _ = w.Write([]byte(body))
				return true
			}
			return false
		})
		err := b.Health(t.Context())
		if why == "" {
			if err != nil {
				t.Errorf("%s: %v", body, err)
			}
			continue
		}
		says(t, err, key.ErrUnavailable, why)
	}
}

func TestUnreachableVaultIsNamed(t *testing.T) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	closedPort := "http://" + l.Addr().String()
	_ = l.Close()
	f := newFake(t, 0)
	for address, why := range map[string]string{
		closedPort:                                    "nobody listens at 127.0.0.1:",
		"http://no-such-host.invalid:8200":            "cannot be resolved",
		"https" + strings.TrimPrefix(f.URL(), "http"): "does not speak TLS",
	} {
		c := fakeConfig(f)
		c.Address = address
		_, err := open(t, c).Keys(t.Context(), "")
		says(t, err, key.ErrUnavailable, why)
		says(t, open(t, c).Health(t.Context()), key.ErrUnavailable, why)
	}
}

func TestBadCredentialsAreNamed(t *testing.T) {
	f := newFake(t, 1)
	dir := t.TempDir()
	jwt := filepath.Join(dir, "jwt")
	if err := os.WriteFile(jwt, []byte("s3cr3t\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	secret := func(text string) func() (string, error) { return func() (string, error) { return text, nil } }
	for name, tt := range map[string]struct {
		c    hashicorp.Config
		kind error
		why  string
	}{
		"wrong token":     {hashicorp.Config{Token: secret("s3cr3t")}, key.ErrDenied, "does not take the token"},
		"empty token":     {hashicorp.Config{Token: secret("\n")}, key.ErrDenied, "is empty"},
		"two lines":       {hashicorp.Config{Token: secret("s3cr3t\ns3cr3t")}, key.ErrDenied, "characters that no credential has"},
		"no token file":   {hashicorp.Config{Token: func() (string, error) { _, err := os.ReadFile(filepath.Join(dir, "none")); return "", err }}, key.ErrUnavailable, "there is no such file"},
		"unreadable":      {hashicorp.Config{Token: func() (string, error) { return "", errors.New("s3cr3t") }}, key.ErrUnavailable, "cannot be read"},
		"wrong secret id": {hashicorp.Config{RoleID: "role", Secret: secret("s3cr3t")}, key.ErrDenied, "refuses the AppRole login at auth/approle/login"},
		"auth mount":      {hashicorp.Config{RoleID: "role", Secret: secret("s3cr3t"), AuthMount: "elsewhere"}, key.ErrDenied, "refuses the AppRole login at auth/elsewhere/login"},
		"kubernetes":      {hashicorp.Config{Kubernetes: &hashicorp.Login{Role: "signer", File: jwt}}, key.ErrDenied, "check the role signer"},
		"jwt":             {hashicorp.Config{JWT: &hashicorp.Login{Role: "signer", File: jwt}}, key.ErrDenied, "bound claims"},
		"no jwt file":     {hashicorp.Config{JWT: &hashicorp.Login{Role: "signer", File: filepath.Join(dir, "none")}}, key.ErrUnavailable, "there is no such file"},
	} {
		t.Run(name, func(t *testing.T) {
			tt.c.Address = f.URL()
			b := open(t, tt.c)
			_, err := b.SignDigest(t.Context(), fakeRef(f, 0), [32]byte{1})
			says(t, err, tt.kind, tt.why)
			says(t, b.Health(t.Context()), tt.kind, tt.why)
		})
	}
}

func TestRootTokenIsRefused(t *testing.T) {
	f := newFake(t, 1)
	f.SetPolicies("root")
	_, err := open(t, fakeConfig(f)).SignDigest(t.Context(), fakeRef(f, 0), [32]byte{1})
	says(t, err, key.ErrDenied, "root token", "digest-signer")
	c := hashicorp.Config{Address: f.URL(), RoleID: "role", Secret: func() (string, error) { return "secret-1", nil }}
	_, err = open(t, c).SignDigest(t.Context(), fakeRef(f, 0), [32]byte{1})
	says(t, err, key.ErrDenied, "root token")
	if n := f.Calls("PUT hsmsigner/sign/*"); n != 0 {
		t.Errorf("%d signatures with a root token", n)
	}
}

func TestBadConfigurationsAreRefusedWithoutACall(t *testing.T) {
	good := hashicorp.Config{Address: "https://vault.example:8200", Token: func() (string, error) { return "x", nil }}
	for why, change := range map[string]func(c *hashicorp.Config){
		"want https://host:port":   func(c *hashicorp.Config) { c.Address = "vault.example:8200" },
		"nothing but https":        func(c *hashicorp.Config) { c.Address = "https://vault.example:8200/v1/hsmsigner" },
		"mount: want a path":       func(c *hashicorp.Config) { c.Mount = "/hsmsigner/" },
		"namespace: want a path":   func(c *hashicorp.Config) { c.Namespace = "a/../b" },
		"engine: want":             func(c *hashicorp.Config) { c.Engine = "transit" },
		"give one of a token":      func(c *hashicorp.Config) { c.RoleID, c.Secret = "x", c.Token },
		"both a role id":           func(c *hashicorp.Config) { c.Token, c.RoleID = nil, "x" },
		"need a role and the file": func(c *hashicorp.Config) { c.Token, c.JWT = nil, &hashicorp.Login{Role: "x"} },
		"certificate and its key":  func(c *hashicorp.Config) { c.ClientCert = c.Token },
		"no certificate in PEM":    func(c *hashicorp.Config) { c.CACert = []byte("x") },
		"certificates are for TLS": func(c *hashicorp.Config) { c.Address, c.CACert = "http://127.0.0.1:1", []byte("x") },
	} {
		c := good
		change(&c)
		if _, err := hashicorp.Open(t.Context(), c); err == nil || !strings.Contains(err.Error(), why) {
			t.Errorf("%v, want %q", err, why)
		}
	}
	b, err := hashicorp.Open(t.Context(), good)
	if err != nil {
		t.Fatal(err)
	}
	_ = b.Close()
}

// The variables that the vault command takes its settings from are the
// operator's; a tenant's wallet must not run on them.
func TestEnvironmentIsNotUsed(t *testing.T) {
	f, other := newFake(t, 1), newFake(t, 1)
	t.Setenv("VAULT_ADDR", other.URL())
	t.Setenv("VAULT_TOKEN", vaultfake.Token)
	t.Setenv("VAULT_NAMESPACE", "elsewhere")
	t.Setenv("VAULT_HEADERS", `{"X-Other":"1"}`)
	t.Setenv("VAULT_MAX_RETRIES", "9")
	f.SetIntercept(func(_ http.ResponseWriter, r *http.Request) bool {
		for _, header := range []string{"X-Vault-Namespace", "X-Other"} {
			if got := r.Header.Get(header); got != "" {
				t.Errorf("%s: %s of the environment was sent", r.URL.Path, header)
			}
		}
		return false
	})
	c := hashicorp.Config{Address: f.URL(), RoleID: "role", Secret: func() (string, error) { return "s3cr3t", nil }}
	_, err := open(t, c).Keys(t.Context(), "")
	says(t, err, key.ErrDenied, "AppRole")
	if _, err := open(t, fakeConfig(f)).Keys(t.Context(), ""); err != nil {
		t.Error(err)
	}
	if other.Total() != 0 {
		t.Error("the address of the environment was asked")
	}
}

func TestNamespaceIsSentWithEverythingButHealth(t *testing.T) {
	f := newFake(t, 1)
	f.SetIntercept(func(_ http.ResponseWriter, r *http.Request) bool {
		want := "team/a"
		if r.URL.Path == "/v1/sys/health" {
			want = "" // it exists in the root namespace only
		}
		if got := r.Header.Get("X-Vault-Namespace"); got != want {
			t.Errorf("%s: namespace %q, want %q", r.URL.Path, got, want)
		}
		return false
	})
	c := fakeConfig(f)
	c.Namespace = "team/a"
	b := open(t, c)
	_, err := b.SignDigest(t.Context(), fakeRef(f, 0), [32]byte{1})
	_, listed := b.Keys(t.Context(), "")
	if err := errors.Join(err, listed, b.Health(t.Context())); err != nil {
		t.Error(err)
	}
}
