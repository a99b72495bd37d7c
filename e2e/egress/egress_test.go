// SPDX-License-Identifier: Apache-2.0

package egress_test

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/dialrule"
	"github.com/hsmsigner/hsmsigner/internal/key/azure"
	"github.com/hsmsigner/hsmsigner/internal/key/gcpkms"
	"github.com/hsmsigner/hsmsigner/internal/key/gcpkms/gcpkmsfake"
)

// hostile are the hosts of security's list, and what else leads here or to where
// clouds serve credentials.
func hostile() []string {
	return []string{
		"127.0.0.1", "127.0.0.2", "0.0.0.0", "10.0.0.1", "192.168.0.1", "169.254.169.254", "169.254.170.2", "100.100.100.200", "168.63.129.16",
		"[::1]", "[::]", "[::ffff:127.0.0.1]", "[::ffff:7f00:1]", "[::127.0.0.1]", "[64:ff9b::127.0.0.1]", "[64:ff9b::a9fe:a9fe]", "[64:ff9b:1::7f00:1]",
		"[2002:7f00:1::]", "[fd00:ec2::254]", "[fe80::a9fe:a9fe]",
		"2130706433", "0x7f000001", "0x7f.1", "017700000001", "0177.0.0.1", "127.1", "0",
		"localhost", "localhost.", "canary.example", "meta.example", "home.example", "rebind.example", "metadata.google.internal", "vault.vault.azure.net",
	}
}

// resolved are addresses that a tenant must not learn from a name.
var resolved = []string{"127.0.0.1", "169.254.169.254", "10.0.0.1"}

const (
	patience = time.Minute            // for what has to come, as a first connection
	grace    = 200 * time.Millisecond // for what comes after it
	atOnce   = 8
)

// security.md §3 no. 35.
func TestNoAddressOfATenantReachesTheCanary(t *testing.T) {
	all := ways(t)
	for _, proxied := range []bool{false, true} {
		for _, w := range all {
			t.Run(fmt.Sprintf("%s, proxied %v", w.name, proxied), func(t *testing.T) {
				target, proxy := newCanary(t), newCanary(t)
				cfg := dialrule.Config{Resolver: names(t)}
				if _, err := cfg.Resolver.LookupNetIP(t.Context(), "ip4", "rebind.example"); err != nil { // what a check before the dial would see
					t.Fatal(err)
				}
				if proxied {
					cfg.Proxy = &dialrule.Proxy{URL: "http://127.0.0.1:" + proxy.port}
				}
				d := newDials(t, cfg)
				var wg sync.WaitGroup
				slots := make(chan struct{}, atOnce)
				for _, host := range hostile() {
					wg.Go(func() {
						slots <- struct{}{}
						defer func() { <-slots }()
						ctx, cancel := context.WithTimeout(t.Context(), patience)
						defer cancel()
						err := w.ask(ctx, host+":"+target.port, func(dialing context.Context, network, address string) (net.Conn, error) {
							conn, err := d.DialContext(dialing, network, address)
							time.AfterFunc(grace, cancel) // not before it is noted
							return conn, err
						}, nil)
						if err == nil {
							t.Errorf("%s: no error", host)
							return
						}
						for _, ip := range resolved {
							if !strings.Contains(host, ip) && strings.Contains(err.Error(), ip) {
								t.Errorf("%s: the error shows what the name resolves to: %v", host, err)
							}
						}
					})
				}
				wg.Wait()
				target.silent(t)
				proxy.silent(t)
				asked, errs := d.outcome()
				for _, host := range hostile() {
					if !slices.Contains(asked, strings.Trim(host, "[]")+":"+target.port) && !slices.Contains(asked, host+":"+target.port) {
						t.Errorf("%s was not asked for", host)
					}
				}
				for i, err := range errs {
					if !refused(err) {
						t.Errorf("%s: %v", asked[i], err)
					}
				}
			})
		}
	}
}

// refused also holds for what the resolver does not take for a name, and for
// callers who had gone.
func refused(err error) bool {
	var dns *net.DNSError
	return errors.Is(err, dialrule.ErrRefused) || errors.As(err, &dns) || errors.Is(err, context.DeadlineExceeded) || errors.Is(err, context.Canceled)
}

// By every way the canary hears as soon as the operator allows it, and says so
// once it is refused: else silence would prove nothing.
func TestCanaryHearsWhatIsAllowed(t *testing.T) {
	for _, w := range ways(t) {
		t.Run(w.name, func(t *testing.T) {
			target := newCanary(t)
			ctx, cancel := context.WithTimeout(t.Context(), 2*patience)
			defer cancel()
			open := newDials(t, dialrule.Config{Rules: dialrule.Rules{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}}, Resolver: names(t)})
			if err := w.ask(ctx, "canary.example:"+target.port, open.DialContext, nil); err == nil || target.heard.Load() == 0 {
				t.Errorf("heard %d, %v", target.heard.Load(), err)
			}
			shut := newDials(t, dialrule.Config{Resolver: names(t)})
			err := w.ask(ctx, "canary.example:"+target.port, shut.DialContext, nil)
			if err == nil || !strings.Contains(err.Error(), "this deployment does not connect to") {
				t.Errorf("the error does not say why: %v", err)
			}
		})
	}
	trap.heard.Store(0)
}

// A redirect to the canary, although the rules would let it be reached.
func TestNoRedirectIsFollowed(t *testing.T) {
	for _, status := range []int{301, 302, 303, 307, 308} {
		for _, w := range ways(t) {
			if w.scheme == "grpc" {
				continue // HTTP/2 with messages of its own: no client of it knows redirects
			}
			t.Run(fmt.Sprintf("%s, %d", w.name, status), func(t *testing.T) {
				target := newCanary(t)
				address, roots, requests := answering(t, w.scheme, func(rw http.ResponseWriter, _ *http.Request) {
					rw.Header().Set("Location", "http://127.0.0.1:"+target.port+"/latest/meta-data/")
					rw.WriteHeader(status)
				})
				d := newDials(t, dialrule.Config{Rules: dialrule.Rules{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}}})
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				defer cancel()
				if err := w.ask(ctx, address, d.DialContext, roots); err == nil {
					t.Error("no error")
				}
				if requests.Load() == 0 && !strings.HasSuffix(w.name, "by TLS") { // the node's client trusts the system's roots only
					t.Error("the redirect was never given")
				}
				target.silent(t)
			})
		}
	}
}

// The vault's challenge names a token service; it must not become one.
func TestVaultsChallengeLeadsNowhere(t *testing.T) {
	target := newCanary(t)
	host, roots := challenging(t, "https://127.0.0.1:"+target.port+"/"+directory)
	d := newDials(t, dialrule.Config{Rules: dialrule.Rules{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}}, Resolver: names(t)})
	guarded := newDials(t, dialrule.Config{Resolver: names(t)})
	b, err := azure.Open(t.Context(), azure.Config{
		VaultURL: "https://" + host, RelaxedHosts: []string{host}, TenantID: directory, ClientID: application,
		Secret: func() (string, error) { return "s", nil }, RootCAs: roots,
		DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
			if strings.HasPrefix(address, "127.0.0.1:") {
				return d.DialContext(ctx, network, address)
			}
			return guarded.DialContext(ctx, network, address)
		},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = b.Close() }()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := b.Health(ctx); err == nil {
		t.Error("no error")
	}
	asked, _ := guarded.outcome()
	if len(asked) == 0 || asked[0] != "login.microsoftonline.com:443" {
		t.Errorf("the token was asked for at %q", asked)
	}
	target.silent(t)
}

// Where the operator has a proxy, it is the only way, and hears the address that
// was judged.
func TestOperatorsProxyIsTheOnlyWay(t *testing.T) {
	for _, w := range ways(t) {
		t.Run(w.name, func(t *testing.T) {
			address, roots, requests := answering(t, w.scheme, func(rw http.ResponseWriter, _ *http.Request) { rw.WriteHeader(http.StatusTeapot) })
			_, port, _ := net.SplitHostPort(address)
			var mu sync.Mutex
			var asked []string
			proxy := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
				mu.Lock()
				asked = append(asked, r.Method+" "+r.RequestURI)
				mu.Unlock()
				tunnel(rw, r.RequestURI)
			}))
			defer proxy.Close()
			d := newDials(t, dialrule.Config{
				Rules: dialrule.Rules{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}}, Resolver: names(t), Proxy: &dialrule.Proxy{URL: proxy.URL},
			})
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			if err := w.ask(ctx, "example.com:"+port, d.DialContext, roots); err == nil {
				t.Error("no error")
			}
			if requests.Load() == 0 && w.scheme != "grpc" && !strings.HasSuffix(w.name, "by TLS") {
				t.Error("the server was not reached")
			}
			mu.Lock()
			defer mu.Unlock()
			if len(asked) == 0 {
				t.Fatal("the proxy was not asked")
			}
			for _, line := range asked {
				if line != "CONNECT 127.0.0.1:"+port {
					t.Errorf("got %q", line)
				}
			}
			if n := trap.heard.Swap(0); n != 0 {
				t.Errorf("%d connections or look-ups went past the dial rules", n)
			}
		})
	}
}

// gRPC keeps to the name of its endpoint in TLS, whoever dials.
func TestGooglesClientWorksByTheHook(t *testing.T) {
	s, err := gcpkmsfake.Start(gcpkmsfake.Options{TLS: true})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	_, text, err := s.NewAccountKey("signer")
	if err != nil {
		t.Fatal(err)
	}
	proxy := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) { tunnel(rw, r.RequestURI) }))
	defer proxy.Close()
	for _, way := range []*dialrule.Proxy{nil, {URL: proxy.URL}} {
		d := newDials(t, dialrule.Config{Rules: dialrule.Rules{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}}, Proxy: way})
		b, err := gcpkms.Open(t.Context(), gcpkms.Config{
			KeyRing: s.Ring(), Endpoint: s.Addr(), TLS: &tls.Config{RootCAs: s.Roots(), MinVersion: tls.VersionTLS12},
			Credentials: func() (string, error) { return text, nil }, DialContext: d.DialContext,
		})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		if err := b.Health(ctx); err != nil {
			t.Error(err)
		}
		cancel()
		_ = b.Close()
		if n := trap.heard.Swap(0); n != 0 {
			t.Errorf("%d connections or look-ups went past the dial rules", n)
		}
	}
}

// tunnel joins a CONNECT with its target.
func tunnel(rw http.ResponseWriter, target string) {
	out, err := net.DialTimeout("tcp", target, patience)
	if err != nil {
		rw.WriteHeader(http.StatusBadGateway)
		return
	}
	conn, _, err := http.NewResponseController(rw).Hijack()
	if err != nil {
		return
	}
	_, _ = io.WriteString(conn, "HTTP/1.1 200 OK\r\n\r\n")
	go func() { _, _ = io.Copy(out, conn); _ = out.Close() }()
	go func() { _, _ = io.Copy(conn, out); _ = conn.Close() }()
}
