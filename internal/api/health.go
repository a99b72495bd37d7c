// SPDX-License-Identifier: Apache-2.0

// Package api is the admin listener: the management API, whether the daemon
// lives, whether it is ready, and its metrics.
//
// The management API is one table of routes, from which its multiplexer, its
// OpenAPI document and its tests are made, so none of them can say something else
// than the others. Every request of it is authenticated, and is as its route
// describes it before package platform sees it; every answer is JSON. What is
// another tenant's is answered in the very bytes of what does not exist.
//
// The package shows states and reasons, never a node's URL, a credential or a
// provider's reply, and holds no rule about resources: those are platform's.
package api

import (
	"context"
	"encoding/json"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/platform"
)

// checkTimeout bounds every single check, so that one hung node or vault
// cannot hold up the answer about the others.
const checkTimeout = 2 * time.Second

// Check is one thing that readiness depends on. It returns nil if the thing
// would serve a request now.
type Check func(ctx context.Context) error

// Wallet is what readiness looks at in one wallet.
type Wallet struct {
	Name    string
	Node    Check // answers, and is the pinned chain
	Backend Check // would sign
	Keys    Check // at least one usable account is known
}

// Config is what the admin listener shows.
type Config struct {
	Metrics http.Handler
	Store   Check
	Audit   Check              // the log over the audit trail keeps up; nil: there is none
	Wallets []Wallet           // of which one has to be ready, if there are any
	Hosts   []string           // allowed in the Host header beside loopback names and the listener's own
	Origins []string           // of web pages of ours, like https://signer.example.org, beside those of the host that was asked
	Explain func(error) string // words an error for people without revealing anything

	// Open reports whether the caller may see what is the operator's: the metrics,
	// and which wallets there are. Whether the daemon is ready everybody may know.
	// Nil: everybody may see all.
	Open func(r *http.Request) bool

	Management http.Handler // everything under Base; nil: nothing
	SignIn     http.Handler // everything under /auth; nil: nothing
	Console    http.Handler // everything under /console; nil: nothing
}

// Handler is the admin listener's handler. Its routes:
//
//	GET /livez    200 while the process answers at all; a full disk or a dead
//	              node is no reason to restart it
//	GET /readyz   200 if transactions can be signed and sent: the store writes,
//	              the audit log keeps up,
//	              and at least one wallet of the config file, if it has any, has keys, a backend and its node;
//	              ?wallet=name asks for that wallet alone. The body says what
//	              is wrong with which.
//	GET /metrics  Prometheus text format
//	/api/v1/…     the management API
//	/auth/…       for people to sign in and out
//	/console/…    the pages for people, to which / leads
type Handler struct {
	cfg Config
	mux *http.ServeMux

	mu       sync.Mutex
	stopping bool
}

// New makes the handler.
func New(cfg Config) *Handler {
	h := &Handler{cfg: cfg, mux: http.NewServeMux()}
	h.mux.HandleFunc("GET /metrics", h.metrics)
	h.mux.HandleFunc("GET /livez", h.live)
	h.mux.HandleFunc("GET /readyz", h.ready)
	return h
}

// ServeHTTP implements http.Handler. A Host header that is not ours is
// refused: a web page whose name was rebound to our address must not read
// what an operator may. So is a page of another origin.
func (h *Handler) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	management := h.cfg.Management != nil && strings.HasPrefix(r.URL.Path, Base+"/")
	deny := func(why string) {
		if management {
			(&refusal{code: http.StatusForbidden, body: Failure{Message: why, Error: string(platform.Forbidden)}}).write(w, nil)
			return
		}
		http.Error(w, why, http.StatusForbidden)
	}
	if !h.hostAllowed(r) {
		deny("this host name is not served here: allow it in admin.hosts")
		return
	}
	if !h.originAllowed(r) {
		deny("web pages of other origins may not read this")
		return
	}
	w.Header().Set("X-Content-Type-Options", "nosniff")
	w.Header().Set("Cache-Control", "no-store")
	switch {
	case management:
		h.cfg.Management.ServeHTTP(w, r)
	case h.cfg.SignIn != nil && strings.HasPrefix(r.URL.Path, "/auth/"):
		h.cfg.SignIn.ServeHTTP(w, r)
	case h.cfg.Console != nil && (r.URL.Path == "/console" || strings.HasPrefix(r.URL.Path, "/console/")):
		h.cfg.Console.ServeHTTP(w, r)
	case h.cfg.Console != nil && r.URL.Path == "/" && r.Method == http.MethodGet:
		http.Redirect(w, r, "/console/", http.StatusSeeOther)
	default:
		h.mux.ServeHTTP(w, r)
	}
}

// originAllowed lets pages through that came from here themselves: the browser
// names the host that it asked in both headers. Which scheme it used is not to
// be seen behind a proxy that ends TLS.
func (h *Handler) originAllowed(r *http.Request) bool {
	sent := r.Header.Values("Origin")
	if len(sent) == 0 {
		return true
	}
	if len(sent) > 1 {
		return false
	}
	if slices.Contains(h.cfg.Origins, sent[0]) {
		return true
	}
	u, err := url.Parse(sent[0])
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && strings.EqualFold(u.Host, r.Host)
}

func (h *Handler) hostAllowed(r *http.Request) bool {
	host := r.Host
	if name, _, err := net.SplitHostPort(host); err == nil {
		host = name
	}
	host = strings.ToLower(strings.Trim(host, "[]"))
	if host == "localhost" || slices.ContainsFunc(h.cfg.Hosts, func(own string) bool { return strings.Trim(strings.ToLower(own), "[]") == host }) {
		return true
	}
	ip, err := netip.ParseAddr(host)
	if err != nil {
		return false
	}
	if ip.IsLoopback() {
		return true
	}
	// The address that the connection came in by is the listener's own.
	local, ok := r.Context().Value(http.LocalAddrContextKey).(net.Addr)
	if !ok {
		return false
	}
	own, err := netip.ParseAddrPort(local.String())
	return err == nil && own.Addr().Unmap() == ip.Unmap()
}

// Stopping makes the daemon not ready, so that a load balancer turns away
// before the listeners close.
func (h *Handler) Stopping() {
	h.mu.Lock()
	h.stopping = true
	h.mu.Unlock()
}

func (h *Handler) open(r *http.Request) bool { return h.cfg.Open == nil || h.cfg.Open(r) }

func (h *Handler) metrics(w http.ResponseWriter, r *http.Request) {
	if !h.open(r) {
		w.Header().Set("WWW-Authenticate", `Bearer realm="hsmsigner"`)
		http.Error(w, "metrics are for the operator: send an API key with a role in the whole deployment as Authorization: Bearer …", http.StatusUnauthorized)
		return
	}
	h.cfg.Metrics.ServeHTTP(w, r)
}

func (h *Handler) live(w http.ResponseWriter, _ *http.Request) {
	answer(w, http.StatusOK, map[string]any{"live": true})
}

// walletStatus is one wallet in the answer: "ok", or what is wrong.
type walletStatus struct {
	Ready   bool   `json:"ready"`
	Node    string `json:"node"`
	Backend string `json:"backend"`
	Keys    string `json:"keys"`
}

type status struct {
	Ready   bool                    `json:"ready"`
	Store   string                  `json:"store"`
	Audit   string                  `json:"audit,omitempty"`
	Wallets map[string]walletStatus `json:"wallets"`
	Reason  string                  `json:"reason,omitempty"`
}

func (h *Handler) ready(w http.ResponseWriter, r *http.Request) {
	only := r.URL.Query().Get("wallet")
	wallets, open := h.cfg.Wallets, h.open(r)
	if only != "" && open {
		i := slices.IndexFunc(wallets, func(w Wallet) bool { return w.Name == only })
		if i < 0 {
			answer(w, http.StatusNotFound, map[string]any{"ready": false, "reason": "there is no wallet of this name"})
			return
		}
		wallets = wallets[i : i+1]
	}
	s := h.examine(r.Context(), wallets)
	code := http.StatusOK
	if !s.Ready {
		code = http.StatusServiceUnavailable
	}
	if !open {
		answer(w, code, map[string]any{"ready": s.Ready})
		return
	}
	answer(w, code, s)
}

// examine runs all checks at once.
func (h *Handler) examine(ctx context.Context, wallets []Wallet) status {
	s := status{Store: "ok", Wallets: make(map[string]walletStatus, len(wallets))}
	states := make([]walletStatus, len(wallets))
	var wg sync.WaitGroup
	wg.Go(func() {
		if err := h.run(ctx, h.cfg.Store); err != "" {
			s.Store = err
		}
	})
	if h.cfg.Audit != nil {
		s.Audit = "ok"
		wg.Go(func() {
			if err := h.run(ctx, h.cfg.Audit); err != "" {
				s.Audit = err
			}
		})
	}
	for i, w := range wallets {
		for _, c := range []struct {
			check Check
			to    *string
		}{{w.Node, &states[i].Node}, {w.Backend, &states[i].Backend}, {w.Keys, &states[i].Keys}} {
			wg.Go(func() {
				*c.to = "ok"
				if err := h.run(ctx, c.check); err != "" {
					*c.to = err
				}
			})
		}
	}
	wg.Wait()
	some := false
	for i, w := range wallets {
		st := &states[i]
		st.Ready = st.Node == "ok" && st.Backend == "ok" && st.Keys == "ok"
		some = some || st.Ready
		s.Wallets[w.Name] = *st
	}
	h.mu.Lock()
	stopping := h.stopping
	h.mu.Unlock()
	switch {
	case stopping:
		s.Reason = "stopping"
	case s.Store != "ok":
		s.Reason = "the store does not take writes, so nothing is signed"
	case s.Audit != "" && s.Audit != "ok":
		s.Reason = "the audit log does not keep up, and nothing is signed that is not on record"
	case !some && len(wallets) > 0:
		s.Reason = "no wallet can sign and send"
	default:
		s.Ready = true
	}
	return s
}

// run gives "" or the reason why a check failed.
func (h *Handler) run(ctx context.Context, check Check) string {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- check(ctx) }()
	select {
	case err := <-done:
		if err == nil {
			return ""
		}
		return h.cfg.Explain(err)
	case <-ctx.Done():
		return "no answer in time"
	}
}

func answer(w http.ResponseWriter, code int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	_ = enc.Encode(body) // the client has gone
}
