// SPDX-License-Identifier: Apache-2.0

package rpc

import (
	"context"
	"errors"
	"mime"
	"net/http"
	"strings"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/strictjson"
)

// servePost answers one POST: a request, a notification or a batch.
func (s *Server) servePost(w http.ResponseWriter, r *http.Request, d *door, who auth.Principal) {
	if status, e := checkContent(r.Header); e != nil {
		s.refuse(w, "content", status, e)
		return
	}
	key, e := idempotencyHeader(r.Header)
	if e != nil {
		s.refuse(w, "content", http.StatusOK, e)
		return
	}
	requestID := requestID(r.Header)
	if requestID != "" {
		w.Header().Set("X-Request-Id", requestID)
	}

	mem := claim{server: s, share: d.share}
	defer mem.release()
	v, ok := s.readPost(w, r, &mem)
	if !ok {
		return
	}
	c := &call{
		server:         s,
		door:           d,
		who:            who,
		header:         forwardedHeader(r.Header),
		requestID:      requestID,
		idempotencyKey: key,
	}
	if e := c.admit(r.Context(), v); e != nil {
		s.reply(w, e.Status, e.RetryAfter, appendResponse(nil, strictjson.Value{}, nil, e))
		return
	}
	if e := s.begin(r.Context(), d.share, false); e != nil {
		s.refuse(w, "busy", e.Status, e)
		return
	}
	defer s.end(d.share)
	ctx := s.parent(r.Context(), r.Header)
	if v.Kind == strictjson.Array {
		s.answerBatch(w, ctx, c, v)
		return
	}
	req, result, e := c.single(ctx, v)
	switch {
	case req.notification():
		w.WriteHeader(http.StatusNoContent)
	case e != nil:
		s.reply(w, e.Status, e.RetryAfter, appendResponse(make([]byte, 0, 256), req.id, nil, e))
	default:
		// The result may be large: it is written from where it is.
		s.reply(w, http.StatusOK, 0, appendResultHead(make([]byte, 0, 64), req.id), result, []byte{'}'})
	}
}

func (s *Server) answerBatch(w http.ResponseWriter, ctx context.Context, c *call, v strictjson.Value) {
	out, e := c.batch(ctx, v.Elems)
	switch {
	case e != nil:
		s.reply(w, e.Status, e.RetryAfter, appendResponse(nil, strictjson.Value{}, nil, e))
	case out == nil:
		w.WriteHeader(http.StatusNoContent)
	default:
		s.reply(w, http.StatusOK, 0, out)
	}
}

// readPost reads and parses the body. It has answered when ok is false.
func (s *Server) readPost(w http.ResponseWriter, r *http.Request, mem *claim) (v strictjson.Value, ok bool) {
	limit := s.cfg.Limits.Body
	buf := s.buffers.Get().(*[]byte)
	defer s.keep(buf)
	err := errTooLarge
	if r.ContentLength <= limit {
		// net/http lifts the deadline at the end of the body.
		_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(s.cfg.Limits.ReadTime))
		*buf, err = readBody(r.Body, *buf, limit, mem)
	}
	switch {
	case err == nil:
	case errors.Is(err, errTooLarge):
		w.Header().Set("Connection", "close")
		s.refuse(w, "size", http.StatusRequestEntityTooLarge, invalidRequest("the body is larger than %d bytes", limit))
		return v, false
	case errors.Is(err, errMemory):
		w.Header().Set("Connection", "close")
		s.refuse(w, "busy", http.StatusServiceUnavailable, busy(http.StatusServiceUnavailable, time.Second, "%v", err))
		return v, false
	default:
		w.Header().Set("Connection", "close")
		s.refuse(w, "content", http.StatusBadRequest, &Error{Code: codeParse, Message: "parse error: the body ended early or came too slowly"})
		return v, false
	}
	v, e := parse(*buf)
	if e != nil {
		s.metrics.Refused("parse")
		s.reply(w, e.Status, 0, appendResponse(nil, strictjson.Value{}, nil, e))
		return v, false
	}
	return v, true
}

// keep puts a buffer aside for another request.
func (s *Server) keep(buf *[]byte) {
	if cap(*buf) <= smallRequest {
		s.buffers.Put(buf)
	}
}

// checkContent takes plain JSON only. A web page cannot send that type
// without asking first, and a compressed body could unpack without end.
func checkContent(h http.Header) (status int, e *Error) {
	types := h["Content-Type"]
	if len(types) != 1 || !isJSON(types[0]) {
		return http.StatusUnsupportedMediaType, invalidRequest("Content-Type must be application/json, got %s", quote(strings.Join(types, ", ")))
	}
	if enc := h.Get("Content-Encoding"); enc != "" && !strings.EqualFold(enc, "identity") {
		return http.StatusUnsupportedMediaType, invalidRequest("Content-Encoding %s is not accepted; send the body as it is", quote(enc))
	}
	return 0, nil
}

func isJSON(contentType string) bool {
	if contentType == "application/json" {
		return true
	}
	typ, params, err := mime.ParseMediaType(contentType)
	if err != nil || typ != "application/json" {
		return false
	}
	charset, given := params["charset"]
	return !given || strings.EqualFold(charset, "utf-8")
}

// forwardedNames are the caller's headers that the node gets: what joins the
// traces and logs of both sides. Everything else stays here, the credential
// and cookies before all.
func forwardedNames() [4]string {
	return [...]string{"Traceparent", "Tracestate", "X-Correlation-Id", "X-Request-Id"}
}

func forwardedHeader(from http.Header) http.Header {
	var to http.Header
	for _, name := range forwardedNames() {
		if v := from[name]; v != nil {
			if to == nil {
				to = make(http.Header, 4)
			}
			to[name] = v
		}
	}
	return to
}

// requestID is the caller's own X-Request-Id, if it is fit for a log.
func requestID(h http.Header) string {
	id := h.Get("X-Request-Id")
	if len(id) > 128 || !printable(id) {
		return ""
	}
	return id
}

// idempotencyHeader reads the Idempotency-Key of a single request
// (draft-ietf-httpapi-idempotency-key-header).
func idempotencyHeader(h http.Header) (string, *Error) {
	values := h["Idempotency-Key"]
	switch {
	case len(values) == 0:
		return "", nil
	case len(values) > 1:
		return "", invalidRequest("the header Idempotency-Key is given %d times", len(values))
	case !validKey(values[0]):
		return "", invalidRequest("the header Idempotency-Key must be 1 to 255 printable ASCII characters")
	}
	return values[0], nil
}

func validKey(key string) bool { return len(key) >= 1 && len(key) <= 255 && printable(key) }

func printable(s string) bool {
	for i := 0; i < len(s); i++ {
		if s[i] < ' ' || s[i] > '~' {
			return false
		}
	}
	return true
}
