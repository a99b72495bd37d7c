// SPDX-License-Identifier: Apache-2.0

package main

import (
	"crypto/sha256"
	"crypto/subtle"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net/http"

	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/config"
)

var errCredentials = errors.New("no valid credentials")

// authenticator returns the function that says who sends a request to the RPC
// door. Its errors never tell a wrong name from a wrong password.
func authenticator(c config.RPC, log *slog.Logger) func(*http.Request) (auth.Principal, error) {
	switch c.Auth {
	case config.AuthBasic:
		return func(r *http.Request) (auth.Principal, error) { return basic(c.Credentials, r, log) }
	case config.AuthMTLS:
		return certificate
	case config.AuthNone:
		return func(*http.Request) (auth.Principal, error) { return auth.Anonymous, nil }
	}
	return func(*http.Request) (auth.Principal, error) {
		return auth.Principal{}, fmt.Errorf("auth %q is not known", c.Auth)
	}
}

// basic compares with every credential, in constant time, so that the time it
// takes says nothing about names or passwords.
func basic(credentials []config.Credential, r *http.Request, log *slog.Logger) (auth.Principal, error) {
	name, password, ok := r.BasicAuth()
	if !ok {
		return auth.Principal{}, errCredentials
	}
	found := 0
	for _, credential := range credentials {
		want, err := credential.Password.Reveal()
		if err != nil || want == "" {
			log.Error("password cannot be read, nobody can log in with it", "username", credential.Username, "error", err)
			continue
		}
		found |= equal(name, credential.Username) & equal(password, want)
	}
	if found == 0 {
		return auth.Principal{}, errCredentials
	}
	return auth.Principal{Name: "app:" + name}, nil
}

// equal is 1 or 0. Hashing first hides the lengths.
func equal(a, b string) int {
	x, y := sha256.Sum256([]byte(a)), sha256.Sum256([]byte(b))
	return subtle.ConstantTimeCompare(x[:], y[:])
}

// certificate takes the name of the client certificate, which the TLS
// handshake has verified.
func certificate(r *http.Request) (auth.Principal, error) {
	if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 {
		return auth.Principal{}, errCredentials
	}
	name := certificateName(r.TLS.VerifiedChains[0][0])
	if name == "" {
		return auth.Principal{}, errors.New("the client certificate has neither a DNS name nor a common name")
	}
	return auth.Principal{Name: "cert:" + name}, nil
}

// certificateName is the first DNS name, or else the common name.
func certificateName(c *x509.Certificate) string {
	if len(c.DNSNames) > 0 {
		return c.DNSNames[0]
	}
	return c.Subject.CommonName
}
