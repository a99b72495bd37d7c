// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"math"
	"net/http"
	"net/url"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
)

const (
	maxPath    = 8 << 10 // bytes of a path, escaped
	maxSegment = 4 << 10 // bytes of one segment: a signature may be long
)

// request is one request, after all that is the same for every route.
type request struct {
	Caller
	h    *Handler
	w    http.ResponseWriter
	r    *http.Request
	path map[string]string // what stands in the places of the route's names
	options
	query url.Values // without the options
}

// answer is a success. With done, it was written already.
type answer struct {
	status   int
	body     any // JSON; json.RawMessage goes out as it is
	location string
	done     bool
}

func ok(body any) answer { return answer{status: http.StatusOK, body: body} }

// Serve answers one request. path is what follows c.Base in the URL, as it was
// escaped, and begins with a slash or is empty.
func (h *Handler) Serve(w http.ResponseWriter, r *http.Request, c Caller, path string) {
	defer func() {
		if p := recover(); p != nil {
			if p == http.ErrAbortHandler { //nolint:errorlint // panics are compared, not wrapped
				panic(p)
			}
			h.fail(w, r, c, fmt.Errorf("panic: %v\n%s", p, debug.Stack()))
		}
	}()
	header := w.Header()
	header.Set("X-Content-Type-Options", "nosniff")
	header.Set("Cache-Control", "no-store")
	if c.Wallet == nil {
		h.fail(w, r, c, busy(http.StatusServiceUnavailable, 5*time.Second, "the service does not run here just now"))
		return
	}
	if c.Page && r.Body != nil && r.Body != http.NoBody {
		body := &bounded{ReadCloser: r.Body, of: &h.large, caller: c}
		defer body.done()
		r = r.WithContext(r.Context())
		r.Body = body
	}
	if len(path) <= maxPath && h.cfg.Streams != nil && h.cfg.Streams.serve(w, r, c, path) {
		return
	}
	a, err := h.answer(w, r, c, path)
	switch {
	case err != nil:
		h.fail(w, r, c, err)
	case !a.done:
		if a.location != "" {
			header.Set("Location", a.location)
		}
		writeJSON(w, a.status, a.body)
	}
}

func (h *Handler) answer(w http.ResponseWriter, r *http.Request, c Caller, path string) (answer, error) {
	segments, ok := split(path)
	if !ok {
		return answer{}, nothingHere()
	}
	method := r.Method
	if method == http.MethodHead {
		method = http.MethodGet
	}
	rt, values, allowed := find(h.routes, method, segments)
	switch {
	case rt == nil && len(allowed) == 0:
		return answer{}, nothingHere()
	case rt == nil:
		e := refuse(http.StatusMethodNotAllowed, "this path takes %s", strings.Join(allowed, ", "))
		e.allow = strings.Join(allowed, ", ")
		return answer{}, e
	case rt.changes && !c.MayChange:
		return answer{}, mayNotChange()
	}
	q := &request{Caller: c, h: h, w: w, r: r, path: values}
	var err error
	if q.options, q.query, err = readOptions(r); err != nil {
		return answer{}, err
	}
	if err := rt.check(q); err != nil {
		return answer{}, err
	}
	return rt.serve(q)
}

func nothingHere() *refusal { return refuse(http.StatusNotFound, "there is nothing at this path") }

func mayNotChange() *refusal {
	return refuse(http.StatusForbidden, "this needs the role admin of the service's membership, or an app credential of its own")
}

// split takes a path apart. What is not clean leads nowhere.
func split(path string) ([]string, bool) {
	path = strings.TrimSuffix(path, "/")
	if len(path) > maxPath {
		return nil, false
	}
	if path == "" {
		return nil, true
	}
	if path[0] != '/' {
		return nil, false
	}
	segments := strings.Split(path[1:], "/")
	for i, escaped := range segments {
		text, err := url.PathUnescape(escaped)
		if err != nil || text == "" || text == "." || text == ".." || len(text) > maxSegment || strings.ContainsFunc(text, func(r rune) bool { return r == '/' || r == '�' || !unicode.IsPrint(r) }) {
			return nil, false
		}
		segments[i] = text
	}
	return segments, true
}

// route is one method at one path.
type route struct {
	method  string
	path    string   // {name} stands for a segment
	changes bool     // it is refused to whoever may only look
	options []string // that mean something here; any other is refused
	query   []string // the same of what is left of the query; nil: serve judges it
	serve   func(q *request) (answer, error)

	segments []string // of the path; ready sets them
}

// ready prepares a table for find.
func ready(routes []route) []route {
	for i := range routes {
		if path := strings.TrimPrefix(routes[i].path, "/"); path != "" {
			routes[i].segments = strings.Split(path, "/")
		}
	}
	return routes
}

// find looks for the route of a path; without one, it gives the methods that the
// path takes.
func find(routes []route, method string, segments []string) (found *route, values map[string]string, allowed []string) {
	fixed := -1
	for i := range routes {
		rt := &routes[i]
		n, have, fits := rt.match(segments)
		if !fits || n < fixed {
			continue
		}
		if n > fixed {
			fixed, found, allowed = n, nil, nil
		}
		allowed = append(allowed, rt.method)
		if rt.method == http.MethodGet {
			allowed = append(allowed, http.MethodHead)
		}
		if rt.method == method {
			found, values = rt, have
		}
	}
	slices.Sort(allowed)
	return found, values, slices.Compact(allowed)
}

// match gives how many segments are the route's own words: of two routes that fit,
// the one with more of them counts.
func (rt *route) match(segments []string) (fixed int, values map[string]string, fits bool) {
	if len(rt.segments) != len(segments) {
		return 0, nil, false
	}
	for i, want := range rt.segments {
		if name, is := strings.CutPrefix(want, "{"); is {
			if values == nil {
				values = make(map[string]string, 3)
			}
			values[strings.TrimSuffix(name, "}")] = segments[i]
			continue
		}
		if want != segments[i] {
			return 0, nil, false
		}
		fixed++
	}
	return fixed, values, true
}

// check refuses options and parameters that mean nothing at this route.
func (rt *route) check(q *request) error {
	for _, option := range optionNames() {
		if g, is := q.given[option]; is && !slices.Contains(rt.options, option) {
			return bad("%s: means nothing here", g.name)
		}
	}
	if rt.query == nil {
		return nil
	}
	for _, name := range sorted(q.query) {
		switch {
		case !slices.Contains(rt.query, strings.ToLower(name)):
			if len(rt.query) == 0 {
				return bad("%s: means nothing here", quote(name))
			}
			return bad("%s: means nothing here: want one of %s", quote(name), strings.Join(rt.query, ", "))
		case len(q.query[name]) > 1:
			return bad("%s: is given %d times", name, len(q.query[name]))
		}
	}
	return nil
}

func sorted(values url.Values) []string {
	names := make([]string, 0, len(values))
	for name := range values {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// context bounds what asks the node or the store.
func (q *request) context() (context.Context, context.CancelFunc) {
	return context.WithTimeout(q.r.Context(), q.h.cfg.CallTimeout)
}

// fail writes an error.
func (h *Handler) fail(w http.ResponseWriter, r *http.Request, c Caller, err error) {
	e, known := toRefusal(err)
	if !known {
		e.body.RequestID = requestID(r.Header)
		wallet := ""
		if c.Wallet != nil {
			wallet = c.Wallet.Name()
		}
		h.log.LogAttrs(r.Context(), slog.LevelError, "gateway request failed",
			slog.String("request_id", e.body.RequestID), slog.String("wallet", wallet),
			slog.String("principal", c.Principal.Name), slog.Any("err", err))
		e.body.Message = "internal error; it is logged under the request_id"
	}
	if e.after > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(e.after.Seconds()))))
	}
	if e.allow != "" {
		w.Header().Set("Allow", e.allow)
	}
	if e.status == http.StatusRequestEntityTooLarge {
		w.Header().Set("Connection", "close") // what is left of the body is not read
	}
	writeJSON(w, e.status, e.body)
}

// requestID is the caller's own X-Request-Id, if it is fit for a log.
func requestID(h http.Header) string {
	id := h.Get("X-Request-Id")
	if id == "" || len(id) > 128 || strings.ContainsFunc(id, func(r rune) bool { return r < ' ' || r > '~' }) {
		return rand.Text()
	}
	return id
}

// writeJSON writes an answer in one piece.
func writeJSON(w http.ResponseWriter, status int, body any) {
	text, err := json.Marshal(body)
	if err != nil {
		panic(errors.Join(errors.New("gateway: an answer that has no JSON"), err)) // Serve answers 500, and logs it
	}
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Content-Length", strconv.Itoa(len(text)+1))
	w.WriteHeader(status)
	_, _ = w.Write(append(text, '\n'))
}
