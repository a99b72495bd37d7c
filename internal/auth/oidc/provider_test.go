// SPDX-License-Identifier: Apache-2.0

package oidc_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"net/http/httptest"
	"net/url"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"
	"go.uber.org/goleak"

	"github.com/hsmsigner/hsmsigner/internal/auth"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	clientID     = "hsmsigner"
	clientSecret = "canary-client-secret"
)

// provider is an OpenID Connect provider at its wire: discovery document, keys,
// authorization and token endpoint.
type provider struct {
	*testing.T
	server *httptest.Server
	rsa    *rsa.PrivateKey
	ec     *ecdsa.PrivateKey

	discoveries, keyReads, exchanges atomic.Int64

	mu       sync.Mutex
	down     bool
	document map[string]any // beside what every provider says
	keys     []jose.JSONWebKey
	alg      jose.SignatureAlgorithm
	kid      string
	claims   map[string]any // of the next ID token, beside the usual; nil takes one away
	codes    map[string]url.Values
	reuse    bool // gives a token for a code again and again
	noToken  bool
}

var rsaKey = sync.OnceValues(func() (*rsa.PrivateKey, error) { return rsa.GenerateKey(rand.Reader, 2048) })

func newProvider(t *testing.T) *provider {
	t.Helper()
	p := &provider{T: t, document: map[string]any{}, claims: map[string]any{}, codes: map[string]url.Values{}, alg: jose.RS256, kid: "rsa"}
	var err error
	if p.rsa, err = rsaKey(); err != nil { // the same for all: it takes long to find one
		t.Fatal(err)
	}
	if p.ec, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		t.Fatal(err)
	}
	p.keys = []jose.JSONWebKey{
		{Key: &p.rsa.PublicKey, KeyID: "rsa", Use: "sig"},
		{Key: &p.ec.PublicKey, KeyID: "ec", Use: "sig"},
		{Key: &p.ec.PublicKey, KeyID: "for encryption", Use: "enc"},
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /.well-known/openid-configuration", p.discovery)
	mux.HandleFunc("GET /keys", p.serveKeys)
	mux.HandleFunc("GET /authorize", p.authorize)
	mux.HandleFunc("POST /token", p.token)
	p.server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		p.mu.Lock()
		down := p.down
		p.mu.Unlock()
		if down {
			http.Error(w, "out of order", http.StatusBadGateway)
			return
		}
		mux.ServeHTTP(w, r)
	}))
	t.Cleanup(p.server.Close)
	return p
}

func (p *provider) set(f func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f()
}

func answer(w http.ResponseWriter, body any) {
	w.Header().Set("Content-Type", "application/json")
	_ = json.NewEncoder(w).Encode(body)
}

func (p *provider) discovery(w http.ResponseWriter, _ *http.Request) {
	p.discoveries.Add(1)
	document := map[string]any{
		"issuer": p.server.URL, "authorization_endpoint": p.server.URL + "/authorize", "token_endpoint": p.server.URL + "/token",
		"jwks_uri": p.server.URL + "/keys", "response_types_supported": []string{"code"}, "subject_types_supported": []string{"public"},
		"id_token_signing_alg_values_supported": []string{"RS256", "ES256", "HS256", "none"}, "code_challenge_methods_supported": []string{"S256"},
	}
	p.set(func() { maps.Copy(document, p.document) })
	answer(w, document)
}

func (p *provider) serveKeys(w http.ResponseWriter, _ *http.Request) {
	p.keyReads.Add(1)
	p.mu.Lock()
	defer p.mu.Unlock()
	answer(w, jose.JSONWebKeySet{Keys: p.keys})
}

// authorize is what a person sees there, who agrees at once.
func (p *provider) authorize(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	if q.Get("client_id") != clientID || q.Get("response_type") != "code" || q.Get("code_challenge_method") != "S256" || q.Get("nonce") == "" {
		http.Error(w, "bad request "+r.URL.RawQuery, http.StatusBadRequest)
		return
	}
	code := auth.NewSecret()
	p.set(func() { p.codes[code] = q })
	http.Redirect(w, r, q.Get("redirect_uri")+"?"+url.Values{"code": {code}, "state": {q.Get("state")}}.Encode(), http.StatusFound)
}

func (p *provider) token(w http.ResponseWriter, r *http.Request) {
	p.exchanges.Add(1)
	id, secret, _ := r.BasicAuth()
	p.mu.Lock()
	q, ok := p.codes[r.PostFormValue("code")]
	if !p.reuse {
		delete(p.codes, r.PostFormValue("code"))
	}
	claims, noToken := maps.Clone(p.claims), p.noToken
	p.mu.Unlock()
	proof := sha256.Sum256([]byte(r.PostFormValue("code_verifier")))
	if !ok || id != clientID || secret != clientSecret || r.PostFormValue("redirect_uri") != q.Get("redirect_uri") ||
		base64.RawURLEncoding.EncodeToString(proof[:]) != q.Get("code_challenge") {
		w.WriteHeader(http.StatusBadRequest)
		answer(w, map[string]string{"error": "invalid_grant", "error_description": "canary of the provider"})
		return
	}
	body := map[string]any{"access_token": "canary-access-token", "token_type": "Bearer", "expires_in": 300}
	if !noToken {
		if _, given := claims["nonce"]; !given {
			claims["nonce"] = q.Get("nonce")
		}
		body["id_token"] = p.sign(claims)
	}
	answer(w, body)
}

// sign makes an ID token. A claim that is nil is left out.
func (p *provider) sign(claims map[string]any) string {
	p.Helper()
	all := map[string]any{
		"iss": p.server.URL, "aud": clientID, "sub": "ada", "name": "Ada", "email": "ada@example.org", "groups": []string{"everybody", "ops"},
		"iat": time.Now().Unix(), "exp": time.Now().Add(time.Minute).Unix(),
	}
	maps.Copy(all, claims)
	maps.DeleteFunc(all, func(_ string, v any) bool { return v == nil })
	payload, err := json.Marshal(all)
	if err != nil {
		p.Fatal(err)
	}
	var key crypto.PrivateKey = p.rsa
	if p.alg == jose.ES256 {
		key = p.ec
	}
	return p.signWith(p.alg, key, p.kid, "JWT", payload)
}

func (p *provider) signWith(alg jose.SignatureAlgorithm, key any, kid, kind string, payload []byte) string {
	p.Helper()
	options := (&jose.SignerOptions{}).WithType(jose.ContentType(kind))
	if kid != "" {
		options = options.WithHeader("kid", kid)
	}
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: alg, Key: key}, options)
	if err != nil {
		p.Fatal(err)
	}
	signed, err := signer.Sign(payload)
	if err != nil {
		p.Fatal(err)
	}
	token, err := signed.CompactSerialize()
	if err != nil {
		p.Fatal(err)
	}
	return token
}
