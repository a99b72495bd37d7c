// SPDX-License-Identifier: Apache-2.0

//go:build cgo

package token

import (
	"bufio"
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
	token  *token
	in     *bufio.Reader
	out    *output       // of what came through in
	opened chan struct{} // closed when requests may come
	places chan struct{} // one taken for each request
	ended  chan int      // receives how to exit
}

// serve answers what comes through in until that ends, or until the module is
// of no more use. It gives the exit status.
func serve(in io.Reader, out io.Writer) int {
	sv := &server{
		in: bufio.NewReader(in), out: &output{w: out}, opened: make(chan struct{}),
		places: make(chan struct{}, maxRequests), ended: make(chan int, 1),
	}
	first, err := wire.Read(sv.in)
	if err != nil {
		return exitRequest
	}
	settings, err := first.Settings()
	if err != nil {
		return exitRequest
	}
	lanes, err := laneFiles(settings.Lanes)
	if err != nil {
		return exitRequest
	}
	opened := make(chan *wire.Failure, 1)
	go func() {
		t, f := open(settings)
		sv.token = t
		opened <- f
	}()
	go sv.next()
	select { // a parent that goes while a module hangs in C_Initialize is noticed
	case f := <-opened:
		if f != nil {
			sv.reply(sv.out, f.Message(first.ID))
			return exitOpen
		}
	case <-sv.ended:
		return exitEnd
	}
	close(sv.opened)
	for _, lane := range lanes {
		go sv.follow(lane)
	}
	sv.reply(sv.out, sv.token.hello().Message(first.ID))
	status := <-sv.ended
	if status == exitEnd {
		sv.end()
	}
	return status
}

// next waits for a request, leaves the pipe to another goroutine and handles it:
// so no request is handed from one goroutine to another, which would take longer
// than all the rest of what this process adds to a signature.
func (sv *server) next() {
	m, err := wire.Read(sv.in)
	select {
	case <-sv.opened:
	default:
		err = io.ErrUnexpectedEOF // a parent has nothing to say before it was greeted
	}
	if err != nil {
		sv.leave(exitEnd)
		return
	}
	select {
	case sv.places <- struct{}{}:
	default:
		sv.leave(exitRequest)
		return
	}
	go sv.next()
	r := &request{Message: m, out: sv.out}
	sv.handle(r)
	<-sv.places
	if r.later != nil {
		r.later()
	}
}

// follow answers the signatures asked for along a lane, one after the other. A
// read of a lane blocks its thread, which signs when it is woken.
func (sv *server) follow(lane io.ReadWriter) {
	in, out := bufio.NewReader(lane), &output{w: lane}
	for {
		m, err := wire.Read(in)
		if err != nil {
			return // the parent is gone, which the pipe says as well
		}
		if m.Op != wire.Sign {
			sv.leave(exitRequest)
			return
		}
		r := &request{Message: m, out: out}
		if sv.handle(r); r.later != nil {
			go r.later()
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

// request is one from the parent.
type request struct {
	wire.Message
	deadline time.Time
	out      *output
	later    func() // what is left to do once it is answered; may be nil
}

func (sv *server) handle(r *request) {
	if r.Left > 0 {
		r.deadline = time.Now().Add(r.Left)
	}
	reply, err := sv.answer(r)
	if err == nil {
		reply.ID, reply.Op = r.ID, wire.Done
		sv.reply(r.out, reply)
		return
	}
	f := failure(whats[r.Op], err)
	sv.reply(r.out, f.Message(r.ID))
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

func (sv *server) answer(r *request) (wire.Message, error) {
	t, m, deadline := sv.token, r.Message, r.deadline
	switch m.Op {
	case wire.Sign:
		id, point, err := m.Target(1)
		if err != nil || len(m.Fields[2]) != 32 {
			return wire.Message{}, wire.ErrFrame
		}
		sig, later, err := t.sign(deadline, id, point, [32]byte(m.Fields[2]))
		r.later = later
		return wire.Message{Fields: [][]byte{sig.R[:], sig.S[:]}}, err
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
		entries, err := t.entries(deadline, func() { sv.reply(r.out, wire.Message{ID: m.ID, Op: wire.More}) })
		if err != nil {
			return wire.Message{}, err
		}
		for len(entries) > wire.EntriesPerMessage {
			sv.reply(r.out, wire.Entries(m.ID, wire.More, entries[:wire.EntriesPerMessage]))
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

// output is where replies go. Many may be sent at the same time.
type output struct {
	mu sync.Mutex
	w  io.Writer
}

// reply sends a reply. Without a parent there is nobody to tell that it failed.
func (sv *server) reply(out *output, m wire.Message) {
	frame, err := wire.Append(nil, m)
	if err != nil {
		f := &wire.Failure{Kind: wire.BadResponse, Why: "the answer is too long"}
		frame, _ = wire.Append(nil, f.Message(m.ID))
	}
	out.mu.Lock()
	defer out.mu.Unlock()
	if _, err := out.w.Write(frame); err != nil {
		sv.leave(exitEnd)
	}
}

func (sv *server) leave(status int) {
	select {
	case sv.ended <- status:
	default:
	}
}
