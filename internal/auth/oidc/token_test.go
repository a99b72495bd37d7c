// SPDX-License-Identifier: Apache-2.0

package oidc_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/go-jose/go-jose/v4"

	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/auth/oidc"
)

func opsRule() oidc.Rule {
	return oidc.Rule{Claim: "groups", Value: "ops", Grant: auth.Grant{Consortium: "h0conso001", Role: auth.Operates}}
}

func believing(p *provider, rules ...oidc.Rule) *oidc.Provider {
	p.Helper()
	if len(rules) == 0 {
		rules = []oidc.Rule{opsRule()}
	}
	o, err := oidc.New(oidc.Config{
		Issuer: p.server.URL, ClientID: clientID, Secret: func() (string, error) { return clientSecret, nil },
		Scopes: []string{"profile"}, Rules: rules,
	})
	if err != nil {
		p.Fatal(err)
	}
	p.Cleanup(o.CloseIdle)
	return o
}

func TestIDTokenOfTheProviderIsAPerson(t *testing.T) {
	p := newProvider(t)
	o := believing(p)
	want := auth.Person{Subject: "ada", Name: "ada@example.org", Grants: []auth.Grant{{Consortium: "h0conso001", Role: auth.Operates}}}
	for name, set := range map[string]func(){
		"RS256":              func() { p.alg, p.kid = jose.RS256, "rsa" },
		"ES256":              func() { p.alg, p.kid = jose.ES256, "ec" },
		"without a key's id": func() { p.alg, p.kid = jose.ES256, "" },
	} {
		set()
		who, err := o.Identify(t.Context(), p.sign(nil))
		if err != nil || !reflect.DeepEqual(who, want) {
			t.Errorf("%s: got %+v, %v", name, who, err)
		}
	}
	several := map[string]any{"aud": []string{"other", clientID}, "azp": clientID}
	if _, err := o.Identify(t.Context(), p.sign(several)); err != nil {
		t.Errorf("several audiences, issued to us: %v", err)
	}
}

func TestTokenThatIsNotForUsNowIsRefused(t *testing.T) {
	p := newProvider(t)
	o := believing(p)
	now := time.Now()
	for name, claims := range map[string]map[string]any{
		"another audience":               {"aud": "other"},
		"no audience":                    {"aud": nil},
		"an empty audience":              {"aud": ""},
		"several audiences, none us":     {"aud": []string{"a", "b"}},
		"several audiences, nobody's":    {"aud": []string{"other", clientID}},
		"issued to another client":       {"azp": "other"},
		"issued to something odd":        {"azp": []string{clientID}},
		"another issuer":                 {"iss": "https://login.example.org"},
		"issuer with a slash more":       {"iss": p.server.URL + "/"},
		"no issuer":                      {"iss": nil},
		"expired":                        {"exp": now.Add(-time.Second).Unix()},
		"no expiry":                      {"exp": nil},
		"expiry in words":                {"exp": "tomorrow"},
		"not yet valid":                  {"nbf": now.Add(10 * time.Minute).Unix()},
		"issued in the future":           {"iat": now.Add(10 * time.Minute).Unix()},
		"nobody's":                       {"sub": nil},
		"nobody's, in words":             {"sub": ""},
		"somebody's who is a number":     {"sub": 7},
		"claims that stand elsewhere":    {"_claim_names": map[string]string{"groups": "x"}, "_claim_sources": map[string]any{}},
		"an audience that is an object":  {"aud": map[string]any{clientID: true}},
		"an audience in another writing": {"aud": strings.ToUpper(clientID)},
	} {
		who, err := o.Identify(t.Context(), p.sign(claims))
		if !errors.Is(err, auth.ErrCredentials) || !reflect.DeepEqual(who, auth.Person{}) {
			t.Errorf("%s: got %+v, %v", name, who, err)
		}
	}
}

func TestTokenThatTheProviderDidNotSignIsRefused(t *testing.T) {
	p := newProvider(t)
	o := believing(p)
	good := p.sign(nil)
	parts := strings.Split(good, ".")
	payload, err := base64.RawURLEncoding.DecodeString(parts[1])
	if err != nil {
		t.Fatal(err)
	}
	head := func(s string) string { return base64.RawURLEncoding.EncodeToString([]byte(s)) }
	der, err := x509.MarshalPKIXPublicKey(&p.rsa.PublicKey)
	if err != nil {
		t.Fatal(err)
	}
	public := pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
	strangerRSA, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	strangerEC, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	own := jose.JSONWebKey{Key: strangerEC, KeyID: "ec"}
	embedded, err := jose.NewSigner(jose.SigningKey{Algorithm: jose.ES256, Key: own}, &jose.SignerOptions{EmbedJWK: true})
	if err != nil {
		t.Fatal(err)
	}
	signed, err := embedded.Sign(payload)
	if err != nil {
		t.Fatal(err)
	}
	withOwnKey, err := signed.CompactSerialize()
	if err != nil {
		t.Fatal(err)
	}
	flipped := []byte(parts[2])
	flipped[10] ^= 1
	for name, token := range map[string]string{
		"alg none":                     head(`{"alg":"none"}`) + "." + parts[1] + ".",
		"alg None":                     head(`{"alg":"None","kid":"rsa"}`) + "." + parts[1] + ".",
		"alg none with the signature":  head(`{"alg":"none","kid":"rsa"}`) + "." + parts[1] + "." + parts[2],
		"no alg":                       head(`{"kid":"rsa"}`) + "." + parts[1] + "." + parts[2],
		"HS256 of the public key, PEM": p.signWith(jose.HS256, public, "rsa", "JWT", payload),
		"HS256 of the public key, DER": p.signWith(jose.HS256, der, "rsa", "JWT", payload),
		"HS256 of the client secret":   p.signWith(jose.HS256, []byte(clientSecret+clientSecret), "rsa", "JWT", payload),
		"a stranger's RSA key":         p.signWith(jose.RS256, strangerRSA, "rsa", "JWT", payload),
		"a stranger's key, no id":      p.signWith(jose.RS256, strangerRSA, "", "JWT", payload),
		"a stranger's key, own id":     p.signWith(jose.RS256, strangerRSA, "stranger", "JWT", payload),
		"a key that it brings itself":  withOwnKey,
		"the other kind of key":        p.signWith(jose.ES256, p.ec, "rsa", "JWT", payload),
		"an encryption key":            p.signWith(jose.ES256, p.ec, "for encryption", "JWT", payload),
		"an algorithm not announced":   p.signWith(jose.PS256, p.rsa, "rsa", "JWT", payload),
		"an access token":              p.signWith(jose.RS256, p.rsa, "rsa", "at+jwt", payload),
		"a logout token":               p.signWith(jose.RS256, p.rsa, "rsa", "logout+jwt", payload),
		"other claims":                 parts[0] + "." + head(strings.Replace(string(payload), "ada", "eve", 1)) + "." + parts[2],
		"a changed signature":          parts[0] + "." + parts[1] + "." + string(flipped),
		"no signature":                 parts[0] + "." + parts[1] + ".",
		"two parts":                    parts[0] + "." + parts[1],
		"not a token":                  "a.b.c",
		"empty":                        "",
		"long":                         good + strings.Repeat("A", 1<<15),
		"JSON serialization":           `{"payload":"` + parts[1] + `","signatures":[]}`,
	} {
		who, err := o.Identify(t.Context(), token)
		if !errors.Is(err, auth.ErrCredentials) || !reflect.DeepEqual(who, auth.Person{}) {
			t.Errorf("%s: got %+v, %v", name, who, err)
		}
		if err != nil && strings.Contains(err.Error(), parts[2]) {
			t.Errorf("%s: the error holds the token: %v", name, err)
		}
	}
	if _, err := o.Identify(t.Context(), good); err != nil {
		t.Errorf("the good one: %v", err)
	}
	if n := p.keyReads.Load(); n > 2 {
		t.Errorf("bad tokens made us ask for the keys %d times", n)
	}
}

func TestFloodOfBadTokensAsksTheProviderOnce(t *testing.T) {
	p := newProvider(t)
	o := believing(p)
	bad := p.signWith(jose.ES256, p.ec, "unknown", "JWT", []byte("{}"))
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for range 50 {
				if _, err := o.Identify(t.Context(), bad); !errors.Is(err, auth.ErrCredentials) {
					t.Errorf("got %v", err)
				}
			}
		})
	}
	group.Wait()
	if d, k := p.discoveries.Load(), p.keyReads.Load(); d != 1 || k != 1 {
		t.Errorf("asked %d times about itself and %d times for its keys", d, k)
	}
}

func TestProviderThatIsAwayIsNotAWrongToken(t *testing.T) {
	p := newProvider(t)
	token := p.sign(nil)
	p.set(func() { p.down = true })
	o := believing(p)
	for range 3 {
		if _, err := o.Identify(t.Context(), token); !errors.Is(err, auth.ErrUnavailable) || errors.Is(err, auth.ErrCredentials) {
			t.Errorf("got %v", err)
		}
	}
	known := believing(p)
	p.set(func() { p.down = false })
	if _, err := known.Identify(t.Context(), token); err != nil {
		t.Fatal(err)
	}
	p.set(func() { p.down = true })
	if _, err := known.Identify(t.Context(), token); err != nil {
		t.Errorf("its keys are known: %v", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := known.Identify(ended, token); err != nil {
		t.Errorf("nothing has to be asked: %v", err)
	}
}

func TestProviderThatIsNotSafeIsNotUsed(t *testing.T) {
	for name, says := range map[string]map[string]any{
		"another issuer":       {"issuer": "https://login.example.org"},
		"no keys":              {"jwks_uri": ""},
		"shared secrets only":  {"id_token_signing_alg_values_supported": []string{"HS256", "none"}},
		"PKCE in plain text":   {"code_challenge_methods_supported": []string{"plain"}},
		"a list of something":  {"id_token_signing_alg_values_supported": "RS256"},
		"keys of another kind": {"jwks_uri": 7},
	} {
		p := newProvider(t)
		p.document = says
		if _, err := believing(p).Identify(t.Context(), p.sign(nil)); !errors.Is(err, auth.ErrUnavailable) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, c := range []oidc.Config{{}, {Issuer: "https://login.example.org"}, {ClientID: "x"}} {
		if _, err := oidc.New(c); err == nil {
			t.Errorf("%+v is taken", c)
		}
	}
}
