// SPDX-License-Identifier: Apache-2.0

package azurefake

import (
	"crypto"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// Entra is the token service. All methods are safe for concurrent use.
type Entra struct {
	Tenant   string
	ClientID string

	base        string
	connections atomic.Int64
	requests    atomic.Int64 // for tokens
	discoveries atomic.Int64 // of the instance, which should be off

	mu       sync.Mutex
	secret   string
	public   *rsa.PublicKey // of a registered certificate
	assert   string         // federated token that is accepted
	tokens   map[string]bool
	status   int // of every answer; 0: as it should be
	refusal  int // AADSTS code of every answer; 0: as it should be
	lifetime time.Duration
	hang     chan struct{} // closed when it is over; nil: none
}

func newEntra(o Options) *Entra {
	return &Entra{
		Tenant: o.Tenant, ClientID: o.ClientID, secret: o.Secret,
		tokens: map[string]bool{}, lifetime: time.Hour,
	}
}

// URL is the address of the service: what a client calls authority host.
func (e *Entra) URL() string { return e.base }

// Requests is how many tokens were asked for.
func (e *Entra) Requests() int { return int(e.requests.Load()) }

// Discoveries is how often a client asked which clouds there are.
func (e *Entra) Discoveries() int { return int(e.discoveries.Load()) }

// Secret returns the client secret that is accepted now.
func (e *Entra) Secret() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.secret
}

// SetSecret makes another secret the only one that is accepted.
func (e *Entra) SetSecret(secret string) { e.set(func() { e.secret = secret }) }

// SetCertificate registers the public key of a certificate.
func (e *Entra) SetCertificate(public *rsa.PublicKey) { e.set(func() { e.public = public }) }

// SetAssertion makes a federated token acceptable.
func (e *Entra) SetAssertion(token string) { e.set(func() { e.assert = token }) }

// SetLifetime is for how long new tokens say they are good; they are until
// [Entra.Revoke].
func (e *Entra) SetLifetime(d time.Duration) { e.set(func() { e.lifetime = d }) }

// Fail answers everything with an HTTP status; 0 ends it.
func (e *Entra) Fail(status int) { e.set(func() { e.status = status }) }

// Refuse answers every token request with an AADSTS code; 0 ends it.
func (e *Entra) Refuse(code int) { e.set(func() { e.refusal = code }) }

// Revoke makes all tokens given so far worthless.
func (e *Entra) Revoke() { e.set(func() { clear(e.tokens) }) }

// Hang keeps every request without an answer until it is switched off.
func (e *Entra) Hang(on bool) { e.set(func() { e.hang = switchHang(e.hang, on) }) }

func (e *Entra) set(do func()) {
	e.mu.Lock()
	defer e.mu.Unlock()
	do()
}

func (e *Entra) accepts(token string) bool {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.tokens[token]
}

func switchHang(hang chan struct{}, on bool) chan struct{} {
	switch {
	case on && hang == nil:
		return make(chan struct{})
	case !on && hang != nil:
		close(hang)
		return nil
	}
	return hang
}

func (e *Entra) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	e.mu.Lock()
	hang, status := e.hang, e.status
	e.mu.Unlock()
	if hang != nil {
		select {
		case <-hang:
		case <-r.Context().Done():
			return
		}
	}
	w.Header().Set("X-Ms-Request-Id", requestID())
	tenant, rest, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	switch {
	case status != 0:
		w.WriteHeader(status)
	case rest == "discovery/instance":
		e.discoveries.Add(1)
		w.WriteHeader(http.StatusNotFound)
	case tenant != e.Tenant:
		refuse(w, http.StatusBadRequest, "invalid_tenant", 90002, "Tenant '"+tenant+"' not found.")
	case rest == "v2.0/.well-known/openid-configuration":
		base := "https://" + r.Host + "/" + tenant
		reply(w, http.StatusOK, map[string]any{
			"issuer":                 base + "/v2.0",
			"authorization_endpoint": base + "/oauth2/v2.0/authorize",
			"token_endpoint":         base + "/oauth2/v2.0/token",
		})
	case rest == "oauth2/v2.0/token" && r.Method == http.MethodPost:
		e.requests.Add(1)
		e.give(w, r)
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

// give answers a client credentials request
// (learn.microsoft.com/entra/identity-platform/v2-oauth2-client-creds-grant-flow).
func (e *Entra) give(w http.ResponseWriter, r *http.Request) {
	r.Body = http.MaxBytesReader(w, r.Body, 1<<20)
	if err := r.ParseForm(); err != nil { // #nosec G120 -- bounded above
		refuse(w, http.StatusBadRequest, "invalid_request", 900144, "The request body is not a form.")
		return
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	form := r.PostForm
	switch {
	case e.refusal != 0:
		refuse(w, http.StatusUnauthorized, "invalid_client", e.refusal, "Refused by the test.")
	case form.Get("client_id") != e.ClientID:
		refuse(w, http.StatusBadRequest, "unauthorized_client", 700016, "Application with identifier '"+form.Get("client_id")+"' was not found in the directory.")
	case form.Get("grant_type") != "client_credentials" || !strings.HasSuffix(form.Get("scope"), "/.default") && !strings.Contains(form.Get("scope"), "/.default "):
		refuse(w, http.StatusBadRequest, "invalid_scope", 1002012, "The provided value for scope is not valid.")
	case form.Has("client_assertion"):
		if !e.proves(form.Get("client_assertion")) {
			refuse(w, http.StatusUnauthorized, "invalid_client", 700027, "Client assertion failed signature validation.")
			return
		}
		e.grant(w)
	case form.Get("client_secret") != e.secret:
		refuse(w, http.StatusUnauthorized, "invalid_client", 7000215, "Invalid client secret provided. The secret was '"+form.Get("client_secret")+"'.")
	default:
		e.grant(w)
	}
}

// Issue makes a token without a request, as the endpoint of a machine's identity
// would have it.
func (e *Entra) Issue() string {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.issue()
}

func (e *Entra) issue() string {
	token := "token-" + requestID()
	e.tokens[token] = true
	return token
}

func (e *Entra) grant(w http.ResponseWriter) {
	token := e.issue()
	reply(w, http.StatusOK, map[string]any{
		"token_type": "Bearer", "expires_in": int(e.lifetime.Seconds()), "ext_expires_in": int(e.lifetime.Seconds()), "access_token": token,
	})
}

// proves checks a client assertion: the federated token itself, or a JWT that
// the registered certificate's key signed.
func (e *Entra) proves(assertion string) bool {
	if e.assert != "" && assertion == e.assert {
		return true
	}
	parts := strings.Split(assertion, ".")
	if len(parts) != 3 || e.public == nil {
		return false
	}
	var header struct{ Alg string }
	raw, err := base64.RawURLEncoding.DecodeString(parts[0])
	if err != nil || json.Unmarshal(raw, &header) != nil {
		return false
	}
	sig, err := base64.RawURLEncoding.DecodeString(parts[2])
	if err != nil {
		return false
	}
	digest := sha256.Sum256([]byte(parts[0] + "." + parts[1]))
	if header.Alg == "PS256" {
		return rsa.VerifyPSS(e.public, crypto.SHA256, digest[:], sig, nil) == nil
	}
	return header.Alg == "RS256" && rsa.VerifyPKCS1v15(e.public, crypto.SHA256, digest[:], sig) == nil
}

// refuse answers as Entra refuses.
func refuse(w http.ResponseWriter, status int, name string, code int, text string) {
	reply(w, status, map[string]any{
		"error": name, "error_codes": []int{code},
		"error_description": fmt.Sprintf("AADSTS%d: %s Trace ID: %s", code, text, requestID()),
		"trace_id":          requestID(), "correlation_id": requestID(),
	})
}

func reply(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // a client that went away
}

func requestID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	s := hex.EncodeToString(b[:])
	return s[:8] + "-" + s[8:12] + "-" + s[12:16] + "-" + s[16:20] + "-" + s[20:]
}
