// SPDX-License-Identifier: Apache-2.0

package dialrule

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"syscall"
	"time"
)

// DefaultTimeout bounds the making of one connection.
const DefaultTimeout = 10 * time.Second

// Config is what a [Dialer] works with. Its zero value lets public addresses be
// reached, directly.
type Config struct {
	Rules    Rules         // metadata services are refused whatever they say
	Proxy    *Proxy        // the way out; nil: directly. The environment's is never used
	Resolver *net.Resolver // nil: the system's
	Timeout  time.Duration // of one connection, the proxy's part included; default DefaultTimeout
}

// Dialer makes connections to addresses that a tenant has given. It is safe for
// concurrent use and keeps nothing open.
//
// The address that a name resolves to is judged as it is dialled. With a proxy,
// which would resolve names by itself, the name is resolved and judged here and
// the proxy is told the address that was judged, so that there is no second
// answer to be fooled by; see [Proxy.Names] for the exception.
type Dialer struct {
	cfg    Config
	rules  Rules
	direct *net.Dialer // judges what it dials
	toward *net.Dialer // to the proxy, which the operator has named
	own    ownAddresses
}

// NewDialer checks the configuration. It connects to nothing.
func NewDialer(c Config) (*Dialer, error) {
	if c.Timeout <= 0 {
		c.Timeout = DefaultTimeout
	}
	if c.Proxy != nil {
		if err := c.Proxy.check(); err != nil {
			return nil, err
		}
	}
	d := &Dialer{cfg: c, rules: c.Rules}
	d.rules.Deny = slices.Concat(c.Rules.Deny, Metadata())
	d.direct = &net.Dialer{KeepAlive: 15 * time.Second, Resolver: c.Resolver, Control: d.control}
	d.toward = &net.Dialer{KeepAlive: 15 * time.Second}
	return d, nil
}

// DialContext connects to host:port over TCP. What the rules refuse is
// [ErrRefused], by errors.Is. It has the form of net.Dialer's method.
func (d *Dialer) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	switch network {
	case "tcp", "tcp4", "tcp6":
	default:
		return nil, &net.OpError{Op: "dial", Net: network, Err: fmt.Errorf("%w: %s is not TCP", ErrRefused, network)}
	}
	ctx, cancel := context.WithTimeout(ctx, d.cfg.Timeout)
	defer cancel()
	if d.cfg.Proxy == nil {
		return d.direct.DialContext(ctx, network, address)
	}
	conn, err := d.byProxy(ctx, network, address)
	if err != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: err}
	}
	return conn, nil
}

// Transport returns a new transport that dials by the Dialer. Its limits can be
// changed before its first use. An http.Client around it must still be told not
// to follow redirects, as by [NoRedirect].
func (d *Dialer) Transport() *http.Transport { return transport(d.DialContext) }

// Check judges an address as DialContext does.
func (d *Dialer) Check(ip netip.Addr) error {
	if err := d.rules.Check(ip); err != nil {
		return err
	}
	// The machine's own public address leads to what listens here, past the
	// firewall that would keep strangers away from it.
	ip = ip.WithZone("").Unmap()
	if !contains(d.rules.Allow, ip) && d.own.has(ip) {
		return &RefusedError{Addr: ip, Why: "it is an address of this machine, which the operator's rules would have to allow"}
	}
	return nil
}

func (d *Dialer) control(network, address string, _ syscall.RawConn) error {
	ip, err := dialled(network, address)
	if err != nil {
		return err
	}
	return d.Check(ip)
}

// lookup resolves a host, and returns those of its addresses that may be
// dialled.
func (d *Dialer) lookup(ctx context.Context, network, host string) ([]netip.Addr, error) {
	resolver := d.cfg.Resolver
	if resolver == nil {
		resolver = net.DefaultResolver
	}
	family := map[string]string{"tcp4": "ip4", "tcp6": "ip6"}[network]
	if family == "" {
		family = "ip"
	}
	found, err := resolver.LookupNetIP(ctx, family, host)
	if err != nil {
		return nil, err
	}
	var allowed []netip.Addr
	var refused error
	for _, ip := range found {
		if err := d.Check(ip); err != nil {
			refused = err
			continue
		}
		allowed = append(allowed, ip.Unmap())
	}
	if len(allowed) > 0 {
		return allowed, nil
	}
	if refused == nil {
		refused = errors.New("the name has no address")
	}
	return nil, refused
}
