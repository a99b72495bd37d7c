// SPDX-License-Identifier: Apache-2.0

package dialrule_test

import (
	"bufio"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/dialrule"
)

// proxy takes CONNECT and leads everything to one place.
type proxy struct {
	*httptest.Server
	lead string // host:port

	mu    sync.Mutex
	asked []string // targets
	heads []http.Header
}

func newProxy(t *testing.T, secure bool, lead string) *proxy {
	t.Helper()
	p := &proxy{lead: lead}
	p.Server = httptest.NewUnstartedServer(http.HandlerFunc(p.serve))
	p.Config.ErrorLog = log.New(io.Discard, "", 0)
	if secure {
		p.StartTLS()
	} else {
		p.Start()
	}
	t.Cleanup(p.Server.Close)
	return p
}

func (p *proxy) serve(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	p.asked, p.heads = append(p.asked, r.Method+" "+r.RequestURI), append(p.heads, r.Header)
	p.mu.Unlock()
	if auth := r.Header.Get("Proxy-Authorization"); strings.HasSuffix(p.lead, "!") && auth != "Basic dXNlcjpzM2NyZXQ=" { // user:s3cret
		w.WriteHeader(http.StatusProxyAuthRequired)
		return
	}
	out, err := net.Dial("tcp", strings.TrimSuffix(p.lead, "!"))
	if err != nil {
		w.WriteHeader(http.StatusBadGateway)
		return
	}
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	_, _ = io.WriteString(conn, "HTTP/1.1 200 Connection established\r\nX-Note: fine\r\n\r\n")
	go func() { _, _ = io.Copy(out, conn); _ = out.Close() }()
	go func() { _, _ = io.Copy(conn, out); _ = conn.Close() }()
}

func (p *proxy) targets() []string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Clone(p.asked)
}

func hello(t *testing.T) (server *httptest.Server, address string) {
	t.Helper()
	server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }))
	t.Cleanup(server.Close)
	return server, server.Listener.Addr().String()
}

func TestProxyIsToldTheAddressThatWasJudged(t *testing.T) {
	_, address := hello(t)
	for _, secure := range []bool{false, true} {
		p := newProxy(t, secure, address+"!")
		cfg := dialrule.Config{
			Resolver: resolving(t, always("192.0.1.7")), // public, and never dialled: the proxy leads elsewhere
			Proxy:    &dialrule.Proxy{URL: p.URL, Credentials: func() (string, string, error) { return "user", "s3cret", nil }},
		}
		if secure {
			cfg.Proxy.RootCAs = x509.NewCertPool()
			cfg.Proxy.RootCAs.AddCert(p.Certificate())
		}
		client := &http.Client{Transport: newDialer(t, cfg).Transport()}
		for _, url := range []string{"http://vault.example/", "http://8.8.4.4:8200/", "http://[2606:4700::1111]/", "http://[::ffff:8.8.4.4]:80/"} {
			if err := get(t, client, url); err != nil {
				t.Errorf("%s: %v", url, err)
			}
		}
		want := []string{"CONNECT 192.0.1.7:80", "CONNECT 8.8.4.4:8200", "CONNECT [2606:4700::1111]:80", "CONNECT 8.8.4.4:80"}
		if got := p.targets(); !slices.Equal(got, want) {
			t.Errorf("got %q, want %q", got, want)
		}
	}
}

// Nothing of what is refused is asked of the proxy, which could reach it.
func TestProxyHearsNothingOfWhatIsRefused(t *testing.T) {
	port, heard := canary(t)
	p := newProxy(t, false, "127.0.0.1:"+port)
	var answers atomic.Int32
	for name, c := range map[string]struct {
		names  bool
		answer func() netip.Addr
		hosts  []string
	}{
		"resolved here": {false, always("127.0.0.1"), []string{
			"127.0.0.1", "localhost", "2130706433", "0x7f.1", "0177.0.0.1", "canary.example", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0",
			"[64:ff9b::127.0.0.1]", "[2002:7f00:1::]", "169.254.169.254", "[fd00:ec2::254]", "10.0.0.1", "100.100.100.200",
		}},
		"metadata by name": {false, always("169.254.169.254"), []string{"meta.example"}},
		"NAT64 by name":    {false, always("192.168.0.1"), []string{"home.example"}},
		"rebinding": {false, func() netip.Addr {
			if answers.Add(1)%2 == 0 {
				return netip.MustParseAddr("10.0.0.1")
			}
			return netip.MustParseAddr("127.0.0.1")
		}, []string{"rebind.example", "rebind.example"}},
		"resolved by the proxy": {true, always("8.8.8.8"), []string{
			"127.0.0.1", "localhost", "x.localhost", "2130706433", "0x7f.1", "0x7f000001", "0177.0.0.1", "127.1", "127.0.0.1.", "127.0.0.1..", "a.0x7f000001",
			"[::1]", "[::ffff:127.0.0.1]", "169.254.169.254", "metadata", "metadata.google.internal", "printer.local", "router.home.arpa", "x.2130706433",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDialer(t, dialrule.Config{Resolver: resolving(t, c.answer), Proxy: &dialrule.Proxy{URL: p.URL, Names: c.names}})
			for _, host := range c.hosts {
				_, err := d.DialContext(t.Context(), "tcp", host+":"+port)
				if !refused(err) || c.names && !errors.Is(err, dialrule.ErrRefused) {
					t.Errorf("%s: %v", host, err)
				}
			}
		})
	}
	if asked := p.targets(); len(asked) != 0 || heard.Load() != 0 {
		t.Errorf("the proxy was asked for %q, and the canary heard %d", asked, heard.Load())
	}
}

func TestProxyMayResolveNamesWhereTheOperatorSaysSo(t *testing.T) {
	_, address := hello(t)
	p := newProxy(t, false, address)
	unused := &net.Resolver{PreferGo: true, Dial: nil}
	client := &http.Client{Transport: newDialer(t, dialrule.Config{Resolver: unused, Proxy: &dialrule.Proxy{URL: p.URL, Names: true}}).Transport()}
	if err := get(t, client, "http://vault.example:8200/"); err != nil {
		t.Fatal(err)
	}
	if got := p.targets(); !slices.Equal(got, []string{"CONNECT vault.example:8200"}) {
		t.Errorf("got %q", got)
	}
}

// Of a name's addresses only those that may be reached are asked for, one after
// the other.
func TestTheNextAddressIsTriedWhereTheProxyCannotReachOne(t *testing.T) {
	_, address := hello(t)
	var asked []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if asked = append(asked, r.RequestURI); len(asked) == 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		(&proxy{lead: address}).serve(w, r)
	}))
	defer server.Close()
	resolver := &net.Resolver{PreferGo: true, Dial: nameServerOf(t, func() []netip.Addr {
		return []netip.Addr{netip.MustParseAddr("8.8.8.8"), netip.MustParseAddr("10.0.0.1"), netip.MustParseAddr("8.8.4.4")}
	})}
	conn, err := newDialer(t, dialrule.Config{Resolver: resolver, Proxy: &dialrule.Proxy{URL: server.URL}}).DialContext(t.Context(), "tcp", "vault.example:80")
	if err != nil {
		t.Fatal(err)
	}
	_ = conn.Close()
	if slices.Sort(asked); !slices.Equal(asked, []string{"8.8.4.4:80", "8.8.8.8:80"}) {
		t.Errorf("got %q", asked)
	}
}

// A proxy that fails is not passed by, and its error shows nothing of ours.
func TestProxysFailureIsSaidAndNotPassedBy(t *testing.T) {
	port, heard := canary(t)
	answer := func(text string) string {
		l, err := net.Listen("tcp4", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
		go func() {
			for {
				conn, err := l.Accept()
				if err != nil {
					return
				}
				_, _ = http.ReadRequest(bufio.NewReader(conn))
				if _, _ = io.WriteString(conn, text); text != "" {
					_ = conn.Close()
				}
			}
		}()
		return "http://" + l.Addr().String()
	}
	refusing := newProxy(t, false, "127.0.0.1:"+port+"!").URL
	secure := newProxy(t, true, "127.0.0.1:"+port)
	for name, c := range map[string]struct {
		proxy *dialrule.Proxy
		want  string
	}{
		"closed":          {&dialrule.Proxy{URL: "http://127.0.0.1:1"}, "cannot be reached"},
		"no credential":   {&dialrule.Proxy{URL: refusing}, "wants another username and password (status 407)"},
		"wrong":           {&dialrule.Proxy{URL: refusing, Credentials: func() (string, string, error) { return "user", "hunter2", nil }}, "wants another username and password (status 407)"},
		"unreadable":      {&dialrule.Proxy{URL: refusing, Credentials: func() (string, string, error) { return "", "", errors.New("hunter2") }}, "its credential cannot be read"},
		"not trusted":     {&dialrule.Proxy{URL: secure.URL}, "its certificate is not trusted"},
		"does not":        {&dialrule.Proxy{URL: answer("HTTP/1.1 403 hunter2\r\n\r\n")}, "does not connect (status 403)"},
		"redirects":       {&dialrule.Proxy{URL: answer("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:" + port + "/\r\n\r\n")}, "does not connect (status 302)"},
		"no HTTP":         {&dialrule.Proxy{URL: answer("SSH-2.0-hunter2\r\n")}, "gave no answer that is one"},
		"endless":         {&dialrule.Proxy{URL: answer("HTTP/1.1 200 OK\r\nX: " + strings.Repeat("x", 1<<20) + "\r\n\r\n")}, "gave no answer that is one"},
		"more than asked": {&dialrule.Proxy{URL: answer("HTTP/1.1 200 OK\r\n\r\nHTTP/1.1 200 OK\r\n\r\nforged")}, "sent more than its answer"},
		"silent":          {&dialrule.Proxy{URL: answer("")}, "gave no answer that is one"},
	} {
		t.Run(name, func(t *testing.T) {
			d := newDialer(t, dialrule.Config{Proxy: c.proxy, Timeout: 5 * time.Second})
			_, err := d.DialContext(t.Context(), "tcp", "8.8.8.8:443")
			if !errors.Is(err, dialrule.ErrProxy) || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("got %v, want …%s", err, c.want)
			}
			var n net.Error
			if timeout := errors.As(err, &n) && n.Timeout(); timeout != (name == "silent") {
				t.Errorf("%v: a timeout is %v", err, timeout)
			}
		})
	}
	if heard.Load() != 0 {
		t.Error("the canary heard")
	}
}

func TestProxysURLIsChecked(t *testing.T) {
	for _, url := range []string{"", "proxy:3128", "socks5://proxy:1080", "http://", "http://user:hunter2@proxy:3128", "http://proxy:3128/path", "http://proxy:3128?x", "http://pro xy:1", "http://[::1"} {
		if _, err := dialrule.NewDialer(dialrule.Config{Proxy: &dialrule.Proxy{URL: url}}); !errors.Is(err, dialrule.ErrProxy) || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%q: %v", url, err)
		}
	}
}

// TLS to the target runs within the tunnel, to the name and not to the address.
func TestCertificateOfTheTargetIsCheckedByItsName(t *testing.T) {
	target := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer target.Close()
	p := newProxy(t, false, target.Listener.Addr().String())
	transport := newDialer(t, dialrule.Config{Resolver: resolving(t, always("8.8.8.8")), Proxy: &dialrule.Proxy{URL: p.URL}}).Transport()
	roots := x509.NewCertPool()
	roots.AddCert(target.Certificate()) // for example.com and 127.0.0.1
	transport.TLSClientConfig = &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}
	client := &http.Client{Transport: transport}
	if err := get(t, client, "https://example.com/"); err != nil {
		t.Error(err)
	}
	if err := get(t, client, "https://vault.example.org/"); err == nil || !strings.Contains(err.Error(), "certificate is valid for") {
		t.Errorf("got %v", err)
	}
}
