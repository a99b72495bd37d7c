// SPDX-License-Identifier: Apache-2.0

package pkcs11

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/key/pkcs11/wire"
)

const (
	// endTime is how long a child may take to end once its pipe is closed.
	endTime = 2 * time.Second
	// drainTime is how long what a dead child has written is still read.
	drainTime = 250 * time.Millisecond
	// maxListing bounds the fields of an answer in several parts.
	maxListing = 1_000_000
)

// child is a process that holds the module, and the requests it works on.
type child struct {
	cmd    *exec.Cmd
	lanes  *lanes        // for signatures; more than it has go through the pipe
	out    chan []byte   // frames for the writer, where the caller cannot write them itself
	line   sync.Mutex    // held while a frame is written
	dead   chan struct{} // closed when the process is gone and reason is set
	wg     sync.WaitGroup
	stderr *tail

	mu      sync.Mutex
	next    uint64
	pending map[uint64]*request
	stdin   *os.File // nil once closed
	killed  string   // why we killed it
	because error    // what its requests get if we killed it for this
	reason  error    // why it is gone; every later request gets it
}

// request is one question that a child works on.
type request struct {
	reply chan reply // for one reply
	parts [][]byte   // fields that came so far
	timer *time.Timer
	limit time.Duration
	done  func() // called once, when the child works on it no more
}

type reply struct {
	message wire.Message
	err     error
}

// spawn starts a process. It is gone when dead is closed.
func spawn(c Config, pin string) (*child, error) {
	in, stdin, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	stdout, out, err := os.Pipe()
	if err != nil {
		closeAll(in, stdin)
		return nil, err
	}
	complaints, stderr, err := os.Pipe()
	if err != nil {
		closeAll(in, stdin, stdout, out)
		return nil, err
	}
	lanes, theirs, err := openLanes(c.Sessions)
	if err != nil {
		closeAll(in, stdin, stdout, out, complaints, stderr)
		return nil, err
	}
	cmd := exec.Command(c.Executable, c.Args...) //nolint:noctx // stop and kill end it
	cmd.Stdin, cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = in, out, stderr, theirs
	cmd.Env = append(os.Environ(), c.Env...)
	cmd.SysProcAttr = tie()
	ch := &child{
		cmd: cmd, lanes: lanes, out: make(chan []byte), dead: make(chan struct{}), stdin: stdin,
		pending: make(map[uint64]*request), stderr: &tail{secrets: secretsOf(pin)},
	}
	started, read := make(chan error), make(chan struct{})
	go func() {
		// Linux ends the child when the thread that started it does: this
		// goroutine keeps its thread as long as the child lives.
		runtime.LockOSThread()
		defer runtime.UnlockOSThread()
		err := cmd.Start()
		closeAll(append(theirs, in, out, stderr)...)
		started <- err
		if err != nil {
			return
		}
		err = cmd.Wait()
		lanes.end()
		_ = stdout.SetReadDeadline(time.Now().Add(drainTime))
		_ = complaints.SetReadDeadline(time.Now().Add(drainTime))
		<-read // what it said last may be why it ended
		ch.wg.Wait()
		closeAll(stdout, complaints)
		ch.finish(err)
	}()
	if err := <-started; err != nil {
		closeAll(stdin, stdout, complaints)
		lanes.close()
		return nil, err
	}
	ch.wg.Go(func() { ch.stderr.read(complaints) })
	go func() {
		defer close(read)
		ch.read(stdout)
	}()
	go ch.write(stdin)
	return ch, nil
}

func closeAll(files ...*os.File) {
	for _, f := range files {
		_ = f.Close()
	}
}

// write sends the frames that callers do not send themselves. A child that does
// not read is killed when the first of its requests is overdue, which ends a
// write that waits for it.
func (ch *child) write(stdin *os.File) {
	for {
		select {
		case frame := <-ch.out:
			ch.line.Lock()
			_, err := stdin.Write(frame)
			ch.line.Unlock()
			clear(frame) // it may hold the PIN
			if err != nil {
				return // it is gone, or going
			}
		case <-ch.dead:
			return
		}
	}
}

// What surely fits into a pipe (64 KiB, pipe(7)), so that writing it does not
// wait for the child: so many requests under way, of so many bytes.
const (
	fewRequests = 64
	smallFrame  = 512
)

// writeNow sends a frame from the caller's own goroutine, which saves a
// signature the wait for another one. It is false if that might block.
func (ch *child) writeNow(stdin *os.File, frame []byte, underWay int) bool {
	if stdin == nil || underWay > fewRequests || len(frame) > smallFrame || !ch.line.TryLock() {
		return false
	}
	_, err := stdin.Write(frame)
	ch.line.Unlock()
	return err == nil || errors.Is(err, os.ErrClosed) || errors.Is(err, syscall.EPIPE) // it is gone: finish says so
}

// read takes replies until the pipe ends.
func (ch *child) read(stdout *os.File) {
	replies := bufio.NewReader(stdout)
	for {
		m, err := wire.Read(replies)
		if errors.Is(err, wire.ErrFrame) {
			ch.kill("it wrote what is no reply: " + err.Error())
		}
		if err != nil {
			return
		}
		ch.take(m)
	}
}

// take gives a reply to whom it concerns.
func (ch *child) take(m wire.Message) {
	ch.mu.Lock()
	r := ch.pending[m.ID]
	if r == nil {
		ch.mu.Unlock()
		return
	}
	r.parts = append(r.parts, m.Fields...)
	if m.Op == wire.More && len(r.parts) <= maxListing {
		r.timer.Reset(r.limit)
		ch.mu.Unlock()
		return
	}
	delete(ch.pending, m.ID)
	ch.mu.Unlock()
	m.Fields = r.parts
	r.settle(answerOf(m))
}

// answerOf says how the reply that ends a request answers it.
func answerOf(m wire.Message) reply {
	a := reply{message: m}
	switch m.Op {
	case wire.Done:
	case wire.Failed:
		f, err := m.Failure()
		if a.err = f; err != nil {
			a.err = err
		}
	default:
		a.err = fmt.Errorf("%w: an answer that does not end", wire.ErrFrame)
	}
	return a
}

func (r *request) settle(a reply) {
	r.timer.Stop()
	r.done()
	r.reply <- a
}

// ask sends a request and waits for its answer; beyond ctx it is given up, but
// the child still works on it. A child that takes longer than limit without a
// sign of life is killed. done is called once, when the child is through with it.
func (ch *child) ask(ctx context.Context, m wire.Message, limit time.Duration, done func()) (wire.Message, error) {
	if m.Op == wire.Sign {
		if ln := ch.lanes.take(); ln != nil {
			return ch.sign(ctx, ln, m, limit, done)
		}
	}
	r := &request{reply: make(chan reply, 1), limit: limit, done: done}
	ch.mu.Lock()
	if ch.reason != nil {
		ch.mu.Unlock()
		done()
		return wire.Message{}, ch.reason
	}
	ch.next++
	m.ID = ch.next
	frame, err := wire.Append(nil, m)
	if err != nil {
		ch.mu.Unlock()
		done()
		return wire.Message{}, err
	}
	ch.pending[m.ID] = r
	r.timer = time.AfterFunc(limit, func() { ch.overdue(limit) })
	stdin, underWay := ch.stdin, len(ch.pending)
	ch.mu.Unlock()
	if !ch.writeNow(stdin, frame, underWay) {
		select {
		case ch.out <- frame:
		case <-ch.dead: // finish settles it
		case <-ctx.Done():
			if ch.withdraw(m.ID) {
				return wire.Message{}, ctx.Err()
			}
		}
	}
	select {
	case a := <-r.reply:
		return a.message, a.err
	case <-ctx.Done():
		return wire.Message{}, ctx.Err()
	}
}

// withdraw takes back a request that was not sent.
func (ch *child) withdraw(id uint64) bool {
	ch.mu.Lock()
	r := ch.pending[id]
	delete(ch.pending, id)
	ch.mu.Unlock()
	if r == nil {
		return false
	}
	r.timer.Stop()
	r.done()
	return true
}

// overdue ends a process that has worked on a request for longer than limit.
func (ch *child) overdue(limit time.Duration) {
	ch.kill(fmt.Sprintf("a call into the module did not return within %s", limit))
}

// kill ends the process at once.
func (ch *child) kill(why string) {
	ch.mu.Lock()
	if ch.killed == "" {
		ch.killed = why
	}
	ch.mu.Unlock()
	_ = ch.cmd.Process.Kill()
}

// dismiss ends the process at once, and all that wait for it get the error.
func (ch *child) dismiss(err error) {
	ch.mu.Lock()
	ch.because = err
	ch.mu.Unlock()
	ch.kill(err.Error())
}

// stop ends the process in good order, or kills it, and waits until it is gone.
func (ch *child) stop() {
	ch.mu.Lock()
	if ch.stdin != nil {
		_ = ch.stdin.Close()
		ch.stdin = nil
	}
	ch.mu.Unlock()
	select {
	case <-ch.dead:
		return
	case <-time.After(endTime):
	}
	ch.kill("it did not end when it was told to")
	<-ch.dead
}

// finish says why the process is gone to all who wait for it.
func (ch *child) finish(err error) {
	why := "the process that held the PKCS#11 module ended"
	var exit *exec.ExitError
	ch.mu.Lock()
	switch {
	case ch.killed != "":
		why = "the process that held the PKCS#11 module was killed: " + ch.killed
	case errors.As(err, &exit):
		why = fmt.Sprintf("the process that held the PKCS#11 module ended (%s)", exit.ProcessState)
		if crash := ch.stderr.crash(); crash != "" {
			why = "the PKCS#11 module crashed its process: " + crash
		}
	}
	ch.reason = &key.CallError{Op: "use the token", Kind: key.ErrUnavailable, Why: why + "; a new process is started"}
	if ch.because != nil {
		ch.reason = ch.because
	}
	if ch.stdin != nil {
		_ = ch.stdin.Close()
		ch.stdin = nil
	}
	pending := ch.pending
	ch.pending = nil
	ch.mu.Unlock()
	close(ch.dead)
	for _, r := range pending {
		r.settle(reply{err: ch.reason})
	}
}
