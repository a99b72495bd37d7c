// SPDX-License-Identifier: Apache-2.0

// Package oidc lets people in whom an OpenID Connect provider vouches for, by
// its ID tokens (OpenID Connect Core 1.0) and by signing in with a browser
// (authorization code flow with PKCE, RFC 7636).
//
// It guarantees that a token counts only if it is signed by one of the
// provider's keys with an asymmetric algorithm, is for this client, from this
// issuer and of this time; and that a sign-in counts only in the browser that
// began it, once. What somebody may do is said by the operator's rules alone. A
// provider that does not answer keeps people out, and nobody else: nothing here
// is asked for at the start. However many bad tokens a stranger sends, the
// provider's keys are not asked for more often than every ten seconds. It stores
// and logs no token.
package oidc

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"
	"golang.org/x/oauth2"

	"github.com/hsmsigner/hsmsigner/internal/auth"
)

const (
	askTime   = 10 * time.Second // one request to the provider may take
	askAgain  = 5 * time.Second  // after one that failed
	maxAnswer = 1 << 20          // bytes of one answer
)

// Config says whom to believe, and what.
type Config struct {
	Issuer   string // as the provider writes it, without what follows it
	ClientID string
	// Secret reveals the client secret, anew each time; empty for a public
	// client. It may be nil.
	Secret func() (string, error)
	Scopes []string // beside openid
	Rules  []Rule
	// HTTP is the client that asks the provider. Nil: one without a proxy that
	// follows no redirect.
	HTTP   *http.Client
	Logger *slog.Logger // nil: silent
}

// Provider is one identity provider. It is safe for concurrent use.
type Provider struct {
	cfg  Config
	log  *slog.Logger
	http *http.Client
	keys *keySet

	mu    sync.Mutex
	found *discovered
	err   error // of the last try
	tried time.Time
}

// discovered is what the provider says of itself.
type discovered struct {
	endpoint oauth2.Endpoint
	signed   []jose.SignatureAlgorithm // how its tokens may be
}

// New makes a provider. It asks nothing yet.
func New(cfg Config) (*Provider, error) {
	if cfg.Issuer == "" || cfg.ClientID == "" {
		return nil, errors.New("oidc: issuer and client id are needed")
	}
	p := &Provider{cfg: cfg, log: cfg.Logger}
	if p.log == nil {
		p.log = slog.New(slog.DiscardHandler)
	}
	p.http = bounded(cfg.HTTP)
	p.keys = &keySet{http: p.http}
	return p, nil
}

// algorithms are those in which who can check a signature cannot make one: none,
// and those of a shared secret, are never taken, whatever the provider lists.
func algorithms() []jose.SignatureAlgorithm {
	return []jose.SignatureAlgorithm{
		jose.RS256, jose.RS384, jose.RS512, jose.ES256, jose.ES384, jose.ES512,
		jose.PS256, jose.PS384, jose.PS512, jose.EdDSA,
	}
}

// discover asks the provider about itself, until it has answered once.
func (p *Provider) discover(ctx context.Context) (*discovered, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.found != nil {
		return p.found, nil
	}
	if p.err != nil && time.Since(p.tried) < askAgain {
		return nil, p.err
	}
	p.tried = time.Now()
	found, err := p.ask(ctx)
	if err != nil {
		p.log.Warn("the identity provider cannot be reached; nobody can sign in", "issuer", p.cfg.Issuer, "err", err)
		p.err = fmt.Errorf("%w: the identity provider does not answer as one", auth.ErrUnavailable)
		return nil, p.err
	}
	p.found = found
	return found, nil
}

func (p *Provider) ask(ctx context.Context) (*discovered, error) {
	ctx, cancel := context.WithTimeout(oidc.ClientContext(context.WithoutCancel(ctx), p.http), askTime)
	defer cancel()
	answer, err := oidc.NewProvider(ctx, p.cfg.Issuer)
	if err != nil {
		return nil, err
	}
	var says struct {
		Keys   string                    `json:"jwks_uri"`
		PKCE   []string                  `json:"code_challenge_methods_supported"`
		Signed []jose.SignatureAlgorithm `json:"id_token_signing_alg_values_supported"`
	}
	if err := answer.Claims(&says); err != nil {
		return nil, err
	}
	if says.Keys == "" {
		return nil, errors.New("it names no keys (jwks_uri)")
	}
	if len(says.PKCE) > 0 && !slices.Contains(says.PKCE, "S256") {
		return nil, errors.New("it does not take PKCE with S256")
	}
	use := algorithms()
	if len(says.Signed) > 0 {
		use = slices.DeleteFunc(use, func(a jose.SignatureAlgorithm) bool { return !slices.Contains(says.Signed, a) })
		if len(use) == 0 {
			return nil, errors.New("it signs with no asymmetric algorithm")
		}
	}
	p.keys.at(says.Keys)
	return &discovered{
		endpoint: answer.Endpoint(),
		signed:   use,
	}, nil
}

// bounded is the client with limits on the time and size of an answer.
func bounded(c *http.Client) *http.Client {
	if c == nil {
		c = &http.Client{Transport: &http.Transport{
			ForceAttemptHTTP2: true, MaxIdleConns: 4, IdleConnTimeout: time.Minute,
			TLSHandshakeTimeout: askTime, ResponseHeaderTimeout: askTime,
		}}
	}
	own := *c
	own.Timeout = askTime
	own.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	if own.Transport == nil {
		own.Transport = http.DefaultTransport
	}
	own.Transport = limited{own.Transport}
	return &own
}

// limited ends an answer that is too large.
type limited struct{ http.RoundTripper }

func (l limited) RoundTrip(r *http.Request) (*http.Response, error) {
	answer, err := l.RoundTripper.RoundTrip(r)
	if err == nil {
		answer.Body = struct {
			io.Reader
			io.Closer
		}{io.LimitReader(answer.Body, maxAnswer), answer.Body}
	}
	return answer, err
}

// CloseIdle lets go of connections to the provider that nobody uses.
func (p *Provider) CloseIdle() { p.http.CloseIdleConnections() }
