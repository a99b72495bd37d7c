// SPDX-License-Identifier: Apache-2.0

package rpc

import (
	"context"
	"sync"
	"time"

	"go.opentelemetry.io/otel/trace"

	"github.com/hsmsigner/hsmsigner/internal/node"
	"github.com/hsmsigner/hsmsigner/internal/strictjson"
	"github.com/hsmsigner/hsmsigner/internal/txmgr"
)

// item is one request of a batch and its outcome.
type item struct {
	req    request
	method *method
	span   trace.Span // nil if it is not traced
	result []byte
	err    *Error
}

// batch does the requests of a batch, each judged by itself, and returns the
// array of answers in the order of the requests, or nil if none is due.
//
// Transactions begin one after the other, so that their nonces follow the
// order of the batch, and are then awaited together. What the node answers
// goes to it in one piece. Everything else is done beside that, some at once.
func (c *call) batch(ctx context.Context, elems []strictjson.Value) ([]byte, *Error) {
	s := c.server
	if len(elems) > s.cfg.Limits.Batch {
		s.metrics.Refused("size")
		return nil, invalidRequest("the batch has %d requests; %d are allowed", len(elems), s.cfg.Limits.Batch)
	}
	c.inBatch = true
	start := time.Now()
	items := make([]item, len(elems))
	var sends, forwards, others []*item
	for i := range elems {
		it := &items[i]
		if it.req, it.err = decode(elems[i]); it.err != nil {
			s.metrics.Refused("parse")
			continue
		}
		m, err := c.lookup(&it.req)
		it.method = m
		it.span = c.spanOf(ctx, m, start)
		switch {
		case err != nil:
			it.err = c.finish(it.in(ctx), m, err, start)
		case m.begin != nil:
			sends = append(sends, it)
		case m.forwards(c, &it.req):
			forwards = append(forwards, it)
		default:
			others = append(others, it)
		}
	}

	var wg sync.WaitGroup
	if len(forwards) > 0 {
		wg.Go(func() { c.forwardAll(ctx, forwards, start) })
	}
	if len(others) > 0 {
		wg.Go(func() { c.runAll(ctx, others, start) })
	}
	c.sendAll(ctx, sends, start)
	wg.Wait()
	return appendAnswers(items), nil
}

func (c *call) sendAll(all context.Context, items []*item, start time.Time) {
	ctx, cancel := context.WithTimeout(all, c.server.cfg.SendTimeout)
	defer cancel()
	waits := make([]wait, len(items))
	var asked []asking
	order := new(txmgr.Order)
	for i, it := range items {
		w, err := c.begin(it.in(ctx), it.method, &it.req, order)
		if err != nil {
			it.err = c.finish(it.in(ctx), it.method, err, start)
			continue
		}
		waits[i] = w
	}
	// The work behind the waits goes on by itself, so that waiting for one
	// after the other takes as long as the longest.
	for i, it := range items {
		if waits[i] != nil {
			result, err := c.await(ctx, waits[i])
			if err != nil {
				asked = append(asked, asking{it, err})
				continue
			}
			it.result, it.err = result, c.finish(it.in(ctx), it.method, nil, start)
		}
	}
	patience, stop := c.patience(all)
	defer stop()
	for _, a := range asked {
		result, err := c.people(a.in(all), patience, a.method, &a.req, a.failed)
		a.result, a.err = result, c.finish(a.in(all), a.method, err, start)
	}
}

// asking is a transaction of a batch that was not sent: perhaps people are to be
// asked first.
type asking struct {
	*item
	failed error
}

func (c *call) forwardAll(ctx context.Context, items []*item, start time.Time) {
	ctx, cancel := context.WithTimeout(ctx, c.server.cfg.CallTimeout)
	defer cancel()
	calls := make([]*node.ForwardCall, len(items))
	for i, it := range items {
		calls[i] = &node.ForwardCall{Method: it.req.method, Params: it.req.appendParams(nil)}
	}
	var failed error
	func() {
		defer func() { recovered(recover(), &failed) }()
		c.door.Node.ForwardBatch(ctx, calls, c.header)
	}()
	for i, it := range items {
		err := failed
		if err == nil {
			err = calls[i].Err
		}
		if err == nil {
			it.result, err = it.method.settle(c.door, calls[i].Response)
		}
		it.err = c.finish(it.in(ctx), it.method, err, start)
	}
}

func (c *call) runAll(ctx context.Context, items []*item, start time.Time) {
	var wg sync.WaitGroup
	defer wg.Wait()
	room := make(chan struct{}, c.server.cfg.Limits.BatchAtWork)
	for _, it := range items {
		room <- struct{}{}
		wg.Go(func() {
			defer func() { <-room }()
			ctx := it.in(ctx)
			result, err := c.run(ctx, it.method, &it.req)
			if err != nil {
				patience, cancel := c.patience(ctx)
				defer cancel()
				result, err = c.people(ctx, patience, it.method, &it.req, err)
			}
			it.result, it.err = result, c.finish(ctx, it.method, err, start)
		})
	}
}

// appendAnswers joins the answers that are due.
func appendAnswers(items []item) []byte {
	size := 2
	for i := range items {
		size += len(items[i].result) + 64
	}
	b := append(make([]byte, 0, size), '[')
	for i := range items {
		it := &items[i]
		if it.req.notification() {
			continue
		}
		if len(b) > 1 {
			b = append(b, ',')
		}
		b = appendResponse(b, it.req.id, it.result, it.err)
	}
	if len(b) == 1 {
		return nil
	}
	return append(b, ']')
}
