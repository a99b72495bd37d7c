// SPDX-License-Identifier: Apache-2.0

package auth

import (
	"crypto/subtle"
	"crypto/x509"
	"net/http"
)

// App says which app credential sends a request to the RPC door: by HTTP Basic
// with its id and password or, if the request has no Authorization, by a client
// certificate that the TLS handshake has verified. It counts the request, as
// Allow does. ErrCredentials or, for who asks or is wrong too often, a
// *LimitError.
//
// A name that is not known and a wrong password take the same way and time.
func (d *Directory) App(r *http.Request) (Principal, error) {
	if name, password, ok := r.BasicAuth(); ok {
		who, good := d.Password(name, password)
		if good {
			return d.counted(who)
		}
		return Principal{}, d.guard.Bad(r, name, who.Name != "")
	}
	if who, ok := d.Certificate(r); ok {
		return d.counted(who)
	}
	return Principal{}, ErrCredentials
}

func (d *Directory) counted(who Principal) (Principal, error) {
	if err := d.Allow(who, 1); err != nil {
		return Principal{}, err
	}
	return who, nil
}

// Password checks the password of an app credential. Where it is wrong, who is
// whose name it was, or nobody: for the log only. It counts nothing: a right one
// is for Allow, a wrong one for the guard.
func (d *Directory) Password(name, password string) (who Principal, good bool) {
	c := d.now.Load().apps[name]
	if c == nil {
		c = d.nobody
	}
	if !d.cfg.Verifier.Check(c.hash, ForAppCred, name, password) {
		return c.who, false
	}
	return c.who, true
}

// Certificate finds the app credential that is proved by the client certificate
// of a request. There may be none. Several memberships may have one for the same
// identity, so that none can keep another from its own: it is that of whom the
// service belongs to that is asked for. If none of them is, it is the oldest,
// which the door then refuses as it would a service that is not there.
func (d *Directory) Certificate(r *http.Request) (Principal, bool) {
	if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 {
		return Principal{}, false
	}
	all := d.now.Load().certs[Identity(r.TLS.VerifiedChains[0][0])]
	if len(all) == 0 {
		return Principal{}, false
	}
	if len(all) > 1 && d.cfg.ScopeOf != nil {
		membership, environment := d.cfg.ScopeOf(r.URL.Path)
		for _, c := range all {
			if c.who.Membership == membership && c.who.Environment == environment {
				return c.who, true
			}
		}
	}
	return all[0].who, true
}

// Identity is what a client certificate is called: its first DNS name or, if it
// has none, its common name.
func Identity(c *x509.Certificate) string {
	if len(c.DNSNames) > 0 {
		return c.DNSNames[0]
	}
	return c.Subject.CommonName
}

// Valid reports whether p is a live app credential's principal.
func (d *Directory) Valid(p Principal) bool {
	return d.now.Load().byWho[p] != nil
}

// Allow counts n requests of p against the limits of its credential and of its
// membership, and refuses them with a *LimitError that says when they would be
// taken. Who is not in the directory has no limit here.
func (d *Directory) Allow(p Principal, n int) error {
	c := d.now.Load().byWho[p]
	if c == nil {
		return nil
	}
	now, own := d.clock(), limit(d.cfg.Limits.Credential)
	if wait := c.own.take(now, n, own); wait > 0 {
		return &LimitError{Reason: "this credential is over its limit of requests per second", RetryAfter: wait}
	}
	if wait := c.shared.take(now, n, limit(d.cfg.Limits.Membership)); wait > 0 {
		c.own.give(n, own)
		return &LimitError{Reason: overMembership, RetryAfter: wait}
	}
	return nil
}

const overMembership = "this membership is over its limit of requests per second"

func limit(perSecond int) rate { return rate{perSecond: perSecond, burst: perSecond} }

// same compares in constant time.
func same(a, b []byte) bool { return subtle.ConstantTimeCompare(a, b) == 1 }
