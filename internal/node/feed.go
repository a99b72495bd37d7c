// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/coder/websocket"
)

// Pauses between attempts to reconnect.
const (
	firstPause = 100 * time.Millisecond
	lastPause  = 5 * time.Second
)

// feed keeps a client's WebSocket while there are subscriptions, and renews
// both after a break.
type feed struct {
	client *Client
	ctx    context.Context // of all that the feed does; ends with close
	cancel context.CancelFunc
	wg     sync.WaitGroup

	dialing chan struct{} // one at a time; taken by sending

	mu      sync.Mutex
	subs    map[*Subscription]struct{}
	socket  *socket // nil: not connected
	mending bool
	closed  bool
}

func newFeed(c *Client) *feed {
	ctx, cancel := context.WithCancel(context.Background())
	return &feed{
		client: c, ctx: ctx, cancel: cancel,
		dialing: make(chan struct{}, 1),
		subs:    make(map[*Subscription]struct{}),
	}
}

// start makes a new subscription.
func (f *feed) start(ctx context.Context, s *Subscription) error {
	f.mu.Lock()
	if f.closed {
		f.mu.Unlock()
		return ErrClosed
	}
	if len(f.subs) >= maxSubscriptions {
		f.mu.Unlock()
		return ErrTooMany
	}
	f.subs[s] = struct{}{}
	f.mu.Unlock()
	at, err := f.connect(ctx)
	if err != nil {
		return err
	}
	err = f.subscribeAt(ctx, s, at)
	if errors.Is(err, ErrUnavailable) && at.at != f.client.active() {
		if at, err = f.connect(ctx); err == nil {
			err = f.subscribeAt(ctx, s, at)
		}
	}
	return err
}

func (f *feed) subscribeAt(ctx context.Context, s *Subscription, at *socket) error {
	if !s.claim(at) {
		return nil
	}
	return at.subscribe(ctx, s)
}

// drop forgets a subscription that has ended, ends it at the node, and
// disconnects after the last one.
func (f *feed) drop(s *Subscription, at *socket, id string) {
	f.mu.Lock()
	delete(f.subs, s)
	last := len(f.subs) == 0
	current := f.socket
	if last {
		f.socket = nil
	}
	f.mu.Unlock()
	switch {
	case last && current != nil:
		current.close() // the node forgets what was subscribed over it
	case at != nil && id != "":
		at.unsubscribe(id)
	}
}

// connect returns the open socket or opens one.
func (f *feed) connect(ctx context.Context) (*socket, error) {
	select {
	case f.dialing <- struct{}{}:
	case <-ctx.Done():
		return nil, connectionFault(ctx, ctx.Err())
	}
	defer func() { <-f.dialing }()
	for {
		e := f.client.active()
		f.mu.Lock()
		open := f.socket
		f.mu.Unlock()
		if open != nil && open.at == e {
			return open, nil
		}
		conn, err := f.dial(ctx, e)
		if err != nil {
			return nil, err
		}
		if s, err := f.open(newSocket(f, e, conn)); s != nil || err != nil {
			return s, err
		}
	}
}

// open makes a socket the feed's, or closes it. It returns nil if the socket
// leads to an endpoint that is not the active one any more.
func (f *feed) open(s *socket) (*socket, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	switch {
	case f.closed:
		s.close()
		return nil, ErrClosed
	case s.at != f.client.active():
		s.close()
		return nil, nil //nolint:nilnil // said in its comment
	}
	if f.socket != nil { // to an endpoint that was left, and not lost yet
		f.socket.close()
		if !f.mending {
			f.mending = true
			f.wg.Go(f.mend)
		}
	}
	f.socket = s
	f.wg.Go(s.read)
	f.wg.Go(s.ping)
	return s, nil
}

// moved is told that another endpoint is the active one. A socket that leads
// elsewhere is closed; its end makes mend renew what was subscribed over it.
func (f *feed) moved() {
	f.mu.Lock()
	open := f.socket
	f.mu.Unlock()
	// A socket that is opened after this look is compared with the new one.
	if open != nil && open.at != f.client.active() {
		open.close()
	}
}

func (f *feed) dial(ctx context.Context, e *endpoint) (*websocket.Conn, error) {
	header := e.header.Clone()
	header.Del("Content-Type")
	conn, resp, err := websocket.Dial(ctx, e.wsURL, &websocket.DialOptions{
		HTTPClient: &http.Client{
			Transport: e.transport,
			// A redirect would carry credentials to a place nobody configured.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		HTTPHeader: header,
		Host:       e.host,
	})
	if err == nil {
		conn.SetReadLimit(f.client.cfg.MaxResponse)
		return conn, nil
	}
	if resp == nil || resp.StatusCode == http.StatusSwitchingProtocols {
		return nil, connectionFault(ctx, err)
	}
	switch status := resp.StatusCode; {
	case status == http.StatusUnauthorized, status == http.StatusForbidden, status == http.StatusTooManyRequests, status >= 500:
		return nil, &fault{ErrUnavailable, "HTTP status " + strconv.Itoa(status)}
	default:
		return nil, ErrNoSubscriptions
	}
}

// lost is told by a socket that it is gone.
func (f *feed) lost(s *socket) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.socket == s {
		f.socket = nil
	}
	if f.closed || f.mending || len(f.subs) == 0 || f.socket != nil {
		return
	}
	f.mending = true
	f.wg.Go(f.mend)
}

// mend reconnects and renews every subscription, until it has succeeded or
// nobody needs it any more.
func (f *feed) mend() {
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		// Spread out, so that a fleet does not fall upon a node that restarts.
		wait := time.NewTimer(pause/2 + rand.N(pause/2+1))
		select {
		case <-f.ctx.Done():
			wait.Stop()
			return
		case <-wait.C:
		}
		err := f.renew()
		f.mu.Lock()
		// No socket and no error: it broke again at once, and left that to us.
		if done := err == nil && (f.socket != nil || len(f.subs) == 0); done || f.closed {
			f.mending = false
			f.mu.Unlock()
			return
		}
		f.mu.Unlock()
		if err != nil {
			f.client.log.LogAttrs(f.ctx, slog.LevelWarn, "node websocket lost, reconnecting",
				slog.String("err", err.Error()), slog.Duration("next", pause))
		}
	}
}

func (f *feed) renew() error {
	ctx, cancel := context.WithTimeout(f.ctx, f.client.cfg.Timeout)
	defer cancel()
	f.mu.Lock()
	subs := make([]*Subscription, 0, len(f.subs))
	for s := range f.subs {
		subs = append(subs, s)
	}
	f.mu.Unlock()
	if len(subs) == 0 {
		return nil
	}
	at, err := f.connect(ctx)
	if err != nil {
		return err
	}
	for _, s := range subs {
		err := f.subscribeAt(ctx, s, at)
		var refused *Error
		if errors.As(err, &refused) {
			s.end(err)
			continue
		}
		if err != nil {
			at.close()
			return err
		}
	}
	return nil
}

func (f *feed) close() {
	f.mu.Lock()
	f.closed = true
	subs := f.subs
	f.subs = make(map[*Subscription]struct{})
	open := f.socket
	f.mu.Unlock()
	f.cancel()
	if open != nil {
		open.close()
	}
	for s := range subs {
		s.end(ErrClosed)
	}
	f.wg.Wait()
}
