// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"fmt"
	"net/http"
)

// ForwardCall is one item of a ForwardBatch, and its answer.
type ForwardCall struct {
	Method   string
	Params   []byte // JSON array or object, or nil for []
	Response Response
	Err      error // no answer; Response is then empty
}

// Forward passes a request through and returns the answer byte for byte,
// whatever it is; the node's own error is an answer, not an error. params must
// be JSON already (package strictjson writes it) and is not checked again.
// header is sent along, except what identifies us to the node or frames the
// message. The result is checked to be JSON but never decoded.
func (c *Client) Forward(ctx context.Context, method string, params []byte, header http.Header) (Response, error) {
	q := &question{method: method, params: params}
	c.active().single(ctx, q, header)
	if q.err != nil {
		return Response{}, fmt.Errorf("node: %s: %w", method, q.err)
	}
	return q.answer, nil
}

// ForwardBatch is Forward for several requests, in order, in one HTTP request
// where the node takes batches. Each call has its own outcome.
func (c *Client) ForwardBatch(ctx context.Context, calls []*ForwardCall, header http.Header) {
	qs := make([]*question, len(calls))
	for i, call := range calls {
		qs[i] = &question{method: call.Method, params: call.Params}
	}
	c.active().batch(ctx, qs, header)
	for i, q := range qs {
		if q.err != nil {
			calls[i].Err = fmt.Errorf("node: %s: %w", q.method, q.err)
			continue
		}
		calls[i].Response = q.answer
	}
}
