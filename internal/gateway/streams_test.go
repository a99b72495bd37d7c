// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/contract"
	"github.com/hsmsigner/hsmsigner/internal/dialrule"
	"github.com/hsmsigner/hsmsigner/internal/eventstream"
)

// seenTopic is the Keccak-256 of Seen(uint256).
const seenTopic = "d643c01d22702743c4086499fc0fb9fe5e06272216181007be2387d3f1680d1e"

const seenEvent = `{"type":"event","name":"Seen","inputs":[{"name":"x","type":"uint256"}]}`

// loudCode is a contract that logs Seen of the first word of what it is called
// with: CALLDATACOPY(0, 4, 32), LOG1(0, 32, topic).
const loudCode = "0x602e80600b6000396000f3" + "602060046000377f" + seenTopic + "60206000a100"

// streamRig is a gateway with event streams.
type streamRig struct {
	*rig
	part *Streams
}

func newStreamRig(t *testing.T) *streamRig {
	t.Helper()
	s := &streamRig{rig: newRig(t)}
	streams, err := eventstream.New(eventstream.Config{
		Store: s.db, Poll: 10 * time.Millisecond, SaveEvery: 20 * time.Millisecond,
		Node: func(name string) eventstream.Node {
			if w := s.fleet.Wallet(name); w != nil {
				return w
			}
			return nil
		},
		Egress: dialrule.Config{Rules: dialrule.Rules{Allow: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}}},
	})
	s.must(err)
	s.part, err = NewStreams(StreamsConfig{Streams: streams, Desk: s.handler.cfg.Desk})
	s.must(err)
	cfg := s.handler.cfg
	cfg.Streams = s.part
	s.handler, err = New(cfg)
	s.must(err)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		streams.Run(ctx)
	}()
	t.Cleanup(func() {
		s.part.Close()
		cancel()
		<-done
	})
	return s
}

// loud deploys a contract that logs an event of every call.
func (r *streamRig) loud() (id, address string) {
	r.t.Helper()
	abi := `[` + seenEvent + `,{"type":"function","name":"see","inputs":[{"name":"x","type":"uint256"}],"outputs":[],"stateMutability":"nonpayable"}]`
	id = r.want(200, "POST", "/abis", `{"abi":`+abi+`,"bytecode":"`+loudCode+`","name":"Loud"}`).str("id")
	made := r.want(200, "POST", "/abis/"+id+"?fly-sync&fly-from="+r.alice, `{}`)
	return id, made.str("contractAddress")
}

func (r *streamRig) see(address, x string) {
	r.t.Helper()
	r.want(200, "POST", "/contracts/"+address+"/see?fly-sync&fly-from="+r.alice, `{"x":`+x+`}`)
}

// From a call by the gateway to the webhook, on a real chain.
func TestEventByWebhook(t *testing.T) {
	r := newStreamRig(t)
	var mu sync.Mutex
	var got []map[string]any
	hook := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, q *http.Request) {
		var batch []map[string]any
		text, _ := io.ReadAll(q.Body)
		if err := json.Unmarshal(text, &batch); err != nil {
			t.Error(err)
		}
		mu.Lock()
		defer mu.Unlock()
		got = append(got, batch...)
	}))
	defer hook.Close()
	_, address := r.loud()
	made := r.want(200, "POST", "/eventstreams", `{"name":"s","type":"webhook","batchTimeoutMS":10,"timestamps":true,"webhook":{"url":"`+hook.URL+`"}}`)
	stream := made.str("id")
	if made.str("path") != "/eventstreams/"+stream || made.header.Get("Location") != base+"/eventstreams/"+stream || made.str("errorHandling") != "block" {
		t.Errorf("%s, %v", made.text, made.header)
	}
	sub := r.want(200, "POST", "/contracts/"+address+"/Seen/subscribe", `{"stream":"`+stream+`","name":"all"}`)
	if sub.str("address") != address || sub.str("signature") != "Seen(uint256)" || sub.str("fromBlock") != "latest" {
		t.Errorf("got %s", sub.text)
	}
	r.see(address, "7")
	r.see(address, `"0x10"`)
	for end := time.Now().Add(time.Minute); ; time.Sleep(5 * time.Millisecond) {
		mu.Lock()
		n := len(got)
		mu.Unlock()
		if n >= 2 {
			break
		}
		if time.Now().After(end) {
			t.Fatalf("not in time: %s", r.want(200, "GET", "/eventstreams/"+stream, "").text)
		}
	}
	mu.Lock()
	defer mu.Unlock()
	for i, want := range []string{"7", "16"} {
		data, _ := got[i]["data"].(map[string]any)
		if data["x"] != want || got[i]["subId"] != sub.str("id") || got[i]["address"] != address || got[i]["logIndex"] != "0" || got[i]["timestamp"] == nil {
			t.Errorf("got %v", got[i])
		}
	}
}

func TestStreamsAreMadeListedChangedAndDeleted(t *testing.T) {
	r := newStreamRig(t)
	stream := r.want(200, "POST", "/eventstreams", `{"type":"websocket","websocket":{"topic":"t"}}`).str("id")
	sub := r.want(200, "POST", "/subscriptions", `{"stream":"`+stream+`","event":`+seenEvent+`,"fromBlock":3}`)
	id := sub.str("id")
	if sub.header.Get("Location") != base+"/subscriptions/"+id {
		t.Errorf("got %v", sub.header)
	}
	for path, want := range map[string]string{
		"/eventstreams": stream, "/eventstreams?limit=1": stream, "/subscriptions": id, "/subscriptions?stream=" + stream: id, "/subscriptions/" + id: id,
	} {
		if a := r.want(200, "GET", path, ""); !strings.Contains(a.text, `"id":"`+want+`"`) {
			t.Errorf("%s: %s", path, a.text)
		}
	}
	for _, path := range []string{"/eventstreams?after=" + stream, "/subscriptions?after=" + id, "/subscriptions?stream=x"} {
		if a := r.want(200, "GET", path, ""); a.text != "[]" {
			t.Errorf("%s: %s", path, a.text)
		}
	}
	if a := r.want(200, "PATCH", "/eventstreams/"+stream, `{"batchSize":9}`); a.get("batchSize") != 9.0 {
		t.Errorf("got %s", a.text)
	}
	if a := r.want(200, "POST", "/eventstreams/"+stream+"/suspend", ""); a.get("suspended") != true {
		t.Errorf("got %s", a.text)
	}
	if a := r.want(200, "POST", "/eventstreams/"+stream+"/resume", ""); a.get("suspended") != false {
		t.Errorf("got %s", a.text)
	}
	if a := r.want(200, "POST", "/subscriptions/"+id+"/reset", `{"fromBlock":"0x5"}`); a.str("fromBlock") != "5" {
		t.Errorf("got %s", a.text)
	}
	r.want(204, "DELETE", "/subscriptions/"+id, "")
	r.want(204, "DELETE", "/eventstreams/"+stream, "")
	for _, c := range []struct {
		code         int
		method, path string
		body, want   string
	}{
		{404, "GET", "/eventstreams/" + stream, "", `there is no event stream "` + stream + `" here`},
		{404, "GET", "/subscriptions/" + id, "", `there is no subscription "` + id + `" here`},
		{404, "DELETE", "/eventstreams/x", "", `there is no event stream "x" here`},
		{400, "POST", "/eventstreams", "", `the body is missing: want an object`},
		{400, "POST", "/eventstreams", `{"type":"webhook","webhook":{"url":"http://10.0.0.1/"}}`, `webhook.url: cannot be used here: address 10.0.0.1 refused: the operator's rules do not allow it`},
		{400, "POST", "/eventstreams", `{"type":"x","type":"y"}`, `the body is not valid JSON: duplicate member "type"`},
		{400, "POST", "/subscriptions", `{"stream":"x"}`, `event: is nothing: want the event's entry of the ABI`},
		{400, "POST", "/subscriptions/x/reset", `{"block":1}`, `"block": is not a member: want fromBlock`},
		{405, "PUT", "/eventstreams", ``, `this path takes GET, HEAD, POST`},
		{400, "GET", "/eventstreams?x=1", ``, `"x": means nothing here: want one of limit, after`},
		{426, "GET", "/ws", ``, `this path is a WebSocket: want the header Upgrade: websocket`},
	} {
		if a := r.do(c.method, c.path, c.body); a.code != c.code || !strings.HasPrefix(a.str("error"), c.want) {
			t.Errorf("%s %s: %d %s, want %d %s", c.method, c.path, a.code, a.text, c.code, c.want)
		}
	}
	// Who may only look changes nothing, and gets no events.
	r.caller.MayChange = false
	r.want(200, "GET", "/eventstreams", "")
	for _, path := range []string{"/eventstreams", "/subscriptions", "/eventstreams/x/suspend", "/subscriptions/x/reset"} {
		r.want(403, "POST", path, `{}`)
	}
	r.want(403, "GET", "/ws", "")
	// Another membership's are not there.
	r.caller.MayChange, r.caller.Place = true, contract.Place{Environment: "e1", Membership: "m2"}
	r.want(200, "POST", "/eventstreams", `{"type":"websocket","websocket":{"topic":"t"}}`)
}

// dial opens the WebSocket and sends messages.
func (r *streamRig) dial(messages ...string) *websocket.Conn {
	r.t.Helper()
	ws, res, err := websocket.Dial(r.t.Context(), r.server.URL+base+"/ws", nil)
	r.must(err)
	if res.Body != nil {
		_ = res.Body.Close()
	}
	r.t.Cleanup(func() { _ = ws.CloseNow() })
	for _, m := range messages {
		r.must(ws.Write(r.t.Context(), websocket.MessageText, []byte(m)))
	}
	return ws
}

// hear reads one message.
func (r *streamRig) hear(ws *websocket.Conn) string {
	r.t.Helper()
	ctx, cancel := context.WithTimeout(r.t.Context(), time.Minute)
	defer cancel()
	_, text, err := ws.Read(ctx)
	r.must(err)
	return string(text)
}

func TestEventsByWebSocket(t *testing.T) {
	r := newStreamRig(t)
	_, address := r.loud()
	stream := r.want(200, "POST", "/eventstreams", `{"type":"websocket","batchTimeoutMS":5,"retryTimeoutSec":0,"blockedRetryDelaySec":1,"websocket":{"topic":"orders"}}`).str("id")
	r.want(200, "POST", "/contracts/"+address+"/Seen/subscribe", `{"stream":"`+stream+`"}`)
	r.see(address, "1")
	r.see(address, "2")
	ws := r.dial(`{"type":"listen","topic":"orders"}`)
	if got := r.hear(ws); !strings.Contains(got, `"data":{"x":"1"}`) {
		t.Fatalf("got %s", got)
	}
	r.must(ws.Write(t.Context(), websocket.MessageText, []byte(`{"type":"error","topic":"orders","message":"not now"}`)))
	if got := r.hear(ws); !strings.Contains(got, `"data":{"x":"1"}`) { // again, after a second
		t.Fatalf("got %s", got)
	}
	if a := r.want(200, "GET", "/eventstreams/"+stream, ""); a.str("trouble") != `the client refused the batch: "not now"` || a.get("delivering") != true {
		t.Errorf("got %s", a.text)
	}
	r.must(ws.Close(websocket.StatusNormalClosure, "")) // without an answer: another gets it
	ws = r.dial(`{"type":"listen","topic":"orders"}`, `{"type":"listenreplies"}`)
	for _, x := range []string{"1", "2"} {
		if got := r.hear(ws); !strings.Contains(got, `"data":{"x":"`+x+`"}`) {
			t.Fatalf("got %s", got)
		}
		r.must(ws.Write(t.Context(), websocket.MessageText, []byte(`{"type":"ack","topic":"orders"}`)))
	}
	r.must(ws.Write(t.Context(), websocket.MessageText, []byte(`{"type":"listen","topic":"orders"}`))) // twice is once
	time.Sleep(50 * time.Millisecond)
	sent := r.want(202, "POST", "/contracts/"+address+"/see?fly-from="+r.alice, `{"x":3}`).str("id")
	var event, reply bool
	for !event || !reply {
		got := r.hear(ws)
		event = event || strings.Contains(got, `"data":{"x":"3"}`) && got[0] == '['
		reply = reply || strings.Contains(got, `"TransactionSuccess"`) && strings.Contains(got, sent)
	}
}

func TestMessagesThatMakeNoSense(t *testing.T) {
	r := newStreamRig(t)
	ws := r.dial()
	for _, c := range []struct{ send, want string }{
		{`{`, `the message is not valid JSON`},
		{`[]`, `want an object whose type is listen, ack, error or listenreplies`},
		{`{"type":"Listen"}`, `want an object whose type is listen, ack, error or listenreplies`},
		{`{"type":"listen","topic":7}`, `topic is a number: want a string`},
		{`{"type":"listen"}`, `topic: want 1 to 128 bytes that can be seen`},
		{`{"type":"listen","topic":"a","topic":"b"}`, `the message is not valid JSON`},
	} {
		r.must(ws.Write(t.Context(), websocket.MessageText, []byte(c.send)))
		if got := r.hear(ws); !strings.Contains(got, `{"type":"error"`) || !strings.Contains(got, c.want) {
			t.Errorf("%s: %s", c.send, got)
		}
	}
}

func TestRevokedCallerLosesItsWebSocket(t *testing.T) {
	r := newStreamRig(t)
	ws := r.dial(`{"type":"nonsense"}`)
	r.hear(ws)
	if n := r.part.Revoke(func(p auth.Principal) bool { return p.Name == "app:other" }); n != 0 {
		t.Errorf("%d are closed", n)
	}
	if n := r.part.Revoke(func(p auth.Principal) bool { return p.Name == "app:test" }); n != 1 {
		t.Errorf("%d are closed", n)
	}
	_, _, err := ws.Read(t.Context())
	if websocket.CloseStatus(err) != websocket.StatusPolicyViolation {
		t.Errorf("got %v", err)
	}
	r.part.Close()
	r.want(503, "GET", "/ws", "", "Upgrade", "websocket", "Connection", "Upgrade")
}

// A page of another site opens no WebSocket with somebody's cookie: where one may
// have let the caller in, nobody does.
func TestNoWebSocketForSomebodyWhoIsSignedIn(t *testing.T) {
	r := newStreamRig(t)
	r.caller.Page = true
	for _, upgrade := range []string{"websocket", "foo, websocket"} {
		head := []string{"Upgrade", upgrade, "Connection", "Upgrade", "Sec-WebSocket-Version", "13", "Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="}
		for _, origin := range []string{"https://elsewhere.example", r.server.URL} {
			a := r.want(400, "GET", "/ws", "", append(head, "Origin", origin)...)
			if a.str("error") != "WebSockets are at the service's rest URL, for app credentials" {
				t.Errorf("got %s", a.text)
			}
		}
		r.want(400, "GET", "/ws", "", head...)
	}
}

// Whoever serves the request has the socket until it ends, and ends it by the
// request's context.
func TestWebSocketIsServedWithinItsRequest(t *testing.T) {
	r := newStreamRig(t)
	ending := make(chan context.CancelFunc, 2)
	returned := make(chan struct{}, 2)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, q *http.Request) {
		ctx, cancel := context.WithCancel(q.Context()) // as the RPC listener does
		defer cancel()
		ending <- cancel
		r.handler.Serve(w, q.WithContext(ctx), r.caller, strings.TrimPrefix(q.URL.EscapedPath(), base))
		returned <- struct{}{}
	}))
	defer server.Close()
	r.server.URL = server.URL
	over := func() {
		t.Helper()
		select {
		case <-returned:
		case <-time.After(socketBye + time.Minute):
			t.Fatal("the request is not over")
		}
	}
	for name, end := range map[string]func(*websocket.Conn){
		"the client leaves": func(ws *websocket.Conn) {
			<-ending
			r.must(ws.Close(websocket.StatusNormalClosure, ""))
		},
		"the context ends": func(ws *websocket.Conn) {
			(<-ending)()
			_, _, err := ws.Read(t.Context())
			if websocket.CloseStatus(err) != websocket.StatusGoingAway {
				t.Errorf("got %v", err)
			}
		},
		"the context ends and the client does not read": func(*websocket.Conn) { (<-ending)() },
	} {
		ws := r.dial(`{"type":"nonsense"}`)
		r.hear(ws)
		select {
		case <-returned:
			t.Fatalf("%s: the request was over before the socket", name)
		case <-time.After(50 * time.Millisecond):
		}
		end(ws)
		over()
		if n := r.part.Revoke(func(auth.Principal) bool { return true }); n != 0 {
			t.Errorf("%s: %d sockets are left", name, n)
		}
	}
}
