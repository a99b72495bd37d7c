// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"regexp"
	"strings"
	"time"
)

// Management is the management API: where it is reached, and who may use it
// beside the holders of API keys.
type Management struct {
	Enabled  bool          // management was given
	AdminURL string        // admin_url: of the admin listener as others have it, without a path; default from admin.listen
	RPCURL   string        // rpc_url: of the RPC listener as others have it; default from rpc.listen
	Region   string        // region: the first two characters of new ids; default h0
	Session  time.Duration // session: how long a sign-in lasts; default 8h
	// require_hsm: refuse, in every configuration that tenants make, keys that are
	// not in hardware.
	RequireHSM bool
	OIDC       OIDC
	Limits     RateLimits
}

// OIDC is the identity provider that people sign in with.
type OIDC struct {
	Issuer   string     // issuer: https, or http on loopback
	ClientID string     // client_id
	Secret   Secret     // client_secret: default none, for a public client
	Scopes   []string   // scopes: beside openid; default profile and email
	Roles    []OIDCRole // roles: what people may do; at least one
}

// Set reports whether there is an identity provider.
func (o OIDC) Set() bool { return o.Issuer != "" }

// OIDCRole gives a role to everybody of whom a claim says something.
type OIDCRole struct {
	Claim      string // claim: its name; dots lead into objects, like realm_access.roles
	Value      string // value: what it is, or has among others
	Role       string // role: admin, operator or auditor
	Consortium string // consortium: id; empty for the whole deployment
	Membership string // membership: id; empty for the whole consortium
}

// RateLimits are how many requests per second are taken, and at once after a
// pause. Zero is no limit.
type RateLimits struct {
	Credential int // credential: of one app credential or API key; default 5000
	Membership int // membership: of all app credentials and API keys of a membership together; default 10000
}

const idWant = "an id, like h0member00"

var (
	regionPattern = regexp.MustCompile(`^[0-9a-z]{2}$`)
	idPattern     = regexp.MustCompile(`^[0-9a-z]{2}[a-z][0-9a-z]{7}$`)
	scopePattern  = regexp.MustCompile(`^[!#-\[\]-~]{1,128}$`) // RFC 6749 §3.3
	claimPattern  = regexp.MustCompile(`^[!-~]{1,200}$`)
)

func defaultManagement() Management {
	return Management{Region: "h0", Session: 8 * time.Hour, Limits: RateLimits{Credential: 5000, Membership: 10000}}
}

func readManagement(v value) (Management, error) {
	c := defaultManagement()
	c.Enabled = true
	o := v.object()
	field(o, "admin_url", &c.AdminURL, baseURL)
	field(o, "rpc_url", &c.RPCURL, baseURL)
	field(o, "region", &c.Region, matching(regionPattern, "2 of a-z and 0-9"))
	field(o, "session", &c.Session, duration(time.Minute, 30*day))
	field(o, "require_hsm", &c.RequireHSM, boolean)
	field(o, "oidc", &c.OIDC, readOIDC)
	field(o, "limits", &c.Limits, readRateLimits)
	o.done()
	if o != nil && c.OIDC.Set() && c.AdminURL == "" {
		o.at("admin_url").fail("is missing: with oidc, say at which URL browsers reach the admin listener, like https://signer.example.org")
	}
	return c, nil
}

// baseURL reads scheme and host of a listener.
func baseURL(v value) (string, error) {
	const want = "want scheme and host only, like https://signer.example.org"
	s, err := text(v)
	if err != nil {
		return "", fmt.Errorf("%w: %s", err, want)
	}
	s = strings.TrimSuffix(s, "/")
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || s != u.Scheme+"://"+u.Host {
		return "", errors.New("is not the URL of a listener: " + want)
	}
	return s, nil
}

func readOIDC(v value) (OIDC, error) {
	c := OIDC{Scopes: []string{"profile", "email"}}
	o := v.object()
	need(o, "issuer", &c.Issuer, issuerURL)
	need(o, "client_id", &c.ClientID, text)
	field(o, "client_secret", &c.Secret, secret)
	field(o, "scopes", &c.Scopes, list(matching(scopePattern, "a scope, like groups")))
	need(o, "roles", &c.Roles, list(readOIDCRole))
	o.done()
	if roles, given := o.given("roles"); given && roles.node.Kind == yamlList && len(roles.node.Content) == 0 {
		roles.fail("is empty: nobody who signs in could do anything; want at least one {claim, value, role}")
	}
	return c, nil
}

// issuerURL wants https: who can change the provider's answers can sign in as
// anybody.
func issuerURL(v value) (string, error) {
	s, err := text(v)
	if err != nil {
		return "", err
	}
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "":
		return "", errors.New("is not an issuer: want its URL as the provider writes it, like https://login.example.org/realms/staff")
	case u.Scheme == "https", u.Scheme == "http" && loopbackName(u.Hostname()):
		return s, nil
	}
	return "", errors.New("must be https, or http on loopback: whoever can change the provider's answers can sign in as anybody")
}

func loopbackName(host string) bool {
	ip, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && ip.IsLoopback()
}

func readOIDCRole(v value) (OIDCRole, error) {
	var r OIDCRole
	o := v.object()
	need(o, "claim", &r.Claim, matching(claimPattern, "the name of a claim, like groups"))
	need(o, "value", &r.Value, text)
	need(o, "role", &r.Role, oneOf("admin", "operator", "auditor"))
	field(o, "consortium", &r.Consortium, matching(idPattern, idWant))
	field(o, "membership", &r.Membership, matching(idPattern, idWant))
	o.done()
	if r.Membership != "" && r.Consortium == "" {
		o.at("consortium").fail("is missing: a membership is one in a consortium")
	}
	return r, nil
}

func readRateLimits(v value) (RateLimits, error) {
	l := defaultManagement().Limits
	o := v.object()
	field(o, "credential", &l.Credential, integer(0, 1_000_000))
	field(o, "membership", &l.Membership, integer(0, 1_000_000))
	o.done()
	return l, nil
}

// AdminBase is the URL of the admin listener as others have it, as far as the
// file says.
func (c *Config) AdminBase() string {
	return base(c.Management.AdminURL, c.Admin.Listen, c.Admin.TLS, c.Admin.Hosts)
}

// RPCBase is the URL of the RPC listener as others have it, as far as the file
// says.
func (c *Config) RPCBase() string {
	return base(c.Management.RPCURL, c.RPC.Listen, c.RPC.TLS, c.RPC.Hosts)
}

func base(given, listen string, t TLS, hosts []string) string {
	if given != "" {
		return given
	}
	scheme := "http://"
	if t.Enabled() || t.Upstream {
		scheme = "https://"
	}
	address, err := netip.ParseAddrPort(listen)
	switch {
	case len(hosts) == 0, err == nil && address.Addr().IsLoopback() && !t.Upstream:
		return scheme + listen
	case t.Upstream: // on its own port
		return scheme + hosts[0]
	}
	return scheme + hosts[0] + listen[strings.LastIndexByte(listen, ':'):]
}
