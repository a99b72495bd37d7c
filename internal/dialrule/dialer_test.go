// SPDX-License-Identifier: Apache-2.0

package dialrule_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/dialrule"
)

func newDialer(t *testing.T, c dialrule.Config) *dialrule.Dialer {
	t.Helper()
	d, err := dialrule.NewDialer(c)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

// resolving answers every name with what next returns.
func resolving(t *testing.T, next func() netip.Addr) *net.Resolver {
	t.Helper()
	return &net.Resolver{PreferGo: true, Dial: nameServer(t, next)}
}

func always(ip string) func() netip.Addr {
	return func() netip.Addr { return netip.MustParseAddr(ip) }
}

func TestNoRuleOpensMetadataToTenants(t *testing.T) {
	d := newDialer(t, dialrule.Config{Rules: dialrule.Rules{Allow: prefixes("0.0.0.0/0", "::/0", "169.254.169.254/32", "64:ff9b::/96")}})
	for _, ip := range []string{
		"169.254.169.254", "169.254.170.2", "169.254.170.23", "169.254.0.1", "fe80::a9fe:a9fe", "fe80::1%eth0", "fd00:ec2::254", "fd00:ec2::23", "fd20:ce::254",
		"168.63.129.16", "100.100.100.200", "192.0.0.192", "::ffff:169.254.169.254", "64:ff9b::169.254.169.254", "2002:a9fe:a9fe::1", "::169.254.169.254", "64:ff9b:1::169.254.169.254",
	} {
		if err := d.Check(netip.MustParseAddr(ip)); !errors.Is(err, dialrule.ErrRefused) {
			t.Errorf("%s passes: %v", ip, err)
		}
	}
	for _, ip := range []string{"127.0.0.1", "10.0.0.1", "::1", "8.8.8.8", "100.100.100.201"} {
		if err := d.Check(netip.MustParseAddr(ip)); err != nil {
			t.Errorf("%s: %v", ip, err)
		}
	}
}

func TestMachinesOwnAddressesAreRefusedUnlessAllowed(t *testing.T) {
	found, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range found {
		ip := netip.MustParsePrefix(a.String()).Addr().WithZone("").Unmap()
		if err := newDialer(t, dialrule.Config{}).Check(ip); !errors.Is(err, dialrule.ErrRefused) {
			t.Errorf("%s passes: %v", ip, err)
		}
		allowed := dialrule.Rules{Allow: []netip.Prefix{netip.PrefixFrom(ip, ip.BitLen())}}
		if err := newDialer(t, dialrule.Config{Rules: allowed}).Check(ip); err != nil && !ip.IsLinkLocalUnicast() {
			t.Errorf("%s: %v", ip, err)
		}
	}
}

// refused also holds for what this system's resolver does not take for a name.
func refused(err error) bool {
	var dns *net.DNSError
	return errors.Is(err, dialrule.ErrRefused) || errors.As(err, &dns) && dns.IsNotFound
}

// security.md §3 no. 35, by the Dialer alone.
func TestDialerReachesNoCanary(t *testing.T) {
	port, heard := canary(t)
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:"+port)
	client := &http.Client{Transport: newDialer(t, dialrule.Config{Resolver: resolving(t, always("127.0.0.1"))}).Transport(), CheckRedirect: dialrule.NoRedirect}
	for _, host := range []string{
		"127.0.0.1", "localhost", "2130706433", "0x7f000001", "0x7f.1", "017700000001", "0177.0.0.1", "127.1", "canary.example",
		"[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]", "0.0.0.0", "[::]", "[64:ff9b::127.0.0.1]", "[2002:7f00:1::]", "127.0.0.1.",
	} {
		if err := get(t, client, "http://"+host+":"+port+"/"); !refused(err) {
			t.Errorf("%s: %v", host, err)
		}
	}
	if n := heard.Load(); n != 0 {
		t.Fatalf("the canary heard %d connections", n)
	}
	d := newDialer(t, dialrule.Config{Rules: dialrule.Rules{Allow: prefixes("127.0.0.0/8")}})
	for _, network := range []string{"unix", "udp", "ip4:icmp", "unixgram", ""} {
		if _, err := d.DialContext(t.Context(), network, "127.0.0.1:"+port); !errors.Is(err, dialrule.ErrRefused) {
			t.Errorf("%s: %v", network, err)
		}
	}
}

func TestDialerReachesWhatIsAllowedAndFollowsNoRedirect(t *testing.T) {
	port, heard := canary(t)
	server := httptest.NewServer(http.RedirectHandler("http://127.0.0.1:"+port+"/", http.StatusFound))
	defer server.Close()
	d := newDialer(t, dialrule.Config{Rules: dialrule.Rules{Allow: prefixes("127.0.0.1/32")}})
	client := &http.Client{Transport: d.Transport(), CheckRedirect: dialrule.NoRedirect}
	if err := get(t, client, server.URL); err != nil {
		t.Fatal(err)
	}
	if n := heard.Load(); n != 0 {
		t.Fatalf("the canary heard %d connections", n)
	}
}

func TestDialerGivesUpInItsTime(t *testing.T) {
	silent := &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		<-ctx.Done()
		return nil, ctx.Err()
	}}
	d := newDialer(t, dialrule.Config{Resolver: silent, Timeout: 50 * time.Millisecond})
	begun := time.Now()
	_, err := d.DialContext(t.Context(), "tcp", "vault.example:443")
	var n net.Error
	if !errors.As(err, &n) || !n.Timeout() || time.Since(begun) > 5*time.Second {
		t.Errorf("got %v after %s", err, time.Since(begun))
	}
}

func TestRefusalIsToldWithoutThisPackage(t *testing.T) {
	_, err := newDialer(t, dialrule.Config{}).DialContext(t.Context(), "tcp", "127.0.0.1:1")
	var rule interface{ Refused() bool }
	if !errors.As(err, &rule) || !rule.Refused() || !strings.Contains(err.Error(), "loopback") {
		t.Errorf("got %v", err)
	}
}

func TestRebindingNameIsJudgedByTheAnswerThatIsDialled(t *testing.T) {
	port, heard := canary(t)
	var answers atomic.Int32
	resolver := resolving(t, func() netip.Addr {
		if answers.Add(1) == 1 {
			return netip.MustParseAddr("8.8.8.8")
		}
		return netip.MustParseAddr("127.0.0.1")
	})
	if _, err := resolver.LookupNetIP(t.Context(), "ip4", "rebind.example."); err != nil {
		t.Fatal(err)
	}
	d := newDialer(t, dialrule.Config{Resolver: resolver})
	for range 3 {
		if _, err := d.DialContext(t.Context(), "tcp", "rebind.example.:"+port); !errors.Is(err, dialrule.ErrRefused) {
			t.Errorf("got %v", err)
		}
	}
	if heard.Load() != 0 {
		t.Error("the canary heard")
	}
}
