// SPDX-License-Identifier: Apache-2.0

package gateway_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/ethereum/go-ethereum/common/hexutil"

	"github.com/hsmsigner/hsmsigner/e2e/harness"
)

// tick has n events made, one transaction each, by ids that begin with a word.
func (w *wallet) tick(word string, n int) {
	w.Helper()
	for i := range n {
		w.want(http.StatusAccepted, "POST", fmt.Sprintf("/contracts/shop/tick?fly-from=%s&fly-id=%s-%d", w.from(0), word, i), map[string]any{"mark": i})
	}
}

func (w *wallet) subscribe(stream string) string {
	w.Helper()
	a := w.ask("POST", "/contracts/shop/Placed/subscribe", map[string]any{"stream": stream, "name": "placed", "fromBlock": "0"})
	if a.code/100 != 2 {
		w.Fatalf("subscribe: %d %s", a.code, a.text)
	}
	return a.say("id")
}

// The receiver is away for a while, the daemon is killed twice, and events are made
// meanwhile: each has arrived in the end, in the order of the chain, and none but
// those of a batch that was under way comes twice.
func TestEventsArriveAcrossKillsAndRefusals(t *testing.T) {
	t.Parallel()
	r, w := shop(t)
	w.deploy("shop")
	h := receive(r)
	away := true
	h.refuse = func() bool { return away }
	stream := w.stream(h)
	w.subscribe(stream)
	w.tick("first", 30)
	r.eventually(patience, "a batch has come", func() bool { h.mu.Lock(); defer h.mu.Unlock(); return h.tried > 0 })
	if got := h.got(); len(got) != 0 {
		t.Fatalf("%d events were taken while none was", len(got))
	}
	r.daemon.Kill9()
	h.mu.Lock()
	away = false
	h.mu.Unlock()
	r.daemon.Restart()
	w.tick("second", 30)
	h.events(35) // amid them
	r.daemon.Restart()
	w.tick("third", 30)

	first, doubles := distinct(t, h.events(90))
	r.eventually(patience, "90 different events have come", func() bool {
		first, doubles = distinct(t, h.got())
		return len(first) == 90
	})
	for i, e := range first {
		if got := e["data"].(map[string]any)["number"]; got != fmt.Sprint(i+1) {
			t.Fatalf("event %d is number %v", i+1, got)
		}
	}
	if doubles > 20 {
		t.Errorf("%d events came again, more than two batches", doubles)
	}
	t.Logf("90 events, %d of them twice", doubles)

	// Suspended, it rests; resumed, it goes on where it was.
	if a := w.ask("POST", "/eventstreams/"+stream+"/suspend", nil); a.code/100 != 2 {
		t.Fatalf("suspend: %d %s", a.code, a.text)
	}
	before := len(h.got())
	w.tick("fourth", 3)
	w.settled("fourth-2")
	time.Sleep(1500 * time.Millisecond)
	if got := len(h.got()); got != before {
		t.Errorf("%d events came while the stream was suspended", got-before)
	}
	if a := w.ask("POST", "/eventstreams/"+stream+"/resume", nil); a.code/100 != 2 {
		t.Fatalf("resume: %d %s", a.code, a.text)
	}
	h.events(before + 3)
}

// distinct leaves out what came again, and demands that what came first came in the
// order of the chain.
func distinct(t *testing.T, all []map[string]any) (first []map[string]any, doubles int) {
	t.Helper()
	seen := map[string]bool{}
	for _, e := range all {
		at := fmt.Sprint(e["blockNumber"], "/", e["logIndex"])
		if seen[at] {
			doubles++
			continue
		}
		seen[at] = true
		first = append(first, e)
	}
	return first, doubles
}

// A block that a reorganisation takes away takes its events with it: they are told
// as removed, and those of the new blocks follow.
func TestReorganisationTakesEventsBack(t *testing.T) {
	t.Parallel()
	keys := harness.NewCheapKeys(t, 2)
	r, w := shopOn(t, harness.StartAnvil(t, 0, keys.Addresses...), keys)
	w.deploy("shop")
	h := receive(r)
	w.subscribe(w.stream(h))
	w.tick("kept", 1)
	h.events(1)
	w.tick("lost", 1)
	taken := h.events(2)[1]
	// The same depth comes anew, without the transactions.
	must(t, r.node.RPC.CallContext(t.Context(), nil, "anvil_reorg", 1, []any{}))
	must(t, r.node.RPC.CallContext(t.Context(), nil, "anvil_mine", hexutil.Uint64(2)))
	var removed map[string]any
	r.eventually(patience, "the event is told as removed", func() bool {
		for _, e := range h.got() {
			if e["removed"] == true {
				removed = e
			}
		}
		return removed != nil
	})
	for _, member := range []string{"blockHash", "transactionHash", "logIndex", "address"} {
		if fmt.Sprint(removed[member]) != fmt.Sprint(taken[member]) {
			t.Errorf("%s is %v, and was %v", member, removed[member], taken[member])
		}
	}
	// The daemon sends what the chain has lost again, and so the event is back.
	all := h.events(4)
	last := all[len(all)-1]
	if last["removed"] == true || last["transactionHash"] != taken["transactionHash"] || last["blockHash"] == taken["blockHash"] {
		t.Errorf("after the reorganisation: %v", last)
	}
	r.inChain(last)
}

// socket is a WebSocket of the gateway.
type socket struct {
	w    *wallet
	conn *websocket.Conn
}

func (w *wallet) socket() *socket {
	w.Helper()
	req := http.Request{Header: http.Header{}}
	w.basic(&req)
	conn, _, err := websocket.Dial(w.Context(), strings.Replace(w.gate, "http", "ws", 1)+"/ws", &websocket.DialOptions{HTTPHeader: req.Header})
	must(w.T, err)
	w.Cleanup(func() { _ = conn.CloseNow() })
	conn.SetReadLimit(4 << 20)
	return &socket{w, conn}
}

func (s *socket) tell(message string) {
	s.w.Helper()
	must(s.w.T, s.conn.Write(s.w.Context(), websocket.MessageText, []byte(message)))
}

// next reads a message.
func (s *socket) next(within time.Duration) (a answer, ok bool) {
	s.w.Helper()
	ctx, cancel := context.WithTimeout(s.w.Context(), within)
	defer cancel()
	_, text, err := s.conn.Read(ctx)
	if err != nil {
		return a, false
	}
	a.text = string(text)
	_ = json.Unmarshal(text, &a.object)
	_ = json.Unmarshal(text, &a.list)
	return a, true
}

// A client that listens on a topic gets batches, says that it has them, and gets
// those again that it has not said so of.
func TestSocketGetsEventsAndReplies(t *testing.T) {
	t.Parallel()
	_, w := shop(t)
	w.deploy("shop")
	made := w.ask("POST", "/eventstreams", map[string]any{
		"name": "to sockets", "type": "websocket", "batchSize": 5, "batchTimeoutMS": 50, "websocket": map[string]any{"topic": "orders"},
	})
	if made.code/100 != 2 {
		t.Fatalf("%d %s", made.code, made.text)
	}
	w.subscribe(made.say("id"))
	w.tick("event", 10)
	s := w.socket()
	s.tell(`{"type":"listen","topic":"orders"}`)
	first, ok := s.next(patience)
	if !ok || len(first.events()) == 0 {
		t.Fatalf("no batch: %s", first.text)
	}
	_ = s.conn.CloseNow() // without a word that it has it
	s = w.socket()
	s.tell(`{"type":"listen","topic":"orders"}`)
	again, ok := s.next(patience)
	if !ok || fmt.Sprint(again.events()[0]) != fmt.Sprint(first.events()[0]) {
		t.Fatalf("a batch that nobody has taken is not told again: %s", again.text)
	}
	count := 0
	for batch := again; ; {
		count += len(batch.events())
		s.tell(`{"type":"ack","topic":"orders"}`)
		if count >= 10 {
			break
		}
		if batch, ok = s.next(patience); !ok {
			t.Fatalf("%d events have come, want 10", count)
		}
	}
	if extra, more := s.next(time.Second); count != 10 || more {
		t.Errorf("%d events have come, want 10; %s", count, extra.text)
	}

	listener := w.socket()
	listener.tell(`{"type":"listenreplies"}`)
	listener.tell(`{"type":"nothing"}`) // messages are taken in turn: once this is answered, it listens
	if said, ok := listener.next(patience); !ok || said.say("type") != "error" {
		t.Fatalf("a message of no kind is answered by %s", said.text)
	}
	w.tick("told", 1)
	for {
		reply, ok := listener.next(patience)
		if !ok {
			t.Fatal("no reply is told")
		}
		if reply.say("headers", "requestId") == "told-0" && reply.say("headers", "type") == "TransactionSuccess" {
			break
		}
	}
}

// events of a batch, whether it is a list or has one.
func (a answer) events() []any {
	if a.list != nil {
		return a.list
	}
	l, _ := a.at("events").([]any)
	return l
}
