// SPDX-License-Identifier: Apache-2.0

package rpc

import (
	"context"
	"slices"
	"time"

	"github.com/coder/websocket"
)

const (
	// queueLength bounds the notifications that wait to be written. Answers are
	// bounded by the places for messages.
	queueLength = 1024
	// revokeTime is how long a caller whose credential was revoked has for the
	// farewell.
	revokeTime = 2 * time.Second
)

// frame is a message to the caller. An answer has a place in the socket's
// room.
type frame struct {
	data  []byte
	event bool // a notification
}

// outbox is what a socket has yet to write.
type outbox struct {
	queue   []frame
	events  int // notifications that are not written yet
	lag     int // their bytes
	writing bool

	last   farewell    // after which there is nothing
	cutOff *time.Timer // for who does not take it
}

type farewell struct {
	code   websocket.StatusCode // 0: none yet
	reason string
}

// push queues an answer, unless nothing is written any more. If write is true
// the caller is to call k.write.
func (k *socket) push(data []byte) (queued, write bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.out.last.code != 0 || k.ended {
		return false, false
	}
	k.out.queue = append(k.out.queue, frame{data: data})
	write = !k.out.writing
	k.out.writing = true
	return true, write
}

// notify queues a notification. A caller who does not read loses the socket:
// it must not lose single notifications without knowing.
func (k *socket) notify(data []byte) {
	k.mu.Lock()
	if k.out.last.code != 0 || k.ended || k.leaving {
		k.mu.Unlock()
		return
	}
	fits := k.out.events < queueLength && k.out.lag+len(data) <= k.server.cfg.Limits.SendBuffer
	if fits {
		k.out.events++
		k.out.lag += len(data)
		k.out.queue = append(k.out.queue, frame{data: data, event: true})
		k.wake()
	}
	k.mu.Unlock()
	if !fits {
		k.drop()
	}
}

// wake sees to it that somebody writes what there is, if nobody does. The
// caller holds mu.
func (k *socket) wake() {
	idle := len(k.out.queue) == 0 && k.out.last.code == 0
	if k.ws == nil || k.out.writing || idle || !k.enter() {
		return
	}
	k.out.writing = true
	go func() {
		defer k.wg.Done()
		k.write()
	}()
}

// write writes what is queued. Whoever set writing calls it, and nobody else
// until it is done, so that frames never mix.
func (k *socket) write() {
	var before frame
	for {
		f, last := k.following(before)
		if last.code != 0 {
			_ = k.ws.Close(last.code, last.reason)
			k.drop()
			return
		}
		if f.data == nil {
			return
		}
		ctx, cancel := context.WithTimeout(k.ctx, k.server.cfg.Limits.WriteTime)
		err := k.ws.Write(ctx, websocket.MessageText, f.data)
		cancel()
		if err != nil {
			k.drop()
			return
		}
		if !f.event {
			<-k.room
		}
		before = f
	}
}

// following returns what comes after a frame that was written: another, the
// farewell, or nothing yet.
func (k *socket) following(written frame) (frame, farewell) {
	k.mu.Lock()
	defer k.mu.Unlock()
	o := &k.out
	if written.event {
		o.events--
		o.lag -= len(written.data)
	}
	if len(o.queue) > 0 {
		f := o.queue[0]
		o.queue[0] = frame{}
		o.queue = o.queue[1:]
		return f, farewell{}
	}
	o.queue = nil // an idle socket keeps nothing
	o.writing = o.last.code != 0
	return frame{}, o.last
}

// close closes the socket after what is queued, or cuts it off if that has not
// happened within the time. The caller holds mu.
func (k *socket) close(code websocket.StatusCode, reason string, within time.Duration) {
	switch {
	case k.ended:
	case k.out.last.code == 0:
		k.out.last = farewell{code, reason}
		k.out.cutOff = time.AfterFunc(within, k.drop)
		k.wake()
	case within == revokeTime:
		k.out.cutOff.Reset(within)
	}
}

// end is close for who does not hold mu.
func (k *socket) end(code websocket.StatusCode, reason string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.close(code, reason, k.server.cfg.Limits.WriteTime)
}

// revoke closes the socket of a caller who may know nothing new any more. What
// was answered before still goes out.
func (k *socket) revoke() {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.out.queue = slices.DeleteFunc(k.out.queue, func(f frame) bool { return f.event })
	k.close(websocket.StatusPolicyViolation, "credential revoked", revokeTime)
}

func (k *socket) goAway() { k.end(websocket.StatusGoingAway, "shutting down") }
