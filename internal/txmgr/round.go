// SPDX-License-Identifier: Apache-2.0

package txmgr

import (
	"context"

	"github.com/hsmsigner/hsmsigner/internal/store"
)

// round runs the waiting events and commits what they planned.
func (s *sender) round(ctx context.Context) error {
	s.mu.Lock()
	events := s.inbox
	s.inbox = nil
	s.mu.Unlock()
	for i, event := range events {
		event()
		// A block of thousands is taken in pieces: whoever waits for the commit
		// of a request or a signature must not wait for all of it.
		if len(s.planned) >= roundSize && i+1 < len(events) {
			s.putBack(events[i+1:])
			break
		}
	}
	if s.broken != nil {
		return s.broken
	}
	s.closeHoles()
	s.assign()
	if len(s.planned) > 0 {
		planned := s.planned
		err := s.m.db.WriteFenced(context.WithoutCancel(ctx), s.fence, func(w *store.Writer) error {
			for _, write := range planned {
				if err := write(w); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	effects := s.effects
	s.planned, s.effects, s.undone = nil, nil, nil
	for _, effect := range effects {
		effect()
	}
	s.releaseDrains()
	s.pump()
	s.publish()
	return nil
}

// roundSize is how many row changes one commit gathers, about.
const roundSize = 64

// putBack has events run in the next round, before all others.
func (s *sender) putBack(events []func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.inbox = append(events[:len(events):len(events)], s.inbox...)
	select {
	case s.wake <- struct{}{}:
	default:
	}
}
