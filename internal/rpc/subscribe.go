// SPDX-License-Identifier: Apache-2.0

package rpc

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"net/http"
	"sync"

	"github.com/coder/websocket"

	"github.com/hsmsigner/hsmsigner/internal/node"
	"github.com/hsmsigner/hsmsigner/internal/strictjson"
)

// subscription is one eth_subscribe of a socket. Its id is ours and says
// nothing of the node's, which changes when the node's client reconnects.
type subscription struct {
	id       string
	socket   *socket
	upstream *node.Subscription // guarded by socket.mu; nil until the node agreed

	mu        sync.Mutex
	shown     bool     // the answer with the id is queued
	early     [][]byte // notifications that came before
	earlySize int      // their bytes
}

// subscribe is eth_subscribe.
func subscribe(ctx context.Context, c *call, r *request) ([]byte, error) {
	k := c.socket
	if k == nil {
		return nil, &Error{Code: codeMethod, Message: "eth_subscribe needs a WebSocket: open one at this URL"}
	}
	if r.arg(0).Kind != strictjson.String {
		return nil, r.wrong(0, "subscription", `a name such as "newHeads" or "logs"`)
	}
	if r.notification() {
		return nil, invalidRequest("eth_subscribe needs an id: the answer says which subscription it is")
	}
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails
	quoted := hexJSON(b[:])
	sub := &subscription{id: string(quoted[1 : len(quoted)-1]), socket: k}
	if err := k.reserve(sub); err != nil {
		return nil, err
	}
	upstream, err := c.door.Node.Subscribe(ctx, r.appendParams(nil), sub.event)
	if err != nil {
		k.forget(sub.id)
		return nil, err
	}
	if !k.attach(sub, upstream) {
		upstream.Unsubscribe()
		return nil, context.Canceled
	}
	c.mu.Lock()
	c.subscribed = append(c.subscribed, sub)
	c.mu.Unlock()
	return quoted, nil
}

// unsubscribe is eth_unsubscribe.
func unsubscribe(_ context.Context, c *call, r *request) ([]byte, error) {
	if c.socket == nil {
		return nil, &Error{Code: codeMethod, Message: "eth_unsubscribe needs the WebSocket of its subscription"}
	}
	if err := r.count(1, 1); err != nil {
		return nil, err
	}
	if r.arg(0).Kind != strictjson.String {
		return nil, r.wrong(0, "subscription", "the id that eth_subscribe answered")
	}
	upstream := c.socket.forget(r.arg(0).Text)
	if upstream == nil {
		return nil, &Error{Code: codeServer, Message: "subscription not found"} // geth's words
	}
	upstream.Unsubscribe()
	return []byte("true"), nil
}

// announced lets the notifications of new subscriptions out, after the
// answers that told their ids were queued.
func (c *call) announced() {
	for _, sub := range c.subscribed {
		sub.mu.Lock()
		for _, data := range sub.early {
			sub.socket.notify(data)
		}
		sub.early, sub.shown = nil, true
		sub.mu.Unlock()
	}
}

// event queues one notification. It is called by the node's client, for one
// after the other, and does not block.
func (sub *subscription) event(result json.RawMessage) {
	b := make([]byte, 0, len(result)+len(sub.id)+96)
	b = append(b, `{"jsonrpc":"2.0","method":"eth_subscription","params":{"subscription":"`...)
	b = append(b, sub.id...)
	b = append(b, `","result":`...)
	b = append(b, result...)
	b = append(b, '}', '}')
	sub.mu.Lock()
	defer sub.mu.Unlock()
	switch {
	case sub.shown:
		sub.socket.notify(b)
	case len(sub.early) < queueLength && sub.earlySize+len(b) <= sub.socket.server.cfg.Limits.SendBuffer:
		sub.early = append(sub.early, b)
		sub.earlySize += len(b)
	default:
		sub.socket.drop()
	}
}

// reserve takes a place among the socket's subscriptions.
func (k *socket) reserve(sub *subscription) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.subs == nil {
		return context.Canceled
	}
	if most := k.server.cfg.Limits.Subscriptions; len(k.subs) >= most {
		return busy(http.StatusTooManyRequests, 0, "the WebSocket has %d subscriptions, which is the most allowed", most)
	}
	k.subs[sub.id] = sub
	return nil
}

// attach makes the subscription the socket's, which ends it when the socket
// ends. It fails if that has happened already.
func (k *socket) attach(sub *subscription, upstream *node.Subscription) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.subs == nil {
		return false
	}
	sub.upstream = upstream
	k.server.metrics.Subscriptions(1)
	k.wg.Go(func() {
		<-upstream.Done()
		if upstream.Err() != nil {
			k.bereave()
		}
	})
	return true
}

// bereave closes a socket of which the node has ended a subscription. There is
// no message that says so; a closed socket is what every client knows how to
// mend. One that is leaving has no subscriptions any more.
func (k *socket) bereave() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.leaving {
		k.close(websocket.StatusTryAgainLater, "the node ended a subscription", k.server.cfg.Limits.WriteTime)
	}
}

// forget removes a subscription and returns what it had upstream, if anything.
func (k *socket) forget(id string) *node.Subscription {
	k.mu.Lock()
	defer k.mu.Unlock()
	sub := k.subs[id]
	if sub == nil {
		return nil
	}
	delete(k.subs, id)
	if sub.upstream != nil {
		k.server.metrics.Subscriptions(-1)
		k.heard.Store(nowNano()) // idleness counts from here
	}
	return sub.upstream
}

// endSubscriptions ends all, and lets no new one begin.
func (k *socket) endSubscriptions() {
	k.mu.Lock()
	subs := k.subs
	k.subs = nil
	k.mu.Unlock()
	for _, sub := range subs {
		if sub.upstream != nil {
			k.server.metrics.Subscriptions(-1)
			sub.upstream.Unsubscribe()
		}
	}
}
