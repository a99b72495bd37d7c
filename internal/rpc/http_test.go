// SPDX-License-Identifier: Apache-2.0

package rpc

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/txmgr"
)

const ping = `{"jsonrpc":"2.0","id":1,"method":"eth_gasPrice"}`

func TestHostMustBeOurs(t *testing.T) {
	r := newRig(t, func(c *Config) { c.AllowedHosts = []string{"Signer.example", "2001:db8::1"} })
	for host, want := range map[string]int{
		"":                    200, // the listener's own
		"localhost":           200,
		"LOCALHOST:8545":      200,
		"localhost.":          200,
		"127.0.0.1:1":         200,
		"127.1.2.3":           200,
		"[::1]:8545":          200,
		"signer.example":      200,
		"signer.example:8545": 200,
		"SIGNER.EXAMPLE.":     200,
		"[2001:db8::1]:80":    200,
		"evil.example":        403,
		"signer.example.evil": 403,
		"localhost.evil":      403,
		"127.0.0.1.nip.io":    403,
		"192.0.2.1":           403,
		"0.0.0.0":             403,
		"a.localhost":         403,
	} {
		resp, body := r.do(ping, func(q *http.Request) { q.Host = host })
		if resp.StatusCode != want {
			t.Errorf("%q: %d, want %d", host, resp.StatusCode, want)
		}
		if want == 403 {
			if full := `{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"invalid request: the Host \"` + host + `\" is not allowed here"}}`; strings.ReplaceAll(body, `\\`, `\`) != full {
				t.Errorf("%s", body)
			}
		}
	}
}

func TestOriginMustBeListed(t *testing.T) {
	r := newRig(t, func(c *Config) { c.AllowedOrigins = []string{"https://app.example"} })
	for origin, want := range map[string]int{
		"https://app.example": 200, "HTTPS://APP.EXAMPLE": 200,
		"http://app.example": 403, "https://app.example:8443": 403, "https://app.example.evil": 403, "null": 403, "": 403, "http://localhost": 403,
	} {
		resp, _ := r.do(ping, header("Origin", origin))
		if resp.StatusCode != want {
			t.Errorf("%q: %d, want %d", origin, resp.StatusCode, want)
		}
		if got := resp.Header.Get("Access-Control-Allow-Origin"); (got != "") != (want == 200) {
			t.Errorf("%q: allowed origin %q", origin, got)
		}
	}
	preflight := func(origin string) *http.Response {
		resp, _ := r.do("", func(q *http.Request) {
			q.Method = http.MethodOptions
			q.Header.Set("Origin", origin)
			q.Header.Set("Access-Control-Request-Method", "POST")
		})
		return resp
	}
	if resp := preflight("https://app.example"); resp.StatusCode != 204 || !strings.Contains(resp.Header.Get("Access-Control-Allow-Headers"), "Content-Type") ||
		resp.Header.Get("Access-Control-Allow-Methods") != "POST" || resp.Header.Get("Vary") != "Origin" {
		t.Errorf("preflight: %d %v", resp.StatusCode, resp.Header)
	}
	if resp := preflight("https://evil.example"); resp.StatusCode != 403 || resp.Header.Get("Access-Control-Allow-Origin") != "" {
		t.Errorf("preflight of a stranger: %d %v", resp.StatusCode, resp.Header)
	}
}

func TestOnlyPlainJSONIsTaken(t *testing.T) {
	r := newRig(t)
	for contentType, want := range map[string]int{
		"application/json": 200, "application/json; charset=utf-8": 200, "Application/JSON;charset=UTF-8": 200,
		"": 415, "text/plain": 415, "application/x-www-form-urlencoded": 415, "application/json; charset=utf-16": 415,
		"application/jsonx": 415, "text/plain; application/json": 415, "multipart/form-data": 415, "application/json;": 200, ";": 415,
	} {
		if resp, _ := r.do(ping, header("Content-Type", contentType)); resp.StatusCode != want {
			t.Errorf("%q: %d, want %d", contentType, resp.StatusCode, want)
		}
	}
	resp, _ := r.do(ping, func(q *http.Request) { q.Header["Content-Type"] = []string{"application/json", "text/plain"} })
	if resp.StatusCode != 415 {
		t.Errorf("two types: %d", resp.StatusCode)
	}
}

func TestCompressedBodyIsNotUnpacked(t *testing.T) {
	r := newRig(t)
	var bomb bytes.Buffer
	z := gzip.NewWriter(&bomb)
	_, _ = io.CopyN(z, zeros{}, 4<<20)
	_ = z.Close()
	resp, body := r.do(bomb.String(), header("Content-Encoding", "gzip"))
	want := `{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"invalid request: Content-Encoding \"gzip\" is not accepted; send the body as it is"}}`
	if resp.StatusCode != 415 || body != want {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
	if resp, _ := r.do(ping, header("Content-Encoding", "identity")); resp.StatusCode != 200 {
		t.Errorf("identity: %d", resp.StatusCode)
	}
}

type zeros struct{}

func (zeros) Read(p []byte) (int, error) { clear(p); return len(p), nil }

// counted counts what was asked of it.
type counted struct{ n atomic.Int64 }

func (c *counted) Read(p []byte) (int, error) {
	c.n.Add(int64(len(p)))
	for i := range p {
		p[i] = ' '
	}
	return len(p), nil
}

func TestGigabyteIsCutOffEarly(t *testing.T) {
	r := newRig(t)
	for _, announced := range []int64{1 << 30, -1} {
		body := &counted{}
		req, _ := http.NewRequest(http.MethodPost, r.http.URL, io.LimitReader(body, 1<<30))
		req.ContentLength = announced
		req.Header.Set("Content-Type", "application/json")
		resp, err := r.http.Client().Do(req)
		if err == nil { // the client may see the connection closed instead
			if resp.StatusCode != 413 {
				t.Errorf("announced %d: %d", announced, resp.StatusCode)
			}
			resp.Body.Close()
		}
		if n := body.n.Load(); n > 32<<20 {
			t.Errorf("announced %d: %d bytes were taken", announced, n)
		}
	}
	big := strings.Repeat(" ", 1<<20-len(ping)) + ping
	if resp, _ := r.do(big); resp.StatusCode != 200 {
		t.Errorf("exactly the limit: %d", resp.StatusCode)
	}
	resp, body := r.do(big + " ")
	if resp.StatusCode != 413 || body != `{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"invalid request: the body is larger than 1048576 bytes"}}` {
		t.Errorf("a byte more: %d %s", resp.StatusCode, body)
	}
}

func TestOtherHTTPMethodsGetAHint(t *testing.T) {
	r := newRig(t)
	for _, method := range []string{"GET", "HEAD", "PUT", "DELETE", "OPTIONS", "PATCH"} {
		resp, body := r.do("", func(q *http.Request) { q.Method = method })
		if resp.StatusCode != 405 || resp.Header.Get("Allow") != "POST" || method != "HEAD" && !strings.Contains(body, "JSON-RPC endpoint") {
			t.Errorf("%s: %d %s", method, resp.StatusCode, body)
		}
	}
}

func TestWalletsAreKnownOnlyToTheAuthenticated(t *testing.T) {
	r := newRig(t, func(c *Config) {
		c.Auth = func(q *http.Request) (auth.Principal, error) {
			user, pass, _ := q.BasicAuth()
			if pass == "again" {
				return auth.Principal{}, &txmgr.BusyError{Reason: "too many attempts", Status: 429, RetryAfter: time.Minute}
			}
			if user != "app" || pass != "right" {
				return auth.Principal{}, errors.New("no such credential")
			}
			return auth.Principal{Name: "app:" + user}, nil
		}
	})
	at := func(path, pass string) (int, string, string) {
		resp, body := r.do(ping, func(q *http.Request) {
			q.URL.Path = path
			if pass != "" {
				q.SetBasicAuth("app", pass)
			}
		})
		return resp.StatusCode, resp.Header.Get("WWW-Authenticate"), body
	}
	for _, path := range []string{"/", "/treasury", "/nope"} {
		for _, pass := range []string{"", "wrong"} {
			if status, challenge, body := at(path, pass); status != 401 || !strings.HasPrefix(challenge, "Basic realm=") || strings.Contains(body, "no such credential") {
				t.Errorf("%s with %q: %d %q %s", path, pass, status, challenge, body)
			}
		}
	}
	if status, challenge, body := at("/", "again"); status != 429 || challenge != "" || !strings.Contains(body, "too many attempts") {
		t.Errorf("too many attempts: %d %q %s", status, challenge, body)
	}
	for path, want := range map[string]int{"/": 200, "/treasury": 200, "/treasury/": 200, "/nope": 404, "/treasury/x": 404, "/Treasury": 404, "//": 200} {
		if status, _, body := at(path, "right"); status != want {
			t.Errorf("%s: %d %s, want %d", path, status, body, want)
		}
	}
	r.do(`{"jsonrpc":"2.0","id":1,"method":"eth_sendTransaction","params":[{"from":"`+r.own()+`","to":"`+to+`"}]}`, func(q *http.Request) { q.SetBasicAuth("app", "right") })
	if len(r.hand.who) != 1 || r.hand.who[0].Name != "app:app" {
		t.Errorf("principals %v", r.hand.who)
	}
}

// open dials the door and sends what a slow caller sends first.
func (r *rig) open(first string) net.Conn {
	r.t.Helper()
	conn, err := net.Dial("tcp", r.http.Listener.Addr().String())
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { conn.Close() })
	if _, err := io.WriteString(conn, first); err != nil {
		r.t.Fatal(err)
	}
	return conn
}

func TestSlowBodiesAreClosedAndDisturbNobody(t *testing.T) {
	const slow = 200
	r := newRig(t, func(c *Config) {
		c.Limits.ReadTime = 2 * time.Second
		c.Limits.Concurrent = 4 // far fewer than the slow ones
	})
	head := "POST / HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{"
	var conns []net.Conn
	for range slow {
		conns = append(conns, r.open(head))
	}
	if resp, _ := r.do(ping); resp.StatusCode != 200 {
		t.Errorf("a caller beside them got %d", resp.StatusCode)
	}
	for i, c := range conns {
		_ = c.SetReadDeadline(time.Now().Add(time.Minute))
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil {
			t.Fatalf("slow caller %d: %v", i, err)
		}
		body, _ := io.ReadAll(resp.Body)
		if resp.StatusCode != 400 || !resp.Close || !strings.Contains(string(body), "came too slowly") {
			t.Fatalf("slow caller %d: %d %s", i, resp.StatusCode, body)
		}
	}
}

func TestReadDeadlineDoesNotCutOffWork(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Limits.ReadTime = 2 * time.Second })
	r.hand.hold = func(ctx context.Context) error {
		select {
		case <-time.After(2500 * time.Millisecond):
			return nil
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	result(t, r.call("eth_sendTransaction", `[{"from":"`+r.own()+`","to":"`+to+`"}]`))
	result(t, r.call("eth_sendTransaction", `[{"from":"`+r.own()+`","to":"`+to+`"}]`)) // on the same connection
}

func TestTooManyRequestsAreRefusedWithRetryAfter(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Limits.Concurrent = 1 })
	entered, leave := make(chan struct{}), make(chan struct{})
	r.hand.hold = func(context.Context) error { close(entered); <-leave; return nil }
	done := make(chan string)
	go func() {
		done <- r.call("eth_sendTransaction", `[{"from":"`+r.own()+`","to":"`+to+`"}]`)
	}()
	<-entered
	resp, body := r.do(ping)
	if want := `{"jsonrpc":"2.0","id":null,"error":{"code":-32005,"message":"too busy: 1 requests are at work"}}`; resp.StatusCode != 503 || resp.Header.Get("Retry-After") != "1" || body != want {
		t.Errorf("%d %v %s", resp.StatusCode, resp.Header, body)
	}
	close(leave)
	result(t, <-done)
	if resp, _ := r.do(ping); resp.StatusCode != 200 {
		t.Errorf("afterwards: %d", resp.StatusCode)
	}
}

// A body of commas takes fifty times its size once parsed.
func TestMemoryOfLargeRequestsIsBounded(t *testing.T) {
	r := newRig(t, func(c *Config) { c.Limits.Memory = 1 << 20 })
	commas := `{"jsonrpc":"2.0","id":1,"method":"eth_call","params":[` + strings.Repeat("0,", 20_000) + `0]}`
	resp, body := r.do(commas)
	if resp.StatusCode != 503 || !strings.Contains(body, `"code":-32005`) || resp.Header.Get("Retry-After") == "" {
		t.Errorf("%d %.200s", resp.StatusCode, body)
	}
	hex := `{"jsonrpc":"2.0","id":1,"method":"eth_call","params":["0x` + strings.Repeat("00", 100_000) + `"]}`
	for range 8 { // what is given back can be used again
		if resp, body := r.do(hex); resp.StatusCode != 200 {
			t.Fatalf("%d %.200s", resp.StatusCode, body)
		}
	}
	if used := r.used().memory; used != 0 {
		t.Errorf("%d bytes are still claimed", used)
	}
}

func TestShutdownLetsRequestsFinish(t *testing.T) {
	r := newRig(t)
	entered, leave := make(chan struct{}), make(chan struct{})
	r.hand.hold = func(context.Context) error { close(entered); <-leave; return nil }
	answer := make(chan string)
	go func() {
		answer <- r.call("eth_sendTransaction", `[{"from":"`+r.own()+`","to":"`+to+`"}]`)
	}()
	<-entered
	short, cancel := context.WithTimeout(context.Background(), 20*time.Millisecond)
	defer cancel()
	if err := r.srv.Shutdown(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("with a request at work: %v", err)
	}
	if resp, body := r.do(ping); resp.StatusCode != 503 || !strings.Contains(body, "shutting down") || resp.Header.Get("Retry-After") != "5" {
		t.Errorf("a new request: %d %s", resp.StatusCode, body)
	}
	finished := make(chan error)
	go func() { finished <- r.srv.Shutdown(context.Background()) }()
	close(leave)
	result(t, <-answer)
	if err := <-finished; err != nil {
		t.Error(err)
	}
}

func TestSendThatOutlivesItsDeadlineIsPending(t *testing.T) {
	r := newRig(t, func(c *Config) { c.SendTimeout = 50 * time.Millisecond })
	r.hand.hold = func(ctx context.Context) error { <-ctx.Done(); return fmt.Errorf("wait: %w", ctx.Err()) }
	wantError(t, r.call("eth_sendTransaction", `[{"from":"`+r.own()+`","to":"`+to+`"}]`), codePending,
		"outcome pending: no answer in time; the transaction may be stored and may still be sent")
}
