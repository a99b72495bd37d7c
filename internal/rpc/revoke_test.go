// SPDX-License-Identifier: Apache-2.0

package rpc

import (
	"bufio"
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/hsmsigner/hsmsigner/internal/auth"
)

// within is how soon a socket must be closed after its credential was revoked.
const within = 8 * time.Second

func (r *rig) socketOf(user string) *client {
	r.t.Helper()
	c, _, err := r.dial(func(o *websocket.DialOptions) {
		(&http.Request{Header: o.HTTPHeader}).SetBasicAuth(user, user)
	})
	if err != nil {
		r.t.Fatal(err)
	}
	return c
}

func (r *rig) revoke(name string) int {
	return r.srv.CloseSockets(func(p auth.Principal) bool { return p.Name == name })
}

func users(c *Config) {
	c.Auth = func(q *http.Request) (auth.Principal, error) {
		user, _, _ := q.BasicAuth()
		return auth.Principal{Name: "app:" + user}, nil
	}
}

func TestRevocationClosesASocketWithALiveSubscription(t *testing.T) {
	r, chain := chained(t, users)
	c, other := r.socketOf("a"), r.socketOf("b")
	for _, k := range []*client{c, other} {
		result(t, k.ask(`{"jsonrpc":"2.0","id":1,"method":"eth_subscribe","params":["newHeads"]}`))
	}
	chain.Mine()
	for _, k := range []*client{c, other} {
		if x := k.read(); !strings.Contains(x, "eth_subscription") {
			t.Fatal(x)
		}
	}
	start := time.Now()
	if n := r.revoke("app:a"); n != 1 {
		t.Errorf("%d sockets", n)
	}
	chain.Mine()
	if _, msg, err := c.ws.Read(limited(t)); websocket.CloseStatus(err) != websocket.StatusPolicyViolation {
		t.Errorf("after the revocation: %s, %v", msg, err)
	}
	eventually(t, "its subscription is over", func() bool { return chain.Subscriptions() == 1 })
	if took := time.Since(start); took > within {
		t.Errorf("took %v", took)
	}
	if x := other.read(); !strings.Contains(x, "eth_subscription") {
		t.Errorf("another's socket: %s", x)
	}
}

func TestRevocationLeavesAnAcceptedTransactionBe(t *testing.T) {
	r := newRig(t, users)
	entered, leave, done := make(chan struct{}), make(chan struct{}), make(chan struct{})
	r.hand.hold = func(context.Context) error { close(entered); <-leave; close(done); return nil }
	c := r.socketOf("a")
	c.send(`{"jsonrpc":"2.0","id":1,"method":"eth_sendTransaction","params":[{"from":"` + r.own() + `","to":"` + to + `"}]}`)
	<-entered
	start := time.Now()
	r.revoke("app:a")
	if code, reason := c.closed(); code != websocket.StatusPolicyViolation || reason != "credential revoked" {
		t.Errorf("%d %s", code, reason)
	}
	if took := time.Since(start); took > within {
		t.Errorf("took %v", took)
	}
	close(leave)
	<-done // it ran to its end
	if len(r.hand.begun) != 1 {
		t.Errorf("%d transactions were begun", len(r.hand.begun))
	}
}

func TestRevokedCallerWhoReadsNothingIsCutOff(t *testing.T) {
	var a allowance
	r := newRig(t, users, func(c *Config) { c.Allow = a.allow })
	huge := `"result":"` + strings.Repeat("x", 8<<20) + `"`
	r.wire.answers(func(string, json.RawMessage) string { return huge })
	raw := dialRaw(t, r.http.Listener.Addr().String(), bufio.NewReader(nil))
	for range 4 {
		raw.send(ping) // answered with more than the network takes
	}
	eventually(t, "asked", func() bool { return len(r.wire.calls(t)) == 4 })
	time.Sleep(100 * time.Millisecond)
	start := time.Now()
	if n := r.revoke("app:"); n != 1 {
		t.Fatalf("%d sockets", n)
	}
	a.take()
	raw.send(ping)
	eventually(t, "the socket is gone", func() bool {
		r.srv.mu.Lock()
		defer r.srv.mu.Unlock()
		return len(r.srv.sockets) == 0
	})
	if took := time.Since(start); took > within {
		t.Errorf("took %v", took)
	}
	if n := a.take(); n != nil {
		t.Errorf("what it sends is still done")
	}
}

func TestRevokedCallerGetsAnswersButNoNews(t *testing.T) {
	k := newSocket(context.Background(), &Server{cfg: Config{Limits: Limits{}.withDefaults()}}, auth.Anonymous)
	defer k.cancel()
	k.notify([]byte("before"))
	k.push([]byte("answer"))
	k.notify([]byte("before"))
	k.revoke()
	defer k.out.cutOff.Stop()
	k.notify([]byte("after"))
	if queued, _ := k.push([]byte("after")); queued {
		t.Error("an answer after the farewell")
	}
	if q := k.out.queue; len(q) != 1 || string(q[0].data) != "answer" {
		t.Errorf("it gets %d messages more", len(q))
	}
}

// Between Auth and the upgrade there is a moment in which a socket is not there
// to be closed.
func TestRevocationDuringAnUpgradeIsNotMissed(t *testing.T) {
	asked := 0
	var r *rig
	r = newRig(t, func(c *Config) {
		c.Auth = func(*http.Request) (auth.Principal, error) {
			if asked++; asked == 1 {
				p := auth.Principal{Name: "app:a"}
				r.srv.CloseSockets(func(q auth.Principal) bool { return q == p })
				return p, nil
			}
			return auth.Principal{}, auth.ErrCredentials
		}
	})
	if _, resp, err := r.dial(); err == nil || resp.StatusCode != 401 {
		t.Errorf("upgraded: %v", err)
	}
	if asked != 2 {
		t.Errorf("Auth was asked %d times", asked)
	}
	if n := len(r.srv.sockets); n != 0 {
		t.Errorf("%d sockets", n)
	}
}

func TestUpgradeSurvivesTheRevocationOfAnother(t *testing.T) {
	asked := 0
	var r *rig
	r = newRig(t, func(c *Config) {
		c.Auth = func(*http.Request) (auth.Principal, error) {
			if asked++; asked == 1 {
				r.srv.CloseSockets(func(q auth.Principal) bool { return q.Name == "app:b" })
			}
			return auth.Principal{Name: "app:a"}, nil
		}
	})
	if got := r.socket().ask(ping); got != `{"jsonrpc":"2.0","id":1,"result":"0x1"}` {
		t.Error(got)
	}
}
