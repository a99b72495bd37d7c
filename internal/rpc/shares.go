// SPDX-License-Identifier: Apache-2.0

package rpc

import (
	"container/list"
	"context"
	"errors"
	"net/http"
	"time"
)

// pool is something that all memberships draw on.
type pool struct {
	limit int64 // of all together
	each  int64 // of one, if there are several; 0: no more than is left free
	used  int64
}

// pools are what the door has to give. Server.mu guards them and the shares:
// the bounds hold for the door and for a membership at once.
type pools struct {
	requests pool // at work
	sockets  pool // open, or being opened
	memory   pool // bytes
	several  bool // memberships have services here: none may take all
}

// take takes n for a share that has *have of the pool already, or nothing.
//
// Whoever may take no more than what is left free gets half of the pool when
// alone, and however many have taken theirs, there is something left for the
// next one. A fixed bound of a half would leave nothing beside two.
func (p *pool) take(have *int64, n int64, several bool) bool {
	mine, all := *have+n, p.used+n
	switch {
	case all > p.limit:
		return false
	case !several:
	case p.each == 0 && mine > p.limit-all+1:
		return false
	case p.each != 0 && mine > p.each:
		return false
	}
	*have, p.used = mine, all
	return true
}

func (p *pool) give(have *int64, n int64) { *have -= n; p.used -= n }

// full says why take took nothing.
func (p *pool) full(have int64, after time.Duration, things, do string) *Error {
	if p.used >= p.limit {
		return busy(http.StatusServiceUnavailable, after, "%d %s %s", p.used, things, do)
	}
	return busy(http.StatusServiceUnavailable, after, "%d %s of this membership %s", have, things, do)
}

// share is what a membership has of the pools. It outlives the membership's
// services as long as it has something: who removes a service and adds it
// again has no more for that.
type share struct {
	services                  int
	requests, sockets, memory int64
	waiting                   list.List     // of *waiter: requests, the first to come first
	turn                      *list.Element // in Server.turns; nil if nothing waits
}

// waiter is a request of a socket that waits for a place.
type waiter struct {
	ready chan struct{} // closed when it has its place
	at    *list.Element // in share.waiting; nil once it waits no longer
}

// share returns the share of a membership. The caller holds mu, or has the
// server to itself.
func (s *Server) share(membership string) *share {
	sh := s.shares[membership]
	if sh == nil {
		sh = new(share)
		s.shares[membership] = sh
	}
	return sh
}

// reckon is called when services have come or gone. The caller holds mu, or
// has the server to itself.
func (s *Server) reckon() {
	n := 0
	for membership, sh := range s.shares {
		switch {
		case sh.services > 0:
			n++
		case sh.requests == 0 && sh.sockets == 0 && sh.memory == 0 && sh.turn == nil:
			delete(s.shares, membership)
		}
	}
	s.pools.several = n > 1
	s.grant()
}

// begin takes a place for one request at work, or says why there is none.
// A socket waits for a place, so that its caller is slowed down; a single
// request is refused, since its caller will come again.
func (s *Server) begin(ctx context.Context, sh *share, wait bool) *Error {
	w, e := s.place(sh, wait)
	if w == nil {
		return e
	}
	select {
	case <-w.ready:
		return nil
	case <-ctx.Done():
		return s.giveUp(sh, w)
	}
}

// end gives back what begin took.
func (s *Server) end(sh *share) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pools.requests.give(&sh.requests, 1)
	s.grant()
	s.lessWork()
}

// place takes a place, refuses it, or returns who waits for it.
func (s *Server) place(sh *share, wait bool) (*waiter, *Error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	p := &s.pools.requests
	switch {
	case s.closing:
		return nil, busy(http.StatusServiceUnavailable, 5*time.Second, "the signer is shutting down")
	case p.take(&sh.requests, 1, s.pools.several):
		s.work++
		return nil, nil
	case !wait:
		return nil, p.full(sh.requests, time.Second, "requests", "are at work")
	}
	s.work++
	w := &waiter{ready: make(chan struct{})}
	w.at = sh.waiting.PushBack(w)
	if sh.turn == nil {
		sh.turn = s.turns.PushBack(sh)
	}
	return w, nil
}

// giveUp ends the waiting of a request whose socket has ended, unless it has
// got its place this very moment.
func (s *Server) giveUp(sh *share, w *waiter) *Error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if w.at == nil {
		return nil
	}
	s.unqueue(sh, w)
	s.lessWork()
	return s.pools.requests.full(sh.requests, time.Second, "requests", "are at work")
}

// grant gives the places that are free to those who wait, one membership after
// the other. It is called when something was given back, so that nobody waits
// who could have a place. The caller holds mu.
func (s *Server) grant() {
	p := &s.pools.requests
	for at := s.turns.Front(); at != nil && p.used < p.limit; {
		sh := at.Value.(*share)
		if !p.take(&sh.requests, 1, s.pools.several) {
			at = at.Next()
			continue
		}
		s.turns.MoveToBack(at)
		w := sh.waiting.Front().Value.(*waiter)
		s.unqueue(sh, w)
		close(w.ready)
		at = s.turns.Front()
	}
}

// unqueue lets a request wait no longer. The caller holds mu.
func (s *Server) unqueue(sh *share, w *waiter) {
	sh.waiting.Remove(w.at)
	w.at = nil
	if sh.waiting.Len() == 0 {
		s.turns.Remove(sh.turn)
		sh.turn = nil
	}
}

// lessWork ends a request that was at work or waited. The caller holds mu.
func (s *Server) lessWork() {
	s.work--
	s.announce()
}

// errMemory refuses a large request, whether the memory is the door's or the
// membership's.
var errMemory = errors.New("too many large requests at once")

// claim is one request's part of the memory.
type claim struct {
	server *Server
	share  *share
	have   int64
}

// grow raises the claim to n bytes. It fails when there are not as many.
func (c *claim) grow(n int64) error {
	if n <= smallRequest || n <= c.have {
		return nil
	}
	s := c.server
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.pools.memory.take(&c.share.memory, n-c.have, s.pools.several) {
		return errMemory
	}
	c.have = n
	return nil
}

// release gives the claim back. It may be called more than once.
func (c *claim) release() {
	if c.have == 0 {
		return
	}
	s := c.server
	s.mu.Lock()
	defer s.mu.Unlock()
	s.pools.memory.give(&c.share.memory, c.have)
	c.have = 0
}
