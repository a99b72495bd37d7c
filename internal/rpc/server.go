// SPDX-License-Identifier: Apache-2.0

package rpc

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/strictjson"
)

// Server is the door, an http.Handler. All methods are safe for concurrent
// use.
type Server struct {
	cfg     Config
	doors   map[string]*door
	hosts   map[string]bool
	origins map[string]bool
	metrics Metrics
	log     *slog.Logger
	memory  budget
	slots   chan struct{} // one per request at work
	buffers sync.Pool     // *[]byte

	mu      sync.Mutex
	sockets map[*socket]struct{}
	work    int           // requests at work, and sockets being opened
	closing bool          // nothing new is taken
	changed chan struct{} // closed and made anew when work or sockets shrink while closing
}

// door is a service with its table of methods.
type door struct {
	*Service
	methods map[string]*method
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
		cfg:     cfg,
		doors:   make(map[string]*door, len(cfg.Services)),
		hosts:   set(cfg.AllowedHosts, func(h string) string { return strings.Trim(strings.ToLower(h), "[]") }),
		origins: set(cfg.AllowedOrigins, strings.ToLower),
		metrics: cfg.Metrics,
		log:     cfg.Logger,
		memory:  budget{limit: cfg.Limits.Memory},
		slots:   make(chan struct{}, cfg.Limits.Concurrent),
		sockets: make(map[*socket]struct{}),
		changed: make(chan struct{}),
	}
	s.buffers.New = func() any { b := make([]byte, 0, 4<<10); return &b }
	if s.metrics == nil {
		s.metrics = noMetrics{}
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	for name, svc := range cfg.Services {
		s.doors[name] = &door{Service: svc, methods: methodTable(svc)}
	}
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
	who, err := s.cfg.Auth(r)
	if err != nil {
		s.refuseCaller(w, r, err)
		return
	}
	d := s.door(r.URL.Path)
	if d == nil {
		s.refuse(w, "service", http.StatusNotFound, invalidRequest("there is no wallet at this path"))
		return
	}
	if upgrade {
		s.serveSocket(w, r, d, who)
		return
	}
	s.servePost(w, r, d, who)
}

// door finds the wallet that a path names.
func (s *Server) door(path string) *door {
	name := strings.TrimSuffix(strings.TrimPrefix(path, "/"), "/")
	if name == "" {
		name = s.cfg.Default
	}
	return s.doors[name]
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
	s.log.LogAttrs(r.Context(), slog.LevelInfo, "caller not authenticated",
		slog.String("remote", r.RemoteAddr), slog.Any("err", err))
	if e, _ := toError(err); e.Code == codeBusy {
		s.refuse(w, "auth", e.Status, e)
		return
	}
	w.Header().Set("WWW-Authenticate", `Basic realm="hsmsigner", charset="UTF-8"`)
	s.refuse(w, "auth", http.StatusUnauthorized, invalidRequest("a valid credential is required (HTTP Basic)"))
}

// begin takes a place for one request at work, or says why there is none.
// A socket waits for a place, so that its caller is slowed down; a single
// request is refused, since its caller will come again.
func (s *Server) begin(ctx context.Context, wait bool) *Error {
	s.mu.Lock()
	if s.closing {
		s.mu.Unlock()
		return busy(http.StatusServiceUnavailable, 5*time.Second, "the signer is shutting down")
	}
	s.work++
	s.mu.Unlock()
	select {
	case s.slots <- struct{}{}:
		return nil
	default:
	}
	if wait {
		select {
		case s.slots <- struct{}{}:
			return nil
		case <-ctx.Done():
		}
	}
	s.lessWork()
	return busy(http.StatusServiceUnavailable, time.Second, "%d requests are at work", cap(s.slots))
}

// end gives back what begin took.
func (s *Server) end() {
	<-s.slots
	s.lessWork()
}

func (s *Server) lessWork() {
	s.mu.Lock()
	s.work--
	s.announce()
	s.mu.Unlock()
}

// announce wakes Shutdown. The caller holds mu.
func (s *Server) announce() {
	if s.closing {
		close(s.changed)
		s.changed = make(chan struct{})
	}
}

// CloseSockets closes every WebSocket of p, whose credential was revoked. A
// transaction that was accepted before is not affected.
func (s *Server) CloseSockets(p auth.Principal) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for k := range s.sockets {
		if k.who == p {
			k.revoke()
		}
	}
}

// Shutdown refuses new requests, lets those at work finish, then closes the
// WebSockets with status 1001. When ctx ends first, it closes what is left
// and returns the error of ctx; transactions that were accepted stay stored.
func (s *Server) Shutdown(ctx context.Context) error {
	err := s.await(ctx, func() bool { return s.work == 0 })
	s.mu.Lock()
	for k := range s.sockets {
		k.goAway()
	}
	s.mu.Unlock()
	if err == nil {
		err = s.await(ctx, func() bool { return len(s.sockets) == 0 })
	}
	if err != nil {
		s.mu.Lock()
		for k := range s.sockets {
			k.drop()
		}
		s.mu.Unlock()
		// Dropped sockets end by themselves at once; wait for them so that
		// nothing of ours runs after the return.
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = s.await(grace, func() bool { return len(s.sockets) == 0 })
	}
	return err
}

// await waits until done, which is called with mu held.
func (s *Server) await(ctx context.Context, done func() bool) error {
	for {
		s.mu.Lock()
		s.closing = true
		ok, changed := done(), s.changed
		s.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
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
