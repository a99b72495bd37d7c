// SPDX-License-Identifier: Apache-2.0

package pkcs11

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/key"
	"github.com/hsmsigner/hsmsigner/internal/key/pkcs11/wire"
)

const (
	firstBackoff = 50 * time.Millisecond
	// maxBackoff keeps the recovery from anything within a few seconds.
	maxBackoff = 2 * time.Second
	// soundAge is how long a child must have been ready for its end to count as
	// the first of its kind.
	soundAge = 10 * time.Second
)

// life is one child from its start to its end.
type life struct {
	ready chan struct{} // closed when child or err is set
	child *child
	err   error
	slots chan struct{} // a place for each session: nobody waits inside the child
	pin   fingerprint   // of the PIN it was started with
}

// current gives a child that is ready, and starts one if there is none. It waits
// for a start under way.
func (b *Backend) current(ctx context.Context) (*life, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	b.mu.Lock()
	if b.closed {
		b.mu.Unlock()
		return nil, errClosed
	}
	l := b.life
	if l == nil {
		if wait := time.Until(b.notBefore); wait > 0 {
			err := b.lastError
			b.mu.Unlock()
			return nil, err
		}
		l = &life{ready: make(chan struct{})}
		b.life = l
		b.wg.Go(func() { b.begin(l) })
	}
	b.mu.Unlock()
	select {
	case <-l.ready:
		return l, l.err
	case <-ctx.Done():
		return nil, ctx.Err()
	}
}

// begin makes a child ready, and stays with it until it is gone.
func (b *Backend) begin(l *life) {
	started := time.Now()
	hello, err := b.start(l)
	if err != nil {
		if b.ctx.Err() != nil {
			err = errClosed
		}
		b.over(l, err, 0)
		l.err = err
		close(l.ready)
		return
	}
	b.cfg.Logger.Info("the PKCS#11 token is open", "token", hello.Label, "serial", hello.Serial, "manufacturer", hello.Manufacturer,
		"model", hello.Model, "library", hello.Library, "sessions", hello.Sessions, "took", time.Since(started))
	if int(hello.Sessions) < b.cfg.Sessions {
		b.cfg.Logger.Warn("the token gives fewer sessions than were asked for", "asked", b.cfg.Sessions, "sessions", hello.Sessions)
	}
	b.judge(hello)
	l.slots = make(chan struct{}, hello.Sessions)
	ctx, cancel := context.WithCancel(b.ctx)
	defer cancel()
	close(l.ready)
	ready := time.Now()
	b.wg.Go(func() { b.keepAlive(ctx, l) })
	select {
	case <-l.child.dead:
	case <-b.ctx.Done():
		l.child.stop()
		return
	}
	b.over(l, l.child.reason, time.Since(ready))
	b.cfg.Logger.Warn("the child process of the PKCS#11 module is gone", "why", l.child.reason.Error(), "stderr", l.child.stderr.text())
}

// start starts a process and has it log in.
func (b *Backend) start(l *life) (wire.Hello, error) {
	pin, err := b.cfg.pin()
	if err != nil {
		return wire.Hello{}, err
	}
	l.pin = b.cfg.Logins.fingerprint(b.cfg, pin)
	end, err := b.cfg.Logins.begin(b.ctx, l.pin)
	if err != nil {
		return wire.Hello{}, err
	}
	defer end()
	if l.child, err = spawn(b.cfg, pin); err != nil {
		return wire.Hello{}, &key.CallError{Op: "open the token", Kind: key.ErrUnavailable, Why: "the child process could not be started: " + err.Error()}
	}
	settings := wire.Settings{
		Module: b.cfg.Module, Label: b.cfg.TokenLabel, Serial: b.cfg.TokenSerial, PIN: []byte(pin),
		Sessions: uint32(b.cfg.Sessions), Lanes: len(l.child.lanes.all), CloudHSM: b.cfg.CloudHSM,
	}
	m, err := l.child.ask(b.ctx, settings.Message(), b.cfg.StartTimeout, func() {})
	clear(settings.PIN)
	var hello wire.Hello
	if err == nil {
		hello, err = m.Hello()
	}
	if err == nil && (hello.Sessions == 0 || int(hello.Sessions) > b.cfg.Sessions) {
		err = fmt.Errorf("%w: %d sessions", wire.ErrFrame, hello.Sessions)
	}
	if err != nil {
		l.child.stop()
		return hello, b.explain(l, "open the token", "", err)
	}
	b.cfg.Logins.accept(l.pin)
	return hello, nil
}

// over makes room for another child, at once or after a while.
func (b *Backend) over(l *life, why error, age time.Duration) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.life == l {
		b.life = nil
	}
	if age >= soundAge {
		b.failures = 0
	}
	b.lastError = why
	b.notBefore = time.Time{}
	if b.failures > 0 {
		b.notBefore = time.Now().Add(min(firstBackoff<<min(b.failures-1, 10), maxBackoff))
	}
	b.failures++
}

// explain turns what a child answered into an error of package key. A PIN that
// was refused is remembered, and its child ended.
func (b *Backend) explain(l *life, op string, ref key.Ref, err error) error {
	var f *wire.Failure
	switch {
	case errors.As(err, &f):
		e := &key.CallError{Op: op, Ref: ref, Kind: kinds[f.Kind], Why: strings.TrimPrefix(f.Why, op+": ")}
		if f.PIN {
			refused := &key.CallError{Op: "log in", Kind: e.Kind, Why: e.Why}
			b.cfg.Logins.refuse(l.pin, refused)
			l.child.dismiss(refused)
		}
		return e
	case errors.Is(err, wire.ErrFrame):
		return &key.CallError{Op: op, Ref: ref, Kind: key.ErrBadResponse, Why: err.Error()}
	}
	return err
}

var kinds = map[wire.Kind]error{
	wire.NotFound: key.ErrNotFound, wire.Disabled: key.ErrDisabled, wire.Denied: key.ErrDenied,
	wire.Unavailable: key.ErrUnavailable, wire.BadResponse: key.ErrBadResponse,
}

// call has a child answer a request, in its turn.
func (b *Backend) call(ctx context.Context, op string, ref key.Ref, m wire.Message) (wire.Message, error) {
	l, err := b.current(ctx)
	if err != nil {
		return wire.Message{}, err
	}
	select {
	case l.slots <- struct{}{}:
	case <-ctx.Done():
		return wire.Message{}, ctx.Err()
	case <-l.child.dead:
		return wire.Message{}, l.child.reason
	}
	if deadline, ok := ctx.Deadline(); ok {
		m.Left = max(time.Until(deadline), time.Millisecond)
	}
	answer, err := l.child.ask(ctx, m, b.cfg.CallTimeout, func() { <-l.slots })
	if err != nil {
		if b.isClosed() {
			return wire.Message{}, errClosed
		}
		return wire.Message{}, b.explain(l, op, ref, err)
	}
	return answer, nil
}

// keepAlive uses the idle sessions now and then.
func (b *Backend) keepAlive(ctx context.Context, l *life) {
	if b.cfg.KeepAlive < 0 {
		return
	}
	tick := time.NewTicker(b.cfg.KeepAlive)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
		case <-ctx.Done():
			return
		}
		select {
		case l.slots <- struct{}{}:
		default:
			continue // all sessions are in use
		}
		_, err := l.child.ask(ctx, wire.Message{Op: wire.Keep}, b.cfg.CallTimeout, func() { <-l.slots })
		if err != nil && ctx.Err() == nil {
			b.cfg.Logger.Warn("keeping the PKCS#11 sessions alive", "err", b.explain(l, "keep the sessions", "", err))
		}
	}
}

// judge notes a token that is software whatever the operator declared.
func (b *Backend) judge(hello wire.Hello) {
	if !strings.Contains(strings.ToLower(hello.Manufacturer+hello.Model), "softhsm") {
		return
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.protection == key.HSM {
		b.cfg.Logger.Warn("the token is SoftHSM, which is software; it is treated so, although it is declared to be an HSM", "token", hello.Label)
	}
	b.protection = key.Software
}

// Process is the id of the child process; 0 if there is none. It is for the
// operator's log and for tests.
func (b *Backend) Process() int {
	b.mu.Lock()
	l := b.life
	b.mu.Unlock()
	if l == nil {
		return 0
	}
	select {
	case <-l.ready:
	default:
		return 0
	}
	if l.err != nil {
		return 0
	}
	select {
	case <-l.child.dead:
		return 0
	default:
		return l.child.cmd.Process.Pid
	}
}
