// SPDX-License-Identifier: Apache-2.0

package rpc

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"strings"
	"time"

	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/strictjson"
)

// Visit is a request under /NAME/gateway, where NAME is that of a wallet. Who has
// sent it is known, and may use the wallet.
type Visit struct {
	Service *Service
	Who     auth.Principal
	Base    string // what the URL's path begins with: /NAME/gateway
	Path    string // what follows, as it was escaped; empty, or begins with a slash
}

// gatewayName is the second element of the paths of gateways.
const gatewayName = "gateway"

// gatewayMethod is what such requests are called in metrics and spans.
const gatewayMethod = "gateway"

// gatewayPath finds out whether a path is one of a gateway, and of which wallet's.
func gatewayPath(u *url.URL) (v Visit, name string, is bool) {
	// Of JSON-RPC, which has the wallet's name alone, nothing more is looked at.
	if !strings.Contains(u.Path, "/"+gatewayName) {
		return v, "", false
	}
	first, rest, _ := strings.Cut(strings.TrimPrefix(u.EscapedPath(), "/"), "/")
	second, _, more := strings.Cut(rest, "/")
	name, err := url.PathUnescape(first)
	if err != nil || name == "" || strings.Contains(name, "/") || second != gatewayName {
		return v, "", false
	}
	v.Base = "/" + first + "/" + second
	if more {
		v.Path = rest[len(second):]
	}
	return v, name, true
}

// serveGateway checks what ServeHTTP checks of every request, and hands it over.
func (s *Server) serveGateway(w http.ResponseWriter, r *http.Request, v Visit, name string) {
	if !s.hostAllowed(r) {
		s.turnAway(w, "host", http.StatusForbidden, 0, "the Host "+quote(r.Host)+" is not allowed here")
		return
	}
	if origin, sent := r.Header["Origin"]; sent {
		if len(origin) != 1 || !s.origins[strings.ToLower(origin[0])] {
			s.turnAway(w, "origin", http.StatusForbidden, 0, "the Origin "+quote(strings.Join(origin, ", "))+" is not allowed here")
			return
		}
		allowOrigin(w.Header(), origin[0])
		w.Header().Set("Access-Control-Allow-Methods", "GET, POST, PATCH, DELETE")
		if r.Method == http.MethodOptions {
			w.WriteHeader(http.StatusNoContent)
			return
		}
	}
	before := s.revocations.Load()
	who, err := s.cfg.Auth(r)
	if err != nil {
		s.turnCallerAway(w, r, err)
		return
	}
	v.Who = who
	if id := requestID(r.Header); id != "" {
		w.Header().Set("X-Request-Id", id)
	}
	if r.Method == http.MethodGet && isUpgrade(r.Header) {
		s.keepVisit(w, r, v, name, before)
		return
	}
	d := s.enter("/"+name, who)
	if d == nil {
		s.turnAway(w, "service", http.StatusNotFound, 0, "there is no wallet at this path")
		return
	}
	defer d.leave()
	if e := s.begin(r.Context(), d.share, false); e != nil {
		s.turnAway(w, "busy", e.Status, e.RetryAfter, e.Message)
		return
	}
	defer s.end(d.share)
	v.Service = d.Service
	s.visit(w, r, d, v)
}

// visit has the gateway answer a request, and counts it.
func (s *Server) visit(w http.ResponseWriter, r *http.Request, d *door, v Visit) {
	start := time.Now()
	mem := claim{server: s, share: d.share}
	defer mem.release()
	ctx := s.parent(r.Context(), r.Header)
	if s.cfg.Tracer != nil {
		var span trace.Span
		ctx, span = s.cfg.Tracer.Start(ctx, gatewayMethod, trace.WithSpanKind(trace.SpanKindServer), trace.WithTimestamp(start), trace.WithAttributes(
			walletKey.String(d.Name), transportKey.String(transportHTTP)))
		defer span.End()
	}
	seen := &watched{ResponseWriter: w, allowed: s.cfg.Limits.WriteTime}
	asked := r.WithContext(ctx)
	asked.Body = &claimed{ReadCloser: r.Body, mem: &mem, yaml: strings.Contains(strings.ToLower(r.Header.Get("Content-Type")), "yaml")}
	s.cfg.Gateway(seen, asked, v)
	code := 0
	if seen.status >= http.StatusBadRequest {
		code = codeServer
		trace.SpanFromContext(ctx).SetStatus(codes.Error, "")
	}
	s.metrics.Request(d.Name, gatewayMethod, transportHTTP, code, time.Since(start))
}

// watched keeps the status of an answer, and bounds how long its caller may take
// to read it.
type watched struct {
	http.ResponseWriter
	allowed time.Duration
	status  int
}

func (w *watched) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
		_ = http.NewResponseController(w.ResponseWriter).SetWriteDeadline(time.Now().Add(w.allowed))
	}
	w.ResponseWriter.WriteHeader(status)
}

func (w *watched) Write(b []byte) (int, error) {
	if w.status == 0 {
		w.WriteHeader(http.StatusOK)
	}
	return w.ResponseWriter.Write(b)
}

// Unwrap is for http.ResponseController.
func (w *watched) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// What a body of a gateway takes in the worst case, in bytes, as measured by the
// tests of package gateway. A body is read into a buffer that grows, a string of it
// is copied, and one that holds JSON is read and written again. Each value takes its
// place in a list that grows, each member of an object a place in the set of names
// besides. In YAML a value is a node first, and has no mark of its own.
const (
	bytesPerByte   = 6
	bytesPerValue  = 240 // by the marks , [ { and, in a string, \u
	bytesPerMember = 100 // besides, by the mark :
	bytesPerYAML   = 256 // by the byte
)

// claimed counts a body that is being read as memory of its membership.
type claimed struct {
	io.ReadCloser
	mem  *claim
	yaml bool
	cost int64
	last byte // of what was read before
}

func (c *claimed) Read(b []byte) (int, error) {
	n, err := c.ReadCloser.Read(b)
	c.count(b[:n])
	if refused := c.mem.grow(c.cost); refused != nil {
		return n, &memoryError{refused}
	}
	return n, err
}

func (c *claimed) count(b []byte) {
	if len(b) == 0 {
		return
	}
	if c.yaml {
		c.cost += bytesPerYAML * int64(len(b))
		return
	}
	values := bytes.Count(b, []byte(`\u`))
	if c.last == '\\' && b[0] == 'u' {
		values++
	}
	c.last = b[len(b)-1]
	for _, mark := range []string{",", "[", "{"} {
		values += bytes.Count(b, []byte(mark))
	}
	c.cost += bytesPerByte*int64(len(b)) + bytesPerValue*int64(values) + bytesPerMember*int64(bytes.Count(b, []byte(":")))
}

// memoryError is errMemory as the gateway understands it.
type memoryError struct{ error }

// HTTPStatus is 503.
func (*memoryError) HTTPStatus() int { return http.StatusServiceUnavailable }

// RetryAfter is when to come again.
func (*memoryError) RetryAfter() time.Duration { return time.Second }

// turnAway answers what never got to the gateway, in its form of errors.
func (s *Server) turnAway(w http.ResponseWriter, reason string, status int, after time.Duration, message string) {
	s.metrics.Refused(reason)
	code := map[int]string{
		http.StatusForbidden: "forbidden", http.StatusNotFound: "not_found", http.StatusUnauthorized: "unauthenticated",
		http.StatusTooManyRequests: "busy", http.StatusServiceUnavailable: "busy",
	}[status]
	body := strictjson.AppendString([]byte(`{"error":`), message)
	body = strictjson.AppendString(append(body, `,"code":`...), code)
	s.reply(w, status, after, append(body, "}\n"...))
}

func (s *Server) turnCallerAway(w http.ResponseWriter, r *http.Request, err error) {
	e, _ := toError(err)
	if e.Code == codeBusy {
		s.turnAway(w, "auth", e.Status, e.RetryAfter, e.Message)
		return
	}
	s.log.LogAttrs(r.Context(), slog.LevelInfo, "caller not authenticated", slog.String("remote", r.RemoteAddr), slog.Any("err", err))
	w.Header().Set("WWW-Authenticate", `Basic realm="hsmsigner", charset="UTF-8"`)
	s.turnAway(w, "auth", http.StatusUnauthorized, 0, "a valid credential is required (HTTP Basic)")
}

// visitor is a WebSocket of the gateway. It counts as a socket of its membership,
// and ends with its credential, its wallet or the server.
type visitor struct {
	who    auth.Principal
	door   *door
	cancel context.CancelFunc
}

// keepVisit has the gateway serve a WebSocket until it ends.
func (s *Server) keepVisit(w http.ResponseWriter, r *http.Request, v Visit, name string, before uint64) {
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	g := &visitor{who: v.Who, cancel: cancel}
	e := revoking()
	for range 3 {
		var stale bool
		if e, stale = s.addVisitor(g, name, before); !stale {
			break
		}
		// A credential was revoked since Auth was asked: perhaps this one.
		before = s.revocations.Load()
		who, err := s.cfg.Auth(r)
		if err != nil {
			s.turnCallerAway(w, r, err)
			return
		}
		g.who, v.Who, e = who, who, revoking()
	}
	if e != nil {
		reason := "busy"
		if e.Status == http.StatusNotFound {
			reason = "service"
		}
		s.turnAway(w, reason, e.Status, e.RetryAfter, strings.TrimPrefix(e.Message, "invalid request: "))
		return
	}
	share := g.door.share
	v.Service = g.door.Service
	s.metrics.Sockets(1)
	defer s.metrics.Sockets(-1)
	defer s.removeVisitor(g, share)
	s.cfg.Gateway(w, r.WithContext(ctx), v)
}

// revoking is for whoever comes while credentials are revoked one after the other.
func revoking() *Error {
	return busy(http.StatusServiceUnavailable, time.Second, "credentials are being revoked")
}

// addVisitor notes a WebSocket before it is upgraded, so that whatever happens to
// its principal or its wallet from here on meets it.
func (s *Server) addVisitor(g *visitor, name string, before uint64) (e *Error, stale bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.closing:
		return busy(http.StatusServiceUnavailable, 5*time.Second, "the signer is shutting down"), false
	case s.revocations.Load() != before:
		return nil, true
	}
	d := s.find("/"+name, g.who)
	if d == nil {
		e = noWallet()
		e.Status = http.StatusNotFound
		return e, false
	}
	p := &s.pools.sockets
	if !p.take(&d.share.sockets, 1, s.pools.several) {
		return p.full(d.share.sockets, 5*time.Second, "WebSockets", "are open"), false
	}
	g.door = d
	s.visitors[g] = struct{}{}
	return nil, false
}

func (s *Server) removeVisitor(g *visitor, of *share) {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.visitors, g)
	s.pools.sockets.give(&of.sockets, 1)
	s.announce()
}

// moveVisitors is move for WebSockets of the gateway. The caller holds mu.
func (s *Server) moveVisitors(from, to *door) {
	for g := range s.visitors {
		switch {
		case g.door != from:
		case to != nil && to.sameScope(from):
			g.door = to
		default:
			g.cancel()
		}
	}
}
