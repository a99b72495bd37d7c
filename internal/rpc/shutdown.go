// SPDX-License-Identifier: Apache-2.0

package rpc

import (
	"context"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/auth"
)

// CloseSockets closes the WebSockets of every principal that match picks,
// because its credential was revoked, and returns how many those are. Auth must
// refuse such a principal already when CloseSockets is called: then no upgrade
// that is on its way slips through. Nothing more is taken from such a
// WebSocket, no notification goes out on it, and after revokeTime at the
// latest it is cut off, whatever its other end does; a transaction that was
// accepted before goes on. match is called with a lock held and does not call
// the server.
func (s *Server) CloseSockets(match func(auth.Principal) bool) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.revocations.Add(1)
	n := 0
	for k := range s.sockets {
		if match(k.who) {
			k.revoke()
			n++
		}
	}
	for g := range s.visitors {
		if match(g.who) {
			g.cancel()
			n++
		}
	}
	return n
}

// Shutdown refuses new requests, lets those at work finish, then closes the
// WebSockets with status 1001. When ctx ends first, it closes what is left
// and returns the error of ctx; transactions that were accepted stay stored.
func (s *Server) Shutdown(ctx context.Context) error {
	err := s.await(ctx, func() bool { return s.work == 0 })
	s.mu.Lock()
	for k := range s.sockets {
		k.goAway()
	}
	for g := range s.visitors {
		g.cancel()
	}
	s.mu.Unlock()
	if err == nil {
		err = s.await(ctx, func() bool { return len(s.sockets)+len(s.visitors) == 0 })
	}
	if err != nil {
		s.mu.Lock()
		for k := range s.sockets {
			k.drop()
		}
		s.mu.Unlock()
		// Dropped sockets end by themselves at once; wait for them so that
		// nothing of ours runs after the return.
		grace, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		_ = s.await(grace, func() bool { return len(s.sockets)+len(s.visitors) == 0 })
	}
	return err
}

// await waits until done, which is called with mu held.
func (s *Server) await(ctx context.Context, done func() bool) error {
	for {
		s.mu.Lock()
		s.closing = true
		ok, changed := done(), s.changed
		s.mu.Unlock()
		if ok {
			return nil
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}
