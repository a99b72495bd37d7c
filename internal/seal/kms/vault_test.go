// SPDX-License-Identifier: Apache-2.0

package kms_test

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/tink-crypto/tink-go/v2/aead/subtle"

	"github.com/hsmsigner/hsmsigner/internal/seal"
	"github.com/hsmsigner/hsmsigner/internal/seal/kms"
)

// transit answers as Vault's transit engine does: key kek at mount seals/transit
// (developer.hashicorp.com/vault/api-docs/secret/transit).
type transit struct {
	cipher        *subtle.AESGCM
	calls, logins atomic.Int64
	tokens        atomic.Int64 // given and not revoked
	status        atomic.Int64 // of every answer; 0: as it should be
}

func (v *transit) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	var in map[string]string
	_ = json.NewDecoder(r.Body).Decode(&in)
	refuse := func(status int) {
		w.WriteHeader(status)
		_, _ = w.Write([]byte(`{"errors": ["canary of the provider"]}`))
	}
	reply := func(v map[string]any) { _ = json.NewEncoder(w).Encode(v) }
	authorized := r.Header.Get("X-Vault-Token") == "s.given" && r.Header.Get("X-Vault-Request") == "true" && r.Header.Get("X-Vault-Namespace") == "team/a"
	about, _ := base64.StdEncoding.DecodeString(in["associated_data"])
	status := int(v.status.Load())
	switch path := strings.TrimPrefix(r.URL.Path, "/v1/"); {
	case status != 0:
		refuse(status)
	case path == "auth/approle/login" && in["role_id"] == "role" && in["secret_id"] == "hunter2",
		path == "auth/jwt/login" && in["role"] == "signer" && in["jwt"] == "hunter2":
		v.logins.Add(1)
		v.tokens.Add(1)
		reply(map[string]any{"auth": map[string]any{"client_token": "s.given", "lease_duration": 60}})
	case !authorized:
		refuse(http.StatusForbidden)
	case path == "auth/token/revoke-self":
		v.tokens.Add(-1)
		w.WriteHeader(http.StatusNoContent)
	case path == "seals/transit/encrypt/kek":
		v.calls.Add(1)
		plain, _ := base64.StdEncoding.DecodeString(in["plaintext"])
		sealed, _ := v.cipher.Encrypt(plain, about)
		reply(map[string]any{"data": map[string]any{"ciphertext": "vault:v1:" + base64.StdEncoding.EncodeToString(sealed)}})
	case path == "seals/transit/decrypt/kek":
		v.calls.Add(1)
		sealed, err := base64.StdEncoding.DecodeString(strings.TrimPrefix(in["ciphertext"], "vault:v1:"))
		plain, openErr := v.cipher.Decrypt(sealed, about)
		if err != nil || openErr != nil {
			refuse(http.StatusBadRequest)
			return
		}
		reply(map[string]any{"data": map[string]any{"plaintext": base64.StdEncoding.EncodeToString(plain)}})
	default:
		refuse(http.StatusNotFound)
	}
}

func newTransit(t *testing.T) (*transit, string) {
	t.Helper()
	cipher, err := subtle.NewAESGCM(make([]byte, 32))
	if err != nil {
		t.Fatal(err)
	}
	v := &transit{cipher: cipher}
	server := httptest.NewServer(v)
	t.Cleanup(server.Close)
	return v, server.URL
}

func text(s string) func() (string, error) { return func() (string, error) { return s, nil } }

func TestVaultTransit(t *testing.T) {
	t.Setenv("VAULT_TOKEN", "s.of-the-environment")
	t.Setenv("VAULT_ADDR", "http://127.0.0.1:1")
	token := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(token, []byte("hunter2\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, login := range map[string]kms.Vault{
		"token":   {Token: text("s.given\n")},
		"approle": {AuthMount: "approle", RoleID: "role", Secret: text("hunter2")},
		"jwt":     {AuthMount: "jwt", Role: "signer", TokenFile: token},
	} {
		t.Run(name, func(t *testing.T) {
			v, url := newTransit(t)
			login.Address, login.Mount, login.Key, login.Namespace = url, "seals/transit", "kek", "team/a"
			status := func(code int64) func(bool) {
				return func(on bool) {
					v.status.Store(0)
					if on {
						v.status.Store(code)
					}
				}
			}
			exercise(t, service{
				open: func() (seal.KEK, error) { return kms.OpenVault(login) },
				id:   "hashicorp:team/a/seals/transit/kek",
				call: func() int { return int(v.calls.Load()) },
				away: status(503), deny: status(403),
				know: func(s string) bool { return strings.Contains(s, "hunter2") || strings.Contains(s, "s.given") },
			})
			if v.tokens.Load() != 0 {
				t.Errorf("%d tokens were not given back", v.tokens.Load())
			}
			if name != "token" && v.logins.Load() == 0 {
				t.Error("nobody logged in")
			}
		})
	}
}

func TestVaultThatIsNotThereIsUnavailable(t *testing.T) {
	key, err := kms.OpenVault(kms.Vault{Address: "http://127.0.0.1:1", Key: "kek", Token: text("x")})
	if err != nil {
		t.Fatal(err)
	}
	_, err = key.Unwrap(t.Context(), []byte("vault:v1:x"), "")
	if !strings.Contains(err.Error(), seal.ErrUnavailable.Error()) {
		t.Error(err)
	}
}
