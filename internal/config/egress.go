// SPDX-License-Identifier: Apache-2.0

package config

import (
	"errors"
	"net/netip"
	"net/url"
	"slices"
	"strings"
)

// Egress is where connections may go that tenants ask for: their nodes, their
// key vaults and the token services of those. The wallets of the config file are
// not bound by it.
type Egress struct {
	Allow []netip.Prefix // allow: networks, like 10.1.0.0/16, that may be reached beside the public ones
	Deny  []netip.Prefix // deny: networks that may not be reached; wins over allow
	Only  bool           // only: nothing but allow may be reached, public addresses neither
	Proxy EgressProxy    // proxy: the way out; default directly
	Azure EgressAzure    // azure: what holds for tenants' vaults
}

// EgressProxy is an HTTP proxy that takes CONNECT.
type EgressProxy struct {
	URL      string // url: http://host:port or https://host:port; proxy may be this alone
	Username string // username: for HTTP Basic
	Password Secret // password
	CACert   Secret // ca_cert: PEM; trusted in place of the system's, of an https proxy
	Names    bool   // names: names are handed to the proxy unresolved, which must then judge what they resolve to
}

// Set reports whether there is a proxy.
func (p EgressProxy) Set() bool { return p.URL != "" }

// EgressAzure is what a tenant may not choose of a vault of its own.
type EgressAzure struct {
	Authority    string   // authority_address: token service where a tenant names none; tenants may name it too, beside Azure's own clouds'
	RelaxedHosts []string // relaxed_hosts: host or host:port whose token challenge may name another resource
}

func readEgress(v value) (Egress, error) {
	var c Egress
	o := v.object()
	field(o, "allow", &c.Allow, list(network))
	field(o, "deny", &c.Deny, list(network))
	field(o, "only", &c.Only, boolean)
	field(o, "proxy", &c.Proxy, readEgressProxy)
	field(o, "azure", &c.Azure, readEgressAzure)
	o.done()
	allow, _ := o.given("allow")
	for _, p := range c.Allow {
		switch {
		case slices.ContainsFunc(metadata(), func(m netip.Prefix) bool { return m.Bits() <= p.Bits() && m.Contains(p.Addr()) }):
			allow.fail("holds %s, where clouds serve the machine's own credentials: no tenant may reach that, so leave it out", p)
		case p.Bits() == 0:
			allow.warn("holds %s, and with it this machine and everything near it", p)
		}
	}
	if c.Only && len(c.Allow) == 0 {
		o.at("only").fail("is true and allow is empty, so that no tenant's node or vault could be reached: name networks in allow")
	}
	return c, nil
}

// readEgressProxy reads a URL alone, or a mapping.
func readEgressProxy(v value) (EgressProxy, error) {
	var p EgressProxy
	if v.node.Kind != yamlMapping {
		var err error
		p.URL, err = proxyURL(v)
		return p, err
	}
	o := v.object()
	need(o, "url", &p.URL, proxyURL)
	field(o, "username", &p.Username, text)
	field(o, "password", &p.Password, secret)
	field(o, "ca_cert", &p.CACert, certificates)
	field(o, "names", &p.Names, boolean)
	o.only("username", "password")
	o.only("password", "username")
	o.done()
	if strings.Contains(p.Username, ":") {
		o.at("username").fail("has a colon, which HTTP Basic has no place for (RFC 7617)")
	}
	if strings.HasPrefix(p.URL, "http:") && p.CACert.Set() {
		o.at("ca_cert").fail("is for TLS, and url is http")
	}
	return p, nil
}

func proxyURL(v value) (string, error) {
	const want = "want http://host:port or https://host:port"
	s, err := text(v)
	if err != nil {
		return "", errors.New(err.Error() + ": " + want)
	}
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Opaque != "" || u.Scheme != "http" && u.Scheme != "https" || !hostName.MatchString(u.Host) && !isLiteral(u.Hostname()):
		return "", errors.New("is not the address of an HTTP proxy: " + want)
	case u.User != nil:
		return "", errors.New("carries a user or password, which belong in username and password: " + want)
	case strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "":
		return "", errors.New("has something after the host: " + want)
	}
	return u.Scheme + "://" + u.Host, nil
}

func readEgressAzure(v value) (EgressAzure, error) {
	var a EgressAzure
	o := v.object()
	field(o, "authority_address", &a.Authority, targetURL)
	field(o, "relaxed_hosts", &a.RelaxedHosts, list(matching(hostName, "a host, like vault.example.org or 127.0.0.1:8443")))
	o.done()
	return a, nil
}

func isLiteral(host string) bool {
	_, err := netip.ParseAddr(host)
	return err == nil
}
