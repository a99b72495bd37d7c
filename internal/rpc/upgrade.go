// SPDX-License-Identifier: Apache-2.0

package rpc

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"time"

	"github.com/coder/websocket"

	"github.com/hsmsigner/hsmsigner/internal/auth"
)

// Bytes of the buffers that each WebSocket keeps, idle or not. A request and
// the notification of a block fit; what is larger goes past them.
const (
	readBuffer  = 1 << 10
	writeBuffer = 2 << 10
)

// serveSocket upgrades the request. The socket then runs by itself: with this
// goroutine end the buffers that net/http has for a request.
func (s *Server) serveSocket(w http.ResponseWriter, r *http.Request, who auth.Principal, before uint64) {
	k := newSocket(context.WithoutCancel(r.Context()), s, who)
	if !s.addSocket(w, r, k, before) {
		k.cancel()
		return
	}
	hijack := &hijacker{ResponseWriter: w}
	ws, err := websocket.Accept(hijack, r, &websocket.AcceptOptions{
		InsecureSkipVerify: true, // ServeHTTP has checked the Origin
		CompressionMode:    websocket.CompressionDisabled,
	})
	if err != nil { // Accept has answered
		k.cancel()
		s.removeSocket(k)
		return
	}
	ws.SetReadLimit(s.cfg.Limits.Body)
	s.metrics.Sockets(1)
	s.log.LogAttrs(k.ctx, slog.LevelDebug, "socket opened", slog.String("wallet", k.door.Load().Name), slog.String("principal", who.Name))
	k.open(ws, hijack.conn)
	go k.run()
}

// addSocket notes a socket before it is upgraded, so that whatever happens to
// its principal or its wallet from here on meets it. It has answered when it
// returns false.
func (s *Server) addSocket(w http.ResponseWriter, r *http.Request, k *socket, before uint64) bool {
	for range 3 {
		e, stale := s.tryAdd(k, r.URL.Path, before)
		switch {
		case e != nil && e.Status == http.StatusNotFound:
			s.refuse(w, "service", e.Status, e)
			return false
		case e != nil:
			s.refuse(w, "busy", e.Status, e)
			return false
		case !stale:
			return true
		}
		// A credential was revoked since Auth was asked: perhaps this one.
		before = s.revocations.Load()
		who, err := s.cfg.Auth(r)
		if err != nil {
			s.refuseCaller(w, r, err)
			return false
		}
		k.who = who
	}
	e := busy(http.StatusServiceUnavailable, time.Second, "credentials are being revoked")
	s.refuse(w, "busy", e.Status, e)
	return false
}

func (s *Server) tryAdd(k *socket, path string, before uint64) (e *Error, stale bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closing:
		return busy(http.StatusServiceUnavailable, 5*time.Second, "the signer is shutting down"), false
	case s.revocations.Load() != before:
		return nil, true
	}
	d := s.find(path, k.who) // it may be another one by now
	if d == nil {
		e = noWallet()
		e.Status = http.StatusNotFound
		return e, false
	}
	p := &s.pools.sockets
	if !p.take(&d.share.sockets, 1, s.pools.several) {
		return p.full(d.share.sockets, 5*time.Second, "WebSockets", "are open"), false
	}
	k.door.Store(d)
	k.share = d.share
	s.sockets[k] = struct{}{}
	return nil, false
}

func (s *Server) removeSocket(k *socket) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.sockets, k)
	s.pools.sockets.give(&k.share.sockets, 1)
	s.announce()
}

// hijacker hands a connection over with buffers of the size that we want
// instead of net/http's, and keeps the connection for us.
type hijacker struct {
	http.ResponseWriter
	conn net.Conn
}

func (h *hijacker) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, had, err := http.NewResponseController(h.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, fmt.Errorf("take over the connection: %w", err)
	}
	// What the client sent after its request, if anything, has to be in the
	// buffer: Accept asks for no more.
	early, _ := had.Reader.Peek(had.Reader.Buffered())
	br := bufio.NewReaderSize(io.MultiReader(bytes.NewReader(early), conn), max(readBuffer, len(early)))
	_, _ = br.Peek(len(early))
	h.conn = conn
	return conn, bufio.NewReadWriter(br, bufio.NewWriterSize(conn, writeBuffer)), nil
}

// hangUp closes a connection without a word to the other end, which may not be
// listening.
func hangUp(conn net.Conn) {
	if t, ok := conn.(*tls.Conn); ok {
		conn = t.NetConn()
	}
	_ = conn.Close()
}
