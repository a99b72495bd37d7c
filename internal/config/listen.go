// SPDX-License-Identifier: Apache-2.0

package config

import (
	"crypto/x509"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

func defaultRPC() RPC {
	return RPC{
		Listen:  DefaultListen,
		Auth:    AuthNone,
		Timeout: 30 * time.Second,
		Limits:  Limits{Body: 1 << 20, Batch: 100, Requests: 1024, Connections: 1000, Subscriptions: 100},
	}
}

func readRPC(v value) (RPC, error) {
	c := defaultRPC()
	o := v.object()
	field(o, "listen", &c.Listen, listenAddress)
	field(o, "auth", &c.Auth, oneOf(AuthNone, AuthBasic, AuthMTLS))
	field(o, "credentials", &c.Credentials, list(readCredential))
	field(o, "tls", &c.TLS, readTLS)
	field(o, "hosts", &c.Hosts, list(matching(hostPattern, hostWant)))
	field(o, "origins", &c.Origins, list(origin))
	field(o, "methods", &c.Methods, list(passThrough))
	field(o, "limits", &c.Limits, readLimits)
	field(o, "timeout", &c.Timeout, duration(time.Second, 10*time.Minute))
	o.done()
	if o == nil {
		return c, nil
	}

	local := isLoopback(c.Listen)
	credentials, hasCredentials := o.given("credentials")
	if auth, given := o.given("auth"); given && auth.node.Value != string(c.Auth) {
		return c, nil // reported; what it contradicts cannot be known
	}
	switch c.Auth {
	case AuthNone:
		if !local {
			o.at("auth").fail("none is for loopback only, and rpc.listen is %s: want basic or mtls", c.Listen)
		}
		if c.TLS.ClientCA != "" {
			o.at("auth").fail("is none, but rpc.tls.client_ca is given: want mtls")
		}
	case AuthBasic:
		if !hasCredentials {
			o.at("credentials").fail("is missing: auth basic wants at least one {username, password}")
		} else if credentials.node.Kind == yamlList && len(credentials.node.Content) == 0 {
			credentials.fail("is empty: auth basic wants at least one {username, password}")
		}
		if !local && !c.TLS.Enabled() && !c.TLS.Upstream {
			if _, given := o.given("tls"); !given {
				o.at("tls").fail("is missing: auth basic sends passwords in clear text, and rpc.listen is %s: want {cert, key}, or upstream if a proxy in front ends TLS", c.Listen)
			}
		}
	case AuthMTLS:
		if c.TLS.ClientCA == "" {
			o.at("tls").fail("auth mtls wants {cert, key, client_ca}")
		}
	}
	if hasCredentials && c.Auth != AuthBasic {
		credentials.fail("are given, but rpc.auth is %s: want auth basic, or no credentials", c.Auth)
	}
	for i, credential := range c.Credentials {
		same := func(other Credential) bool { return other.Username == credential.Username }
		if credential.Username != "" && slices.ContainsFunc(c.Credentials[:i], same) {
			credentials.item(i).fail("another credential has the username %q too", credential.Username)
		}
	}
	checkHosts(o, "rpc", c.Listen, c.Hosts)
	return c, nil
}

func readAdmin(v value) (Admin, error) {
	c := Admin{Listen: DefaultAdminListen}
	o := v.object()
	field(o, "listen", &c.Listen, listenAddress)
	field(o, "tls", &c.TLS, readTLS)
	field(o, "hosts", &c.Hosts, list(matching(hostPattern, hostWant)))
	o.done()
	if o == nil {
		return c, nil
	}
	if _, given := o.given("tls"); !given && !isLoopback(c.Listen) {
		o.at("tls").fail("is missing: admin.listen is %s, which is not loopback: want {cert, key}, or upstream if a proxy in front ends TLS", c.Listen)
	}
	checkHosts(o, "admin", c.Listen, c.Hosts)
	return c, nil
}

// checkHosts wants host names where the listen address does not say how it is
// called: without them every request would be refused.
func checkHosts(o *object, section, listen string, hosts []string) {
	address, err := netip.ParseAddrPort(listen)
	if _, given := o.given("hosts"); err == nil && address.Addr().IsUnspecified() && !given && len(hosts) == 0 {
		o.at("hosts").fail(`is missing: %s.listen is %s, so name the hosts that clients call it by, like [signer.example.org]`, section, listen)
	}
}

func isLoopback(listen string) bool {
	address, err := netip.ParseAddrPort(listen)
	return err == nil && address.Addr().IsLoopback()
}

// listenAddress reads host:port, where host is an IP address or localhost.
func listenAddress(v value) (string, error) {
	const want = "want ip:port, like 127.0.0.1:8545"
	s, err := scalar(v, "ip:port, like 127.0.0.1:8545")
	if err != nil {
		return "", err
	}
	colon := strings.LastIndexByte(s, ':')
	if colon < 0 || strings.HasSuffix(s, "]") {
		return "", fmt.Errorf("%q has no port: %s", s, want)
	}
	host, port := s[:colon], s[colon+1:]
	if n, err := strconv.ParseUint(port, 10, 16); err != nil || strconv.FormatUint(n, 10) != port {
		return "", fmt.Errorf("%q is not a port: %s", port, want)
	}
	switch host {
	case "localhost":
		return "127.0.0.1:" + port, nil
	case "":
		return "", fmt.Errorf("%q has no address: %s, or 0.0.0.0:%s for all interfaces", s, want, port)
	}
	address, err := netip.ParseAddrPort(s)
	if err != nil {
		return "", fmt.Errorf("%q is not an IP address: %s", host, want)
	}
	return address.String(), nil
}

var (
	usernamePattern = regexp.MustCompile(`^[A-Za-z0-9._@-]{1,64}$`)
	hostPattern     = regexp.MustCompile(`^([a-z0-9]([a-z0-9.-]{0,252}[a-z0-9])?|\[[0-9a-f:.]+\])$`)
	methodPattern   = regexp.MustCompile(`^[a-zA-Z][a-zA-Z0-9]*_[a-zA-Z0-9_]+$`)
)

const hostWant = "an exact host name or address in lower case, without a port"

func readCredential(v value) (Credential, error) {
	var c Credential
	o := v.object()
	need(o, "username", &c.Username, matching(usernamePattern, "1 to 64 letters, digits and . _ @ -"))
	need(o, "password", &c.Password, secret)
	o.done()
	if password, err := c.Password.Reveal(); err == nil && c.Password.Set() && len(password) < 16 {
		o.at("password").warn("is shorter than 16 characters")
	}
	return c, nil
}

func readLimits(v value) (Limits, error) {
	l := defaultRPC().Limits
	o := v.object()
	field(o, "body", &l.Body, size(1<<10, 64<<20))
	field(o, "batch", &l.Batch, integer(1, 10_000))
	field(o, "requests", &l.Requests, integer(1, 1_000_000))
	field(o, "connections", &l.Connections, integer(1, 1_000_000))
	field(o, "subscriptions", &l.Subscriptions, integer(1, 100_000))
	o.done()
	return l, nil
}

func origin(v value) (string, error) {
	s, err := text(v)
	if err != nil {
		return "", err
	}
	if s == "*" {
		return "", errors.New("* would let every web page sign: name the origins, like https://app.example.org")
	}
	u, err := url.Parse(s)
	if err != nil || (u.Scheme != "https" && u.Scheme != "http") || u.Host == "" || u.Scheme+"://"+u.Host != s {
		return "", fmt.Errorf("%q is not an origin: want scheme and host only, like https://app.example.org", s)
	}
	return s, nil
}

// passThrough reads the name of a method that goes to the node as it is. What
// would reach keys, blocks or switches of the node is never passed through:
// the node might hold keys of its own.
func passThrough(v value) (string, error) {
	s, err := matching(methodPattern, "the exact name of a method, like eth_getProof")(v)
	if err != nil {
		return "", err
	}
	for _, prefix := range []string{"eth_send", "eth_sign", "eth_resend", "eth_submit", "personal_", "admin_", "debug_", "miner_", "engine_", "account_", "clef_"} {
		if strings.HasPrefix(strings.ToLower(s), prefix) {
			return "", fmt.Errorf("%s is never passed through: no %s* method is", s, prefix)
		}
	}
	switch s {
	case "eth_accounts", "eth_chainId", "eth_fillTransaction", "eth_getTransactionCount", "eth_subscribe", "eth_unsubscribe", "health_status":
		return "", fmt.Errorf("%s is answered by the signer itself: leave it out", s)
	}
	return s, nil
}

// readTLS reads upstream, or {cert, key, client_ca}, and loads the files.
func readTLS(v value) (TLS, error) {
	if v.node.Kind == yamlScalar {
		if v.node.Value == "upstream" {
			return TLS{Upstream: true}, nil
		}
		return TLS{}, fmt.Errorf("%q: want {cert, key}, or upstream if a proxy in front ends TLS", v.node.Value)
	}
	var t TLS
	o := v.object()
	need(o, "cert", &t.Cert, existingFile)
	need(o, "key", &t.Key, existingFile)
	field(o, "client_ca", &t.ClientCA, existingFile)
	o.done()
	if t.Cert != "" && t.Key != "" {
		o.at("key").warnIfWorldReadable(t.Key, "the private key")
		if _, err := t.Certificate(); err != nil {
			o.at("cert").fail("certificate and key do not load: %s", strings.TrimPrefix(err.Error(), "tls: "))
		}
	}
	if t.ClientCA != "" {
		if pem, err := os.ReadFile(t.ClientCA); err != nil || !x509.NewCertPool().AppendCertsFromPEM(pem) {
			o.at("client_ca").fail("holds no PEM certificate: %s", t.ClientCA)
		}
	}
	return t, nil
}

func existingFile(v value) (string, error) {
	path, err := filePath(v)
	if err != nil {
		return "", err
	}
	f, err := os.Open(path)
	if err != nil {
		return "", errors.New(fileError(err))
	}
	return path, f.Close()
}
