// SPDX-License-Identifier: Apache-2.0

package gateway

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"sync"
	"time"

	"github.com/coder/websocket"

	"github.com/hsmsigner/hsmsigner/internal/contract"
	"github.com/hsmsigner/hsmsigner/internal/eventstream"
	"github.com/hsmsigner/hsmsigner/internal/strictjson"
)

const (
	socketMessage = 64 << 10         // bytes of a client's message
	socketWrite   = 10 * time.Second // a write may take so long
	socketPing    = 30 * time.Second // between two pings
	socketBye     = 3 * time.Second  // for the farewell, once the request's context has ended
	replyPoll     = 2 * time.Second  // between two looks for replies
	replyPages    = 5                // pages of replies that are looked at
)

// farewell says why a socket was closed.
type farewell struct {
	code   websocket.StatusCode
	reason string
}

var (
	goingAway = farewell{websocket.StatusGoingAway, "shutting down"}
	revoked   = farewell{websocket.StatusPolicyViolation, "credential revoked"}
	tooLate   = farewell{websocket.StatusPolicyViolation, "a batch was not answered in time"}
	closed    = farewell{websocket.StatusNormalClosure, ""}
)

// streamSocket is one client's WebSocket.
type streamSocket struct {
	p        *Streams
	q        *request
	ws       *websocket.Conn
	listener *eventstream.Listener
	ctx      context.Context // ends with the socket
	cancel   context.CancelFunc
	out      chan []byte // short messages to the client

	once    sync.Once
	leaving chan farewell // has room for one
	replies bool          // they are listened to; of the reading goroutine
}

// openSocket upgrades the request and serves the socket until it ends, which it does
// at the latest when the request's context has ended. So whoever counts requests, or
// ends those of a credential, has the socket among them.
func (p *Streams) openSocket(q *request) (answer, error) {
	if q.Page {
		// A page of another site could open one with the cookie: no token goes with it.
		return answer{}, bad("WebSockets are at the service's rest URL, for app credentials")
	}
	if q.r.Method != http.MethodGet || q.r.Header.Get("Upgrade") == "" {
		return answer{}, refuse(http.StatusUpgradeRequired, "this path is a WebSocket: want the header Upgrade: websocket")
	}
	at, wallet := q.streamPlace()
	listener, err := p.cfg.Streams.Listen(at, wallet)
	if err != nil {
		return answer{}, asStream(err)
	}
	k := &streamSocket{p: p, q: q, listener: listener, out: make(chan []byte, 16), leaving: make(chan farewell, 1)}
	// The farewell needs the socket when the request's context has ended; not for long.
	k.ctx, k.cancel = context.WithCancel(context.WithoutCancel(q.r.Context()))
	defer context.AfterFunc(q.r.Context(), func() {
		k.end(goingAway)
		time.AfterFunc(socketBye, k.cancel)
	})()
	if !p.add(k) {
		listener.Close()
		k.cancel()
		return answer{}, busy(http.StatusServiceUnavailable, 5*time.Second, "the signer is shutting down")
	}
	// The RPC listener has judged the Origin.
	k.ws, err = websocket.Accept(q.w, q.r, &websocket.AcceptOptions{InsecureSkipVerify: true, CompressionMode: websocket.CompressionDisabled})
	if err != nil { // Accept has answered
		p.remove(k)
		return answer{done: true}, nil //nolint:nilerr // the caller knows
	}
	k.ws.SetReadLimit(socketMessage)
	k.run()
	return answer{done: true}, nil
}

func (p *Streams) add(k *streamSocket) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closing {
		return false
	}
	p.sockets[k] = struct{}{}
	p.wg.Add(1)
	return true
}

func (p *Streams) remove(k *streamSocket) {
	k.cancel()
	k.listener.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.sockets, k)
	p.wg.Done()
}

// end has the socket closed with a word.
func (k *streamSocket) end(why farewell) {
	k.once.Do(func() { k.leaving <- why })
}

func (k *streamSocket) run() {
	defer k.p.remove(k)
	var wg sync.WaitGroup
	defer wg.Wait()
	wg.Go(k.write)
	err := k.read(&wg)
	k.end(closed)
	k.cancel()
	k.listener.Close()
	k.p.cfg.Logger.Debug("event stream socket closed", "wallet", k.q.Wallet.Name(), "err", err)
}

// read takes the client's messages until the socket ends.
func (k *streamSocket) read(wg *sync.WaitGroup) error {
	for {
		kind, data, err := k.ws.Read(k.ctx)
		if err != nil {
			return err
		}
		if kind != websocket.MessageText {
			k.complain("", "want text messages")
			continue
		}
		v, err := strictjson.Parse(data)
		if err != nil {
			k.complain("", "the message is "+cut(err.Error()))
			continue
		}
		k.take(v, wg)
	}
}

func (k *streamSocket) take(v strictjson.Value, wg *sync.WaitGroup) {
	topic := v.Get("topic")
	if topic.Present() && topic.Kind != strictjson.String {
		k.complain("", "topic is "+topic.Kind.String()+": want a string")
		return
	}
	switch kind := v.Get("type"); {
	case kind.Kind == strictjson.String && kind.Text == "listen":
		if err := k.listener.Subscribe(topic.Text); err != nil {
			k.complain(topic.Text, err.Error())
		}
	case kind.Kind == strictjson.String && kind.Text == "listenreplies":
		if k.p.cfg.Desk == nil {
			k.complain("", "there are no replies here")
			return
		}
		if !k.replies {
			k.replies = true
			begun := time.Now() // not when it comes to be followed: the client may send at once
			wg.Go(func() { k.follow(begun) })
		}
	case kind.Kind == strictjson.String && kind.Text == "ack":
		k.listener.Answer(topic.Text, nil) // one for what was broadcast means nothing
	case kind.Kind == strictjson.String && kind.Text == "error":
		message := "the client refused the batch"
		if text := v.Get("message"); text.Kind == strictjson.String && text.Text != "" {
			message += ": " + quote(text.Text)
		}
		k.listener.Answer(topic.Text, errors.New(message))
	default:
		k.complain("", "want an object whose type is listen, ack, error or listenreplies")
	}
}

// complain tells the client what was wrong with its message.
func (k *streamSocket) complain(topic, message string) {
	text, _ := json.Marshal(struct { // it has three strings
		Type    string `json:"type"`
		Topic   string `json:"topic,omitempty"`
		Message string `json:"message"`
	}{"error", topic, message})
	select {
	case k.out <- text:
	default: // who does not read need not be told
	}
}

// write writes what there is until the socket ends, and then the farewell.
func (k *streamSocket) write() {
	ping := time.NewTicker(socketPing)
	defer ping.Stop()
	var err error
	for err == nil {
		select {
		case d := <-k.listener.Deliveries():
			err = k.put(d.Body)
			d.Written(err)
		case text := <-k.out:
			err = k.put(text)
		case <-ping.C:
			ctx, cancel := context.WithTimeout(k.ctx, socketWrite)
			err = k.ws.Ping(ctx)
			cancel()
		case <-k.listener.Gone():
			k.end(tooLate)
			k.bye(<-k.leaving)
			return
		case why := <-k.leaving:
			k.bye(why)
			return
		}
	}
	k.cancel()
	_ = k.ws.CloseNow()
}

func (k *streamSocket) put(text []byte) error {
	ctx, cancel := context.WithTimeout(k.ctx, socketWrite)
	defer cancel()
	return k.ws.Write(ctx, websocket.MessageText, text)
}

// bye closes the socket; Close waits for the other end for some seconds.
func (k *streamSocket) bye(why farewell) {
	_ = k.ws.Close(why.code, why.reason)
	k.cancel()
}

// follow sends the replies of the caller's requests that end from a time on.
func (k *streamSocket) follow(begun time.Time) {
	open := map[string]time.Time{} // replies that were pending, and since when
	told := map[string]time.Time{}
	tick := time.NewTicker(replyPoll)
	defer tick.Stop()
	for {
		since := begun
		for _, at := range open {
			if at.Before(since) {
				since = at
			}
		}
		for id, at := range told {
			if at.Before(since) {
				delete(told, id)
			}
		}
		for _, r := range k.found(since) {
			if r.State == contract.StatePending {
				open[r.ID] = r.Received
				continue
			}
			if _, known := told[r.ID]; known {
				continue
			}
			text, err := json.Marshal(k.q.reply(r))
			if err != nil {
				continue
			}
			select {
			case k.out <- text:
			case <-k.ctx.Done():
				return
			}
			delete(open, r.ID)
			told[r.ID] = r.Received
		}
		select {
		case <-tick.C:
		case <-k.ctx.Done():
			return
		}
	}
}

// found are the replies of requests since a time, the newest first.
func (k *streamSocket) found(since time.Time) (all []contract.Reply) {
	ctx, cancel := context.WithTimeout(k.ctx, k.p.cfg.CallTimeout)
	defer cancel()
	f := contract.ReplyFilter{Since: since, Limit: 200}
	for range replyPages {
		page, err := k.p.cfg.Desk.Replies(ctx, k.q.target(), f)
		if err != nil {
			if ctx.Err() == nil {
				k.p.cfg.Logger.Warn("replies are not read", "err", err)
			}
			return all
		}
		if all = append(all, page...); len(page) < f.Limit {
			return all
		}
		f.Before = page[len(page)-1].Tx
	}
	return all
}
