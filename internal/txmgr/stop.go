// SPDX-License-Identifier: Apache-2.0

package txmgr

import (
	"context"
	"errors"
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/store"
)

// leaveOffered sends those away who wait at a stopping holder for what it has
// not taken up: whoever takes over will, and is asked next.
func (s *sender) leaveOffered() {
	if !s.m.shared || !s.loadedOK {
		return
	}
	for id := range s.waiters {
		if s.byTx[id] == nil && s.offeredSub(id) == nil {
			s.answer(id, common.Hash{}, &PendingError{TxID: id})
		}
	}
}

// quiesce waits until every caller of this sender has an answer.
func (s *sender) quiesce(ctx context.Context) {
	for ctx.Err() == nil {
		idle, err := ask(ctx, s, func() bool {
			s.leaveOffered()
			// A signature under way is waited for too: its caller may stand at
			// another replica.
			quiet := len(s.waiters)+len(s.subs)+len(s.offers)+len(s.signings) == 0
			// Another replica need not wait until this process has ended; and who
			// comes only now, late, is refused.
			s.leaving = s.leaving || quiet
			return quiet
		})
		if errors.Is(err, errNotStored) {
			err = nil // it is read anew, and those who wait go on waiting
		}
		if err != nil || idle {
			return
		}
		if !sleep(ctx, 20*time.Millisecond) {
			return
		}
	}
}

// part answers the callers whose transaction has stored bytes: those go out
// again at the next start, so their hash is the answer.
func (s *sender) part() {
	for id := range s.waiters {
		if e := s.byTx[id]; e != nil && e.ready() && e.row.State != store.Held {
			s.answer(id, e.hash(), nil)
		}
	}
}
