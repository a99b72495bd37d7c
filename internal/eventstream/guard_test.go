// SPDX-License-Identifier: Apache-2.0

package eventstream_test

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"github.com/hsmsigner/hsmsigner/internal/dialrule"
	"github.com/hsmsigner/hsmsigner/internal/eventstream"
	"github.com/hsmsigner/hsmsigner/internal/seal"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

// canary listens on loopback and counts who comes.
func canary(t *testing.T) (port string, heard *atomic.Int32) {
	t.Helper()
	heard = &atomic.Int32{}
	listener, err := net.Listen("tcp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			heard.Add(1)
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() {
		_ = listener.Close()
		<-done
	})
	_, port, _ = net.SplitHostPort(listener.Addr().String())
	return port, heard
}

// names answers every name with an address: what somebody's DNS server may do.
func names(t *testing.T, address netip.Addr) *net.Resolver {
	t.Helper()
	conn, err := net.ListenPacket("udp4", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		b := make([]byte, 4096)
		for {
			n, from, err := conn.ReadFrom(b)
			if err != nil {
				return
			}
			var m dnsmessage.Message
			if m.Unpack(b[:n]) != nil || len(m.Questions) == 0 {
				continue
			}
			m.Response, m.RecursionAvailable, m.Additionals = true, true, nil
			if q := m.Questions[0]; q.Type == dnsmessage.TypeA {
				m.Answers = []dnsmessage.Resource{{
					Header: dnsmessage.ResourceHeader{Name: q.Name, Class: q.Class, Type: q.Type},
					Body:   &dnsmessage.AResource{A: address.As4()},
				}}
			}
			if out, err := m.Pack(); err == nil {
				_, _ = conn.WriteTo(out, from)
			}
		}
	}()
	t.Cleanup(func() {
		_ = conn.Close()
		<-done
	})
	return &net.Resolver{PreferGo: true, Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "udp4", conn.LocalAddr().String())
	}}
}

func TestForbiddenAddressesHearNothing(t *testing.T) {
	port, heard := canary(t)
	t.Setenv("HTTPS_PROXY", "http://127.0.0.1:"+port)
	resolver := names(t, netip.MustParseAddr("127.0.0.1"))
	metadata := names(t, netip.MustParseAddr("169.254.169.254"))
	for name, c := range map[string]struct {
		url    string
		egress dialrule.Config
	}{
		"a name of loopback":    {"https://hooks.example.org:" + port, dialrule.Config{Resolver: resolver}},
		"plain http by name":    {"http://hooks.example.org:" + port, dialrule.Config{Resolver: resolver}},
		"denied":                {"https://hooks.example.org:" + port, dialrule.Config{Resolver: resolver, Rules: dialrule.Rules{Allow: loopback, Deny: loopback}}},
		"a name of metadata":    {"http://hooks.example.org/latest", dialrule.Config{Resolver: metadata, Rules: dialrule.Rules{Allow: []netip.Prefix{netip.MustParsePrefix("169.254.0.0/16")}}}},
		"localhost by its name": {"https://localhost:" + port, dialrule.Config{}},
	} {
		t.Run(name, func(t *testing.T) {
			chain := newChain(t)
			chain.mine(1)
			cfg := fast(openStore(t, t.TempDir()), openNode(t, chain.url))
			cfg.Egress = c.egress
			r := start(t, cfg)
			id := r.create(hook, 1, c.url)
			r.subscribe(id, "0")
			eventually(t, "it is refused", func() bool {
				return r.stream(id).Trouble == "the webhook's address is one that this deployment does not connect to"
			})
		})
	}
	if n := heard.Load(); n != 0 {
		t.Fatalf("the canary heard %d connections", n)
	}
}

// An address that can never be dialled is refused at once.
func TestForbiddenLiteralIsRefusedAtOnce(t *testing.T) {
	t.Parallel()
	chain := newChain(t)
	cfg := fast(openStore(t, t.TempDir()), openNode(t, chain.url))
	cfg.Egress = dialrule.Config{}
	r := start(t, cfg)
	for _, url := range []string{
		"https://127.0.0.1/x", "https://[::1]/", "http://169.254.169.254/latest/meta-data", "https://[::ffff:10.0.0.1]/",
		"https://10.0.0.1:8443/", "http://93.184.216.34/",
	} {
		_, err := r.Create(t.Context(), who, place, wallet, parse(t, `{"type":"webhook","webhook":{"url":"`+url+`"}}`))
		var bad *eventstream.InputError
		if !errors.As(err, &bad) || bad.Field != "webhook.url" {
			t.Errorf("%s: %v", url, err)
		}
	}
}

func TestWebhookThatRedirectsIsNotFollowed(t *testing.T) {
	t.Parallel()
	port, heard := canary(t)
	chain := newChain(t)
	chain.mine(1)
	seen := make(chan struct{})
	rec := receive(t, func(n int, w http.ResponseWriter, r *http.Request) bool {
		if n == 0 {
			http.Redirect(w, r, "http://127.0.0.1:"+port+"/secret", http.StatusTemporaryRedirect)
			return false
		}
		select { // what is taken is no trouble any more
		case <-seen:
		case <-r.Context().Done():
		}
		return true
	})
	r := start(t, fast(openStore(t, t.TempDir()), openNode(t, chain.url)))
	id := r.follow("0", hook, 1, rec.url)
	eventually(t, "it is trouble", func() bool { return strings.Contains(r.stream(id).Trouble, "status 307: redirects are not followed") })
	close(seen)
	wantValues(t, rec, "1")
	if heard.Load() != 0 {
		t.Error("the redirect was followed")
	}
}

// A webhook that hangs keeps neither other streams nor the end of the process
// waiting.
func TestWebhookThatHangsHoldsUpNobody(t *testing.T) {
	t.Parallel()
	chain := newChain(t)
	chain.mine(1)
	good := receive(t, nil)
	release := make(chan struct{})
	var longer atomic.Bool
	bad := receive(t, func(_ int, _ http.ResponseWriter, r *http.Request) bool {
		if r.URL.Path == "/longer" {
			longer.Store(true)
		}
		select {
		case <-release:
		case <-r.Context().Done():
		}
		return false
	})
	defer close(release)
	cfg := fast(openStore(t, t.TempDir()), openNode(t, chain.url))
	r := start(t, cfg)
	id := r.create(`{"type":"webhook","webhook":{"url":%q,"requestTimeoutSec":1}}`, bad.url)
	r.subscribe(id, "0")
	eventually(t, "it hangs", func() bool { return bad.requests() > 0 })
	r.follow("0", hook, 1, good.url)
	wantValues(t, good, "1")
	eventually(t, "it is trouble", func() bool { return r.stream(id).Trouble == "the webhook did not answer within requestTimeoutSec" })
	eventually(t, "it is tried again", func() bool { return bad.requests() > 1 })
	r.follow("0", `{"type":"webhook","webhook":{"url":%q,"requestTimeoutSec":300}}`, bad.url+"/longer")
	eventually(t, "another hangs", func() bool { return longer.Load() })
	begun := time.Now()
	r.stop()
	if took := time.Since(begun); took > 30*time.Second {
		t.Errorf("the end took %v", took)
	}
}

// startSealing is start with a key for headers, and a consortium.
func startSealing(t *testing.T, chain *testChain) (*rig, *seal.Sealer) {
	t.Helper()
	dir := t.TempDir()
	db := openStore(t, dir)
	sealer, err := seal.Open(t.Context(), seal.Config{Store: db, Dir: dir})
	if err != nil {
		t.Fatal(err)
	}
	cfg := fast(db, openNode(t, chain.url))
	cfg.Sealer = sealer
	cfg.Consortium = func(at eventstream.Place) string { return "consortium of " + at.Membership }
	return start(t, cfg), sealer
}

// Values of headers are sealed, and shown to nobody.
func TestHeadersAreSealed(t *testing.T) {
	t.Parallel()
	chain, rec := newChain(t), receive(t, nil)
	chain.mine(1)
	r, sealer := startSealing(t, chain)
	db := r.db
	id := r.create(`{"type":"webhook","batchTimeoutMS":10,"webhook":{"url":%q,"headers":{"authorization":"Bearer s3cr3t","X-Shop":"7"}}}`, rec.url)
	r.aside(id, func() { r.subscribe(id, "0") })
	wantValues(t, rec, "1")
	r.stored(id, 1)
	if h := rec.headers[0]; h.Get("Authorization") != "Bearer s3cr3t" || h.Get("X-Shop") != "7" {
		t.Errorf("got %v", h)
	}
	text, _ := json.Marshal(r.stream(id))
	row, err := db.Stream(t.Context(), id)
	if err != nil || strings.Contains(string(text), "s3cr3t") || strings.Contains(row.Settings+string(row.Secret), "s3cr3t") || row.Secret == nil {
		t.Errorf("%s, %+v, %v", text, row, err)
	}
	if !strings.Contains(string(text), `"headerNames":["Authorization","X-Shop"]`) {
		t.Errorf("got %s", text)
	}
	// Another stream's row does not open them.
	moved := row
	moved.ID = store.NewID()
	if _, err := sealer.Open(t.Context(), seal.OfStream(moved), row.Secret); err == nil {
		t.Error("they open elsewhere")
	}
	// A change that does not name them keeps them; an empty object takes them away.
	r.afresh(id, func() error {
		_, err := r.Update(t.Context(), who, place, wallet, id, parse(t, `{"name":"x"}`))
		return err
	})
	chain.mine(2)
	wantValues(t, rec, "1", "2")
	r.stored(id, 2)
	if got := rec.headers[1].Get("Authorization"); got != "Bearer s3cr3t" {
		t.Errorf("got %q", got)
	}
	r.afresh(id, func() error {
		_, err := r.Update(t.Context(), who, place, wallet, id, parse(t, `{"webhook":{"headers":{}}}`))
		return err
	})
	chain.mine(3)
	wantValues(t, rec, "1", "2", "3")
	if got := rec.headers[2].Get("Authorization"); got != "" {
		t.Errorf("got %q", got)
	}
}

// Who points a webhook elsewhere does not get the headers that somebody else gave.
func TestSealedHeadersGoNowhereElse(t *testing.T) {
	t.Parallel()
	chain, rec, thief := newChain(t), receive(t, nil), receive(t, nil)
	chain.mine(1)
	r, _ := startSealing(t, chain)
	id := r.create(`{"type":"webhook","batchTimeoutMS":10,"webhook":{"url":%q,"headers":{"authorization":"Bearer s3cr3t"}}}`, rec.url)
	r.aside(id, func() { r.subscribe(id, "0") })
	wantValues(t, rec, "1")
	r.stored(id, 1)
	_, port, _ := strings.Cut(strings.TrimPrefix(rec.url, "http://"), ":")
	update := func(hook string) error {
		_, err := r.Update(t.Context(), who, place, wallet, id, parse(t, `{"webhook":{`+hook+`}}`))
		return err
	}
	for hook, want := range map[string]string{
		`"url":"` + thief.url + `"`:                       "webhook.url",
		`"url":"https://127.0.0.1:` + port + `"`:          "webhook.url",
		`"url":"http://localhost:` + port + `"`:           "webhook.url",
		`"url":"http://127.0.0.1"`:                        "webhook.url",
		`"caCert":` + quoted(certificate(t)):              "webhook.caCert",
		`"requestTimeoutSec":1,"url":"` + thief.url + `"`: "webhook.url",
	} {
		err := update(hook)
		var bad *eventstream.InputError
		if !errors.As(err, &bad) || bad.Field != "webhook.headers" || !strings.HasPrefix(bad.Msg, want+" ") || strings.Contains(bad.Msg, "127") {
			t.Errorf("%s: %v", hook, err)
		}
	}
	// Another path is the same receiver's, whatever the case of its name.
	r.afresh(id, func() error { return update(`"url":"HTTP://127.0.0.1:` + port + `/other?x=1"`) })
	chain.mine(2)
	wantValues(t, rec, "1", "2")
	r.stored(id, 2)
	if got := rec.headers[len(rec.headers)-1].Get("Authorization"); got != "Bearer s3cr3t" {
		t.Errorf("got %q", got)
	}
	// With the headers beside it, it may be anywhere.
	r.afresh(id, func() error { return update(`"url":"` + thief.url + `","headers":{"X-Mine":"1"}`) })
	chain.mine(3)
	wantValues(t, thief, "3")
	if h := thief.headers[0]; h.Get("Authorization") != "" || h.Get("X-Mine") != "1" {
		t.Errorf("got %v", h)
	}
	if err := update(`"url":"` + rec.url + `","headers":{}`); err != nil {
		t.Error(err)
	}
	if err := update(`"url":"` + thief.url + `"`); err != nil { // there are none any more
		t.Error(err)
	}
}

// certificate is one in PEM.
func certificate(t *testing.T) string {
	t.Helper()
	srv := httptest.NewTLSServer(nil)
	defer srv.Close()
	return string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: srv.Certificate().Raw}))
}

func quoted(text string) string {
	b, _ := json.Marshal(text)
	return string(b)
}

// What happens to streams is told to the members of their consortium, with where
// events go and whether what is sealed was changed.
func TestAuditTrailSaysWhereEventsGo(t *testing.T) {
	t.Parallel()
	chain := newChain(t)
	r, _ := startSealing(t, chain)
	id := r.create(`{"name":"s","type":"webhook","webhook":{"url":"https://a.example:8443/p4th","headers":{"a":"s3cr3t"}}}`)
	for _, body := range []string{
		`{"webhook":{"url":"https://a.example:8443/p4th/2"}}`, `{"webhook":{"headers":{"a":"s3cr3t"}}}`,
		`{"name":"t","webhook":{"url":"https://b.example","headers":{}}}`, `{"webhook":{"headers":{}}}`,
	} {
		if _, err := r.Update(t.Context(), who, place, wallet, id, parse(t, body)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := r.Suspend(t.Context(), who, place, wallet, id); err != nil {
		t.Fatal(err)
	}
	r.subscribe(id, "0")
	if err := r.Delete(t.Context(), who, place, wallet, id); err != nil {
		t.Fatal(err)
	}
	socket := r.create(`{"name":"w","type":"websocket","websocket":{"topic":"t"}}`)
	all, _, err := r.db.AuditRecords(t.Context(), store.AuditFilter{Events: true, Limit: 100})
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, a := range slices.Backward(all) { // they come newest first
		e := *a.Event
		if e.Consortium != "consortium of m1" || e.Environment != "e1" || e.Membership != "m1" || e.Wallet != wallet || e.Principal != who.Name {
			t.Errorf("%+v", e)
		}
		got = append(got, e.Kind+" "+strings.ReplaceAll(e.Detail, id, "ID"))
	}
	want := []string{
		`event-stream-create {"name":"s","stream":"ID","webhook":"a.example:8443","headers_changed":true}`,
		`event-stream-update {"name":"s","stream":"ID","webhook":"a.example:8443"}`,
		`event-stream-update {"name":"s","stream":"ID","webhook":"a.example:8443","headers_changed":true}`,
		`event-stream-update {"name":"t","stream":"ID","webhook":"b.example","webhook_before":"a.example:8443","headers_changed":true}`,
		`event-stream-update {"name":"t","stream":"ID","webhook":"b.example"}`,
		`event-stream-suspend {"name":"t","stream":"ID","webhook":"b.example"}`,
		`subscription-create {"name":"Changed(address,uint256)","stream":"ID","webhook":"b.example"}`,
		`event-stream-delete {"name":"t","stream":"ID","webhook":"b.example"}`,
		`event-stream-create {"name":"w","stream":"` + socket + `"}`,
	}
	if !slices.Equal(got, want) {
		t.Errorf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
}
