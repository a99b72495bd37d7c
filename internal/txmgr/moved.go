// SPDX-License-Identifier: Apache-2.0

package txmgr

import (
	"context"
	"maps"
	"slices"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/store"
)

// nodeChanged is told that another node serves the chain. Before anything new
// it gets everything that is not mined, from its own count upward, the same
// bytes (TXMGR.md no. 22): nothing is assigned until its count is known.
func (s *sender) nodeChanged() {
	if !s.loadedOK {
		return
	}
	for _, e := range s.slots {
		if e.row.State != store.Mined {
			e.acked = false
		}
	}
	s.presence = presence{}
	s.backoff, s.retry = 0, time.Time{}
	s.account.balance = nil
	s.refill = true
	s.blocksMissed()
	s.wantAccount()
}

// fillUp gives a node that lags the transactions that it has not seen mined, so
// that what comes after them is no gap in its pool. What it answers proves
// nothing: they are in a block of another node.
func (s *sender) fillUp() {
	if !s.refill || s.sending {
		return
	}
	for e := range s.mined {
		if e.nonce() >= s.account.latest && s.frozen(e) != nil {
			return // asked again with the next answer about the account
		}
	}
	s.refill = false
	var batch []*attempt
	var raws [][]byte
	late := map[uint64]*entry{}
	for e := range s.mined {
		if e.nonce() >= s.account.latest {
			late[e.nonce()] = e
		}
	}
	for _, n := range slices.Sorted(maps.Keys(late)) {
		for _, a := range late[n].attempts {
			if a.row.Hash == late[n].row.Hash {
				batch, raws = append(batch, a), append(raws, a.row.Raw)
			}
		}
	}
	if len(raws) == 0 {
		return
	}
	w, places := s.w, s.placesOf(batch)
	ctx, cancel := context.WithTimeout(w.ctx, sendTimeout)
	s.sending, s.out, s.unsend = true, batch, cancel
	s.work(func() {
		defer cancel()
		for part := range slices.Chunk(raws, maxBatch) {
			s.sendRaw(ctx, w.node, places, part)
		}
		s.post(s.sendEnded)
	})
}
