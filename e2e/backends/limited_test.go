// SPDX-License-Identifier: Apache-2.0

package backends_test

import (
	"context"
	"crypto/ecdsa"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/ethereum/go-ethereum/common/hexutil"
	"github.com/ethereum/go-ethereum/crypto"

	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/key/awskms"
	"github.com/hsmsigner/hsmsigner/internal/key/awskms/awskmsfake"
	"github.com/hsmsigner/hsmsigner/internal/key/azure"
	"github.com/hsmsigner/hsmsigner/internal/key/azure/azurefake"
	"github.com/hsmsigner/hsmsigner/internal/key/azure/azuretest"
	"github.com/hsmsigner/hsmsigner/internal/key/hashicorp"
)

const keysOfService = 4

// limitedAWS counts as KMS is documented to: a bucket of a second's worth, a
// refusal with status 400 and no hint. The quota is a tenth of the documented
// one, so that one run takes 2,000 signatures and not 20,000.
func limitedAWS(t *testing.T) limited {
	t.Helper()
	s := limited{perSecond: awskms.SignPerSecond / 10}
	quotas := awskmsfake.Quotas()
	quotas["Sign"] = s.perSecond
	fake := awskmsfake.Start(awskmsfake.Config{Latency: latency, Quotas: quotas})
	t.Cleanup(fake.Close)
	for _, k := range fake.AddKeys(keysOfService, "signer-", nil) {
		s.addresses = append(s.addresses, k.Address)
	}
	s.open = func(t *testing.T, _ *key.Quota) key.Backend {
		b, err := awskms.Open(t.Context(), awsConfig(serveInside(t, fake.HTTP().Config.Handler, nil)))
		return opened(t, b, err)
	}
	s.calls = func() int { return fake.Calls("Sign") }
	s.throttleHalf = func() {
		fake.Fail(awskmsfake.Fault{Operation: "Sign", Share: 0.5, Code: "ThrottlingException", Message: "Rate exceeded"})
	}
	return s
}

func awsConfig(dial dialer) awskms.Config {
	return awskms.Config{
		Region: awskmsfake.Region, AccessKeyID: "AKIAIOSFODNN7EXAMPLE", Secret: func() (string, error) { return secret, nil },
		Endpoint: "http://127.0.0.1:1", DialContext: dial, Reads: key.NewQuota(awskms.ReadPerSecond * key.DefaultShare),
	}
}

func opened[B key.Backend](t *testing.T, b B, err error) key.Backend {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	return b
}

// limitedAzure counts as a vault is documented to, 2,000 calls with HSM keys in
// a window of 10 s, and everything that is asked comes out of it. The quota is
// half of that, for the same reason.
func limitedAzure(t *testing.T, retryAfter string) limited {
	t.Helper()
	s := limited{perSecond: azure.SignPerSecond / 2, hints: retryAfter != ""}
	fake, err := azuretest.Start()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = fake.Close() })
	fake.Vault.SetLatency(latency)
	fake.Vault.SetQuota(azurefake.HSMQuota / 2)
	fake.Vault.SetRetryAfter(retryAfter)
	for i := range keysOfService {
		_, address, err := fake.NewKey(fmt.Sprintf("signer-%d", i))
		if err != nil {
			t.Fatal(err)
		}
		s.addresses = append(s.addresses, address)
	}
	s.open = func(t *testing.T, signs *key.Quota) key.Backend {
		c := azureConfig(t, fake)
		c.Reads = signs // one bucket
		b, err := azure.Open(t.Context(), c)
		return opened(t, b, err)
	}
	s.calls = func() int { return fake.Vault.Signs() }
	s.throttleHalf = func() {
		fake.Vault.SetQuota(0)
		fake.Vault.SetThrottle(0.5)
	}
	return s
}

// azureConfig serves a vault and its token service inside the process.
func azureConfig(t *testing.T, fake *azuretest.Server) azure.Config {
	t.Helper()
	certificate, roots := loopback(t)
	vault, entra := serveInside(t, fake.Vault, &certificate), serveInside(t, fake.Entra, &certificate)
	c := fake.Config()
	c.RootCAs = roots
	c.DialContext = func(ctx context.Context, network, address string) (net.Conn, error) {
		if address == fake.Vault.Host() {
			return vault(ctx, network, address)
		}
		return entra(ctx, network, address)
	}
	return c
}

// limitedVault counts as Vault's rate limit quotas do: in windows of a second,
// with Retry-After in whole seconds (vault/quotas of Vault's source). Vault
// documents no limit: this one is an operator's, who tells both sides.
func limitedVault(t *testing.T) limited {
	t.Helper()
	v := &quotaVault{perSecond: 100, keys: map[string]*ecdsa.PrivateKey{}}
	s := limited{perSecond: v.perSecond, hints: true, calls: func() int { return int(v.signs.Load()) }, throttleHalf: func() { v.half.Store(true) }}
	for range keysOfService {
		private, err := crypto.GenerateKey()
		if err != nil {
			t.Fatal(err)
		}
		address := crypto.PubkeyToAddress(private.PublicKey)
		v.keys[strings.ToLower(address.Hex())] = private
		s.addresses = append(s.addresses, address)
	}
	s.open = func(t *testing.T, _ *key.Quota) key.Backend {
		b, err := hashicorp.Open(t.Context(), vaultConfig(serveInside(t, v, nil)))
		return opened(t, b, err)
	}
	return s
}

func vaultConfig(dial dialer) hashicorp.Config {
	return hashicorp.Config{Address: "http://127.0.0.1:1", Token: func() (string, error) { return secret, nil }, DialContext: dial}
}

// quotaVault is as much of Vault and of our engine as a wallet asks. Package
// vaultfake has more, but listens on a socket.
type quotaVault struct {
	perSecond float64
	keys      map[string]*ecdsa.PrivateKey // by address in lower case
	signs     atomic.Int64
	half      atomic.Bool

	mu     sync.Mutex
	window time.Time
	spent  float64
}

func (v *quotaVault) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	path := strings.TrimPrefix(r.URL.Path, "/v1/")
	address, isSign := strings.CutPrefix(path, "hsmsigner/sign/")
	if isSign {
		v.signs.Add(1)
	}
	time.Sleep(latency)
	switch {
	case !v.admit(time.Now()):
		w.Header().Set("Retry-After", "1")
		vaultAnswer(w, http.StatusTooManyRequests, map[string]any{"errors": []string{"request path \"" + path + "\": rate limit quota exceeded"}})
	case isSign:
		var in struct{ Digest string }
		_ = json.NewDecoder(r.Body).Decode(&in)
		digest, _ := hex.DecodeString(in.Digest)
		sig, err := crypto.Sign(digest, v.keys[address])
		if err != nil {
			vaultAnswer(w, http.StatusBadRequest, map[string]any{"errors": []string{err.Error()}})
			return
		}
		vaultData(w, map[string]any{"address": address, "signature": hexutil.Encode(sig)})
	case path == "hsmsigner/addresses":
		v.list(w, r.URL.Query().Get("after"))
	default: // lookup-self, capabilities-self
		vaultData(w, map[string]any{"policies": []string{"digest-signer"}, "ttl": 3600})
	}
}

// admit throws the dice instead, once half is set.
func (v *quotaVault) admit(now time.Time) bool {
	if v.half.Load() {
		return rand.IntN(2) == 0
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if begun := now.Truncate(time.Second); begun != v.window {
		v.window, v.spent = begun, 0
	}
	v.spent++
	return v.spent <= v.perSecond
}

func (v *quotaVault) list(w http.ResponseWriter, after string) {
	addresses, info := []string{}, map[string]any{}
	for address, private := range v.keys {
		if address > after {
			addresses = append(addresses, address)
			info[address] = map[string]any{
				"address": address, "name": "key-" + address[2:8], "public_key": hexutil.Encode(crypto.FromECDSAPub(&private.PublicKey)), "enabled": true,
			}
		}
	}
	slices.Sort(addresses)
	if len(addresses) == 0 {
		vaultAnswer(w, http.StatusNotFound, map[string]any{"errors": []string{}})
		return
	}
	vaultData(w, map[string]any{"keys": addresses, "key_info": info})
}

func vaultData(w http.ResponseWriter, data map[string]any) {
	vaultAnswer(w, http.StatusOK, map[string]any{"request_id": "request-1", "data": data})
}

func vaultAnswer(w http.ResponseWriter, status int, body map[string]any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}
