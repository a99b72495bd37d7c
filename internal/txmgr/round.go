// SPDX-License-Identifier: Apache-2.0

package txmgr

import (
	"context"

	"github.com/hsmsigner/hsmsigner/internal/store"
)

// batch is what one commit makes durable, and what follows from it.
type batch struct {
	writes  []func(*store.Writer) error
	effects []func() // once it is committed
	undone  []func() // instead, if it is not
	free    uint64   // the next free nonce, as others may know it then
}

// round runs the waiting events, and has what they planned committed unless an
// earlier batch is still on its way: then the next one gathers meanwhile. So the
// store is never idle while there is work for it, and one batch at a time is in
// doubt.
func (s *sender) round(ctx context.Context) error {
	s.takeBlocks(blockShare)
	s.mu.Lock()
	events := s.inbox
	s.inbox = nil
	s.mu.Unlock()
	for i, event := range events {
		if len(s.planned) >= roundSize {
			s.putBack(events[i:])
			break
		}
		event()
	}
	s.takeBlocks(roundSize)
	if s.broken != nil {
		return s.broken
	}
	s.setAside()
	s.closeHoles()
	s.assign()
	s.commit(ctx)
	return nil
}

// takeBlocks runs what the chain has brought, in its order, until so many row
// changes of this batch are for blocks, or the batch is full.
func (s *sender) takeBlocks(share int) {
	for s.forBlocks < share && len(s.planned) < roundSize && s.takeBlock() {
	}
}

// takeAllBlocks does not leave any for later.
func (s *sender) takeAllBlocks() {
	for s.takeBlock() {
	}
}

func (s *sender) takeBlock() bool {
	s.mu.Lock()
	if len(s.blocks) == 0 {
		s.mu.Unlock()
		return false
	}
	event := s.blocks[0]
	s.blocks = s.blocks[1:]
	s.mu.Unlock()
	before := len(s.planned)
	event()
	s.forBlocks += len(s.planned) - before
	return true
}

// roundSize is how many row changes one commit gathers, about. blockShare of them
// are for blocks even while requests wait: a block of thousands is taken in
// pieces, since nobody who waits for a nonce or a signature must wait for all of it.
const (
	roundSize  = 64
	blockShare = 16
)

// commit begins the commit of what is planned, if none is under way.
func (s *sender) commit(ctx context.Context) {
	if s.writing != nil {
		return
	}
	b := batch{writes: s.planned, effects: s.effects, undone: s.undone, free: s.lowestFree()}
	s.planned, s.effects, s.undone, s.forBlocks = nil, nil, nil, 0
	if len(b.writes) == 0 {
		s.settled(b)
		return
	}
	done := make(chan error, 1)
	s.batch, s.writing = b, done
	fence := s.fence
	s.work(func() {
		done <- s.m.db.WriteFenced(context.WithoutCancel(ctx), fence, func(w *store.Writer) error {
			for _, write := range b.writes {
				if err := write(w); err != nil {
					return err
				}
			}
			return nil
		})
	})
}

// committed takes the store's word for the batch that was on its way.
func (s *sender) committed(err error) error {
	b := s.batch
	s.batch, s.writing = batch{}, nil
	if err != nil {
		s.undone = append(b.undone, s.undone...)
		return err
	}
	s.settled(b)
	return nil
}

// settled does what follows from a batch. Signatures are asked for, bytes leave
// and callers hear of it only here.
func (s *sender) settled(b batch) {
	for _, effect := range b.effects {
		effect()
	}
	s.releaseDrains()
	s.pump()
	s.publish(b.free)
}

// quiet waits for the batch that is on its way, if any. What was gathered behind
// it is not begun.
func (s *sender) quiet() error {
	if s.writing == nil {
		return nil
	}
	return s.committed(<-s.writing)
}

// end commits what is left when the process stops.
func (s *sender) end(ctx context.Context) error {
	if err := s.quiet(); err != nil {
		return err
	}
	s.commit(ctx)
	return s.quiet()
}
