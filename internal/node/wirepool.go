// SPDX-License-Identifier: Apache-2.0

package node

import (
	"context"
	"sync"
	"time"
)

// pool keeps the idle connections of one wire, the last used on top, and
// bounds how many are in use.
type pool struct {
	slots chan struct{} // one for each in use; taken by sending

	mu     sync.Mutex
	idle   []*conn
	sweep  *time.Timer // nil: none is idle
	closed bool
}

// enter waits for the right to use a connection.
func (p *pool) enter(ctx context.Context, deadline time.Time) error {
	select {
	case p.slots <- struct{}{}:
		return nil
	default:
	}
	timer := time.NewTimer(time.Until(deadline))
	defer timer.Stop()
	select {
	case p.slots <- struct{}{}:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	case <-timer.C:
		return &fault{ErrTimeout, "too many requests at a time"}
	}
}

func (p *pool) leave() { <-p.slots }

// take returns an idle connection with its deadline set, or nil.
func (p *pool) take(deadline time.Time) *conn {
	for {
		p.mu.Lock()
		last := len(p.idle) - 1
		if last < 0 {
			p.mu.Unlock()
			return nil
		}
		c := p.idle[last]
		p.idle[last] = nil
		p.idle = p.idle[:last]
		p.mu.Unlock()
		if time.Since(c.since) < idleTimeout && c.SetDeadline(deadline) == nil && c.quiet() {
			return c
		}
		_ = c.Close()
	}
}

// put takes a connection back, or closes it.
func (p *pool) put(c *conn) {
	c.since = time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.closed || len(p.idle) >= maxConns {
		_ = c.Close()
		return
	}
	p.idle = append(p.idle, c)
	if p.sweep == nil {
		p.sweep = time.AfterFunc(idleTimeout, p.expire)
	}
}

// expire closes what has been idle for long: the bottom of the stack.
func (p *pool) expire() {
	p.mu.Lock()
	defer p.mu.Unlock()
	n := 0
	for n < len(p.idle) && time.Since(p.idle[n].since) >= idleTimeout {
		_ = p.idle[n].Close()
		n++
	}
	rest := copy(p.idle, p.idle[n:])
	clear(p.idle[rest:])
	p.idle = p.idle[:rest]
	p.sweep = nil
	if rest > 0 && !p.closed {
		p.sweep = time.AfterFunc(max(idleTimeout-time.Since(p.idle[0].since), time.Second), p.expire)
	}
}

func (p *pool) close() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.closed = true
	for _, c := range p.idle {
		_ = c.Close()
	}
	p.idle = nil
	if p.sweep != nil {
		p.sweep.Stop()
	}
}
