// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"encoding/json"
	"sync"
	"time"

	"github.com/coder/websocket"
)

const (
	pingEvery    = 20 * time.Second
	writeTimeout = 10 * time.Second
)

// socket is one WebSocket connection to the node.
type socket struct {
	feed *feed
	at   *endpoint
	conn *websocket.Conn
	gone chan struct{}
	once sync.Once

	mu      sync.Mutex
	pending map[uint64]*asking
	subs    map[string]*Subscription
}

// asking is an eth_subscribe whose answer has not come.
type asking struct {
	sub    *Subscription
	answer chan error // buffered
}

func newSocket(f *feed, at *endpoint, conn *websocket.Conn) *socket {
	return &socket{
		feed: f, at: at, conn: conn, gone: make(chan struct{}),
		pending: make(map[uint64]*asking),
		subs:    make(map[string]*Subscription),
	}
}

func (s *socket) close() {
	s.once.Do(func() {
		close(s.gone)
		s.conn.CloseNow()
	})
}

// subscribe asks for a subscription and waits for the answer. The reader
// registers it before it looks at the next message, so that no event is lost.
func (s *socket) subscribe(ctx context.Context, sub *Subscription) error {
	id := s.at.lastID.Add(1)
	a := &asking{sub: sub, answer: make(chan error, 1)}
	s.mu.Lock()
	s.pending[id] = a
	s.mu.Unlock()
	defer func() {
		s.mu.Lock()
		delete(s.pending, id)
		s.mu.Unlock()
	}()
	if err := s.write(appendRequest(nil, id, "eth_subscribe", sub.params)); err != nil {
		return err
	}
	select {
	case err := <-a.answer:
		return err
	case <-s.gone:
		return &fault{ErrUnavailable, "connection closed before the answer"}
	case <-ctx.Done():
		return connectionFault(ctx, ctx.Err())
	}
}

// unsubscribe tells the node, and does not wait for its answer.
func (s *socket) unsubscribe(id string) {
	s.mu.Lock()
	delete(s.subs, id)
	s.mu.Unlock()
	params := append(appendString([]byte{'['}, id), ']')
	// An error closes the connection, and with it the subscription.
	_ = s.write(appendRequest(nil, s.at.lastID.Add(1), "eth_unsubscribe", params))
}

// write sends a message. It has a deadline of its own: to cancel a write is to
// lose the connection, which others use too.
func (s *socket) write(message []byte) error {
	ctx, cancel := context.WithTimeout(s.feed.ctx, writeTimeout)
	defer cancel()
	if err := s.conn.Write(ctx, websocket.MessageText, message); err != nil {
		s.close()
		if s.feed.ctx.Err() != nil {
			return ErrClosed
		}
		return connectionFault(ctx, err)
	}
	return nil
}

// read takes what comes until the connection ends.
func (s *socket) read() {
	defer s.feed.lost(s)
	defer s.close()
	for {
		_, message, err := s.conn.Read(s.feed.ctx)
		if err != nil {
			return
		}
		s.take(message)
	}
}

// take judges one message. What is neither an answer nor an event of ours is
// ignored: the node owes us nothing else.
func (s *socket) take(message []byte) {
	var m struct {
		Method string `json:"method"`
		Params struct {
			Subscription json.RawMessage `json:"subscription"`
			Result       json.RawMessage `json:"result"`
		} `json:"params"`
	}
	if json.Unmarshal(message, &m) == nil && m.Method != "" {
		s.mu.Lock()
		sub := s.subs[subscriptionID(m.Params.Subscription)]
		s.mu.Unlock()
		if sub != nil && m.Params.Result != nil {
			sub.push(m.Params.Result)
		}
		return
	}
	e, err := parseSingle(message)
	if err != nil {
		return
	}
	id, ok := e.number()
	if !ok {
		return
	}
	s.mu.Lock()
	a := s.pending[id]
	delete(s.pending, id)
	s.mu.Unlock()
	if a != nil {
		a.answer <- s.answered(a.sub, e.Response)
	}
}

func (s *socket) answered(sub *Subscription, r Response) error {
	if err := r.err(); err != nil {
		return err
	}
	id := subscriptionID(r.Result)
	if id == "" {
		return badResponse("subscription without an id")
	}
	s.mu.Lock()
	s.subs[id] = sub
	s.mu.Unlock()
	if !sub.settle(s, id) {
		s.unsubscribe(id)
	}
	return nil
}

// subscriptionID is the node's name for a subscription: a string, with some a
// number.
func subscriptionID(raw json.RawMessage) string {
	var id string
	if json.Unmarshal(raw, &id) == nil {
		return id
	}
	return string(raw)
}

// ping finds out about a connection that died without a word.
func (s *socket) ping() {
	tick := time.NewTicker(pingEvery)
	defer tick.Stop()
	for {
		select {
		case <-s.gone:
			return
		case <-tick.C:
			ctx, cancel := context.WithTimeout(s.feed.ctx, writeTimeout)
			err := s.conn.Ping(ctx)
			cancel()
			if err != nil {
				s.close()
				return
			}
		}
	}
}
