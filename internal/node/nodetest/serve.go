// SPDX-License-Identifier: Apache-2.0

package nodetest

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"
)

// request is one JSON-RPC request as it came.
type request struct {
	ID     json.RawMessage `json:"id"`
	Method string          `json:"method"`
	Params json.RawMessage `json:"params"`
}

type response struct {
	Version string          `json:"jsonrpc"`
	ID      json.RawMessage `json:"id"`
	Result  any             `json:"result"`
}

type errorResponse struct {
	Version string          `json:"jsonrpc"`
	ID      json.RawMessage `json:"id"`
	Error   *RPCError       `json:"error"`
}

// listener counts connections, can cut all of them, and refuses new ones on
// demand.
type listener struct {
	net.Listener
	at   *Endpoint
	mu   sync.Mutex
	open map[net.Conn]struct{}
}

func (l *listener) Accept() (net.Conn, error) {
	for {
		conn, err := l.Listener.Accept()
		if err != nil {
			return nil, err
		}
		l.at.conns.Add(1)
		if l.at.faults.refuse.Load() {
			reset(conn)
			continue
		}
		tracked := &trackedConn{Conn: conn, in: l}
		l.mu.Lock()
		if l.open == nil {
			l.open = make(map[net.Conn]struct{})
		}
		l.open[tracked] = struct{}{}
		l.mu.Unlock()
		return tracked, nil
	}
}

type trackedConn struct {
	net.Conn
	in *listener
}

func (c *trackedConn) Close() error {
	c.in.mu.Lock()
	delete(c.in.open, c)
	c.in.mu.Unlock()
	return c.Conn.Close()
}

// reset closes a connection so that the other side sees a reset.
func reset(conn net.Conn) {
	if t, ok := conn.(*trackedConn); ok {
		defer t.Close()
		conn = t.Conn
	}
	if tcp, ok := conn.(*net.TCPConn); ok {
		tcp.SetLinger(0)
	}
	conn.Close()
}

// CutConnections resets every open connection, WebSockets included. New ones
// are welcome.
func (e *Endpoint) CutConnections() { e.cutAll() }

func (e *Endpoint) cutAll() {
	l := e.ln.(*listener)
	l.mu.Lock()
	conns := make([]net.Conn, 0, len(l.open))
	for conn := range l.open {
		conns = append(conns, conn)
	}
	l.mu.Unlock()
	for _, conn := range conns {
		reset(conn)
	}
}

func (e *Endpoint) serve() {
	e.srv = &http.Server{Handler: http.HandlerFunc(e.serveHTTP), ReadHeaderTimeout: 10 * time.Second}
	e.chain.wg.Go(func() { e.srv.Serve(e.ln) })
}

func (e *Endpoint) serveHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.EqualFold(r.Header.Get("Upgrade"), "websocket") {
		if e.chain.opts.NoWebSocket {
			http.Error(w, "no websocket here", http.StatusBadRequest)
			return
		}
		e.serveSocket(w, r)
		return
	}
	e.faults.requests.Add(1)
	body, err := io.ReadAll(io.LimitReader(r.Body, 64<<20))
	if err != nil {
		return
	}
	answer, instead, cut := e.answer(r.Context(), body, nil)
	switch {
	case cut:
		panic(http.ErrAbortHandler) // closes the connection without an answer
	case instead != nil && instead.size > 0:
		oversized(w, instead.size)
	case instead != nil:
		w.WriteHeader(instead.status)
		w.Write(instead.body)
	default:
		w.Header().Set("Content-Type", "application/json")
		w.Write(answer)
	}
}

// oversized writes a response whose result is one long string, in chunks.
func oversized(w io.Writer, size int64) {
	io.WriteString(w, `{"jsonrpc":"2.0","id":1,"result":"`)
	chunk := bytes.Repeat([]byte("ab"), 16<<10)
	for ; size > 0; size -= int64(len(chunk)) {
		if _, err := w.Write(chunk); err != nil {
			return
		}
	}
	io.WriteString(w, `"}`)
}

// answer carries out a message, single or batch, and returns what to write.
// feed is the WebSocket it came by, or nil.
func (e *Endpoint) answer(ctx context.Context, body []byte, via *feed) (answer []byte, instead *reply, cut bool) {
	body = bytes.TrimSpace(body)
	if len(body) == 0 || body[0] != '[' {
		var req request
		if err := json.Unmarshal(body, &req); err != nil {
			return marshal(errorResponse{"2.0", json.RawMessage("null"), &RPCError{Code: -32700, Message: "parse error"}}), nil, false
		}
		resp, instead, cut := e.one(ctx, req, via)
		return marshal(resp), instead, cut
	}
	var reqs []request
	if err := json.Unmarshal(body, &reqs); err != nil || e.chain.opts.BatchLimit < 0 {
		return marshal(errorResponse{"2.0", json.RawMessage("null"), &RPCError{Code: -32600, Message: "invalid request"}}), nil, false
	}
	if e.chain.opts.BatchLimit > 0 && len(reqs) > e.chain.opts.BatchLimit { // geth, rpc/handler.go
		return marshal([]any{errorResponse{"2.0", reqs[0].ID, &RPCError{Code: -32600, Message: "batch too large"}}}), nil, false
	}
	out := make([]any, 0, len(reqs))
	for _, req := range reqs {
		resp, other, dropped := e.one(ctx, req, via)
		out = append(out, resp)
		cut = cut || dropped
		if other != nil {
			instead = other
		}
	}
	return marshal(out), instead, cut
}

// one carries out one request, with the faults that are set for its method.
func (e *Endpoint) one(ctx context.Context, req request, via *feed) (resp any, instead *reply, cut bool) {
	if req.ID == nil {
		req.ID = json.RawMessage("null")
	}
	e.faults.counted(req.Method)
	delay, hang := e.faults.waits(req.Method)
	if !pause(ctx, delay, hang, e.chain.done) {
		return nil, nil, true
	}
	if err := e.faults.failed(req.Method); err != nil {
		return errorResponse{"2.0", req.ID, err}, nil, false
	}
	result, err := e.call(req.Method, req.Params, via)
	cut = e.faults.dropped(req.Method)
	instead = e.faults.replaced(req.Method)
	if err != nil {
		return errorResponse{"2.0", req.ID, err}, instead, cut
	}
	return response{"2.0", req.ID, result}, instead, cut
}

// pause waits as the faults say; false if the caller or the chain went away.
func pause(ctx context.Context, delay time.Duration, hang, done chan struct{}) bool {
	if hang != nil {
		select {
		case <-hang:
		case <-ctx.Done():
			return false
		case <-done:
			return false
		}
	}
	if delay > 0 {
		timer := time.NewTimer(delay)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-ctx.Done():
			return false
		case <-done:
			return false
		}
	}
	return true
}

func marshal(v any) []byte {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // our own structs and the caller's own JSON
	}
	return b
}
