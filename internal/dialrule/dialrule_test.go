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

	"golang.org/x/net/dns/dnsmessage"

	"github.com/hsmsigner/hsmsigner/internal/dialrule"
)

func prefixes(texts ...string) []netip.Prefix {
	var all []netip.Prefix
	for _, t := range texts {
		all = append(all, netip.MustParsePrefix(t))
	}
	return all
}

func TestOnlyPublicAddressesPassWithoutRules(t *testing.T) {
	for ip, public := range map[string]bool{
		"1.1.1.1": true, "8.8.8.8": true, "172.15.255.255": true, "172.32.0.1": true, "100.63.255.255": true, "100.128.0.1": true,
		"169.253.255.255": true, "223.255.255.255": true, "2606:4700::1111": true, "2a00:1450:4001::1": true,

		"0.0.0.0": false, "0.1.2.3": false, "127.0.0.1": false, "127.255.255.254": false, "10.0.0.1": false, "172.16.0.1": false,
		"172.31.255.255": false, "192.168.1.1": false, "169.254.169.254": false, "169.254.0.1": false, "100.64.0.1": false,
		"100.100.100.200": false, "192.0.0.192": false, "168.63.129.16": false, "198.19.0.1": false, "192.0.2.1": false,
		"198.51.100.7": false, "203.0.113.9": false, "224.0.0.1": false, "239.255.255.255": false, "240.0.0.1": false, "255.255.255.255": false,

		"::": false, "::1": false, "fe80::1": false, "fe80::1%eth0": false, "fc00::1": false, "fd00:ec2::254": false, "fec0::1": false,
		"ff02::1": false, "2001:db8::1": false, "3fff::1": false, "100::1": false, "5f00::1": false, "4000::1": false, "2001:2::1": false,

		// IPv4 within IPv6: mapped, compatible, SIIT, NAT64, 6to4, Teredo, ISATAP.
		"::ffff:127.0.0.1": false, "::ffff:169.254.169.254": false, "::ffff:a00:1": false, "::ffff:8.8.8.8": true,
		"::127.0.0.1": false, "::10.0.0.1": false, "::8.8.8.8": false, "::ffff:0:10.0.0.1": false,
		"64:ff9b::169.254.169.254": false, "64:ff9b::10.1.2.3": false, "64:ff9b::8.8.8.8": true,
		"64:ff9b:1::169.254.169.254": false, "64:ff9b:1::8.8.8.8": false,
		"2002:a9fe:a9fe::1": false, "2002:7f00:1::1": false, "2002:808:808::1": true,
		"2001:0:808:808:0:0:5601:5601": false, "2001:0:a9fe:a9fe::1": false,
		"2606:4700::5efe:10.0.0.1": false, "2606:4700::200:5efe:10.0.0.1": false, "2606:4700::5efe:8.8.8.8": true,
	} {
		err := dialrule.Rules{}.Check(netip.MustParseAddr(ip))
		if (err == nil) != public {
			t.Errorf("%s: got %v, want public %v", ip, err, public)
		}
		if err != nil && !errors.Is(err, dialrule.ErrRefused) {
			t.Errorf("%s: %v is no ErrRefused", ip, err)
		}
	}
	if err := (dialrule.Rules{}).Check(netip.Addr{}); err == nil {
		t.Error("no address at all passes")
	}
}

func TestOperatorsRulesDecide(t *testing.T) {
	metadata := "169.254.169.254"
	for _, c := range []struct {
		ip    string
		rules dialrule.Rules
		want  string // in the error; empty if it passes
	}{
		{"10.1.2.3", dialrule.Rules{Allow: prefixes("10.1.0.0/16")}, ""},
		{"10.2.2.3", dialrule.Rules{Allow: prefixes("10.1.0.0/16")}, "private (RFC 1918)"},
		{"10.1.2.3", dialrule.Rules{Allow: prefixes("10.0.0.0/8"), Deny: prefixes("10.1.0.0/16")}, "rules deny it"},
		{"::ffff:10.1.2.3", dialrule.Rules{Allow: prefixes("10.1.0.0/16")}, ""},
		{"10.1.2.3", dialrule.Rules{Allow: prefixes("::ffff:10.1.0.0/112")}, ""},
		{"fd12::1", dialrule.Rules{Allow: prefixes("fd12::/16")}, ""},
		{"fe80::1%eth0", dialrule.Rules{Allow: prefixes("fe80::/10")}, ""},
		{"8.8.8.8", dialrule.Rules{Deny: prefixes("8.8.0.0/16")}, "rules deny it"},
		{"::ffff:8.8.8.8", dialrule.Rules{Deny: prefixes("8.8.0.0/16")}, "rules deny it"},
		{"64:ff9b::8.8.8.8", dialrule.Rules{Deny: prefixes("8.8.0.0/16")}, "leads to 8.8.8.8"},
		{"64:ff9b::10.1.2.3", dialrule.Rules{Allow: prefixes("10.0.0.0/8")}, ""},
		{"2002:a01:203::1", dialrule.Rules{Allow: prefixes("10.0.0.0/8")}, ""},
		// That the way is allowed does not allow where it leads.
		{"64:ff9b::" + metadata, dialrule.Rules{Allow: prefixes("64:ff9b::/96")}, "leads to " + metadata},
		{"2002:a9fe:a9fe::1", dialrule.Rules{Allow: prefixes("2002::/16")}, "leads to " + metadata},
		{metadata, dialrule.Rules{Allow: prefixes("169.254.169.254/32")}, ""},
		{"8.8.8.8", dialrule.Rules{Only: true}, "do not allow it"},
		{"8.8.8.8", dialrule.Rules{Only: true, Allow: prefixes("8.8.8.0/24")}, ""},
		{"8.8.8.8", dialrule.Rules{Only: true, Allow: prefixes("8.8.8.0/24"), Deny: prefixes("8.8.8.8/32")}, "rules deny it"},
	} {
		err := c.rules.Check(netip.MustParseAddr(c.ip))
		if c.want == "" && err != nil || c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want)) {
			t.Errorf("%s under %+v: got %v, want %q", c.ip, c.rules, err, c.want)
		}
	}
}

func TestControlRefusesWhatIsNoTCPAddress(t *testing.T) {
	open := dialrule.Rules{Allow: prefixes("0.0.0.0/0", "::/0")}
	for _, c := range [][2]string{{"unix", "/run/docker.sock"}, {"udp4", "8.8.8.8:53"}, {"ip4", "8.8.8.8"}, {"tcp4", "8.8.8.8"}, {"tcp4", "example.org:80"}, {"tcp", "8.8.8.8:80"}} {
		if err := open.Control(c[0], c[1], nil); !errors.Is(err, dialrule.ErrRefused) {
			t.Errorf("%s %s: %v", c[0], c[1], err)
		}
	}
	if err := open.Control("tcp6", "[::1]:80", nil); err != nil {
		t.Error(err)
	}
}

// canary is a server on loopback that must not hear of us.
func canary(t *testing.T) (port string, heard *atomic.Int32) {
	t.Helper()
	heard = new(atomic.Int32)
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			heard.Add(1)
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() { _ = listener.Close() })
	_, port, _ = net.SplitHostPort(listener.Addr().String())
	return port, heard
}

func get(t *testing.T, client *http.Client, url string) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return err
	}
	response, err := client.Do(r)
	if err != nil {
		return err
	}
	return response.Body.Close()
}

// research/security.md, scenario 35.
func TestNoSpellingReachesTheCanary(t *testing.T) {
	port, heard := canary(t)
	client := &http.Client{Transport: dialrule.Rules{}.Transport(), CheckRedirect: dialrule.NoRedirect}
	for _, host := range []string{
		"127.0.0.1", "localhost", "2130706433", "0x7f000001", "0x7f.1", "017700000001", "0177.0.0.1", "127.1", "127.0.1",
		"[::1]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[0:0:0:0:0:ffff:127.0.0.1]", "[::127.0.0.1]", "0.0.0.0", "[::]",
		"[64:ff9b::127.0.0.1]", "[2002:7f00:1::]", "127.0.0.1.", "localhost.",
	} {
		if err := get(t, client, "http://"+host+":"+port+"/"); err == nil {
			t.Errorf("%s was reached", host)
		}
	}
	if n := heard.Load(); n != 0 {
		t.Fatalf("the canary heard %d connections", n)
	}
	open := &http.Client{Transport: dialrule.Rules{Allow: prefixes("127.0.0.0/8")}.Transport()}
	_ = get(t, open, "http://127.0.0.1:"+port+"/")
	if heard.Load() == 0 {
		t.Fatal("the canary is deaf")
	}
}

// A name that resolves to a public address the first time and to another from
// then on. Whatever was looked up before, the answer that is dialled counts.
func TestRebindingNamesAreJudgedAtTheDial(t *testing.T) {
	port, heard := canary(t)
	var answers atomic.Int32
	resolver := &net.Resolver{PreferGo: true, Dial: nameServer(t, func() netip.Addr {
		if answers.Add(1) == 1 {
			return netip.MustParseAddr("8.8.8.8")
		}
		return netip.MustParseAddr("127.0.0.1")
	})}
	looked, err := resolver.LookupNetIP(t.Context(), "ip4", "rebind.example.")
	if err != nil || (dialrule.Rules{}).Check(looked[0]) != nil {
		t.Fatalf("%v, %v", looked, err)
	}
	dialer := &net.Dialer{Resolver: resolver, Control: dialrule.Rules{}.Control, Timeout: 5 * time.Second}
	for range 3 {
		_, err := dialer.DialContext(t.Context(), "tcp4", net.JoinHostPort("rebind.example.", port))
		if !errors.Is(err, dialrule.ErrRefused) {
			t.Errorf("got %v", err)
		}
	}
	if n := heard.Load(); n != 0 || answers.Load() != 4 {
		t.Fatalf("the canary heard %d connections after %d answers", n, answers.Load())
	}
}

func nameServer(t *testing.T, next func() netip.Addr) func(ctx context.Context, network, address string) (net.Conn, error) {
	t.Helper()
	return nameServerOf(t, func() []netip.Addr { return []netip.Addr{next()} })
}

// nameServerOf is a DNS server on loopback that answers each A question with what
// next returns, and others with nothing.
func nameServerOf(t *testing.T, next func() []netip.Addr) func(ctx context.Context, network, address string) (net.Conn, error) {
	t.Helper()
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	go func() {
		buffer := make([]byte, 512)
		for {
			n, peer, err := conn.ReadFrom(buffer)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if m.Unpack(buffer[:n]) != nil || len(m.Questions) != 1 {
				continue
			}
			m.Response, m.Additionals = true, nil
			if q := m.Questions[0]; q.Type == dnsmessage.TypeA {
				for _, ip := range next() {
					m.Answers = append(m.Answers, dnsmessage.Resource{
						Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class},
						Body:   &dnsmessage.AResource{A: ip.As4()},
					})
				}
			}
			if reply, err := m.Pack(); err == nil {
				_, _ = conn.WriteTo(reply, peer)
			}
		}
	}()
	return func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "udp4", conn.LocalAddr().String())
	}
}

func TestRedirectsAndProxiesAreNotFollowed(t *testing.T) {
	port, heard := canary(t)
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:"+port)
	t.Setenv("http_proxy", "http://127.0.0.1:"+port)
	server := httptest.NewServer(http.RedirectHandler("http://127.0.0.1:"+port+"/latest/meta-data/", http.StatusTemporaryRedirect))
	defer server.Close()
	client := &http.Client{Transport: dialrule.Rules{Allow: prefixes("127.0.0.0/8")}.Transport(), CheckRedirect: dialrule.NoRedirect}
	if err := get(t, client, server.URL); err != nil {
		t.Fatal(err)
	}
	// Even a client that follows is stopped at the dial.
	follows := &http.Client{Transport: dialrule.Rules{Allow: prefixes("127.0.0.0/8"), Deny: prefixes("169.254.0.0/16")}.Transport()}
	meta := httptest.NewServer(http.RedirectHandler("http://169.254.169.254/latest/meta-data/", http.StatusFound))
	defer meta.Close()
	if err := get(t, follows, meta.URL); !errors.Is(err, dialrule.ErrRefused) {
		t.Fatalf("got %v", err)
	}
	if n := heard.Load(); n != 0 {
		t.Fatalf("the canary heard %d connections", n)
	}
}

func FuzzCheck(f *testing.F) {
	f.Add([]byte{127, 0, 0, 1})
	f.Add([]byte(net.ParseIP("64:ff9b::a9fe:a9fe")))
	f.Fuzz(func(t *testing.T, b []byte) {
		ip, ok := netip.AddrFromSlice(b)
		if !ok {
			return
		}
		std := net.IP(b)
		if std.IsLoopback() || std.IsPrivate() || std.IsLinkLocalUnicast() || std.IsMulticast() || std.IsUnspecified() {
			if (dialrule.Rules{}).Check(ip) == nil {
				t.Fatalf("%s passes", ip)
			}
		}
	})
}
