// SPDX-License-Identifier: Apache-2.0

package rpc

import (
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/hsmsigner/hsmsigner/internal/auth"
)

// later is an error with the methods that Config.Auth names.
type later struct {
	status int
	after  time.Duration
}

func (l later) Error() string             { return "secret: bucket of app:a at 10.0.0.7" }
func (l later) HTTPStatus() int           { return l.status }
func (l later) RetryAfter() time.Duration { return l.after }

func TestLimitOfACredentialIsToldWithItsTime(t *testing.T) {
	var answer error
	r := newRig(t, func(c *Config) {
		c.Auth = func(*http.Request) (auth.Principal, error) { return auth.Anonymous, answer }
	})
	for name, c := range map[string]struct {
		err         error
		status      int
		after, body string
	}{
		"limit":            {&auth.LimitError{Reason: "60 requests a second", RetryAfter: 1500 * time.Millisecond}, 429, "2", `too busy: 60 requests a second`},
		"limit, no time":   {&auth.LimitError{Reason: "x"}, 429, "1", `too busy: x`},
		"methods":          {later{429, 3 * time.Second}, 429, "3", `too busy: the limit of requests is reached`},
		"methods, 503":     {later{503, 0}, 503, "1", `too busy: the caller cannot be checked just now`},
		"methods, other":   {later{302, time.Second}, 401, "", ``},
		"store is away":    {errors.Join(auth.ErrUnavailable, errors.New("secret: host db.internal")), 503, "1", `too busy: credentials cannot be checked just now`},
		"not a credential": {auth.ErrCredentials, 401, "", ``},
	} {
		answer = c.err
		want := `{"jsonrpc":"2.0","id":null,"error":{"code":-32005,"message":"` + c.body + `"}}`
		if c.status == 401 {
			want = `{"jsonrpc":"2.0","id":null,"error":{"code":-32600,"message":"invalid request: a valid credential is required (HTTP Basic)"}}`
		}
		resp, body := r.do(ping)
		if resp.StatusCode != c.status || resp.Header.Get("Retry-After") != c.after || body != want {
			t.Errorf("%s: %d %q %s", name, resp.StatusCode, resp.Header.Get("Retry-After"), body)
		}
		if _, resp, err := r.dial(); err == nil || resp.StatusCode != c.status || resp.Header.Get("Retry-After") != c.after {
			t.Errorf("%s, upgrade: %v", name, err)
		}
	}
}

// allowance counts what it is asked for.
type allowance struct {
	mu    sync.Mutex
	asked []int
	err   error
}

func (a *allowance) allow(_ auth.Principal, n int) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.asked = append(a.asked, n)
	return a.err
}

func (a *allowance) take() []int {
	a.mu.Lock()
	defer a.mu.Unlock()
	was := a.asked
	a.asked = nil
	return was
}

func TestEveryRequestCountsHoweverItComes(t *testing.T) {
	var a allowance
	r := newRig(t, func(c *Config) { c.Allow = a.allow })
	c := r.socket()
	batch := func(n int) string { return "[" + strings.Repeat(ping+",", n-1) + ping + "]" }
	for _, x := range []struct {
		name, body string
		http, ws   []int // Auth has counted the first of a body, and the upgrade
	}{
		{"a request", ping, nil, []int{1}},
		{"a batch", batch(7), []int{6}, []int{7}},
		{"a batch of one", batch(1), nil, []int{1}},
		{"not JSON", "{", nil, []int{1}},
		{"an empty batch", "[]", nil, []int{1}},
		{"too long a batch", batch(101), nil, []int{1}},
		{"no request", "5", nil, []int{1}},
	} {
		r.do(x.body)
		if got := a.take(); !slices.Equal(got, x.http) {
			t.Errorf("%s over HTTP: %v, want %v", x.name, got, x.http)
		}
		c.ask(x.body)
		if got := a.take(); !slices.Equal(got, x.ws) {
			t.Errorf("%s on a WebSocket: %v, want %v", x.name, got, x.ws)
		}
	}
	c.send(`{"jsonrpc":"2.0","method":"eth_gasPrice"}`)
	c.ask(ping)
	if got := a.take(); len(got) != 2 {
		t.Errorf("with a notification: %v", got)
	}
}

func TestNeitherSocketNorBatchIsAWayAroundTheLimit(t *testing.T) {
	var a allowance
	r := newRig(t, func(c *Config) { c.Allow = a.allow })
	c := r.socket()
	a.err = &auth.LimitError{Reason: "60 requests a second", RetryAfter: 2 * time.Second}
	const refusal = `"error":{"code":-32005,"message":"too busy: 60 requests a second"}}`
	send := `{"jsonrpc":"2.0","id":1,"method":"eth_sendTransaction","params":[{"from":"` + r.own() + `","to":"` + to + `"}]}`
	resp, body := r.do("[" + send + "," + ping + "]")
	if resp.StatusCode != 429 || resp.Header.Get("Retry-After") != "2" || body != `{"jsonrpc":"2.0","id":null,`+refusal {
		t.Errorf("batch: %d %v %s", resp.StatusCode, resp.Header, body)
	}
	for msg, id := range map[string]string{send: "1", "[" + send + "]": "null", strings.Replace(send, `"id":1`, `"id":"x"`, 1): `"x"`} {
		if got := c.ask(msg); got != `{"jsonrpc":"2.0","id":`+id+`,`+refusal {
			t.Errorf("message: %s", got)
		}
	}
	if len(r.hand.begun) != 0 || len(r.wire.calls(t)) != 0 {
		t.Error("something was done all the same")
	}
	a.err = nil
	if got := c.ask(ping); got != `{"jsonrpc":"2.0","id":1,"result":"0x1"}` {
		t.Errorf("later, on the same WebSocket: %s", got)
	}
	a.err = errors.New("secret: a bug")
	if got := c.ask(ping); strings.Contains(got, "secret") || !strings.Contains(got, `"code":-32603`) {
		t.Errorf("an error that nobody foresaw: %s", got)
	}
	a.err = auth.ErrCredentials
	c.send(ping)
	if code, reason := c.closed(); code != websocket.StatusPolicyViolation || reason != "credential revoked" {
		t.Errorf("credential that is gone: %d %s", code, reason)
	}
	if resp, _ := r.do("[" + ping + "," + ping + "]"); resp.StatusCode != 401 {
		t.Errorf("the same over HTTP: %d", resp.StatusCode)
	}
}
