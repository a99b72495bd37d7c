// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"sync"
)

// Errors of subscriptions.
var (
	ErrNoSubscriptions = errors.New("node offers no subscriptions: it has no WebSocket at the configured address")
	ErrSlow            = errors.New("subscription ended: its events were not taken fast enough")
	ErrTooMany         = errors.New("too many subscriptions at this node")
)

// Bounds of what subscriptions may hold.
const (
	maxSubscriptions = 1000
	maxQueuedEvents  = 1024    // of one subscription
	maxQueuedBytes   = 8 << 20 // of one subscription
)

// Subscription is one eth_subscribe at the node. It outlives the connection:
// when that breaks, it is made anew, and events from in between are missing.
type Subscription struct {
	feed    *feed
	params  []byte
	onEvent func(json.RawMessage)
	done    chan struct{}
	wake    chan struct{}

	mu     sync.Mutex
	queue  []json.RawMessage
	bytes  int
	ended  bool
	err    error
	socket *socket // where it is, or is being, subscribed
	id     string  // the node's name for it there
}

// Subscribe starts an eth_subscribe with these parameters (a JSON array, as a
// client sent it) over the client's one WebSocket, which is opened at need.
// Events are delivered one after the other, in order, each the verbatim
// "result" of a notification. A refusal by the node is an *Error;
// ErrNoSubscriptions if there is no WebSocket.
//
// ctx bounds the start only. The subscription ends by Unsubscribe, by Close of
// the client, by the node's refusal to renew it, or with ErrSlow when onEvent
// does not keep up: see Done and Err.
func (c *Client) Subscribe(ctx context.Context, params []byte, onEvent func(result json.RawMessage)) (*Subscription, error) {
	s := &Subscription{
		feed:    c.feed,
		params:  append([]byte(nil), params...),
		onEvent: onEvent,
		done:    make(chan struct{}),
		wake:    make(chan struct{}, 1),
	}
	ctx, cancel := context.WithTimeout(ctx, c.cfg.Timeout)
	defer cancel()
	if err := c.feed.start(ctx, s); err != nil {
		s.end(err)
		return nil, fmt.Errorf("node: eth_subscribe: %w", err)
	}
	go s.deliver()
	return s, nil
}

// Done is closed when the subscription has ended.
func (s *Subscription) Done() <-chan struct{} { return s.done }

// Err says why the subscription ended: nil before Done and after Unsubscribe.
func (s *Subscription) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Unsubscribe ends the subscription. It may be called more than once, and from
// onEvent. A delivery that has begun runs to its end, no other begins.
func (s *Subscription) Unsubscribe() { s.end(nil) }

// end stops the subscription here and at the node.
func (s *Subscription) end(err error) {
	s.mu.Lock()
	if s.ended {
		s.mu.Unlock()
		return
	}
	s.ended, s.err, s.queue = true, err, nil
	at, id := s.socket, s.id
	s.mu.Unlock()
	close(s.done)
	s.feed.drop(s, at, id)
}

// push queues an event for delivery.
func (s *Subscription) push(event json.RawMessage) {
	s.mu.Lock()
	if s.ended {
		s.mu.Unlock()
		return
	}
	if len(s.queue) == maxQueuedEvents || s.bytes+len(event) > maxQueuedBytes && len(s.queue) > 0 {
		s.mu.Unlock()
		s.end(ErrSlow)
		return
	}
	s.queue = append(s.queue, event)
	s.bytes += len(event)
	s.mu.Unlock()
	select {
	case s.wake <- struct{}{}:
	default:
	}
}

// deliver hands events on until the end.
func (s *Subscription) deliver() {
	for {
		s.mu.Lock()
		if s.ended {
			s.mu.Unlock()
			return
		}
		var event json.RawMessage
		if len(s.queue) > 0 {
			event = s.queue[0]
			s.queue = s.queue[1:]
			s.bytes -= len(event)
		}
		s.mu.Unlock()
		if event != nil {
			s.onEvent(event)
			continue
		}
		select {
		case <-s.wake:
		case <-s.done:
			return
		}
	}
}

// claim notes that the subscription is being made on a socket; false if it is
// there already, or has ended.
func (s *Subscription) claim(at *socket) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended || s.socket == at {
		return false
	}
	s.socket, s.id = at, ""
	return true
}

// settle notes the node's name of the subscription; false if it has ended
// meanwhile and must be ended at the node too.
func (s *Subscription) settle(at *socket, id string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.ended || s.socket != at {
		return false
	}
	s.id = id
	return true
}
