// SPDX-License-Identifier: Apache-2.0

package rpc

import (
	"context"
	"time"

	"github.com/coder/websocket"
)

// pause is how long nobody looks after the socket.
func (k *socket) pause() time.Duration {
	return min(k.server.cfg.Limits.Ping, k.server.cfg.Limits.Idle)
}

// watch looks after the socket and comes again: it pings, and ends sockets
// whose caller is gone or idle.
func (k *socket) watch() {
	k.mu.Lock()
	alive := k.enter()
	k.mu.Unlock()
	if !alive {
		return
	}
	defer k.wg.Done()
	if k.idle() {
		k.end(websocket.StatusNormalClosure, "idle")
		return
	}
	// While the reader waits nobody reads the pong, and it is clear why.
	if !k.full.Load() {
		ctx, cancel := context.WithTimeout(k.ctx, k.server.cfg.Limits.Ping)
		err := k.ws.Ping(ctx)
		cancel()
		if err != nil && !k.full.Load() {
			k.drop()
			return
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.ended {
		k.timer.Reset(k.pause())
	}
}

func (k *socket) idle() bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	return len(k.subs) == 0 && k.atWork == 0 &&
		time.Since(time.Unix(0, k.heard.Load())) >= k.server.cfg.Limits.Idle
}

func nowNano() int64 { return time.Now().UnixNano() }
