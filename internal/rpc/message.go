// SPDX-License-Identifier: Apache-2.0

package rpc

import (
	"context"
	"errors"
	"time"

	"github.com/coder/websocket"

	"github.com/hsmsigner/hsmsigner/internal/strictjson"
)

// message is one message that came on a WebSocket. It has a place in the
// socket's room, which the answer takes over, if there is one.
type message struct {
	socket   *socket
	buf      *[]byte // until it is parsed
	mem      claim
	late     bool // it came after the wallet was removed
	answered bool
	writes   bool // it is to write the socket's answers when it is done
}

// read reads a message. One that has begun must end within ReadTime; between
// messages the caller may be silent, and then no buffer is kept for it.
func (m *message) read() error {
	k := m.socket
	limits := &k.server.cfg.Limits
	// The context never ends, for that would cost something at every frame: what
	// ends the socket closes the connection.
	typ, r, err := k.ws.Reader(context.Background())
	if err != nil {
		return err
	}
	late := time.AfterFunc(limits.ReadTime, k.drop)
	defer late.Stop()
	m.buf = k.server.buffers.Get().(*[]byte)
	*m.buf, err = readBody(r, *m.buf, limits.Body, &m.mem)
	switch {
	case errors.Is(err, errMemory):
		_ = k.ws.Close(websocket.StatusTryAgainLater, "too many large requests at once")
		return err
	case err != nil:
		return err
	case typ != websocket.MessageText:
		_ = k.ws.Close(websocket.StatusUnsupportedData, "want text messages")
		return errors.New("binary message")
	}
	return nil
}

// release gives back what the message has.
func (m *message) release() {
	m.letGo()
	m.mem.release()
	if !m.answered {
		<-m.socket.room
	}
}

func (m *message) letGo() {
	if m.buf != nil {
		m.socket.server.keep(m.buf)
		m.buf = nil
	}
}

// work does the message.
func (m *message) work() {
	k := m.socket
	defer k.wg.Done()
	defer func() {
		if m.writes {
			k.write()
		}
	}()
	defer k.did(m)
	defer m.release()
	c := &call{server: k.server, who: k.who, socket: k, door: k.door.Load()}
	defer func() {
		var err error
		if recovered(recover(), &err); err != nil { // net/http does this for HTTP
			m.answer(appendResponse(nil, strictjson.Value{}, nil, c.internal(k.ctx, "unknown", err)))
		}
	}()
	v, e := parse(*m.buf)
	m.letGo()
	if e != nil {
		k.server.metrics.Refused("parse")
	}
	if over := c.admit(k.ctx, v); over != nil {
		e = over
	}
	if d := m.enter(); d != nil {
		c.door = d
		defer d.leave()
	} else if e == nil {
		e = noWallet()
	}
	if e != nil {
		m.answer(appendResponse(nil, v.Get("id"), nil, e))
		return
	}
	m.do(k.ctx, c, v)
}

// enter begins a request at the wallet that the socket has by now; nil if that
// was removed.
func (m *message) enter() *door {
	for !m.late {
		d := m.socket.door.Load()
		if d.enter() {
			return d
		}
		if m.socket.door.Load() == d {
			break
		}
	}
	return nil
}

// do does what the message asks and queues its answer.
func (m *message) do(ctx context.Context, c *call, v strictjson.Value) {
	s := c.server
	if e := s.begin(ctx, m.socket.share, true); e != nil {
		m.answer(appendResponse(nil, v.Get("id"), nil, e))
		return
	}
	defer s.end(m.socket.share)
	if v.Kind == strictjson.Array {
		out, e := c.batch(ctx, v.Elems)
		if e != nil {
			out = appendResponse(nil, strictjson.Value{}, nil, e)
		}
		if out != nil {
			m.answer(out)
		}
	} else {
		req, result, e := c.single(ctx, v)
		if !req.notification() {
			m.answer(appendResponse(make([]byte, 0, len(result)+64), req.id, result, e))
		}
	}
	c.announced()
}

// answer queues an answer, which keeps the message's place until it is
// written: who does not take answers gets no more of them made.
func (m *message) answer(data []byte) {
	if !m.answered {
		m.answered, m.writes = m.socket.push(data)
	}
}
