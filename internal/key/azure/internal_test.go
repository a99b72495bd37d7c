// SPDX-License-Identifier: Apache-2.0

package azure

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/key"
)

// A proxy would dial in place of us, wherever the tenant's vault leads.
func TestProxyOfTheEnvironmentDoesNotGoRoundADialRule(t *testing.T) {
	proxy := func(c Config) func(*http.Request) (*url.URL, error) {
		return newHTTPClient(c).Transport.(limited).Proxy
	}
	if proxy(Config{DialContext: new(net.Dialer).DialContext}) != nil {
		t.Error("a proxy is used although connections are opened by a rule")
	}
	if proxy(Config{}) == nil {
		t.Error("the proxy of the environment is not used")
	}
}

// A vault behind a firewall that drops packets: the error must say so, and not
// that a deadline is over which the caller has not set.
func TestTimeoutOfDiallingIsNotTheCallersDeadline(t *testing.T) {
	b := &Backend{vault: vault{host: "treasury.vault.azure.net"}}
	_, dialling := (&net.Dialer{Timeout: time.Nanosecond}).DialContext(t.Context(), "tcp", "127.0.0.1:1")
	if !errors.Is(dialling, context.DeadlineExceeded) {
		t.Fatalf("package net has changed: %v", dialling)
	}
	err := b.failure(t.Context(), "health", "", &url.Error{Op: "Get", URL: "https://x", Err: dialling})
	if !errors.Is(err, key.ErrUnavailable) || !strings.Contains(err.Error(), "cannot be reached") {
		t.Errorf("got %v", err)
	}
	ended, cancel := context.WithTimeout(t.Context(), 0)
	defer cancel()
	if err := b.failure(ended, "health", "", &url.Error{Op: "Get", URL: "https://x", Err: dialling}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want the deadline", err)
	}
}

// Another listing may end, and forget the version, between the look at it and the
// note of it.
func TestForgottenVersionKeepsWhatItIs(t *testing.T) {
	var c catalogue
	c.init()
	d := described{canSign: true, algorithm: oldAlgorithm}
	first := c.begin()
	c.put("ref", d)
	c.end(c.begin())
	if e := c.list("ref", d, attributes{enabled: true}, first); e.whyNot(time.Now()) != "" {
		t.Errorf("it is listed as disabled, since %s", e.whyNot(time.Now()))
	}
	if a, known := c.algorithm("ref"); a != oldAlgorithm || !known {
		t.Errorf("it signs by %q, known %v", a, known)
	}
}

// forgetful is a connection that a firewall forgets: what is written to it
// disappears, and nothing comes.
type forgetful struct {
	net.Conn
	forgotten *atomic.Bool
}

func (c forgetful) Write(p []byte) (int, error) {
	if c.forgotten.Load() {
		return len(p), nil
	}
	return c.Conn.Write(p)
}

func TestForgottenConnectionIsReplaced(t *testing.T) {
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if r.ProtoMajor != 2 {
			t.Error("not HTTP/2")
		}
	}))
	server.EnableHTTP2 = true
	server.StartTLS()
	defer server.Close()
	first, dialled := new(atomic.Bool), 0
	client := newHTTPClient(Config{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		c, err := new(net.Dialer).DialContext(ctx, network, address)
		if dialled++; dialled > 1 {
			return c, err
		}
		return forgetful{c, first}, err
	}})
	transport := client.Transport.(limited).Transport
	if h := transport.HTTP2; h.SendPingTimeout <= 0 || h.PingTimeout <= 0 || h.SendPingTimeout+h.PingTimeout > 10*time.Second {
		t.Errorf("a dead connection is kept for more than ten seconds: %+v", h)
	}
	transport.HTTP2.SendPingTimeout, transport.HTTP2.PingTimeout = 200*time.Millisecond, 3*time.Second
	transport.TLSClientConfig = server.Client().Transport.(*http.Transport).TLSClientConfig.Clone()
	transport.TLSClientConfig.MinVersion = tls.VersionTLS12
	defer client.CloseIdleConnections()
	ask := func() error {
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		r, err := http.NewRequestWithContext(ctx, http.MethodPost, server.URL, http.NoBody)
		if err != nil {
			return err
		}
		resp, err := client.Do(r)
		if err == nil {
			err = resp.Body.Close()
		}
		return err
	}
	if err := ask(); err != nil {
		t.Fatal(err)
	}
	first.Store(true)
	if err := ask(); errors.Is(err, context.DeadlineExceeded) {
		t.Fatal("a call on a dead connection hangs until its deadline")
	}
	if err := ask(); err != nil || dialled != 2 {
		t.Errorf("after that: %v, %d connections", err, dialled)
	}
}
