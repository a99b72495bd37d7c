// SPDX-License-Identifier: Apache-2.0

package kms_test

import (
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/hsmsigner/hsmsigner/internal/key/azure/azurefake"
	"github.com/hsmsigner/hsmsigner/internal/seal"
	"github.com/hsmsigner/hsmsigner/internal/seal/kms"
)

// wrapping plays wrapKey and unwrapKey of an RSA key kek with one version
// (learn.microsoft.com/rest/api/keyvault/keys/wrap-key).
type wrapping struct {
	key   *rsa.PrivateKey
	base  string
	calls atomic.Int64
	fail  atomic.Int64
}

const keyVersion = "0123456789abcdef0123456789abcdef"

func (p *wrapping) respond(w http.ResponseWriter, r *http.Request) bool {
	p.calls.Add(1)
	var in struct{ Alg, Value string }
	_ = json.NewDecoder(r.Body).Decode(&in)
	value, _ := base64.RawURLEncoding.DecodeString(in.Value)
	code := int(p.fail.Load())
	var out []byte
	err := error(nil)
	switch {
	case code != 0:
	case in.Alg != "RSA-OAEP-256":
		code = http.StatusBadRequest
	case r.URL.Path == "/keys/kek/wrapkey" || r.URL.Path == "/keys/kek//wrapkey":
		out, err = rsa.EncryptOAEP(sha256.New(), rand.Reader, &p.key.PublicKey, value, nil)
	case r.URL.Path == "/keys/kek/"+keyVersion+"/unwrapkey":
		out, err = rsa.DecryptOAEP(sha256.New(), nil, p.key, value, nil)
	default:
		code = http.StatusNotFound
	}
	if err != nil {
		code = http.StatusBadRequest
	}
	w.Header().Set("Content-Type", "application/json")
	if code != 0 {
		w.WriteHeader(code)
		_, _ = w.Write([]byte(`{"error": {"code": "BadParameter", "message": "canary of the provider"}}`))
		return true
	}
	_ = json.NewEncoder(w).Encode(map[string]string{"kid": p.base + "/keys/kek/" + keyVersion, "value": base64.RawURLEncoding.EncodeToString(out)})
	return true
}

func TestAzureKeyVault(t *testing.T) {
	fake, err := azurefake.Start(azurefake.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer fake.Close()
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	p := &wrapping{key: key, base: fake.Vault.URL()}
	fake.Vault.SetWire(azurefake.Wire{Respond: p.respond})
	exercise(t, service{
		open: func() (seal.KEK, error) {
			return kms.OpenAzure(kms.Azure{
				VaultURL: fake.Vault.URL(), Key: "kek", TenantID: fake.Entra.Tenant, ClientID: fake.Entra.ClientID,
				Secret: text("first secret"), Authority: fake.Entra.URL(), Relaxed: true, RootCAs: fake.RootCAs(),
			})
		},
		id:   "azure:" + strings.ToLower(fake.Vault.Host()) + "/kek",
		call: func() int { return int(p.calls.Load()) },
		deny: func(on bool) {
			p.fail.Store(map[bool]int64{true: 403}[on])
		},
		know: func(s string) bool { return strings.Contains(s, "first secret") },
	})
	if n := fake.Entra.Discoveries(); n != 0 {
		t.Errorf("asked %d times which clouds there are", n)
	}
}
