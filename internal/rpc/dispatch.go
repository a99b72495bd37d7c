// SPDX-License-Identifier: Apache-2.0

package rpc

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime/debug"
	"sync"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/auth"
	"github.com/hsmsigner/hsmsigner/internal/faultpoint"
	"github.com/hsmsigner/hsmsigner/internal/node"
	"github.com/hsmsigner/hsmsigner/internal/strictjson"
	"github.com/hsmsigner/hsmsigner/internal/txmgr"
)

// call is what all requests of one body or message have in common.
type call struct {
	server         *Server
	door           *door
	who            auth.Principal
	header         http.Header // for the node
	requestID      string      // the caller's; may be empty
	idempotencyKey string      // from the HTTP header
	inBatch        bool
	socket         *socket // nil over HTTP

	mu         sync.Mutex
	subscribed []*subscription // by this call
}

func (c *call) transport() string {
	if c.socket != nil {
		return transportWS
	}
	return transportHTTP
}

// lookup finds the method and refuses parameters that are not positional,
// since every method that we serve takes them so.
func (c *call) lookup(r *request) (*method, error) {
	m := c.door.methods[r.method]
	if m == nil {
		return nil, unknownMethod(r.method)
	}
	if r.params.Kind == strictjson.Object {
		return nil, invalidParams("%s takes an array of parameters, got an object", r.method)
	}
	return m, nil
}

// single reads and does the one request of a body or message.
func (c *call) single(ctx context.Context, v strictjson.Value) (r request, result []byte, e *Error) {
	if r, e = decode(v); e != nil {
		c.server.metrics.Refused("parse")
		return r, nil, e
	}
	result, e = c.one(ctx, &r)
	return r, result, e
}

// one does a request that stands for itself.
func (c *call) one(ctx context.Context, r *request) (result []byte, e *Error) {
	start := time.Now()
	m, err := c.lookup(r)
	ctx = c.span(ctx, m, start)
	if err == nil {
		switch {
		case m.begin != nil:
			result, err = c.send(ctx, m, r)
		case m.forwards(c, r):
			result, err = c.forward(ctx, m, r)
		default:
			result, err = c.run(ctx, m, r)
		}
	}
	if err != nil {
		patience, cancel := c.patience(ctx)
		defer cancel()
		result, err = c.people(ctx, patience, m, r, err)
	}
	return result, c.finish(ctx, m, err, start)
}

// finish turns err into what the caller gets, and counts the request.
func (c *call) finish(ctx context.Context, m *method, err error, start time.Time) *Error {
	name := "unknown"
	if m != nil {
		name = m.name
	}
	var e *Error
	code := 0
	if err != nil {
		var known bool
		if e, known = toError(err); !known {
			e = c.internal(ctx, name, err)
		}
		code = e.Code
	}
	c.server.metrics.Request(c.door.Name, name, c.transport(), code, time.Since(start))
	c.spanEnd(ctx, code)
	return e
}

// internal is the answer for what nobody foresaw. What happened is in the
// log, under the id that the caller gets.
func (c *call) internal(ctx context.Context, method string, err error) *Error {
	id := c.requestID
	if id == "" {
		var b [8]byte
		_, _ = rand.Read(b[:]) // never fails
		id = hex.EncodeToString(b[:])
	}
	c.server.log.LogAttrs(ctx, slog.LevelError, "request failed",
		slog.String("request_id", id), slog.String("wallet", c.door.Name),
		slog.String("method", method), slog.String("principal", c.who.Name), slog.Any("err", err))
	return &Error{Code: codeInternal, Message: "internal error; it is logged under request id " + id}
}

// send does one request that has a place in the order of nonces.
func (c *call) send(ctx context.Context, m *method, r *request) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, c.server.cfg.SendTimeout)
	defer cancel()
	w, err := c.begin(ctx, m, r, nil)
	if err != nil {
		return nil, err
	}
	return c.await(ctx, w)
}

func (c *call) begin(ctx context.Context, m *method, r *request, order *txmgr.Order) (w wait, err error) {
	defer func() { recovered(recover(), &err) }()
	return m.begin(ctx, c, r, order)
}

func (c *call) await(ctx context.Context, w wait) (result []byte, err error) {
	defer func() { recovered(recover(), &err) }()
	hash, err := w(ctx)
	faultpoint.At(faultpoint.Reply)
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() != nil {
		// Our deadline, not the manager's: whether it was stored is not known.
		return nil, &Error{Code: codePending, Message: "outcome pending: no answer in time; the transaction may be stored and may still be sent"}
	}
	if err != nil {
		return nil, err
	}
	return hexJSON(hash[:]), nil
}

// run does one request of ours.
func (c *call) run(ctx context.Context, m *method, r *request) (result []byte, err error) {
	defer func() { recovered(recover(), &err) }()
	timeout := c.server.cfg.CallTimeout
	if m.sends {
		timeout = c.server.cfg.SendTimeout
	}
	ctx, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	return m.run(ctx, c, r)
}

// forward lets the node answer.
func (c *call) forward(ctx context.Context, m *method, r *request) ([]byte, error) {
	answer, err := c.door.Node.Forward(ctx, r.method, r.appendParams(make([]byte, 0, 128)), c.header)
	if err != nil {
		return nil, err
	}
	return m.settle(c.door, answer)
}

// settle makes of the node's answer what the caller gets.
func (m *method) settle(d *door, answer node.Response) ([]byte, error) {
	if answer.Error != nil {
		return nil, &Error{Code: nodeCode(answer.Error), Message: "the node's own error", raw: answer.Error}
	}
	if m.check != nil {
		if err := m.check(d, answer.Result); err != nil {
			return nil, err
		}
	}
	return answer.Result, nil
}

// nodeCode reads the code of the node's error object, for the metrics.
func nodeCode(raw []byte) int {
	v, err := strictjson.Parse(raw)
	if err != nil {
		return codeServer
	}
	var code int
	if _, err := fmt.Sscan(v.Get("code").Text, &code); err != nil {
		return codeServer
	}
	return code
}

// recovered turns the panic p, if any, into an error: one request must not take the
// others with it.
func recovered(p any, err *error) {
	if p != nil {
		*err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
	}
}

// appendResultHead writes a response up to its result. An absent id is
// written as null.
func appendResultHead(b []byte, id strictjson.Value) []byte {
	b = append(b, `{"jsonrpc":"2.0","id":`...)
	b = id.AppendTo(b)
	return append(b, `,"result":`...)
}

// appendResponse writes a whole response.
func appendResponse(b []byte, id strictjson.Value, result []byte, e *Error) []byte {
	if e == nil {
		b = append(appendResultHead(b, id), result...)
		return append(b, '}')
	}
	b = append(b, `{"jsonrpc":"2.0","id":`...)
	b = id.AppendTo(b)
	b = append(b, `,"error":`...)
	b = e.appendTo(b)
	return append(b, '}')
}
