// SPDX-License-Identifier: Apache-2.0

package node

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strconv"

	"github.com/ethereum/go-ethereum/common"
)

// Call is one question of a Batch, and its answer.
type Call struct {
	Method string
	Params any // marshalled to a JSON array or object; nil for []
	Result any // decoded into, as by json.Unmarshal; nil to ignore the answer
	Err    error
}

// Call asks one thing. The answer is decoded into result, which may be nil;
// a null answer leaves it as it is. An *Error is the node's own.
func (c *Client) Call(ctx context.Context, result any, method string, params ...any) error {
	return c.active().call(ctx, result, method, params...)
}

func (e *endpoint) call(ctx context.Context, result any, method string, params ...any) error {
	q := &question{method: method, own: true}
	var err error
	if q.params, err = marshalParams(params); err != nil {
		return fmt.Errorf("node: %s: parameters: %w", method, err)
	}
	e.single(ctx, q, nil)
	return q.decode(result)
}

// Batch asks several things in one HTTP request, or in several if the node
// takes no batches or smaller ones only, which is remembered. Each call has
// its own Err; the returned error is set only if no call has an answer.
func (c *Client) Batch(ctx context.Context, calls []*Call) error {
	return c.active().askAll(ctx, calls)
}

func (e *endpoint) askAll(ctx context.Context, calls []*Call) error {
	qs := make([]*question, len(calls))
	for i, call := range calls {
		params, err := marshalParams(call.Params)
		if err != nil {
			return fmt.Errorf("node: %s: parameters: %w", call.Method, err)
		}
		qs[i] = &question{method: call.Method, params: params, own: true}
	}
	e.batch(ctx, qs, nil)
	var answered bool
	for i, q := range qs {
		calls[i].Err = q.decode(calls[i].Result)
		answered = answered || q.err == nil
	}
	if !answered && len(calls) > 0 {
		return calls[0].Err
	}
	return nil
}

// question is a call in the form in which it goes over the wire.
type question struct {
	method string
	params []byte // JSON array or object, or nil
	own    bool   // not a caller's, hence with an answer of known form
	answer Response
	err    error // no answer: one of our sentinels or the context's error
}

// decode gives the outcome to a caller who wants a Go value.
func (q *question) decode(result any) error {
	if q.err != nil {
		return fmt.Errorf("node: %s: %w", q.method, q.err)
	}
	if err := q.answer.err(); err != nil {
		return fmt.Errorf("node: %s: %w", q.method, err)
	}
	if result == nil || string(q.answer.Result) == "null" {
		return nil
	}
	if err := unmarshal(q.answer.Result, result); err != nil {
		var f *fault
		if !errors.As(err, &f) {
			err = errForm()
		}
		return fmt.Errorf("node: %s: %w", q.method, err)
	}
	return nil
}

// unmarshal is json.Unmarshal. The text is known to be JSON, so that for our
// own types its check, and its reflection, are left out.
func unmarshal(text json.RawMessage, result any) error {
	switch r := result.(type) {
	case *json.RawMessage:
		*r = text
		return nil
	case json.Unmarshaler:
		return r.UnmarshalJSON(text)
	case **Uint64:
		return fresh(r, text)
	case **Big:
		return fresh(r, text)
	case **Head:
		return fresh(r, text)
	case **Block:
		return fresh(r, text)
	case **Receipt:
		return fresh(r, text)
	default:
		return json.Unmarshal(text, result)
	}
}

func fresh[T any, P interface {
	*T
	json.Unmarshaler
}](into **T, text json.RawMessage) error {
	*into = new(T)
	return P(*into).UnmarshalJSON(text)
}

func marshalParams(params any) ([]byte, error) {
	switch p := params.(type) {
	case nil:
		return nil, nil
	case []any:
		return marshalList(p)
	case json.RawMessage:
		return p, nil
	}
	return json.Marshal(params)
}

// marshalList is json.Marshal, faster for the few types that most questions
// are made of.
func marshalList(list []any) ([]byte, error) {
	if len(list) == 0 {
		return nil, nil
	}
	b := append(make([]byte, 0, 96), '[')
	for i, v := range list {
		if i > 0 {
			b = append(b, ',')
		}
		switch v := v.(type) {
		case string:
			b = appendString(b, v)
		case bool:
			b = strconv.AppendBool(b, v)
		case common.Hash:
			b = appendHex(b, v[:])
		case common.Address:
			b = appendHex(b, v[:])
		default:
			text, err := json.Marshal(v)
			if err != nil {
				return nil, err
			}
			b = append(b, text...)
		}
	}
	return append(b, ']'), nil
}

func appendHex(b, data []byte) []byte {
	b = hex.AppendEncode(append(b, `"0x`...), data)
	return append(b, '"')
}

// single asks one question in a request of its own.
func (e *endpoint) single(ctx context.Context, q *question, header http.Header) {
	id := e.lastID.Add(1)
	body := appendRequest(make([]byte, 0, len(q.params)+96), id, q.method, q.params)
	status, answer, err := e.post(ctx, body, header, e.c.limit(q), repeatable(q.method))
	if err != nil {
		q.err = err
		return
	}
	env, err := parseSingle(answer)
	if err != nil {
		q.err = statusFault(status, err)
		return
	}
	if got, ok := env.number(); env.Error == nil && (!ok || got != id) {
		q.err = badResponse("answer to another question")
		return
	} else if ok && got != id {
		q.err = badResponse("answer to another question")
		return
	}
	if env.Error == nil && (status < 200 || status > 299) {
		q.err = statusFault(status, nil)
		return
	}
	q.answer = env.Response
}

// appendRequest writes one JSON-RPC 2.0 request.
func appendRequest(b []byte, id uint64, method string, params []byte) []byte {
	b = append(b, `{"jsonrpc":"2.0","id":`...)
	b = strconv.AppendUint(b, id, 10)
	b = append(b, `,"method":`...)
	b = appendString(b, method)
	b = append(b, `,"params":`...)
	if params = bytes.TrimSpace(params); len(params) == 0 {
		params = []byte("[]")
	}
	b = append(b, params...)
	return append(b, '}')
}

func appendString(b []byte, s string) []byte {
	for i := 0; i < len(s); i++ {
		if c := s[i]; c < 0x20 || c >= 0x7f || c == '"' || c == '\\' {
			quoted, _ := json.Marshal(s) // a string always marshals
			return append(b, quoted...)
		}
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}
