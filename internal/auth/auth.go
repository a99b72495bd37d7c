// SPDX-License-Identifier: Apache-2.0

// Package auth says who is asking. A [Principal] is handed from the front
// door to the work as a parameter, never hidden in a context, so that every
// signature can be traced to somebody.
//
// A [Directory] knows all credentials. It guarantees that a revoked one stops
// working at once here and within two seconds on other replicas; that no secret
// is stored, only its keyed hash; that a credential or session whose row was
// changed past us lets nobody in; that what it refuses says neither which names
// there are nor what was wrong with a secret; and that nobody's wrong guesses
// keep a right secret out ([Guard]). It never logs a secret, and never a name
// that is not one of its own.
//
// # Cookies and other web pages
//
// A person signs in at the identity provider (package oidc) and then has a
// session: a cookie that holds 256 random bits, of which the store has a keyed
// hash. The cookie is HttpOnly, so that no script reads it; SameSite=Strict, so
// that no page of another site makes the browser send it; Secure, and named with
// the prefix __Host-, where the admin listener is reached by https.
//
// SameSite does not tell two ports of one host apart, so it is not all. A request
// that comes with the cookie and changes something (neither GET nor HEAD nor
// OPTIONS) must also carry the session's token in the header X-CSRF-Token (a form: in
// the field csrf_token), which another page can neither read nor, without our consent, send. The token is made
// from the cookie by the verifier's key, is the same for the whole session, and
// is worth nothing without the cookie. Pages get it from [Directory.Session] or
// GET /auth/session. If the browser says where the request comes from
// (Sec-Fetch-Site, Origin), that must be here. So a GET must change nothing.
//
// A request with an Authorization header is not judged by its cookie: no browser
// sends that header by itself for a bearer token. The RPC door takes no cookies.
package auth

// Principal is an authenticated caller.
type Principal struct {
	// Name is stable and unique within the deployment. It scopes idempotency
	// keys and replacement of transactions, and stands in every audit row:
	// "anonymous" with auth none, "app:<id>" for an app credential (or
	// "app:<username>", for one of the operator's file), "cert:<identity>" for
	// mutual TLS, "key:<id>" for an API key, "person:<subject>" for somebody who
	// has signed in, "operator" for the CLI, "system" for repairs that the
	// transaction manager makes itself.
	Name string
	// Membership and Environment are the only ones whose wallets the caller may
	// use, by id; empty for the operator and the system, who are not held to any.
	Membership  string
	Environment string
}

// Principals that are not credentials.
var (
	Anonymous = Principal{Name: "anonymous"}
	Operator  = Principal{Name: "operator"}
	System    = Principal{Name: "system"}
)
