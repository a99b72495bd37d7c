// SPDX-License-Identifier: Apache-2.0

package node

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/textproto"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	// maxWireBody is how large a request wire sends. It fits into the buffers
	// of a connection, so that to write it is not to wait for the node, which
	// may answer before it has read everything.
	maxWireBody = 64 << 10
	// maxConns is how many connections to one endpoint are in use at most;
	// beyond that, requests wait for their turn until their deadline.
	maxConns = 1024
	// idleTimeout is shorter than that of geth (120 s) and of most proxies, so
	// that we seldom write into a connection that is being closed.
	idleTimeout = 30 * time.Second
)

// wire sends JSON-RPC requests to a plain http address: one POST at a time
// over each of some kept connections (HTTP/1.1, RFC 9112), written and read by
// the goroutine that asks. The general client of net/http costs twice the
// time, most of it for handing requests and answers between goroutines.
//
// It never guesses: an answer whose end is not beyond doubt is refused, and a
// connection on which anything was out of order is not used again.
type wire struct {
	address string // to dial
	connect dialFunc
	memory  *memory
	header  http.Header // of every request; a caller's must not replace it
	head    []byte      // request line and header, up to the value of Content-Length
	pool    pool
	buffers sync.Pool // of *[]byte, for requests
}

// newWire is nil for an address or a header that only net/http knows how to
// deal with.
func newWire(u *url.URL, e *endpoint, dial dialFunc) *wire {
	host, port := u.Hostname(), u.Port()
	if !canPeek || u.Scheme != "http" || !isASCII(host) || strings.Contains(host, "%") {
		return nil
	}
	name := strings.TrimSuffix(u.Host, ":")
	if e.host != "" {
		name = e.host
	}
	or(&port, "80")
	head := append([]byte("POST "), u.RequestURI()...)
	head = append(head, " HTTP/1.1\r\n"...)
	if !isASCII(u.RequestURI()) || strings.ContainsAny(u.RequestURI(), " \t") || !isASCII(name) || !isFieldValue(name) {
		return nil
	}
	head = appendField(head, "Host", name)
	for k, values := range e.header {
		switch k {
		case "Host":
			continue // as Config.Headers has it; e.host
		case "Connection", "Content-Length", "Transfer-Encoding", "Trailer", "Te", "Upgrade", "Expect", "Keep-Alive", "Proxy-Connection":
			return nil
		}
		for _, v := range values {
			if !isToken(k) || !isFieldValue(v) {
				return nil
			}
			head = appendField(head, k, v)
		}
	}
	return &wire{
		address: net.JoinHostPort(host, port),
		connect: dial,
		memory:  e.c.memory,
		header:  e.header,
		head:    append(head, "Content-Length: "...),
		pool:    pool{slots: make(chan struct{}, maxConns)},
	}
}

func (w *wire) close() { w.pool.close() }

// post sends one request and reads the whole answer. Where a kept connection
// turns out to be dead before anything was written, it takes a fresh one.
func (w *wire) post(ctx context.Context, p *posting) (status int, answer []byte, err error) {
	if err := ctx.Err(); err != nil {
		return 0, nil, err
	}
	if err := w.pool.enter(ctx, p.deadline); err != nil {
		return 0, nil, err
	}
	defer w.pool.leave()
	var c *conn
	if !p.fresh {
		c = w.pool.take(p.deadline)
	}
	if c != nil {
		var written bool
		if status, answer, written, err = w.exchange(ctx, c, p); err == nil || written || ctx.Err() != nil {
			return status, answer, err
		}
	}
	if c, err = w.dial(ctx, p.deadline); err != nil {
		return 0, nil, err
	}
	status, answer, _, err = w.exchange(ctx, c, p)
	return status, answer, err
}

func (w *wire) dial(ctx context.Context, deadline time.Time) (*conn, error) {
	ctx, cancel := context.WithDeadline(ctx, deadline)
	defer cancel()
	nc, err := w.connect(ctx, "tcp", w.address)
	if err != nil {
		return nil, err
	}
	c := newConn(nc)
	if err := c.SetDeadline(deadline); err != nil {
		_ = c.Close()
		return nil, err
	}
	return c, nil
}

// exchange sends a request over a connection whose deadline is set, and reads
// the answer. The connection is kept or closed afterwards. written says that
// the node may have got something of the request.
func (w *wire) exchange(ctx context.Context, c *conn, p *posting) (status int, answer []byte, written bool, err error) {
	release := c.until(ctx)
	keep := false
	defer func() {
		if release() && keep {
			w.pool.put(c)
		} else {
			_ = c.Close()
		}
	}()
	n, failure := w.send(c, p)
	var f *fault
	if errors.As(failure, &f) {
		return 0, nil, true, failure
	}
	if failure != nil && n == 0 {
		return 0, nil, false, failure
	}
	c.in.reset()
	if status, err = c.in.head(); err == nil {
		answer, err = w.memory.read(ctx, p.deadline, &c.in, c.in.announced(), p.limit)
	}
	if failure != nil && err != nil {
		// It stopped listening and said nothing that would explain it.
		err = failure
	}
	keep = err == nil && failure == nil && c.in.clean()
	return status, answer, true, err
}

// send writes the whole request in one piece.
func (w *wire) send(c *conn, p *posting) (n int, err error) {
	buf, ok := w.buffers.Get().(*[]byte)
	if !ok {
		buf = new([]byte)
	}
	defer w.buffers.Put(buf)
	b := append(slices.Grow((*buf)[:0], len(w.head)+len(p.body)+64), w.head...)
	b = strconv.AppendInt(b, int64(len(p.body)), 10)
	b = append(b, "\r\n"...)
	for k, values := range p.extra {
		if k = textproto.CanonicalMIMEHeaderKey(k); !passes(w.header, k) {
			continue
		}
		for _, v := range values {
			if !isToken(k) || !isFieldValue(v) {
				return 0, &fault{ErrUnavailable, "request could not be made"}
			}
			b = appendField(b, k, v)
		}
	}
	b = append(b, "\r\n"...)
	*buf = append(b, p.body...)
	return c.Write(*buf)
}

func appendField(b []byte, name, value string) []byte {
	b = append(b, name...)
	b = append(b, ": "...)
	b = append(b, value...)
	return append(b, "\r\n"...)
}

// conn is one connection to the node. One goroutine uses it at a time.
type conn struct {
	net.Conn
	raw   syscall.RawConn // nil: cannot be looked at
	in    answerReader
	since time.Time // it became idle
	abort func()
	peek  peeker
}

func newConn(nc net.Conn) *conn {
	c := &conn{Conn: nc}
	c.in.from = bufio.NewReaderSize(nc, 4<<10)
	c.abort = func() { _ = nc.SetDeadline(time.Unix(1, 0)) }
	if sc, ok := nc.(syscall.Conn); ok {
		c.raw, _ = sc.SyscallConn()
	}
	c.peek.init()
	return c
}

// until makes reads and writes fail when ctx ends. The returned function ends
// that, and returns false if it has happened.
func (c *conn) until(ctx context.Context) (release func() bool) {
	if ctx.Done() == nil {
		return func() bool { return true }
	}
	return context.AfterFunc(ctx, c.abort)
}

// quiet says whether an idle connection is open and nothing has come in that
// nobody asked for.
func (c *conn) quiet() bool {
	return c.raw != nil && c.in.from.Buffered() == 0 && c.peek.quiet(c.raw)
}

// unexpected is what the end of a connection is in the middle of an answer.
func unexpected(err error) error {
	if errors.Is(err, io.EOF) {
		return io.ErrUnexpectedEOF
	}
	return err
}
