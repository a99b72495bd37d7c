// SPDX-License-Identifier: Apache-2.0

package webhook_test

import (
	"crypto/x509"
	"encoding/pem"
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
	"github.com/hsmsigner/hsmsigner/internal/store"
)

func TestRefusedAddressesHearNothing(t *testing.T) {
	var heard atomic.Int32
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
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
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	t.Setenv("HTTPS_PROXY", "http://127.0.0.1:"+port)
	for name, c := range map[string]struct {
		url   string
		rules dialrule.Rules
	}{
		"loopback":          {"https://127.0.0.1:" + port, dialrule.Rules{}},
		"a name":            {"https://localhost:" + port, dialrule.Rules{}},
		"a decimal":         {"https://2130706433:" + port, dialrule.Rules{}},
		"mapped":            {"https://[::ffff:127.0.0.1]:" + port, dialrule.Rules{}},
		"plain http":        {"http://127.0.0.1:" + port, dialrule.Rules{Allow: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}},
		"denied":            {"http://127.0.0.1:" + port, dialrule.Rules{Allow: loopback, Deny: loopback}},
		"plain and public":  {"http://192.0.1.1:" + port, dialrule.Rules{}},
		"metadata":          {"http://169.254.169.254/latest/meta-data/", dialrule.Rules{}},
		"metadata by NAT64": {"https://[64:ff9b::a9fe:a9fe]/", dialrule.Rules{}},
	} {
		t.Run(name, func(t *testing.T) {
			db := openStore(t)
			watch := &observer{}
			hook := hookTo("shop", c.url)
			hook.Timeout = 10 * time.Second
			cfg := fast(db, hook)
			cfg.Rules, cfg.Observer = c.rules, watch
			h := newHooks(t, cfg)
			start(t, h)
			put(t, db, h, 1)
			eventually(t, "it has failed", func() bool { return len(watch.seen()) > 1 })
			for _, note := range watch.seen() {
				refused := note == "failed treasury/shop refused"
				unknown := name == "a decimal" && note == "failed treasury/shop connect" // no such name
				if !refused && !unknown && !strings.HasPrefix(note, "pending") {
					t.Errorf("got %q", note)
				}
			}
			if waiting(t, db) != 1 {
				t.Error("the event is gone")
			}
		})
	}
	if n := heard.Load(); n != 0 {
		t.Fatalf("the canary heard %d connections", n)
	}
}

func TestRedirectIsAFailureAndNotFollowed(t *testing.T) {
	db := openStore(t)
	target := receive(t, nil)
	rec := receive(t, func(n int, w http.ResponseWriter, r *http.Request) {
		if n == 0 {
			http.Redirect(w, r, target.server.URL, http.StatusTemporaryRedirect)
		}
	})
	h := newHooks(t, fast(db, hookTo("shop", rec.server.URL)))
	start(t, h)
	put(t, db, h, 1)
	eventually(t, "it is delivered", func() bool { return waiting(t, db) == 0 })
	if len(target.all()) != 0 || len(rec.all()) != 2 {
		t.Fatalf("%d and %d requests", len(target.all()), len(rec.all()))
	}
}

func TestHTTPSWantsATrustedCertificate(t *testing.T) {
	heard := make(chan string, 10)
	server := httptest.NewTLSServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { heard <- r.Header.Get("X-HSMSigner-Event") }))
	defer server.Close()
	server.Config.ErrorLog = nil

	db := openStore(t)
	watch := &observer{}
	cfg := fast(db, hookTo("shop", server.URL))
	cfg.Observer = watch
	h := newHooks(t, cfg)
	stop := start(t, h)
	ids := put(t, db, h, 1)["treasury/shop"]
	eventually(t, "it has failed", func() bool { return watch.count("failed treasury/shop connect") > 0 })
	stop()

	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})) {
		t.Fatal("no certificate")
	}
	cfg.RootCAs = pool
	start(t, newHooks(t, cfg))
	select {
	case id := <-heard:
		if id != ids[0] {
			t.Fatalf("got %s", id)
		}
	case <-time.After(time.Minute):
		t.Fatal("not delivered")
	}
}

// What is stored and shown of a failure has neither the URL's token nor the
// secret.
func TestFailureInTheRowShowsNoURL(t *testing.T) {
	db := openStore(t)
	for name, c := range map[string]struct {
		url     string
		secrets func() ([]string, error)
		want    string
	}{
		"refused":   {"https://127.0.0.1:1/k3y?t=k3y", secrets(theSecret), "refused: it is loopback"},
		"no secret": {"https://127.0.0.1:1/k3y", func() ([]string, error) { return nil, errors.New("secret file /run/x: is empty") }, "is empty"},
	} {
		hook := hookTo(name, c.url)
		hook.Secrets = c.secrets
		cfg := fast(db, hook)
		cfg.Rules = dialrule.Rules{}
		h := newHooks(t, cfg)
		stop := start(t, h)
		put(t, db, h, 1)
		var row store.Event
		eventually(t, "it has failed", func() bool {
			due, err := db.DueEvents(t.Context(), []string{"treasury/" + name}, time.Now().Add(time.Hour), 1)
			if err != nil || len(due) != 1 {
				t.Fatal(due, err)
			}
			row = due[0]
			return row.Tries > 0
		})
		stop()
		if !strings.Contains(row.Error, c.want) || strings.Contains(row.Error, "k3y") || strings.Contains(row.Error, theSecret) {
			t.Errorf("%s: got %q", name, row.Error)
		}
	}
}
