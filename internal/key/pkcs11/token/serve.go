// SPDX-License-Identifier: Apache-2.0

//go:build cgo

package token

import (
	"errors"
	"io"
	"sync"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/key/pkcs11/wire"
)

// maxRequests is how many requests a parent may have under way: one for each
// session, and those that keep watch.
const maxRequests = 1024 + 16

// How a child ends; anything else is a crash.
const (
	exitEnd     = 0 // the parent is gone, or wanted it
	exitRequest = 3 // what came through the pipe made no sense
	exitOpen    = 4 // the token could not be opened; the parent was told why
	exitBroken  = 5 // the module does not recover; the parent was told why
)

// endTime is how long a module may take to end in good order.
const endTime = time.Second

// server answers requests.
type server struct {
	token *token
	out   io.Writer
	write sync.Mutex
	ended chan int // receives how to exit
}

// serve answers what comes through in until that ends, or until the module is
// of no more use. It gives the exit status.
func serve(in io.Reader, out io.Writer) int {
	sv := &server{out: out, ended: make(chan int, 1)}
	first, err := wire.Read(in)
	if err != nil {
		return exitRequest
	}
	settings, err := first.Settings()
	if err != nil {
		return exitRequest
	}
	opened := make(chan *wire.Failure, 1)
	go func() {
		t, f := open(settings)
		sv.token = t
		opened <- f
	}()
	requests := make(chan wire.Message)
	go read(in, requests)
	select { // a parent that goes while a module hangs in C_Initialize is noticed
	case f := <-opened:
		if f != nil {
			sv.reply(f.Message(first.ID))
			return exitOpen
		}
	case <-requests:
		return exitEnd
	}
	sv.reply(sv.token.hello().Message(first.ID))
	return sv.loop(requests)
}

// read passes requests on until the pipe ends.
func read(in io.Reader, requests chan<- wire.Message) {
	defer close(requests)
	for {
		m, err := wire.Read(in)
		if err != nil {
			return
		}
		requests <- m
	}
}

func (sv *server) loop(requests <-chan wire.Message) int {
	places := make(chan struct{}, maxRequests)
	for {
		select {
		case status := <-sv.ended:
			return status
		case m, ok := <-requests:
			if !ok {
				sv.end()
				return exitEnd
			}
			select {
			case places <- struct{}{}:
			default:
				return exitRequest
			}
			go func() {
				defer func() { <-places }()
				sv.handle(m)
			}()
		}
	}
}

// end gives the module some time to end; the process goes in any case.
func (sv *server) end() {
	done := make(chan struct{})
	go func() {
		sv.token.close()
		close(done)
	}()
	select {
	case <-done:
	case <-time.After(endTime):
	}
}

func (sv *server) handle(m wire.Message) {
	var deadline time.Time
	if m.Left > 0 {
		deadline = time.Now().Add(m.Left)
	}
	reply, err := sv.answer(m, deadline)
	if err == nil {
		reply.ID, reply.Op = m.ID, wire.Done
		sv.reply(reply)
		return
	}
	f := failure(whats[m.Op], err)
	sv.reply(f.Message(m.ID))
	var broken *brokenError
	switch {
	case errors.As(err, &broken):
		sv.leave(exitBroken)
	case errors.Is(err, wire.ErrFrame):
		sv.leave(exitRequest)
	}
}

// whats names the requests in errors.
var whats = map[wire.Op]string{
	wire.Sign: "sign", wire.Find: "find the key", wire.List: "list keys", wire.Check: "check the token", wire.Keep: "keep the sessions",
	wire.Create: "create a key", wire.Import: "import a key", wire.Delete: "delete the key",
}

func (sv *server) answer(m wire.Message, deadline time.Time) (wire.Message, error) {
	t := sv.token
	switch m.Op {
	case wire.Sign:
		id, point, err := m.Target(1)
		if err != nil || len(m.Fields[2]) != 32 {
			return wire.Message{}, wire.ErrFrame
		}
		sig, err := t.sign(deadline, id, point, [32]byte(m.Fields[2]))
		return wire.Message{Fields: [][]byte{sig.R[:], sig.S[:], {sig.V}}}, err
	case wire.Find, wire.Delete:
		id, point, err := m.Target(0)
		if err != nil {
			return wire.Message{}, err
		}
		if m.Op == wire.Find {
			return wire.Message{}, t.locate(deadline, id, point)
		}
		return wire.Message{}, t.remove(deadline, id, point)
	case wire.List:
		entries, err := t.entries(deadline, func() { sv.reply(wire.Message{ID: m.ID, Op: wire.More}) })
		if err != nil {
			return wire.Message{}, err
		}
		for len(entries) > wire.EntriesPerMessage {
			sv.reply(wire.Entries(m.ID, wire.More, entries[:wire.EntriesPerMessage]))
			entries = entries[wire.EntriesPerMessage:]
		}
		return wire.Entries(m.ID, wire.Done, entries), nil
	case wire.Check:
		return wire.Message{}, t.check(deadline)
	case wire.Keep:
		return wire.Message{}, t.keep()
	case wire.Create:
		if len(m.Fields) != 1 {
			return wire.Message{}, wire.ErrFrame
		}
		e, err := t.create(deadline, string(m.Fields[0]))
		return wire.Entries(m.ID, wire.Done, []wire.Entry{e}), err
	case wire.Import:
		if len(m.Fields) != 3 {
			return wire.Message{}, wire.ErrFrame
		}
		defer clear(m.Fields[1])
		e, err := t.take(deadline, string(m.Fields[0]), m.Fields[1], string(m.Fields[2]))
		return wire.Entries(m.ID, wire.Done, []wire.Entry{e}), err
	}
	return wire.Message{}, wire.ErrFrame
}

// reply sends a reply. Without a parent there is nobody to tell that it failed.
func (sv *server) reply(m wire.Message) {
	frame, err := wire.Append(nil, m)
	if err != nil {
		f := &wire.Failure{Kind: wire.BadResponse, Why: "the answer is too long"}
		frame, _ = wire.Append(nil, f.Message(m.ID))
	}
	sv.write.Lock()
	defer sv.write.Unlock()
	if _, err := sv.out.Write(frame); err != nil {
		sv.leave(exitEnd)
	}
}

func (sv *server) leave(status int) {
	select {
	case sv.ended <- status:
	default:
	}
}
