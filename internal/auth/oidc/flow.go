// SPDX-License-Identifier: Apache-2.0

package oidc

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"net/url"
	"strings"

	"github.com/coreos/go-oidc/v3/oidc"
	"golang.org/x/oauth2"

	"github.com/hsmsigner/hsmsigner/internal/auth"
)

const (
	callbackPath = "/auth/callback"
	exchanges    = 8 // with the provider, at the same time
)

// FlowConfig is what signing in needs.
type FlowConfig struct {
	Provider  *Provider
	Directory *auth.Directory
	Verifier  *auth.Verifier
	URL       string // of the admin listener as browsers have it, without a path; its /auth/callback is to be allowed at the provider
	Home      string // where people go who have signed in; default /console/
}

// Flow signs people in and out with their browsers. Its routes:
//
//	GET  /auth/login?to=/path  sends the browser to the provider
//	GET  /auth/callback        where the provider sends it back to
//	GET  /auth/session         who has signed in, and the session's token, as JSON
//	POST /auth/logout          ends the session; wants its token
//
// What has to be known again at the callback (state, nonce, PKCE's verifier) is
// made from 256 random bits in a cookie by the verifier's key, so that it needs
// no store, any replica may get the callback, and only the browser that began
// can end. That cookie is SameSite=Lax, since the browser comes back from another
// site, and lives for minutes. The session's is Strict: which is why a sign-in
// ends with a page that goes on by itself, for a redirect would still count as
// coming from the other site, and the browser would leave the cookie out.
type Flow struct {
	cfg    FlowConfig
	secure bool
	mux    *http.ServeMux
	used   used
	slots  chan struct{}
}

// NewFlow makes a flow.
func NewFlow(cfg FlowConfig) (*Flow, error) {
	u, err := url.Parse(cfg.URL)
	if err != nil || u.Host == "" || cfg.URL != u.Scheme+"://"+u.Host || u.Scheme != "https" && u.Scheme != "http" {
		return nil, fmt.Errorf("oidc: the admin listener's URL %q: want scheme and host only, like https://signer.example.org", cfg.URL)
	}
	if cfg.Home == "" {
		cfg.Home = "/console/"
	}
	f := &Flow{cfg: cfg, secure: u.Scheme == "https", mux: http.NewServeMux(), slots: make(chan struct{}, exchanges)}
	f.mux.HandleFunc("GET /auth/login", f.login)
	f.mux.HandleFunc("GET "+callbackPath, f.callback)
	f.mux.Handle("/auth/", cfg.Directory.Routes())
	return f, nil
}

// ServeHTTP serves everything under /auth/.
func (f *Flow) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'")
	h.Set("Referrer-Policy", "no-referrer") // the callback's URL has the code in it
	h.Set("X-Content-Type-Options", "nosniff")
	r.Body = http.MaxBytesReader(w, r.Body, 4<<10)
	f.mux.ServeHTTP(w, r)
}

func (f *Flow) client(found *discovered) (*oauth2.Config, error) {
	c := &oauth2.Config{
		ClientID: f.cfg.Provider.cfg.ClientID, Endpoint: found.endpoint, RedirectURL: f.cfg.URL + callbackPath,
		Scopes: append([]string{oidc.ScopeOpenID}, f.cfg.Provider.cfg.Scopes...),
	}
	if f.cfg.Provider.cfg.Secret == nil {
		return c, nil
	}
	var err error
	c.ClientSecret, err = f.cfg.Provider.cfg.Secret()
	return c, err
}

func (f *Flow) login(w http.ResponseWriter, r *http.Request) {
	found, err := f.cfg.Provider.discover(r.Context())
	if err != nil {
		f.say(w, http.StatusServiceUnavailable, "The identity provider does not answer. Try again in a moment.")
		return
	}
	client, err := f.client(found)
	if err != nil {
		f.cfg.Provider.log.ErrorContext(r.Context(), "the client secret cannot be read, nobody can sign in", slog.Any("err", err))
		f.say(w, http.StatusServiceUnavailable, "Nobody can sign in at the moment.")
		return
	}
	l := newLogin(r.URL.Query().Get("to"))
	http.SetCookie(w, f.cookie(l.cookie(f.cfg.Verifier), int(loginTime.Seconds())))
	there := client.AuthCodeURL(l.state(f.cfg.Verifier), oidc.Nonce(l.nonce(f.cfg.Verifier)), oauth2.S256ChallengeOption(l.proof(f.cfg.Verifier)))
	http.Redirect(w, r, there, http.StatusFound) //nolint:gosec // G710: to the provider's endpoint; nothing of the request is in it
}

func (f *Flow) callback(w http.ResponseWriter, r *http.Request) {
	http.SetCookie(w, f.cookie("", -1)) // it is for one try
	l, p, err := f.finish(r)
	switch {
	case errors.Is(err, auth.ErrUnavailable):
		f.cfg.Provider.log.WarnContext(r.Context(), "a sign-in could not be finished", slog.Any("err", err))
		f.say(w, http.StatusServiceUnavailable, "The identity provider does not answer. Try again in a moment.")
	case err != nil:
		f.cfg.Provider.log.InfoContext(r.Context(), "a sign-in was refused", slog.Any("err", err))
		status := http.StatusForbidden
		if limit := (*auth.LimitError)(nil); errors.As(f.cfg.Directory.Guard().Bad(r, "", false), &limit) {
			status = limit.HTTPStatus()
		}
		f.say(w, status, "This sign-in is not valid, or not any more. Begin again.")
	case len(p.Grants) == 0:
		f.say(w, http.StatusForbidden, "You are known, but have no role here. Ask whoever operates this signer.")
	default:
		if err := f.cfg.Directory.SignIn(w, r, p); err != nil {
			f.cfg.Provider.log.WarnContext(r.Context(), "a sign-in could not be stored", slog.Any("err", err))
			f.say(w, http.StatusServiceUnavailable, "Nobody can sign in at the moment.")
			return
		}
		f.goOn(w, l.to(f.cfg.Home))
	}
}

// finish checks what the provider sent the browser back with.
func (f *Flow) finish(r *http.Request) (login, auth.Person, error) {
	cookies := r.CookiesNamed(f.cookieName())
	if len(cookies) != 1 {
		return login{}, auth.Person{}, errors.New("no sign-in was begun in this browser")
	}
	v, q := f.cfg.Verifier, r.URL.Query()
	l, err := readLogin(v, cookies[0].Value)
	switch {
	case err != nil:
		return l, auth.Person{}, err
	case len(q["state"]) != 1 || !equal(q.Get("state"), l.state(v)):
		return l, auth.Person{}, errors.New("the state is another than was begun with")
	case q.Has("iss") && q.Get("iss") != f.cfg.Provider.cfg.Issuer: // RFC 9207
		return l, auth.Person{}, errors.New("the answer is from another issuer")
	case q.Get("code") == "":
		return l, auth.Person{}, errors.New("the provider gave no code")
	}
	token, err := f.exchange(r.Context(), q.Get("code"), l)
	if err != nil {
		return l, auth.Person{}, err
	}
	found, err := f.cfg.Provider.discover(r.Context())
	if err != nil {
		return l, auth.Person{}, err
	}
	claims, err := f.cfg.Provider.verify(r.Context(), found, token)
	if err != nil {
		return l, auth.Person{}, err
	}
	if !equal(claims.text("nonce"), l.nonce(v)) {
		return l, auth.Person{}, errors.New("the ID token is for another sign-in (nonce)")
	}
	if !f.used.first(l.seed, l.expires) {
		return l, auth.Person{}, errors.New("this sign-in was used before")
	}
	return l, f.cfg.Provider.person(claims), nil
}

// exchange gives the provider the code, for an ID token.
func (f *Flow) exchange(ctx context.Context, code string, l login) (string, error) {
	select {
	case f.slots <- struct{}{}:
		defer func() { <-f.slots }()
	case <-ctx.Done():
		return "", ctx.Err()
	}
	found, err := f.cfg.Provider.discover(ctx)
	if err != nil {
		return "", err
	}
	client, err := f.client(found)
	if err != nil {
		return "", fmt.Errorf("%w: %w", auth.ErrUnavailable, err)
	}
	ctx = oidc.ClientContext(ctx, f.cfg.Provider.http)
	tokens, err := client.Exchange(ctx, code, oauth2.VerifierOption(l.proof(f.cfg.Verifier)))
	var said *oauth2.RetrieveError
	switch {
	case errors.As(err, &said) && said.Response != nil && said.Response.StatusCode < 500:
		return "", fmt.Errorf("the provider refused the code with status %d", said.Response.StatusCode)
	case errors.As(err, &said): // its text has the answer's body
		return "", fmt.Errorf("%w: the provider's token endpoint failed", auth.ErrUnavailable)
	case err != nil:
		return "", fmt.Errorf("%w: %w", auth.ErrUnavailable, err)
	}
	token, _ := tokens.Extra("id_token").(string)
	if token == "" {
		return "", errors.New("the provider gave no ID token")
	}
	return token, nil
}

// cookieName has the prefix that keeps other hosts of the same domain from planting
// the cookie, and so somebody from being signed in as another. It wants Path=/.
func (f *Flow) cookieName() string {
	if f.secure {
		return "__Host-hsmsigner-login"
	}
	return "hsmsigner-login"
}

func (f *Flow) cookie(value string, age int) *http.Cookie {
	return &http.Cookie{ //nolint:gosec // G124: Secure is left out only where the listener is reached without TLS; Lax, see Flow
		Name: f.cookieName(), Value: value, Path: "/", MaxAge: age,
		HttpOnly: true, Secure: f.secure, SameSite: http.SameSiteLaxMode,
	}
}

func localPath(to string) bool {
	u, err := url.Parse(to)
	return err == nil && len(to) <= 512 && strings.HasPrefix(to, "/") && !strings.HasPrefix(to, "//") &&
		!strings.ContainsAny(to, "\\\r\n\t") && u.Scheme == "" && u.Host == ""
}
