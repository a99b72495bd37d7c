// SPDX-License-Identifier: Apache-2.0

package rpc

import (
	"context"
	"errors"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/strictjson"
)

// socket is one WebSocket. One goroutine reads, one writes, one pings, and
// each message is done in one of its own. No order is promised between
// messages.
type socket struct {
	server *Server
	door   *door
	who    auth.Principal
	ws     *websocket.Conn
	cancel context.CancelFunc // ends everything that belongs to the socket
	out    chan frame
	wg     sync.WaitGroup

	lag    atomic.Int64 // bytes of notifications that wait to be written
	heard  atomic.Int64 // Unix nanoseconds of the last message from the caller
	atWork atomic.Int64 // messages
	full   atomic.Bool  // the reader waits for a place instead of for a message

	mu   sync.Mutex
	subs map[string]*subscription
}

// frame is what the writer is to write: a message, or the end.
type frame struct {
	data   []byte
	event  bool // counts in lag
	code   websocket.StatusCode
	reason string
}

// queueLength bounds the frames that wait to be written. Answers wait for a
// place; notifications, which nobody can slow down, close the socket.
const queueLength = 1024

// serveSocket upgrades the request and serves the socket until it ends.
func (s *Server) serveSocket(w http.ResponseWriter, r *http.Request, d *door, who auth.Principal) {
	ctx, cancel := context.WithCancel(context.WithoutCancel(r.Context()))
	defer cancel()
	k := &socket{
		server: s, door: d, who: who, cancel: cancel,
		out:  make(chan frame, queueLength),
		subs: make(map[string]*subscription),
	}
	k.heard.Store(nowNano())
	if e := s.addSocket(k); e != nil {
		s.refuse(w, "busy", e.Status, e)
		return
	}
	defer s.removeSocket(k)
	ws, err := websocket.Accept(w, r, &websocket.AcceptOptions{
		InsecureSkipVerify: true, // ServeHTTP has checked the Origin
		CompressionMode:    websocket.CompressionDisabled,
	})
	if err != nil {
		return // Accept has answered
	}
	ws.SetReadLimit(s.cfg.Limits.Body)
	k.ws = ws
	s.metrics.Sockets(1)
	defer s.metrics.Sockets(-1)
	s.log.LogAttrs(ctx, slog.LevelDebug, "socket opened", slog.String("wallet", d.Name), slog.String("principal", who.Name))

	k.wg.Go(func() { k.write(ctx) })
	k.wg.Go(func() { k.watch(ctx) })
	err = k.read(ctx)
	cancel()
	k.endSubscriptions()
	_ = ws.CloseNow()
	k.wg.Wait()
	s.log.LogAttrs(context.WithoutCancel(ctx), slog.LevelDebug, "socket closed", slog.String("wallet", d.Name), slog.Any("err", err))
}

func (s *Server) addSocket(k *socket) *Error {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closing:
		return busy(http.StatusServiceUnavailable, 5*time.Second, "the signer is shutting down")
	case len(s.sockets) >= s.cfg.Limits.Sockets:
		return busy(http.StatusServiceUnavailable, 5*time.Second, "%d WebSockets are open", len(s.sockets))
	}
	s.sockets[k] = struct{}{}
	return nil
}

func (s *Server) removeSocket(k *socket) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sockets, k)
	s.announce()
}

// read takes messages until the socket ends. While too many are at work it
// reads no further, so that the caller is slowed down by TCP.
func (k *socket) read(ctx context.Context) error {
	room := make(chan struct{}, k.server.cfg.Limits.SocketRequests)
	var buf []byte
	for {
		k.full.Store(true)
		select {
		case room <- struct{}{}:
		case <-ctx.Done():
			return ctx.Err()
		}
		k.full.Store(false)
		mem := &claim{b: &k.server.memory}
		v, e, err := k.next(ctx, &buf, mem)
		if err != nil {
			mem.release()
			return err
		}
		k.heard.Store(nowNano())
		k.atWork.Add(1)
		k.wg.Go(func() {
			defer func() { mem.release(); k.atWork.Add(-1); <-room }()
			if e != nil {
				k.server.metrics.Refused("parse")
				k.answer(ctx, appendResponse(nil, strictjson.Value{}, nil, e))
				return
			}
			k.do(ctx, v)
		})
	}
}

// next reads and parses one message. A message that has begun must end within
// ReadTime; between messages the caller may be silent.
func (k *socket) next(ctx context.Context, buf *[]byte, mem *claim) (v strictjson.Value, e *Error, err error) {
	limits := &k.server.cfg.Limits
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	typ, r, err := k.ws.Reader(ctx)
	if err != nil {
		return v, nil, err
	}
	late := time.AfterFunc(limits.ReadTime, cancel)
	defer late.Stop()
	if cap(*buf) > smallRequest {
		*buf = nil
	}
	*buf, err = readBody(r, *buf, limits.Body, mem)
	switch {
	case errors.Is(err, errMemory):
		_ = k.ws.Close(websocket.StatusTryAgainLater, "too many large requests at once")
		return v, nil, err
	case err != nil:
		return v, nil, err
	case typ != websocket.MessageText:
		_ = k.ws.Close(websocket.StatusUnsupportedData, "want text messages")
		return v, nil, errors.New("binary message")
	}
	v, e = parse(*buf)
	return v, e, nil
}

// do does one message and queues its answer.
func (k *socket) do(ctx context.Context, v strictjson.Value) {
	s := k.server
	var e *Error
	c := &call{server: s, door: k.door, who: k.who, socket: k}
	defer func() {
		var err error
		if recovered(recover(), &err); err != nil { // net/http does this for HTTP
			k.answer(ctx, appendResponse(nil, strictjson.Value{}, nil, c.internal(ctx, "unknown", err)))
		}
	}()
	if e := s.begin(ctx, true); e != nil {
		k.answer(ctx, appendResponse(nil, v.Get("id"), nil, e))
		return
	}
	defer s.end()
	if v.Kind == strictjson.Array {
		var out []byte
		if out, e = c.batch(ctx, v.Elems); e != nil {
			out = appendResponse(nil, strictjson.Value{}, nil, e)
		}
		if out != nil {
			k.answer(ctx, out)
		}
	} else {
		req, result, e := c.single(ctx, v)
		if !req.notification() {
			k.answer(ctx, appendResponse(make([]byte, 0, len(result)+64), req.id, result, e))
		}
	}
	c.announced()
}

// answer queues an answer. It waits for a place in the queue, but not for a
// caller who reads nothing: the writer then ends the socket.
func (k *socket) answer(ctx context.Context, data []byte) {
	select {
	case k.out <- frame{data: data}:
	case <-ctx.Done():
	}
}

// write is the only writer of messages, so that frames never mix.
func (k *socket) write(ctx context.Context) {
	defer k.cancel()
	for {
		var f frame
		select {
		case f = <-k.out:
		case <-ctx.Done():
			return
		}
		if f.code != 0 {
			_ = k.ws.Close(f.code, f.reason)
			return
		}
		wctx, cancel := context.WithTimeout(ctx, k.server.cfg.Limits.WriteTime)
		err := k.ws.Write(wctx, websocket.MessageText, f.data)
		cancel()
		if f.event {
			k.lag.Add(-int64(len(f.data)))
		}
		if err != nil {
			return
		}
	}
}

// watch pings, and ends sockets whose caller is gone or idle.
func (k *socket) watch(ctx context.Context) {
	limits := &k.server.cfg.Limits
	tick := time.NewTicker(min(limits.Ping, limits.Idle))
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		if k.idle() {
			k.end(websocket.StatusNormalClosure, "idle")
			return
		}
		if k.full.Load() {
			continue // nobody reads the pong, and it is clear why
		}
		pctx, cancel := context.WithTimeout(ctx, limits.Ping)
		err := k.ws.Ping(pctx)
		cancel()
		if err != nil && !k.full.Load() {
			k.cancel()
			return
		}
	}
}

func (k *socket) idle() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.subs) == 0 && k.atWork.Load() == 0 &&
		time.Since(time.Unix(0, k.heard.Load())) >= k.server.cfg.Limits.Idle
}

// end closes the socket after what is queued, or at once if the queue is full.
func (k *socket) end(code websocket.StatusCode, reason string) {
	select {
	case k.out <- frame{code: code, reason: reason}:
	default:
		k.cancel()
	}
}

func (k *socket) revoke() { k.end(websocket.StatusPolicyViolation, "credential revoked") }
func (k *socket) goAway() { k.end(websocket.StatusGoingAway, "shutting down") }
func (k *socket) drop()   { k.cancel() }

func nowNano() int64 { return time.Now().UnixNano() }
