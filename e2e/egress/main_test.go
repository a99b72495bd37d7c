// SPDX-License-Identifier: Apache-2.0

package egress_test

import (
	"context"
	"errors"
	"log"
	"net"
	"net/http"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"testing"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/hsmsigner/hsmsigner/internal/dialrule"
)

// trap hears whatever connects past the hook: it is the environment's proxy, and
// the default transport and resolver of the process report to it.
var trap struct {
	port  string
	heard atomic.Int32
}

// TestMain sets the trap before any library has looked at the environment, which
// net/http does once.
func TestMain(m *testing.M) {
	listener, port, err := listen(&trap.heard)
	if err != nil {
		log.Fatal(err)
	}
	trap.port = port
	for _, name := range []string{"HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy", "VAULT_HTTP_PROXY", "VAULT_PROXY_ADDR"} {
		_ = os.Setenv(name, "http://127.0.0.1:"+port)
	}
	for _, name := range []string{"VAULT_ADDR", "VAULT_AGENT_ADDR", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_KMS", "AWS_ENDPOINT_URL_STS", "AZURE_AUTHORITY_HOST", "GOOGLE_CLOUD_UNIVERSE_DOMAIN"} {
		_ = os.Setenv(name, "http://127.0.0.1:"+port)
	}
	http.DefaultTransport = trapped{}
	net.DefaultResolver = &net.Resolver{PreferGo: true, Dial: func(context.Context, string, string) (net.Conn, error) {
		trap.heard.Add(1)
		return nil, errors.New("the default resolver is a trap")
	}}
	code := m.Run()
	_ = listener.Close()
	os.Exit(code)
}

type trapped struct{}

func (trapped) RoundTrip(*http.Request) (*http.Response, error) {
	trap.heard.Add(1)
	return nil, errors.New("the default transport is a trap")
}

// listen counts connections to a port of this machine.
func listen(heard *atomic.Int32) (net.Listener, string, error) {
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		return nil, "", err
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
	_, port, err := net.SplitHostPort(listener.Addr().String())
	return listener, port, err
}

// canary is a server on this machine that must not hear of us.
type canary struct {
	port  string
	heard atomic.Int32
}

func newCanary(t *testing.T) *canary {
	t.Helper()
	c := &canary{}
	listener, port, err := listen(&c.heard)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = listener.Close() })
	c.port = port
	return c
}

// silent fails the test if anything was heard.
func (c *canary) silent(t *testing.T) {
	t.Helper()
	if n := c.heard.Load(); n != 0 {
		t.Errorf("the canary heard %d connections", n)
	}
	if n := trap.heard.Swap(0); n != 0 {
		t.Errorf("%d connections or look-ups went past the dial rules", n)
	}
}

// dials is a Dialer that notes what was asked of it.
type dials struct {
	*dialrule.Dialer
	mu   sync.Mutex
	all  []string
	errs []error
}

func newDials(t *testing.T, c dialrule.Config) *dials {
	t.Helper()
	d, err := dialrule.NewDialer(c)
	if err != nil {
		t.Fatal(err)
	}
	return &dials{Dialer: d}
}

func (d *dials) DialContext(ctx context.Context, network, address string) (net.Conn, error) {
	conn, err := d.Dialer.DialContext(ctx, network, address)
	d.mu.Lock()
	defer d.mu.Unlock()
	d.all, d.errs = append(d.all, address), append(d.errs, err)
	return conn, err
}

// outcome is how many connections were asked for, and the errors.
func (d *dials) outcome() (asked []string, errs []error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	return append([]string(nil), d.all...), append([]error(nil), d.errs...)
}

// names resolves every name: those below meta to a metadata service, those below
// home to a private address, those below rebind to a public address at the first
// question and to this machine from then on, and whatever else, numbers too, to
// this machine.
func names(t *testing.T) *net.Resolver {
	t.Helper()
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	go answerNames(conn)
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		var d net.Dialer
		return d.DialContext(ctx, "udp4", conn.LocalAddr().String())
	}}
}

func answerNames(conn net.PacketConn) {
	rebound := false
	buffer := make([]byte, 1500)
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
		q := m.Questions[0]
		ip := netip.MustParseAddr("127.0.0.1")
		switch q.Name.String() {
		case "meta.example.":
			ip = netip.MustParseAddr("169.254.169.254")
		case "home.example.":
			ip = netip.MustParseAddr("10.0.0.1")
		case "rebind.example.":
			if q.Type == dnsmessage.TypeA && !rebound {
				ip, rebound = netip.MustParseAddr("8.8.8.8"), true
			}
		}
		if q.Type == dnsmessage.TypeA {
			m.Answers = []dnsmessage.Resource{{
				Header: dnsmessage.ResourceHeader{Name: q.Name, Type: q.Type, Class: q.Class},
				Body:   &dnsmessage.AResource{A: ip.As4()},
			}}
		}
		if reply, err := m.Pack(); err == nil {
			_, _ = conn.WriteTo(reply, peer)
		}
	}
}
