// SPDX-License-Identifier: Apache-2.0

package hashicorp_test

import (
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/key/hashicorp"
	"github.com/hsmsigner/hsmsigner/internal/key/hashicorp/vaultfake"
)

// Five wrong logins lock an AppRole out: what was refused is not offered again.
func TestRefusedCredentialIsOfferedOnce(t *testing.T) {
	f := newFake(t, 1)
	secret := "wrong"
	var mu sync.Mutex
	b := open(t, hashicorp.Config{Address: f.URL(), RoleID: "role", Secret: func() (string, error) {
		mu.Lock()
		defer mu.Unlock()
		return secret, nil
	}})
	for range 50 {
		_, err := b.SignDigest(t.Context(), fakeRef(f, 0), [32]byte{1})
		says(t, err, key.ErrDenied, "refuses the AppRole login")
	}
	if n := f.Calls("PUT auth/approle/login"); n != 1 {
		t.Errorf("%d logins with a credential that was refused, want 1", n)
	}
	mu.Lock()
	secret = "secret-1"
	mu.Unlock()
	if _, err := b.SignDigest(t.Context(), fakeRef(f, 0), [32]byte{1}); err != nil {
		t.Errorf("with the right secret id: %v", err)
	}
}

func TestOneLoginServesAllWhoWait(t *testing.T) {
	f := newFake(t, 1)
	b := open(t, hashicorp.Config{Address: f.URL(), RoleID: "role", Secret: func() (string, error) { return "secret-1", nil }})
	burst := func() {
		var wg sync.WaitGroup
		for range 64 {
			wg.Go(func() {
				if _, err := b.SignDigest(t.Context(), fakeRef(f, 0), [32]byte{1}); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
	}
	burst()
	f.Revoke()
	burst()
	if n := f.Calls("PUT auth/approle/login"); n != 2 {
		t.Errorf("%d logins, want 2", n)
	}
}

// Vault before 1.15 says "permission denied" of a dead token as of a missing
// right: the token is looked up to tell them apart, but not for every refusal.
func TestRefusalIsNotTakenForADeadToken(t *testing.T) {
	f := newFake(t, 1)
	f.SetIntercept(func(w http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path != "/v1/hsmsigner/sign/"+f.Addresses()[0] {
			return false
		}
		vaultfake.Refuse(w, http.StatusForbidden, "1 error occurred:\n\t* permission denied\n\n")
		return true
	})
	b := open(t, hashicorp.Config{Address: f.URL(), RoleID: "role", Secret: func() (string, error) { return "secret-1", nil }})
	for range 20 {
		_, err := b.SignDigest(t.Context(), fakeRef(f, 0), [32]byte{1})
		says(t, err, key.ErrDenied, "update on")
	}
	if n := f.Calls("PUT auth/approle/login"); n != 1 {
		t.Errorf("%d logins, want 1", n)
	}
	if n := f.Calls("GET auth/token/lookup-self"); n > 2 {
		t.Errorf("%d look-ups of the token for 20 refusals", n)
	}
}

func TestKubernetesAndJWTReadTheirFileAtEachLogin(t *testing.T) {
	file := filepath.Join(t.TempDir(), "token")
	for name, c := range map[string]hashicorp.Config{
		"kubernetes": {Kubernetes: &hashicorp.Login{Role: "signer", File: file}},
		"jwt":        {JWT: &hashicorp.Login{Role: "signer", File: file}},
	} {
		f := newFake(t, 1)
		c.Address = f.URL()
		b := open(t, c)
		for _, text := range []string{"jwt-1", "jwt-2"} {
			if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
			f.SetSecretID(text)
			f.Revoke()
			if _, err := b.SignDigest(t.Context(), fakeRef(f, 0), [32]byte{1}); err != nil {
				t.Errorf("%s with %s: %v", name, text, err)
			}
		}
		if n := f.Calls("PUT auth/" + name + "/login"); n != 2 {
			t.Errorf("%s: %d logins, want 2", name, n)
		}
	}
}
