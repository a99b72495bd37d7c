// SPDX-License-Identifier: Apache-2.0

package eventstream

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"strconv"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/node"
)

// How many blocks are asked for at a time. A node that refuses, or a range with
// very many logs, is asked for half of them, down to one.
const (
	firstSpan = 1000
	lastSpan  = 10_000
	manyLogs  = 5000
	fewLogs   = 500
)

// maxCalls bounds the transactions that are remembered in a turn, in bytes of what
// they were called with.
const maxCalls = 8 << 20

// errMoved says that the chain changed while it was read. It is read again.
var errMoved = errors.New("the chain was reorganised while it was read")

// errBehind says that the node does not know the blocks that were read already.
var errBehind = errors.New("the node is behind the blocks that were read already")

// reader reads the chain for the subscriptions of a stream.
type reader struct {
	chain    chain
	settings Settings
	log      *slog.Logger
	headers  map[uint64]node.Head        // of this turn
	calls    map[common.Hash]transaction // of this turn
	called   int                         // bytes of their inputs
	last     inputs                      // the events of a transaction follow one another
}

// inputs are the decoded arguments of one transaction.
type inputs struct {
	tx     common.Hash
	of     *subscription // by whose methods; nil: none are remembered
	method string
	args   json.RawMessage
}

// target is the newest block whose events are told; ok is false if there is none.
func (r *reader) target(ctx context.Context) (number uint64, ok bool, err error) {
	r.headers, r.calls = make(map[uint64]node.Head), make(map[common.Hash]transaction)
	r.called, r.last = 0, inputs{}
	head, err := r.chain.head(ctx)
	if err != nil {
		return 0, false, err
	}
	if head.Number < uint64(r.settings.Confirmations) {
		return 0, false, nil
	}
	return head.Number - uint64(r.settings.Confirmations), true, nil
}

// header is one that may have been read in this turn.
func (r *reader) header(ctx context.Context, number uint64) (node.Head, error) {
	if h, some := r.headers[number]; some {
		return h, nil
	}
	h, err := r.chain.header(ctx, number)
	if err == nil {
		r.headers[number] = h
	}
	return h, err
}

// read reads on for one subscription, up to target at most, and returns the steps.
// If its events have room bytes, no more are made: the next reading goes on behind
// them, in the midst of a block if need be. more says that there is more to read.
func (r *reader) read(ctx context.Context, u *subscription, target uint64, room int) (steps []*step, more bool, err error) {
	c := &u.read
	if c.Block > target {
		return r.compare(ctx, u)
	}
	to := min(c.Block+u.span-1, target)
	// The last block is read first and once more at the end. If it is the same, then
	// all of what came between was read of one chain: that which it ends.
	end, err := r.chain.header(ctx, to)
	if err != nil {
		return nil, false, err
	}
	clear(r.headers)
	if steps, _, err = r.compare(ctx, u); err != nil || len(steps) > 0 {
		return steps, true, err
	}
	logs, err := r.chain.logs(ctx, c.Block, to, u.address, u.event.Topic())
	if to > c.Block && (err != nil && ctx.Err() == nil && smaller(err) || len(logs) > manyLogs) {
		u.span = max((to-c.Block+1)/2, 1)
		return nil, true, nil
	}
	if err != nil {
		return nil, false, err
	}
	steps, all, err := r.steps(ctx, u, logs, end, room)
	if err != nil {
		return nil, false, err
	}
	again, err := r.chain.header(ctx, to)
	if err != nil || again.Hash != end.Hash {
		return nil, false, moved(err)
	}
	if all && len(logs) < fewLogs && to-c.Block+1 == u.span {
		u.span = min(2*u.span, lastSpan)
	}
	r.headers[to] = end
	return append(u.vanished(logs, to), steps...), !all || to < target, nil
}

// moved is the error of reading what was there a moment ago.
func moved(err error) error {
	if err == nil || errors.Is(err, errAbsent) {
		return errMoved
	}
	return err
}

// steps words the logs of a range that ends with a block, until the events have room
// bytes. all says that it came to the end of the range.
func (r *reader) steps(ctx context.Context, u *subscription, logs []logEntry, end node.Head, room int) (steps []*step, all bool, err error) {
	for _, l := range logs {
		number, hash := uint64(*l.BlockNumber), *l.BlockHash
		if number == u.read.Block && uint64(*l.Index) < u.read.Log {
			continue // taken before the last restart, or read before there was no more room
		}
		last := u.read.last()
		if number == end.Number && hash != end.Hash || last != nil && last.Number == number && last.Hash != hash {
			return nil, false, errMoved
		}
		if room <= 0 {
			return steps, false, nil
		}
		e, m, ok := u.describe(l)
		if !ok {
			continue
		}
		if err := r.enrich(ctx, u, &e, hash); err != nil {
			return nil, false, err
		}
		s := &step{sub: u, kind: deliver, number: number, hash: hash, mark: m, body: encode(e), args: e.InputArgs}
		room -= s.size()
		steps = append(steps, s)
	}
	return append(steps, &step{sub: u, kind: advance, number: end.Number, hash: end.Hash}), true, nil
}

func encode(e event) json.RawMessage {
	body, err := json.Marshal(e)
	if err != nil { // nothing in it can fail but Data, which package abi has made
		return json.RawMessage(`{"error":"the event cannot be worded"}`)
	}
	return body
}

// enrich adds what the stream wants told beside the event.
func (r *reader) enrich(ctx context.Context, u *subscription, e *event, hash common.Hash) error {
	if r.settings.Timestamps {
		number, _ := strconv.ParseUint(e.BlockNumber, 10, 64)
		h, err := r.header(ctx, number)
		if err != nil || h.Hash != hash {
			return moved(err)
		}
		e.Timestamp = strconv.FormatUint(h.Time, 10)
	}
	if !r.settings.Inputs {
		return nil
	}
	t, known := r.calls[e.TxHash]
	if !known {
		var err error
		if t, err = r.chain.transaction(ctx, e.TxHash); err != nil {
			return moved(err)
		}
		if r.called += len(t.Input); r.called > maxCalls {
			clear(r.calls)
			r.called = len(t.Input)
		}
		r.calls[e.TxHash] = t
	}
	e.InputSigner = hexAddress(t.From)
	if u.methods == nil {
		return nil
	}
	if r.last.of != u || r.last.tx != e.TxHash {
		r.last = inputs{tx: e.TxHash, of: u}
		if m, ok := u.methods.MethodOf(t.Input); ok {
			if args, err := m.DecodeInputs(t.Input); err == nil {
				r.last.method, r.last.args = m.Name, args
			}
		}
	}
	e.InputMethod, e.InputArgs = r.last.method, r.last.args
	return nil
}

// compare looks whether the newest block that was read is still of the chain. If it
// is not, it returns the steps back to the fork: what has vanished, newest first.
func (r *reader) compare(ctx context.Context, u *subscription) (steps []*step, more bool, err error) {
	all := u.read.Seen
	other, absent := false, false
	i := len(all) - 1
	for ; i >= 0; i-- {
		h, err := r.header(ctx, all[i].Number)
		if errors.Is(err, errAbsent) {
			absent = true
			continue
		}
		if err != nil {
			return nil, false, err
		}
		if h.Hash == all[i].Hash {
			break
		}
		other = true
	}
	if !other {
		if absent {
			return nil, false, errBehind
		}
		return nil, false, nil
	}
	back := u.read.First
	if i >= 0 {
		back = all[i].Number + 1
	} else if oldest := all[0].Number; oldest > back+depth {
		back = oldest - depth
	}
	r.log.Warn("chain reorganised: going back", "subscription", u.row.ID, "block", back, "blocks", len(all)-1-i)
	for at := len(all) - 1; at > i; at-- {
		gone := all[at]
		for m := len(gone.Marks) - 1; m >= 0; m-- {
			steps = append(steps, u.removal(gone, gone.Marks[m]))
		}
	}
	return append(steps, &step{sub: u, kind: rewind, number: back}), true, nil
}

// trouble words an error of the chain for the stream's owner.
func trouble(err error) string {
	var r *refusal
	switch {
	case errors.As(err, &r):
		return r.Error()
	case errors.Is(err, errBehind), errors.Is(err, errStrange), errors.Is(err, errMoved), errors.Is(err, errAbsent):
		return err.Error()
	}
	for _, known := range []error{node.ErrTimeout, node.ErrTooLarge, node.ErrBadResponse, node.ErrClosed} {
		if errors.Is(err, known) {
			return known.Error()
		}
	}
	return fmt.Sprint(node.ErrUnavailable)
}
