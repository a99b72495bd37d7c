// SPDX-License-Identifier: Apache-2.0

// Package dialrule decides which addresses this daemon may connect to on behalf
// of somebody else: receivers of webhooks, nodes and key vaults whose URLs are
// configured. It guards against server-side request forgery.
//
// A name says nothing, so none is looked at: [Rules.Control] judges the address
// that was resolved, at each dial, which leaves no time between the check and
// the use (DNS rebinding), and no spelling to hide behind (http://2130706433,
// http://0x7f.1). What is not a public unicast address is refused unless the
// operator has allowed it. Addresses that carry an IPv4 address within them
// (mapped, NAT64, 6to4, Teredo, ISATAP) are refused if that one is.
//
// A [Dialer] is what tenants' connections are made with: the rules, what is
// refused to tenants in any case, and the operator's proxy. Nothing here follows
// redirects or takes a proxy from the environment: a client that does either
// escapes the rules.
package dialrule

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"syscall"
	"time"
)

// ErrRefused is what every refusal is, by errors.Is. Nothing has been sent.
var ErrRefused error = refusal{}

type refusal struct{}

func (refusal) Error() string { return "dialrule: address refused" }
func (refusal) Refused() bool { return true }

// RefusedError says which address was refused, and why.
type RefusedError struct {
	Addr netip.Addr
	Why  string
}

func (e *RefusedError) Error() string {
	return fmt.Sprintf("address %s refused: %s", e.Addr, e.Why)
}

// Is makes errors.Is(err, ErrRefused) true.
func (e *RefusedError) Is(target error) bool { return target == ErrRefused }

// Refused is true. Packages that are handed a Dialer's method without knowing
// this package tell a refusal by it.
func (e *RefusedError) Refused() bool { return true }

// Rules are what the operator has decided. The zero Rules allow public unicast
// addresses only. They must not change while in use, and are then safe for
// concurrent use.
type Rules struct {
	Allow []netip.Prefix // beside the public ones
	Deny  []netip.Prefix // wins over Allow
	// Only leaves nothing but Allow: public addresses are refused too.
	Only bool
}

// Check returns a *RefusedError unless the rules let ip be dialled. An address
// within ip has to pass as well as ip itself.
func (r Rules) Check(ip netip.Addr) error {
	ip = ip.WithZone("").Unmap()
	if !ip.IsValid() {
		return &RefusedError{Addr: ip, Why: "it is no IP address"}
	}
	if why := r.refuse(ip); why != "" {
		return &RefusedError{Addr: ip, Why: why}
	}
	for _, inner := range embedded(ip) {
		if why := r.refuse(inner); why != "" {
			return &RefusedError{Addr: ip, Why: "it leads to " + inner.String() + ", and " + why}
		}
	}
	return nil
}

func (r Rules) refuse(ip netip.Addr) string {
	if contains(r.Deny, ip) {
		return "the operator's rules deny it"
	}
	if contains(r.Allow, ip) {
		return ""
	}
	if r.Only {
		return "the operator's rules do not allow it"
	}
	if what := special(ip); what != "" {
		return "it is " + what + ", which the operator's rules would have to allow"
	}
	return ""
}

func contains(prefixes []netip.Prefix, ip netip.Addr) bool {
	for _, p := range prefixes {
		if unmapped(p).Contains(ip) {
			return true
		}
	}
	return false
}

// unmapped turns a prefix of IPv4-mapped addresses into one of IPv4.
func unmapped(p netip.Prefix) netip.Prefix {
	if p.Addr().Is4In6() && p.Bits() >= 96 {
		return netip.PrefixFrom(p.Addr().Unmap(), p.Bits()-96)
	}
	return p
}

// Control is for net.Dialer.Control: it is called with each address that a name
// has resolved to, before the connection is made.
func (r Rules) Control(network, address string, _ syscall.RawConn) error {
	ip, err := dialled(network, address)
	if err != nil {
		return err
	}
	return r.Check(ip)
}

// dialled is the address that Control is called with.
func dialled(network, address string) (netip.Addr, error) {
	switch network {
	case "tcp4", "tcp6":
	default:
		return netip.Addr{}, fmt.Errorf("%w: %s is not TCP", ErrRefused, network)
	}
	ap, err := netip.ParseAddrPort(address)
	if err != nil {
		return netip.Addr{}, fmt.Errorf("%w: %q is no IP address and port", ErrRefused, address)
	}
	return ap.Addr(), nil
}

// Transport returns a new transport that dials by the rules and uses no proxy.
// Its limits can be changed before its first use. An http.Client around it must
// still be told not to follow redirects, as by [NoRedirect].
func (r Rules) Transport() *http.Transport {
	dialer := &net.Dialer{Timeout: DefaultTimeout, KeepAlive: 30 * time.Second, Control: r.Control}
	return transport(dialer.DialContext)
}

func transport(dial func(context.Context, string, string) (net.Conn, error)) *http.Transport {
	return &http.Transport{
		DialContext:            dial,
		ForceAttemptHTTP2:      true,
		MaxIdleConns:           100,
		IdleConnTimeout:        90 * time.Second,
		TLSHandshakeTimeout:    10 * time.Second,
		ExpectContinueTimeout:  time.Second,
		MaxResponseHeaderBytes: 64 << 10,
	}
}

// NoRedirect is for http.Client.CheckRedirect: the redirect itself is the
// answer.
func NoRedirect(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
