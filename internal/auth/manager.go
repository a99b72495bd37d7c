// SPDX-License-Identifier: Apache-2.0

package auth

import (
	"context"
	"errors"
	"net/http"
	"strings"
)

// idSize is the length of every id of the platform.
const idSize = 10

// Manager says who sends a request to the management API, and what the caller
// may do: by a bearer token, which is an API key or an ID token of the identity
// provider, or by the session cookie of a person. A request that changes
// something and comes with the cookie must carry the session's token as well.
//
// ErrCredentials, ErrCSRF, ErrUnavailable or a *LimitError.
func (d *Directory) Manager(r *http.Request) (Access, error) {
	sent := r.Header["Authorization"]
	switch {
	case len(sent) == 0:
		return d.bySession(r)
	case len(sent) > 1:
		return Access{}, ErrCredentials
	}
	scheme, token, _ := strings.Cut(sent[0], " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return Access{}, ErrCredentials
	}
	if id, secret, ok := splitKey(token); ok {
		return d.byKey(r, id, secret)
	}
	return d.byToken(r, token)
}

// splitKey takes an API key apart: id, a hyphen, secret. An ID token has dots,
// which an API key does not.
func splitKey(token string) (id, secret string, ok bool) {
	if len(token) <= idSize || token[idSize] != '-' || strings.Contains(token, ".") {
		return "", "", false
	}
	return token[:idSize], token[idSize+1:], true
}

func (d *Directory) byKey(r *http.Request, id, secret string) (Access, error) {
	k := d.now.Load().keys[id]
	known := k != nil
	if !known {
		k = d.noKey
	}
	if !d.cfg.Verifier.Check(k.hash, ForAPIKey, id, secret) {
		name := ""
		if known {
			name = k.access.Principal.Name
		}
		return Access{}, d.guard.Bad(r, "key:"+id, name != "")
	}
	if err := d.count(k); err != nil {
		return Access{}, err
	}
	return k.access, nil
}

// count counts a request of an API key, as Allow does those of an app credential.
func (d *Directory) count(k *apiKey) error {
	now, own, all := d.clock(), limit(d.cfg.Limits.Credential), limit(d.cfg.Limits.Membership)
	if wait := k.own.take(now, 1, own); wait > 0 {
		return &LimitError{Reason: "this API key is over its limit of requests per second", RetryAfter: wait}
	}
	for i, b := range k.shared {
		if wait := b.take(now, 1, all); wait > 0 {
			k.own.give(1, own)
			for _, taken := range k.shared[:i] {
				taken.give(1, all)
			}
			return &LimitError{Reason: overMembership, RetryAfter: wait}
		}
	}
	return nil
}

func (d *Directory) byToken(r *http.Request, token string) (Access, error) {
	if d.cfg.People == nil || token == "" {
		return Access{}, d.guard.Bad(r, "", false)
	}
	p, err := d.cfg.People.Identify(r.Context(), token)
	switch {
	case err == nil:
		return p.access(), nil
	case errors.Is(err, context.Canceled), errors.Is(err, ErrUnavailable):
		return Access{}, unavailable(err)
	}
	return Access{}, d.guard.Bad(r, "", false)
}
