// SPDX-License-Identifier: Apache-2.0

package api

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"mime"
	"net/http"
	"net/url"
	"path"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/strictjson"
)

const (
	maxBody     = 1 << 20
	callTimeout = time.Minute // for all that a request asks of backend, node and store
)

// ManagementConfig is what the management API is made of.
type ManagementConfig struct {
	Platform Platform
	Gate     Gate
	Release  string // of this program, for the OpenAPI document
	Cookie   string // name of the session cookie, for the same; empty: people cannot sign in
	// Gateway serves what is under the gateways of services; nil: there is nothing.
	Gateway Gateway
	Logger  *slog.Logger // nil discards
}

// Management is the management API: everything under /api/v1. It checks who is
// asking, that a request is as its route describes it, and writes what package
// platform answers. It is safe for concurrent use.
type Management struct {
	cfg ManagementConfig
	log *slog.Logger
	mux *http.ServeMux

	streams streams
}

// NewManagement makes the handler. It serves paths that begin with Base.
func NewManagement(cfg ManagementConfig) (*Management, error) {
	if cfg.Platform == nil || cfg.Gate == nil {
		return nil, errors.New("api: the management API needs a platform and a gate")
	}
	m := &Management{cfg: cfg, log: cfg.Logger, mux: http.NewServeMux(), streams: streams{grace: streamGrace}}
	if m.log == nil {
		m.log = slog.New(slog.DiscardHandler)
	}
	table := routes()
	document, err := json.MarshalIndent(openAPI(table, cfg), "", "  ")
	if err != nil {
		return nil, err
	}
	pages := map[string]methods{
		"/openapi.json": {http.MethodGet: serveDocument(document)},
	}
	for file, serve := range userInterface() {
		pages[file] = methods{http.MethodGet: serve}
	}
	for i := range table {
		rt := &table[i]
		if pages[rt.path] == nil {
			pages[rt.path] = methods{}
		}
		pages[rt.path][rt.method] = func(w http.ResponseWriter, r *http.Request) { m.serve(w, r, rt) }
	}
	for pattern, page := range pages {
		m.mux.HandleFunc(pattern, page.serve)
	}
	if cfg.Gateway != nil {
		m.mux.HandleFunc(itsGateway+"/{rest...}", m.serveGateway)
	}
	m.mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) { notFound().write(w, m.log) })
	return m, nil
}

// methods are what is served at one path.
type methods map[string]http.HandlerFunc

func (page methods) serve(w http.ResponseWriter, r *http.Request) {
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	if serve, ok := page[method]; ok {
		serve(w, r)
		return
	}
	refusal := &refusal{code: http.StatusMethodNotAllowed, allow: page.allow()}
	refusal.body = Failure{Message: "this path takes " + refusal.allow, Error: methodWrong}
	refusal.write(w, nil)
}

func (page methods) allow() string {
	var names []string
	for name := range page {
		names = append(names, name)
		if name == http.MethodGet {
			names = append(names, http.MethodHead)
		}
	}
	slices.Sort(names)
	return strings.Join(names, ", ")
}

// ServeHTTP implements http.Handler.
func (m *Management) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-store")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	h.Set("Referrer-Policy", "no-referrer")
	if r.Method == http.MethodHead {
		w = bodiless{w}
	}
	defer func() {
		if p := recover(); p != nil {
			if p == http.ErrAbortHandler { //nolint:errorlint // panics are compared, not wrapped
				panic(p)
			}
			// Answers are written in one piece, so nothing of this one is out yet.
			refuse(&panicked{p, debug.Stack()}).write(w, m.log)
		}
	}()
	escaped := strings.TrimPrefix(r.URL.EscapedPath(), Base)
	// ServeMux would redirect to the clean form of a path, for which no client asks.
	if !strings.HasPrefix(escaped, "/") || path.Clean(escaped) != escaped {
		notFound().write(w, m.log)
		return
	}
	under := *r.URL
	under.RawPath = long(escaped)
	var err error
	if under.Path, err = url.PathUnescape(under.RawPath); err != nil {
		notFound().write(w, m.log)
		return
	}
	inner := *r
	inner.URL = &under
	m.mux.ServeHTTP(w, &inner)
}

// panicked is a mistake in this program that a request has found.
type panicked struct {
	what  any
	stack []byte
}

func (p *panicked) Error() string { return fmt.Sprintf("panic: %v\n%s", p.what, p.stack) }

// serve does what is the same for every route, then what the route does.
func (m *Management) serve(w http.ResponseWriter, r *http.Request, rt *route) {
	answer, err := m.answer(w, r, rt)
	if err != nil {
		refuse(err).write(w, m.log)
		return
	}
	if answer.body == nil {
		w.WriteHeader(answer.code)
		return
	}
	writeJSON(w, answer.code, answer.body)
}

func (m *Management) answer(w http.ResponseWriter, r *http.Request, rt *route) (reply, error) {
	who, err := m.caller(r, rt)
	if err != nil {
		return reply{}, err
	}
	c := &call{who: who}
	if c.at, c.leaf, err = rt.place(r); err != nil {
		return reply{}, err
	}
	if c.query, err = rt.readQuery(r); err != nil {
		return reply{}, err
	}
	if rt.stream != "" && !saysJSON(r.Header) {
		if c.stream, err = m.streams.start(w, r, who.Principal.Name); err != nil {
			return reply{}, err
		}
		defer c.stream.close()
		c.again = func() (auth.Access, error) { return m.caller(r, rt) }
		return rt.serve(r.Context(), m.cfg.Platform, rt, c)
	}
	if rt.body != nil {
		if c.body, err = rt.readBody(w, r); err != nil {
			return reply{}, err
		}
	}
	ctx, cancel := context.WithTimeout(r.Context(), callTimeout)
	defer cancel()
	return rt.serve(ctx, m.cfg.Platform, rt, c)
}

// readQuery takes no parameter that the route does not have: one that is
// silently ignored would do something else than what the caller meant.
func (rt *route) readQuery(r *http.Request) (url.Values, error) {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, invalid("", "the query cannot be read: %, ; and other signs must be escaped")
	}
	for name, given := range values {
		i := slices.IndexFunc(rt.parameters, func(p parameter) bool { return p.name == name })
		switch {
		case i < 0 && rt.filtered != nil:
			continue // package query judges it
		case i < 0:
			return nil, invalid("", "there is a parameter in the query that means nothing here")
		case len(given) > 1 && !strings.HasSuffix(name, "[]"):
			return nil, invalid(name, "is given more than once")
		case rt.parameters[i].flag && !slices.Contains([]string{"", "true", "false"}, given[0]):
			return nil, invalid(name, "want true or false, or nothing, which is true")
		}
	}
	return values, nil
}

// readBody reads an object that is as the route describes it.
func (rt *route) readBody(w http.ResponseWriter, r *http.Request) (strictjson.Value, error) {
	var none strictjson.Value
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if err != nil {
		var large *http.MaxBytesError
		if errors.As(err, &large) {
			return none, err
		}
		return none, invalid("", "the body ended before its time")
	}
	if len(data) == 0 && rt.optional {
		return none, nil
	}
	if !isJSON(r.Header) {
		return none, &refusal{code: http.StatusUnsupportedMediaType, body: Failure{Message: "want the header Content-Type: application/json", Error: mediaWrong}}
	}
	if len(data) == 0 {
		return none, invalid("", "want a JSON object as the body: there is none")
	}
	v, err := strictjson.Parse(data)
	if err != nil {
		return none, invalid("", "the body is "+err.Error())
	}
	return v, rt.body.Check(v)
}

func isJSON(h http.Header) bool {
	media, parameters, err := mime.ParseMediaType(h.Get("Content-Type"))
	charset := strings.ToLower(parameters["charset"])
	return err == nil && media == "application/json" && (charset == "" || charset == "utf-8") && len(h["Content-Encoding"]) == 0
}

// written is JSON that goes out as it is.
type written []byte

// writeJSON writes the answer in one piece.
func writeJSON(w http.ResponseWriter, code int, body any) {
	text, ok := body.(written)
	if !ok {
		var err error
		if text, err = json.Marshal(body); err != nil {
			panic(err) // a type of ours that has no JSON: ServeHTTP answers 500, and logs it
		}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(code)
	_, _ = w.Write(append(text, '\n')) // the client has gone
}

// bodiless is the answer to HEAD.
type bodiless struct{ http.ResponseWriter }

func (bodiless) Write(b []byte) (int, error) { return len(b), nil }
