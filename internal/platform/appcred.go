// SPDX-License-Identifier: Apache-2.0

package platform

import (
	"context"

	"github.com/hsmsigner/hsmsigner/internal/auth"
)

func (p *Platform) fillAppCred(d *draft, b body, fresh bool) error {
	if err := d.stays(b); err != nil {
		return err
	}
	if d.Name == "" && b.Get("name").Text == "" {
		d.Name = d.ID // Kaleido's clients may leave it out
		b = b.without("name")
	}
	if err := d.rename(b, "name"); err != nil {
		return err
	}
	if v := b.Get("password"); v.Present() && v.Text != "" {
		return invalid("password", "is chosen by us and shown once: leave it out, or have another one made with regenerate")
	}
	if !fresh {
		if err := b.fixed("auth_type", d.data.AuthType); err != nil {
			return err
		}
		return b.fixed("username", d.data.Username)
	}
	kind, _, err := b.text("auth_type")
	if err != nil {
		return err
	}
	username, _, err := b.text("username")
	if err != nil {
		return err
	}
	switch kind {
	case "", auth.Basic:
		if username != "" {
			return invalid("username", "is chosen by us: leave it out")
		}
		d.data.AuthType, d.data.Username = auth.Basic, d.ID
		d.secret = auth.NewSecret()
		d.Verifier = p.verifier(d, d.secret)
	case auth.MTLS:
		if username == "" {
			return invalid("username", "is missing: want the identity in the client certificate")
		}
		if !printable(username, 256) {
			return invalid("username", "is no identity of a certificate: want at most 256 letters, digits and signs but < and >")
		}
		d.data.AuthType, d.data.Username, d.unique = auth.MTLS, username, true
		d.Verifier = p.verifier(d, "")
	default:
		return invalid("auth_type", "is not one of ours: want basic_auth or mtls")
	}
	return nil
}

// verifier is what is stored of an app credential's secret.
func (p *Platform) verifier(d *draft, secret string) []byte {
	c := auth.AppCred{
		ID: d.ID, AuthType: d.data.AuthType, Username: d.data.Username,
		Membership: d.Membership, Environment: d.Environment,
	}
	return c.Stored(p.cfg.Verifier, secret)
}

// Regenerate gives an app credential another password, which is in the answer
// and shown only there. The old one is invalid at once.
func (p *Platform) Regenerate(ctx context.Context, who auth.Access, at Path) (*AppCred, error) {
	var secret string
	r, err := p.revise(ctx, who, AppCreds, at, "regenerate", auth.Admin, func(d *draft) error {
		if d.data.AuthType != auth.Basic {
			return conflict("the credential is a certificate, which has no password: make another app credential")
		}
		secret = auth.NewSecret()
		d.Verifier = p.verifier(d, secret)
		d.changed.note("password", true)
		return nil
	})
	if err != nil {
		return nil, err
	}
	shown := p.view(r).(*AppCred)
	shown.Password = secret
	return shown, nil
}
