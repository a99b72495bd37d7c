// SPDX-License-Identifier: Apache-2.0

package rpc

import (
	"container/list"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/strictjson"
)

// Server is the door, an http.Handler. All methods are safe for concurrent
// use.
type Server struct {
	cfg     Config
	doors   atomic.Pointer[map[string]*door] // by name; a new map for each change
	hosts   map[string]bool
	origins map[string]bool
	metrics Metrics
	log     *slog.Logger
	buffers sync.Pool // *[]byte

	revocations atomic.Uint64 // changes with mu held

	mu       sync.Mutex
	tables   map[string]map[string]*method // by the extra methods
	sockets  map[*socket]struct{}
	visitors map[*visitor]struct{}
	pools    pools
	shares   map[string]*share // by membership
	turns    list.List         // of *share: those with requests that wait, the next one first
	work     int               // requests at work or waiting for it
	closing  bool              // nothing new is taken
	changed  chan struct{}     // closed and made anew when work or sockets shrink while closing
}

// New makes a server. Its errors name every mistake in cfg.
func New(cfg Config) (*Server, error) {
	if err := cfg.check(); err != nil {
		return nil, err
	}
	cfg.Limits = cfg.Limits.withDefaults()
	def(&cfg.SendTimeout, 45*time.Second)
	def(&cfg.CallTimeout, 30*time.Second)
	s := &Server{
		cfg:      cfg,
		hosts:    set(cfg.AllowedHosts, func(h string) string { return strings.Trim(strings.ToLower(h), "[]") }),
		origins:  set(cfg.AllowedOrigins, strings.ToLower),
		metrics:  cfg.Metrics,
		log:      cfg.Logger,
		pools:    cfg.Limits.pools(),
		shares:   make(map[string]*share),
		tables:   make(map[string]map[string]*method),
		sockets:  make(map[*socket]struct{}),
		visitors: make(map[*visitor]struct{}),
		changed:  make(chan struct{}),
	}
	s.buffers.New = func() any { b := make([]byte, 0, 4<<10); return &b }
	if s.metrics == nil {
		s.metrics = noMetrics{}
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	doors := make(map[string]*door, len(cfg.Services))
	for name, svc := range cfg.Services {
		d := s.newDoor(svc)
		if err := d.register(doors, svc.names(name)); err != nil {
			return nil, fmt.Errorf("rpc: %w", err)
		}
		d.share.services++
	}
	s.reckon()
	s.doors.Store(&doors)
	return s, nil
}

func set(list []string, key func(string) string) map[string]bool {
	m := make(map[string]bool, len(list))
	for _, v := range list {
		m[key(v)] = true
	}
	return m
}

// ServeHTTP answers one HTTP request, or keeps a WebSocket until it closes.
//
// What comes before the body is cheap and the same for everybody: Host,
// Origin, credential, then the wallet, so that a stranger cannot find out
// which wallets exist.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if s.cfg.Gateway != nil {
		if v, name, is := gatewayPath(r.URL); is {
			s.serveGateway(w, r, v, name)
			return
		}
	}
	if !s.hostAllowed(r) {
		s.refuse(w, "host", http.StatusForbidden, invalidRequest("the Host %s is not allowed here", quote(r.Host)))
		return
	}
	if origin, sent := r.Header["Origin"]; sent {
		if len(origin) != 1 || !s.origins[strings.ToLower(origin[0])] {
			s.refuse(w, "origin", http.StatusForbidden, invalidRequest("the Origin %s is not allowed here", quote(strings.Join(origin, ", "))))
			return
		}
		allowOrigin(w.Header(), origin[0])
		if r.Method == http.MethodOptions {
			w.WriteHeader(http.StatusNoContent)
			return
		}
	}
	upgrade := r.Method == http.MethodGet && isUpgrade(r.Header)
	if r.Method != http.MethodPost && !upgrade {
		w.Header().Set("Allow", "POST")
		w.Header().Set("Content-Type", "text/plain; charset=utf-8")
		w.WriteHeader(http.StatusMethodNotAllowed)
		_, _ = w.Write([]byte("This is a JSON-RPC endpoint: POST a request with Content-Type application/json, or open a WebSocket at this URL.\n"))
		return
	}
	before := s.revocations.Load()
	who, err := s.cfg.Auth(r)
	if err != nil {
		s.refuseCaller(w, r, err)
		return
	}
	d := s.enter(r.URL.Path, who)
	if d == nil {
		s.refuse(w, "service", http.StatusNotFound, noWallet())
		return
	}
	defer d.leave()
	if upgrade {
		s.serveSocket(w, r, who, before)
		return
	}
	s.servePost(w, r, d, who)
}

// hostAllowed refuses what a web page could reach by rebinding its own name
// to our address. Loopback names and the address that the caller connected to
// cannot be rebound.
func (s *Server) hostAllowed(r *http.Request) bool {
	host := r.Host
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.TrimSuffix(strings.ToLower(strings.Trim(host, "[]")), ".")
	if host == "localhost" || s.hosts[host] {
		return true
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return false
	}
	if ip = ip.Unmap(); ip.IsLoopback() {
		return true
	}
	local, _ := r.Context().Value(http.LocalAddrContextKey).(*net.TCPAddr)
	return local != nil && local.AddrPort().Addr().Unmap().WithZone("") == ip
}

// allowOrigin lets a listed web page read the answer.
func allowOrigin(h http.Header, origin string) {
	h.Set("Access-Control-Allow-Origin", origin)
	h.Set("Access-Control-Allow-Methods", "POST")
	h.Set("Access-Control-Allow-Headers", "Authorization, Content-Type, Idempotency-Key, Traceparent, Tracestate, X-Correlation-Id, X-Request-Id")
	h.Set("Access-Control-Expose-Headers", "Retry-After, X-Request-Id")
	h.Set("Access-Control-Max-Age", "600")
	h.Add("Vary", "Origin")
}

func isUpgrade(h http.Header) bool {
	return strings.EqualFold(h.Get("Upgrade"), "websocket")
}

// refuse answers what never became a request.
func (s *Server) refuse(w http.ResponseWriter, reason string, status int, e *Error) {
	s.metrics.Refused(reason)
	e.Status = status
	s.reply(w, e.Status, e.RetryAfter, appendResponse(nil, strictjson.Value{}, nil, e))
}

// refuseCaller answers a caller whom Auth does not know, or could not check.
func (s *Server) refuseCaller(w http.ResponseWriter, r *http.Request, err error) {
	e, _ := toError(err)
	level := slog.LevelInfo
	if e.Code == codeBusy {
		level = slog.LevelDebug // whoever is over a limit shall not fill the log
	}
	s.log.LogAttrs(r.Context(), level, "caller not authenticated",
		slog.String("remote", r.RemoteAddr), slog.Any("err", err))
	if e.Code == codeBusy {
		s.refuse(w, "auth", e.Status, e)
		return
	}
	w.Header().Set("WWW-Authenticate", `Basic realm="hsmsigner", charset="UTF-8"`)
	s.refuse(w, "auth", http.StatusUnauthorized, invalidRequest("a valid credential is required (HTTP Basic)"))
}

// announce wakes Shutdown. The caller holds mu.
func (s *Server) announce() {
	if s.closing {
		close(s.changed)
		s.changed = make(chan struct{})
	}
}

// reply writes one HTTP answer.
func (s *Server) reply(w http.ResponseWriter, status int, after time.Duration, parts ...[]byte) {
	h := w.Header()
	n := 0
	for _, p := range parts {
		n += len(p)
	}
	if n > 0 {
		h["Content-Type"] = jsonType()
	}
	if status != http.StatusNoContent {
		h.Set("Content-Length", strconv.Itoa(n))
	}
	if after > 0 {
		h.Set("Retry-After", strconv.Itoa(int((after+time.Second-1)/time.Second)))
	}
	// The deadline is per answer: the server's own WriteTimeout would count
	// from the request and so cut off a transaction that takes its time.
	_ = http.NewResponseController(w).SetWriteDeadline(time.Now().Add(s.cfg.Limits.WriteTime))
	if status == 0 {
		status = http.StatusOK
	}
	w.WriteHeader(status)
	for _, p := range parts {
		if _, err := w.Write(p); err != nil { //nolint:gosec // G705: it is JSON, and says so in its Content-Type
			return // the caller is gone; nobody is left to tell
		}
	}
}

func jsonType() []string { return []string{"application/json"} }
