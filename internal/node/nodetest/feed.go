// SPDX-License-Identifier: Apache-2.0

package nodetest

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"time"

	"github.com/coder/websocket"
	"github.com/ethereum/go-ethereum/common"
)

// feed is one WebSocket connection and its subscriptions.
type feed struct {
	at   *Endpoint
	conn *websocket.Conn
	out  chan []byte
	gone chan struct{}
	once sync.Once

	mu   sync.Mutex
	last int
	subs map[string]string // id → kind
}

func (f *feed) close() { f.once.Do(func() { close(f.gone); f.conn.CloseNow() }) }

func (e *Endpoint) serveSocket(w http.ResponseWriter, r *http.Request) {
	c := e.chain
	conn, err := websocket.Accept(w, r, &websocket.AcceptOptions{InsecureSkipVerify: true}) // any Origin: it is a fake
	if err != nil {
		return
	}
	conn.SetReadLimit(32 << 20)
	f := &feed{at: e, conn: conn, out: make(chan []byte, 4096), gone: make(chan struct{}), subs: make(map[string]string)}
	c.mu.Lock()
	c.feeds[f] = struct{}{}
	c.mu.Unlock()
	defer func() {
		f.close()
		c.mu.Lock()
		delete(c.feeds, f)
		c.mu.Unlock()
	}()
	var writer sync.WaitGroup
	defer writer.Wait()
	defer f.close()
	writer.Go(func() { f.write() })
	for {
		// The request's own context ends with the hijack.
		_, message, err := conn.Read(context.Background())
		if err != nil {
			return
		}
		answer, instead, cut := e.answer(context.Background(), message, f)
		if cut {
			return
		}
		if instead != nil {
			answer = instead.body
		}
		f.put(answer)
	}
}

func (f *feed) put(message []byte) {
	select {
	case f.out <- message:
	case <-f.gone:
	}
}

func (f *feed) write() {
	for {
		select {
		case <-f.gone:
			return
		case m := <-f.out:
			ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
			err := f.conn.Write(ctx, websocket.MessageText, m)
			cancel()
			if err != nil {
				f.close()
				return
			}
		}
	}
}

func (f *feed) subscribe(kind string) string {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.last++
	id := fmt.Sprintf("0x%x", f.last)
	f.subs[id] = kind
	return id
}

func (f *feed) unsubscribe(id string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	_, ok := f.subs[id]
	delete(f.subs, id)
	return ok
}

// notify sends to all subscriptions of a kind; one that does not read is cut.
func (f *feed) notify(kind string, result any) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for id, k := range f.subs {
		if k != kind {
			continue
		}
		message := marshal(map[string]any{
			"jsonrpc": "2.0", "method": "eth_subscription",
			"params": map[string]any{"subscription": id, "result": result},
		})
		select {
		case f.out <- message:
		default:
			go f.close()
		}
	}
}

// announce tells subscribers of newHeads. Callers hold mu.
func (c *Chain) announce(b *block) {
	for f := range c.feeds {
		if f.at.sees(b.header.Number.Uint64()) {
			f.notify("newHeads", json.RawMessage(marshal(b.header)))
		}
	}
}

func (c *Chain) announcePending(hash common.Hash) {
	for f := range c.feeds {
		f.notify("newPendingTransactions", hash)
	}
}

func (e *Endpoint) closeFeeds() {
	e.chain.mu.Lock()
	defer e.chain.mu.Unlock()
	for f := range e.chain.feeds {
		if f.at == e {
			f.close()
		}
	}
}

// Subscriptions counts the subscriptions of the endpoint's open WebSockets.
func (e *Endpoint) Subscriptions() int {
	e.chain.mu.Lock()
	defer e.chain.mu.Unlock()
	n := 0
	for f := range e.chain.feeds {
		if f.at == e {
			f.mu.Lock()
			n += len(f.subs)
			f.mu.Unlock()
		}
	}
	return n
}
