// SPDX-License-Identifier: Apache-2.0

package oidc

import (
	"context"
	"crypto/subtle"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/coreos/go-oidc/v3/oidc"
	"github.com/go-jose/go-jose/v4"

	"github.com/hsmsigner/hsmsigner/internal/auth"
)

// clockSkew is how far the provider's clock may be ahead of ours.
const clockSkew = 5 * time.Minute

// maxToken bounds what is parsed before anything is known of the sender, bytes.
const maxToken = 16 << 10

// Identify checks an ID token that somebody shows as a bearer token, and says who
// that is and what the rules let him do. auth.ErrCredentials if the token is not
// good, auth.ErrUnavailable if that cannot be told now.
func (p *Provider) Identify(ctx context.Context, token string) (auth.Person, error) {
	found, err := p.discover(ctx)
	if err != nil {
		return auth.Person{}, err
	}
	claims, err := p.verify(ctx, found, token)
	if err != nil {
		return auth.Person{}, err
	}
	return p.person(claims), nil
}

// claims are what a token says, once it was found to be good.
type claims map[string]any

func (c claims) text(name string) string {
	s, _ := c[name].(string)
	return s
}

// verify checks a token (OpenID Connect Core §3.1.3.7).
func (p *Provider) verify(ctx context.Context, found *discovered, token string) (claims, error) {
	if len(token) > maxToken {
		return nil, refused(errors.New("it is too long for a token"))
	}
	signed, err := jose.ParseSigned(token, found.signed)
	if err != nil {
		return nil, refused(err)
	}
	if len(signed.Signatures) != 1 {
		return nil, refused(errNoKey)
	}
	if kind, given := signed.Signatures[0].Header.ExtraHeaders[jose.HeaderType].(string); given && !strings.EqualFold(kind, "JWT") {
		return nil, refused(errors.New("it is another kind of token (typ)")) // RFC 9068, OpenID Connect Back-Channel Logout
	}
	keys, err := p.keys.named(ctx, signed.Signatures[0].Header.KeyID)
	if errors.Is(err, auth.ErrUnavailable) {
		return nil, err
	}
	if err != nil {
		return nil, refused(err)
	}
	use := make([]string, len(found.signed))
	for i, a := range found.signed {
		use[i] = string(a)
	}
	v := oidc.NewVerifier(p.cfg.Issuer, &oidc.StaticKeySet{PublicKeys: keys}, &oidc.Config{ClientID: p.cfg.ClientID, SupportedSigningAlgs: use})
	good, err := v.Verify(ctx, token)
	if err != nil {
		return nil, refused(err)
	}
	var c claims
	if err := good.Claims(&c); err != nil {
		return nil, refused(err)
	}
	switch azp, given := c["azp"]; {
	case good.Subject == "":
		return nil, refused(errors.New("it names nobody (sub)"))
	case given && azp != p.cfg.ClientID, !given && len(good.Audience) > 1:
		return nil, refused(errors.New("it was issued to another client (azp)"))
	case good.IssuedAt.After(time.Now().Add(clockSkew)):
		return nil, refused(errors.New("it was issued in the future (iat)"))
	}
	return c, nil
}

// refused says why for whoever looks at the error; the caller's answer is the
// same for every reason.
func refused(err error) error { return fmt.Errorf("%w: id token: %w", auth.ErrCredentials, err) }

// person applies the rules.
func (p *Provider) person(c claims) auth.Person {
	who := auth.Person{Subject: c.text("sub"), Name: c.text("sub")}
	for _, name := range []string{"name", "email", "preferred_username"} {
		if s := c.text(name); s != "" {
			who.Name = s
		}
	}
	for _, r := range p.cfg.Rules {
		if r.holds(c) && !slices.Contains(who.Grants, r.Grant) {
			who.Grants = append(who.Grants, r.Grant)
		}
	}
	return who
}

// equal compares in constant time.
func equal(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }
