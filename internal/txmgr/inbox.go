// SPDX-License-Identifier: Apache-2.0

package txmgr

import (
	"context"
	"errors"
)

// post hands an event to the sender's goroutine, if that still runs. It never
// blocks.
func (s *sender) post(event func()) { _ = s.offer(event) }

// offer is post for those who have to know: an error says why the goroutine
// has ended, and that the event will not run.
func (s *sender) offer(event func()) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed != nil {
		return s.closed
	}
	s.inbox = append(s.inbox, event)
	s.rouse()
	return nil
}

// postBlock is post for what the chain brings. It never overtakes itself, but has
// to let requests and signatures pass.
func (s *sender) postBlock(event func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed == nil {
		s.blocks = append(s.blocks, event)
		s.rouse()
	}
}

// nextBlock has an event run before everything else that the chain has brought.
func (s *sender) nextBlock(event func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.blocks = append([]func(){event}, s.blocks...)
	s.rouse()
}

// blocksWait reports whether something that the chain brought has not run yet.
func (s *sender) blocksWait() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.blocks) > 0
}

// errNotStored is the answer of a round whose rows may not have been stored.
var errNotStored = errors.New("the transaction store failed: look again before trying again")

// ask posts an event and waits until it has run and its round is committed.
func ask[T any](ctx context.Context, s *sender, event func() T) (T, error) {
	type reply struct {
		value T
		err   error
	}
	answer := make(chan reply, 1)
	var none T
	if err := s.offer(func() {
		v := event()
		s.then(func() { answer <- reply{value: v} })
		s.undone = append(s.undone, func() { answer <- reply{err: errNotStored} })
	}); err != nil {
		return none, err
	}
	select {
	case r := <-answer:
		return r.value, r.err
	case <-ctx.Done():
		return none, ctx.Err()
	case <-s.ctx.Done():
		return none, s.over()
	}
}

// putBack has events run in the next round, before all others.
func (s *sender) putBack(events []func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inbox = append(events[:len(events):len(events)], s.inbox...)
	s.rouse()
}

// rouse wakes the goroutine. s.mu is held.
func (s *sender) rouse() {
	select {
	case s.wake <- struct{}{}:
	default:
	}
}
