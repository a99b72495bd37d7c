// SPDX-License-Identifier: Apache-2.0

package rpc

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/node/nodetest"
)

// client is a WebSocket to the door.
type client struct {
	t  testing.TB
	ws *websocket.Conn
}

func limited(t testing.TB) context.Context {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	t.Cleanup(cancel)
	return ctx
}

func (r *rig) dial(change ...func(*websocket.DialOptions)) (*client, *http.Response, error) {
	opts := &websocket.DialOptions{HTTPClient: r.http.Client(), HTTPHeader: http.Header{}}
	for _, f := range change {
		f(opts)
	}
	ws, resp, err := websocket.Dial(limited(r.t), strings.Replace(r.http.URL, "http", "ws", 1), opts)
	if err != nil {
		return nil, resp, err
	}
	ws.SetReadLimit(64 << 20)
	r.t.Cleanup(func() { _ = ws.CloseNow() })
	return &client{r.t, ws}, resp, nil
}

func (r *rig) socket() *client {
	r.t.Helper()
	c, _, err := r.dial()
	if err != nil {
		r.t.Fatal(err)
	}
	return c
}

func (c *client) send(msg string) {
	c.t.Helper()
	if err := c.ws.Write(limited(c.t), websocket.MessageText, []byte(msg)); err != nil {
		c.t.Fatal(err)
	}
}

func (c *client) read() string {
	c.t.Helper()
	_, b, err := c.ws.Read(limited(c.t))
	if err != nil {
		c.t.Fatal(err)
	}
	return string(b)
}

func (c *client) ask(msg string) string {
	c.t.Helper()
	c.send(msg)
	return c.read()
}

// closed waits for the end of the socket and returns its status.
func (c *client) closed() (websocket.StatusCode, string) {
	c.t.Helper()
	for {
		_, _, err := c.ws.Read(limited(c.t))
		var e websocket.CloseError
		if errors.As(err, &e) {
			return e.Code, e.Reason
		}
		if errors.Is(err, context.DeadlineExceeded) {
			c.t.Fatal("the socket stays open")
		}
		if err != nil {
			return -1, err.Error()
		}
	}
}

// chained is a rig over a chain that has subscriptions.
func chained(t *testing.T, change ...func(*Config)) (*rig, *nodetest.Chain) {
	chain := nodetest.New(t, nodetest.Options{})
	return newRig(t, append(change, func(c *Config) { c.Services["treasury"].Node = dial(t, chain.URL()) })...), chain
}

func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for range 6000 {
		if ok() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatal("never:", what)
}

func TestSocketAnswersAsHTTPDoes(t *testing.T) {
	r := newRig(t)
	c := r.socket()
	for _, m := range malformed() {
		if m.code == codeMethod && strings.Contains(m.message, "WebSocket") || strings.Contains(m.body, "\xff") {
			continue // other answer here; not text
		}
		e := &Error{Code: m.code, Message: m.message}
		want := string(e.appendTo([]byte(`{"jsonrpc":"2.0","id":`+m.id+`,"error":`))) + "}"
		if got := c.ask(m.body); got != want {
			t.Errorf("%s:\n got %s\nwant %s", m.name, got, want)
		}
	}
	if got := c.ask(ping); got != `{"jsonrpc":"2.0","id":1,"result":"0x1"}` {
		t.Error(got)
	}
	if got := c.ask(`[` + ping + `,{"jsonrpc":"2.0","id":2,"method":"eth_sendTransaction","params":[{"from":"` + r.own() + `","to":"` + to + `"},{"idempotencyKey":"k"}]}]`); !strings.HasPrefix(got, `[{"jsonrpc":"2.0","id":1,"result":"0x1"},{"jsonrpc":"2.0","id":2,"result":"0x`) {
		t.Error(got)
	}
	// A notification has no answer: the next message is that of the next request.
	c.send(`{"jsonrpc":"2.0","method":"eth_gasPrice"}`)
	if got := c.ask(`{"jsonrpc":"2.0","id":"next","method":"eth_gasPrice"}`); !strings.Contains(got, `"next"`) {
		t.Error(got)
	}
}

func TestSocketsFramesNeverMix(t *testing.T) {
	r := newRig(t)
	c := r.socket()
	r.wire.answers(func(_ string, params json.RawMessage) string { return `"result":` + string(params) })
	const n = 300 // more than may be at work: the rest waits
	fill := strings.Repeat("x", 2_000)
	go func() {
		for i := range n {
			msg := fmt.Sprintf(`{"jsonrpc":"2.0","id":%d,"method":"eth_call","params":[%d,"%s"]}`, i, i, fill)
			if c.ws.Write(context.Background(), websocket.MessageText, []byte(msg)) != nil {
				return
			}
		}
	}()
	seen := map[int]bool{}
	for range n {
		var a struct {
			ID     int
			Result []any
		}
		if err := json.Unmarshal([]byte(c.read()), &a); err != nil || int(a.Result[0].(float64)) != a.ID || a.Result[1] != fill {
			t.Fatalf("%v: %d", err, a.ID)
		}
		seen[a.ID] = true
	}
	if len(seen) != n {
		t.Errorf("%d answers, want %d", len(seen), n)
	}
}

func TestSubscriptionHasAnIDOfOurOwnAndEnds(t *testing.T) {
	r, chain := chained(t)
	c := r.socket()
	var a, b struct{ Result string }
	_ = json.Unmarshal([]byte(c.ask(`{"jsonrpc":"2.0","id":1,"method":"eth_subscribe","params":["newHeads"]}`)), &a)
	_ = json.Unmarshal([]byte(c.ask(`{"jsonrpc":"2.0","id":1,"method":"eth_subscribe","params":["newHeads"]}`)), &b)
	if len(a.Result) != 34 || a.Result == b.Result {
		t.Fatalf("ids %q and %q", a.Result, b.Result)
	}
	chain.Mine()
	got := map[string]string{}
	for range 2 {
		var n struct {
			JSONRPC, Method string
			Params          struct {
				Subscription string
				Result       struct{ Number string }
			}
		}
		if err := json.Unmarshal([]byte(c.read()), &n); err != nil || n.Method != "eth_subscription" || n.JSONRPC != "2.0" {
			t.Fatalf("%v %+v", err, n)
		}
		got[n.Params.Subscription] = n.Params.Result.Number
	}
	if got[a.Result] != "0x1" || got[b.Result] != "0x1" {
		t.Errorf("%v", got)
	}
	if x := c.ask(`{"jsonrpc":"2.0","id":2,"method":"eth_unsubscribe","params":["` + a.Result + `"]}`); result(t, x) != "true" {
		t.Error(x)
	}
	eventually(t, "one left at the node", func() bool { return chain.Subscriptions() == 1 })
	chain.Mine()
	if x := c.read(); !strings.Contains(x, b.Result) {
		t.Error(x)
	}
	wantError(t, c.ask(`{"jsonrpc":"2.0","id":1,"method":"eth_unsubscribe","params":["`+a.Result+`"]}`), codeServer, "subscription not found")
	wantError(t, c.ask(`{"jsonrpc":"2.0","id":1,"method":"eth_unsubscribe","params":[5]}`), codeParams, "parameter 1 (subscription) must be the id that eth_subscribe answered; got a number")
	wantError(t, c.ask(`{"jsonrpc":"2.0","id":1,"method":"eth_subscribe","params":[]}`), codeParams, `parameter 1 (subscription) must be a name such as "newHeads" or "logs"; got nothing`)
	if x := c.ask(`{"jsonrpc":"2.0","id":1,"method":"eth_subscribe","params":["nonsense"]}`); !strings.Contains(x, `"code":-32601`) {
		t.Errorf("the node's own refusal: %s", x)
	}
	other := r.socket()
	wantError(t, other.ask(`{"jsonrpc":"2.0","id":1,"method":"eth_unsubscribe","params":["`+b.Result+`"]}`), codeServer, "subscription not found")
	_ = c.ws.Close(websocket.StatusNormalClosure, "")
	eventually(t, "the socket's end is the subscription's", func() bool { return chain.Subscriptions() == 0 })
}

func TestAnswerOfASubscriptionComesBeforeItsEvents(t *testing.T) {
	r, chain := chained(t)
	entered, leave := make(chan struct{}), make(chan struct{})
	r.hand.hold = func(context.Context) error { close(entered); <-leave; return nil }
	c := r.socket()
	// The transaction keeps the answer of the whole batch back, while blocks
	// come in.
	c.send(`[{"jsonrpc":"2.0","id":1,"method":"eth_subscribe","params":["newHeads"]},{"jsonrpc":"2.0","id":2,"method":"eth_sendTransaction","params":[{"from":"` + r.own() + `","to":"` + to + `"}]}]`)
	<-entered
	eventually(t, "subscribed", func() bool { return chain.Subscriptions() == 1 })
	for range 3 {
		chain.Mine()
	}
	time.Sleep(50 * time.Millisecond) // for the events to reach the door
	close(leave)
	chain.Mine()
	if first := c.read(); !strings.HasPrefix(first, `[{"jsonrpc":"2.0","id":1,"result":"0x`) {
		t.Fatalf("%s", first)
	}
	for want := range 4 {
		if next := c.read(); !strings.Contains(next, fmt.Sprintf(`"number":"%#x"`, want+1)) {
			t.Fatalf("want block %d, got %s", want+1, next)
		}
	}
}

func TestNotificationsThatLagTooFarEndTheSocket(t *testing.T) {
	for name, c := range map[string]struct{ size, fit int }{
		"by bytes":  {2 << 10, 8},
		"by number": {1, queueLength},
	} {
		var ended bool
		k := &socket{
			server: &Server{cfg: Config{Limits: Limits{SendBuffer: 16 << 10}}},
			cancel: func() { ended = true },
		}
		for range c.fit {
			k.notify(make([]byte, c.size))
		}
		if ended {
			t.Errorf("%s: too early", name)
		}
		if k.notify(make([]byte, c.size)); !ended {
			t.Errorf("%s: one too many is taken", name)
		}
	}
}

func TestSubscriptionSurvivesTheNodesBreak(t *testing.T) {
	r, chain := chained(t)
	c := r.socket()
	result(t, c.ask(`{"jsonrpc":"2.0","id":1,"method":"eth_subscribe","params":["newHeads"]}`))
	before := chain.Connections()
	chain.CutConnections()
	eventually(t, "renewed", func() bool { return chain.Connections() > before && chain.Subscriptions() == 1 })
	chain.Mine()
	if x := c.read(); !strings.Contains(x, "eth_subscription") {
		t.Error(x)
	}
	// If the node will not have it any more the caller learns it.
	chain.Fail("eth_subscribe", &nodetest.RPCError{Code: -32000, Message: "no more"}, nodetest.Forever)
	chain.CutConnections()
	if code, reason := c.closed(); code != websocket.StatusTryAgainLater || reason != "the node ended a subscription" {
		t.Errorf("%d %s", code, reason)
	}
}

func TestSubscriptionsOfASocketAreLimited(t *testing.T) {
	r, chain := chained(t, func(c *Config) { c.Limits.Subscriptions = 3 })
	c := r.socket()
	for range 3 {
		result(t, c.ask(`{"jsonrpc":"2.0","id":1,"method":"eth_subscribe","params":["newHeads"]}`))
	}
	wantError(t, c.ask(`{"jsonrpc":"2.0","id":1,"method":"eth_subscribe","params":["newHeads"]}`), codeBusy,
		"too busy: the WebSocket has 3 subscriptions, which is the most allowed")
	if n := chain.Subscriptions(); n != 3 {
		t.Errorf("%d at the node", n)
	}
}

func TestSocketsAreLimited(t *testing.T) {
	const most = 50
	r := newRig(t, func(c *Config) { c.Limits.Sockets = most })
	var open []*client
	for range most {
		open = append(open, r.socket())
	}
	for range 200 {
		_, resp, err := r.dial()
		if err == nil || resp == nil || resp.StatusCode != 503 || resp.Header.Get("Retry-After") != "5" {
			t.Fatalf("one more: %v %v", err, resp)
		}
	}
	for _, c := range open {
		if got := c.ask(ping); got != `{"jsonrpc":"2.0","id":1,"result":"0x1"}` {
			t.Fatal(got)
		}
	}
	_ = open[0].ws.Close(websocket.StatusNormalClosure, "")
	eventually(t, "room again", func() bool {
		c, _, err := r.dial()
		return err == nil && c.ask(ping) != ""
	})
}

func TestSubscriberThatReadsNothingIsClosed(t *testing.T) {
	r, chain := chained(t, func(c *Config) {
		c.Limits.SendBuffer = 16 << 10
		c.Limits.WriteTime = 10 * time.Second // it is the buffer that ends it
	})
	slow, quick := r.socket(), r.socket()
	result(t, slow.ask(`{"jsonrpc":"2.0","id":1,"method":"eth_subscribe","params":["newHeads"]}`))
	result(t, quick.ask(`{"jsonrpc":"2.0","id":1,"method":"eth_subscribe","params":["newHeads"]}`))
	stop := make(chan struct{})
	var wg sync.WaitGroup
	wg.Go(func() {
		for {
			select {
			case <-stop:
				return
			default:
				chain.Mine()
				if x := quick.read(); !strings.Contains(x, "eth_subscription") {
					t.Errorf("the quick one got %s", x)
					return
				}
			}
		}
	})
	eventually(t, "only the quick one is left", func() bool { return chain.Subscriptions() == 1 })
	close(stop)
	wg.Wait()
}

func TestUpgradeIsGuardedLikeAPost(t *testing.T) {
	r := newRig(t, func(c *Config) {
		c.AllowedOrigins = []string{"https://app.example"}
		c.Auth = func(q *http.Request) (auth.Principal, error) {
			user, pass, _ := q.BasicAuth()
			if pass != "right" {
				return auth.Principal{}, errors.New("no")
			}
			return auth.Principal{Name: "app:" + user}, nil
		}
	})
	basic := func(o *websocket.DialOptions) {
		req := http.Request{Header: o.HTTPHeader}
		req.SetBasicAuth("a", "right")
	}
	origin := func(v string) func(*websocket.DialOptions) {
		return func(o *websocket.DialOptions) { o.HTTPHeader.Set("Origin", v) }
	}
	host := func(v string) func(*websocket.DialOptions) {
		return func(o *websocket.DialOptions) { o.Host = v }
	}
	for name, c := range map[string]struct {
		want   int
		change []func(*websocket.DialOptions)
	}{
		"credential":        {101, []func(*websocket.DialOptions){basic}},
		"listed origin":     {101, []func(*websocket.DialOptions){basic, origin("https://app.example")}},
		"no credential":     {401, nil},
		"stranger's origin": {403, []func(*websocket.DialOptions){basic, origin("https://evil.example")}},
		"own origin":        {403, []func(*websocket.DialOptions){basic, origin(r.http.URL)}},
		"rebound host":      {403, []func(*websocket.DialOptions){basic, host("evil.example")}},
	} {
		_, resp, err := r.dial(c.change...)
		if resp == nil || resp.StatusCode != c.want {
			t.Errorf("%s: %v %v, want %d", name, err, resp, c.want)
		}
	}
}

func TestRevokedPrincipalLosesItsSockets(t *testing.T) {
	r := newRig(t, func(c *Config) {
		c.Auth = func(q *http.Request) (auth.Principal, error) {
			user, _, _ := q.BasicAuth()
			return auth.Principal{Name: "app:" + user}, nil
		}
	})
	as := func(user string) *client {
		c, _, err := r.dial(func(o *websocket.DialOptions) {
			req := http.Request{Header: o.HTTPHeader}
			req.SetBasicAuth(user, "")
		})
		if err != nil {
			t.Fatal(err)
		}
		c.ask(ping)
		return c
	}
	a1, a2, b := as("a"), as("a"), as("b")
	r.srv.CloseSockets(func(p auth.Principal) bool { return p.Name == "app:a" })
	for _, c := range []*client{a1, a2} {
		if code, reason := c.closed(); code != websocket.StatusPolicyViolation || reason != "credential revoked" {
			t.Errorf("%d %s", code, reason)
		}
	}
	if got := b.ask(ping); got != `{"jsonrpc":"2.0","id":1,"result":"0x1"}` {
		t.Error(got)
	}
}

func TestShutdownAnswersSocketsAndClosesThem(t *testing.T) {
	r := newRig(t)
	c := r.socket()
	entered, leave := make(chan struct{}), make(chan struct{})
	r.hand.hold = func(context.Context) error { close(entered); <-leave; return nil }
	c.send(`{"jsonrpc":"2.0","id":1,"method":"eth_sendTransaction","params":[{"from":"` + r.own() + `","to":"` + to + `"}]}`)
	<-entered
	done := make(chan error)
	go func() { done <- r.srv.Shutdown(context.Background()) }()
	eventually(t, "new requests are refused", func() bool {
		return strings.Contains(c.ask(`{"jsonrpc":"2.0","id":"new","method":"eth_gasPrice"}`), "shutting down")
	})
	if _, resp, err := r.dial(); err == nil || resp.StatusCode != 503 {
		t.Errorf("a new socket: %v", err)
	}
	close(leave)
	result(t, c.read())
	if code, reason := c.closed(); code != websocket.StatusGoingAway || reason != "shutting down" {
		t.Errorf("%d %s", code, reason)
	}
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestIdleAndDeadSocketsAreClosed(t *testing.T) {
	r, chain := chained(t, func(c *Config) {
		c.Limits.Idle = 3 * time.Second
		c.Limits.Ping = 2 * time.Second
	})
	idle, subscribed := r.socket(), r.socket()
	result(t, subscribed.ask(`{"jsonrpc":"2.0","id":1,"method":"eth_subscribe","params":["newHeads"]}`))
	alive := make(chan string, 1)
	go func() { alive <- subscribed.read() }() // reading also answers pings
	if code, reason := idle.closed(); code != websocket.StatusNormalClosure || reason != "idle" {
		t.Errorf("%d %s", code, reason)
	}
	time.Sleep(5 * time.Second)
	chain.Mine()
	if x := <-alive; !strings.Contains(x, "eth_subscription") {
		t.Error(x)
	}
	// Now nobody reads, so no ping is answered.
	eventually(t, "the dead one is gone", func() bool { return chain.Subscriptions() == 0 })
}

func TestMessagesThatEndASocket(t *testing.T) {
	big := newRig(t).socket()
	if got := big.ask(strings.Repeat(" ", 1<<20-len(ping)) + ping); got != `{"jsonrpc":"2.0","id":1,"result":"0x1"}` {
		t.Errorf("exactly the limit: %s", got)
	}
	_ = big.ws.Write(limited(t), websocket.MessageText, make([]byte, 1<<20+1))
	// What of the message was not read resets the connection, sometimes before
	// the client has seen why.
	if code, _ := big.closed(); code != websocket.StatusMessageTooBig && code != -1 {
		t.Errorf("too big: %d", code)
	}
	r := newRig(t, func(c *Config) { c.Limits.ReadTime = 2 * time.Second })
	binary := r.socket()
	_ = binary.ws.Write(limited(t), websocket.MessageBinary, []byte(ping))
	if code, _ := binary.closed(); code != websocket.StatusUnsupportedData {
		t.Errorf("binary: %d", code)
	}
	slow := r.socket()
	w, err := slow.ws.Writer(limited(t), websocket.MessageText)
	if err != nil {
		t.Fatal(err)
	}
	_, _ = w.Write([]byte(`{`))
	_, _ = w.Write(make([]byte, 8<<10)) // past the client's buffer
	start := time.Now()
	slow.closed()
	if d := time.Since(start); d > 30*time.Second {
		t.Errorf("a message that does not end: closed after %v", d)
	}
}
