// SPDX-License-Identifier: Apache-2.0

package pkcs11

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"syscall"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/key/pkcs11/wire"
)

const (
	// mostLanes is how many signatures at a time have a lane; more of them go
	// through the pipe.
	mostLanes = 16
	// patience is how long a caller waits for its signature by itself. A token in
	// the same machine or rack has answered by then.
	patience = 2 * time.Millisecond
)

// lane is a socket between the daemon and a thread of the child, for one
// signature at a time. Its caller waits for the answer in a read of the system,
// as the thread waits for the request, so that each is woken by the other and by
// nobody between. Through the pipe, which many share, two goroutines more would
// have to be woken on the way, which costs more than all else that the child adds.
type lane struct {
	file *os.File
	in   *bufio.Reader
	out  []byte // for the next frame
	last uint64 // id of the last request
}

func newLane(file *os.File) *lane { return &lane{file: file, in: bufio.NewReaderSize(file, 1024)} }

// lanes are those of a child.
type lanes struct {
	all  []*lane
	mu   sync.Mutex
	back sync.Cond // a lane was given back
	idle []*lane
}

// openLanes makes so many lanes, each of which is as patient as a caller. The
// child gets the other ends.
func openLanes(n int) (l *lanes, theirs []*os.File, err error) {
	l = &lanes{}
	l.back.L = &l.mu
	for range min(n, mostLanes) {
		here, there, err := laneFiles()
		if err != nil {
			l.close()
			closeAll(theirs...)
			return nil, nil, err
		}
		if here == nil {
			break // not on this system
		}
		l.all, theirs = append(l.all, newLane(here)), append(theirs, there)
	}
	l.idle = slices.Clone(l.all)
	return l, theirs, nil
}

// take gives the lane that was used last, whose thread and memory are the
// warmest; nil if none is idle.
func (l *lanes) take() (ln *lane) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if n := len(l.idle); n > 0 {
		ln, l.idle = l.idle[n-1], l.idle[:n-1]
	}
	return ln
}

func (l *lanes) give(ln *lane) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.idle = append(l.idle, ln)
	l.back.Signal()
}

func (l *lanes) close() {
	for _, ln := range l.all {
		_ = ln.file.Close()
	}
}

// end ends what waits in a lane for a process that is gone, and closes them all:
// nobody gets one any more.
func (l *lanes) end() {
	for _, ln := range l.all {
		ln.end()
	}
	l.mu.Lock()
	for len(l.idle) < len(l.all) {
		l.back.Wait()
	}
	l.idle = nil
	l.mu.Unlock()
	l.close()
}

// send writes a request. It does not wait: there is none before it.
func (ln *lane) send(m wire.Message) (err error) {
	ln.last++
	m.ID = ln.last
	if ln.out, err = wire.Append(ln.out[:0], m); err != nil {
		return err
	}
	_, err = ln.file.Write(ln.out)
	return err
}

// receive reads the answer.
func (ln *lane) receive() (wire.Message, error) {
	m, err := wire.Read(ln.in)
	if err == nil && m.ID != ln.last {
		err = fmt.Errorf("%w: an answer to another request", wire.ErrFrame)
	}
	return m, err
}

// sign is ask for a signature, along a lane.
func (ch *child) sign(ctx context.Context, ln *lane, m wire.Message, limit time.Duration, done func()) (wire.Message, error) {
	err := ln.send(m)
	var answer wire.Message
	if err == nil {
		answer, err = ln.receive()
	}
	if !errors.Is(err, syscall.EAGAIN) {
		return ch.leave(ctx, ln, answer, err, done)
	}
	// It takes longer, so that another goroutine more does not matter, and the
	// caller may give it up.
	overdue := time.AfterFunc(max(limit-patience, 0), func() { ch.overdue(limit) })
	answered := make(chan reply, 1)
	go func() {
		ln.wait(0)
		answer, err := ln.receive()
		overdue.Stop()
		ln.wait(patience)
		answer, err = ch.leave(ctx, ln, answer, err, done)
		answered <- reply{answer, err}
	}()
	select {
	case a := <-answered:
		return a.message, a.err
	case <-ctx.Done():
		return wire.Message{}, ctx.Err()
	}
}

// leave gives the lane to the next and says what came along it.
func (ch *child) leave(ctx context.Context, ln *lane, answer wire.Message, err error, done func()) (wire.Message, error) {
	if errors.Is(err, wire.ErrFrame) {
		ch.kill("it wrote what is no reply: " + err.Error())
	}
	done()
	ch.lanes.give(ln)
	if err == nil {
		a := answerOf(answer)
		return a.message, a.err
	}
	// It is gone, or going, or of no more use.
	gone := time.AfterFunc(endTime, func() { ch.kill("it closed a lane") })
	select {
	case <-ch.dead:
		gone.Stop()
		return wire.Message{}, ch.reason
	case <-ctx.Done():
		return wire.Message{}, ctx.Err()
	}
}
