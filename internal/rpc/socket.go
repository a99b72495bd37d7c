// SPDX-License-Identifier: Apache-2.0

package rpc

import (
	"context"
	"log/slog"
	"net"
	"sync"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	"github.com/hsmsigner/hsmsigner/internal/auth"
)

// socket is one WebSocket. One goroutine reads; each message is done in one of
// its own; another writes as long as there is something to write, and a timer
// pings, so that an idle socket keeps little. No order is promised between
// messages.
type socket struct {
	server *Server
	door   atomic.Pointer[door] // another when the service is replaced
	share  *share               // of the membership of all its doors
	who    auth.Principal
	ctx    context.Context // of everything that belongs to the socket; see drop
	cancel context.CancelFunc
	wg     sync.WaitGroup // goroutines but for the reader

	room  chan struct{} // a place for each message until it is answered
	full  atomic.Bool   // the reader waits for a place instead of for a message
	heard atomic.Int64  // Unix nanoseconds of the last message from the caller

	mu      sync.Mutex
	ws      *websocket.Conn // nil until open
	conn    net.Conn        // under ws
	subs    map[string]*subscription
	atWork  int // messages
	leaving bool
	ended   bool // no goroutine may begin
	timer   *time.Timer

	out outbox // guarded by mu
}

func newSocket(ctx context.Context, s *Server, who auth.Principal) *socket {
	k := &socket{
		server: s, who: who,
		room: make(chan struct{}, s.cfg.Limits.SocketRequests),
		subs: make(map[string]*subscription),
	}
	k.ctx, k.cancel = context.WithCancel(ctx)
	k.heard.Store(nowNano())
	return k
}

// open gives the socket its connection. It may have been told to close before.
func (k *socket) open(ws *websocket.Conn, conn net.Conn) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.ws, k.conn = ws, conn
	k.timer = time.AfterFunc(k.pause(), k.watch)
	k.wake()
	if k.ctx.Err() != nil {
		hangUp(conn)
	}
}

// run serves the socket until it ends.
func (k *socket) run() {
	s := k.server
	defer s.removeSocket(k)
	defer s.metrics.Sockets(-1)
	err := k.read()
	k.cancel()
	k.endSubscriptions()
	k.mu.Lock()
	k.ended = true
	k.timer.Stop()
	if k.out.cutOff != nil {
		k.out.cutOff.Stop()
	}
	k.mu.Unlock()
	_ = k.ws.CloseNow()
	k.wg.Wait()
	s.log.LogAttrs(context.WithoutCancel(k.ctx), slog.LevelDebug, "socket closed", slog.String("wallet", k.door.Load().Name), slog.Any("err", err))
}

// enter lets a goroutine begin that ends with wg.Done. The caller holds mu.
func (k *socket) enter() bool {
	if !k.ended {
		k.wg.Add(1)
	}
	return !k.ended
}

// read takes messages until the socket ends. While too many are at work it
// reads no further, so that the caller is slowed down by TCP.
func (k *socket) read() (err error) {
	defer func() { recovered(recover(), &err) }() // net/http does this for HTTP
	for {
		k.full.Store(true)
		select {
		case k.room <- struct{}{}:
		case <-k.ctx.Done():
			return k.ctx.Err()
		}
		k.full.Store(false)
		m := &message{socket: k, mem: claim{server: k.server, share: k.share}}
		if err := m.read(); err != nil {
			m.release()
			return err
		}
		k.heard.Store(nowNano())
		if !k.take(m) {
			m.release()
		}
	}
}

// take begins the work on a message. Once the socket is being closed nothing
// is taken any more; it is still read, for the other end's farewell.
func (k *socket) take(m *message) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.out.last.code != 0 || !k.enter() {
		return false
	}
	if m.late = k.leaving; !m.late {
		k.atWork++
	}
	go m.work()
	return true
}

// did ends the work on a message.
func (k *socket) did(m *message) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !m.late {
		k.atWork--
		k.left()
	}
}

// leave closes the socket, whose wallet was removed, as soon as what it has
// asked is answered. It gets no more notifications.
func (k *socket) leave() {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.leaving || k.ended {
		return
	}
	k.leaving = true
	k.left()
	if k.enter() {
		go func() { // it may have to write to the node
			defer k.wg.Done()
			k.endSubscriptions()
		}()
	}
}

// left says good-bye if it is time. The caller holds mu.
func (k *socket) left() {
	if k.leaving && k.atWork == 0 {
		k.close(websocket.StatusGoingAway, "the wallet was removed", k.server.cfg.Limits.WriteTime)
	}
}

// drop ends the socket at once.
func (k *socket) drop() {
	k.cancel()
	k.mu.Lock()
	conn := k.conn
	k.mu.Unlock()
	if conn != nil {
		hangUp(conn)
	}
}
