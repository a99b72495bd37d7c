// SPDX-License-Identifier: Apache-2.0

package txmgr

import (
	"time"

	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/store"
)

// presence is what a node's pending count is worth. Accepted is not pooled
// (TXMGR.md no. 6), so what the count does not cover goes out again, the same
// bytes. Nodes without a pool of their own, though, answer the mined count for
// the pending one: there the lowest transaction alone is sent again at each
// head, and shows by the answer whether it was gone. A chain that makes blocks only
// when transactions come has no next head while the lowest is gone: there a while
// without one counts as such (as in TXMGR.md no. 7).
type presence struct {
	blind bool        // the count says nothing of the pool
	probe *entry      // the lowest one that is being sent again
	head  common.Hash // at which the last one was
	at    time.Time   // when
}

// resendDropped sends again what the node's pool has lost.
func (s *sender) resendDropped() {
	p := &s.presence
	from := max(s.account.pending, s.base)
	if p.blind {
		head, now := s.chain.current().Hash, time.Now()
		if e := s.slots[s.base]; e != nil && (head != p.head || now.Sub(p.at) >= quietTime) && s.dropped(e) {
			e.acked, p.probe, p.head, p.at = false, e, head, now
		}
		return
	}
	for n := from; s.slots[n] != nil; n++ {
		e := s.slots[n]
		if !s.dropped(e) {
			continue
		}
		s.log.Info("node dropped a transaction, sending it again", "tx", e.row.ID, "nonce", n)
		s.event("resent")
		if e.acked = false; n == from {
			p.probe = e
		}
	}
}

// dropped reports whether e was taken by the node before it was asked for its
// count.
func (s *sender) dropped(e *entry) bool {
	return e.acked && e.ackedAt < s.account.asked && e.row.State == store.Sent
}

// shownBy takes the node's answer to what was sent again: that it had it all
// the time, or not.
func (s *sender) shownBy(e *entry, known bool) {
	p := &s.presence
	if p.probe != e {
		return
	}
	p.probe = nil
	if known == p.blind {
		return
	}
	if p.blind = known; !known {
		// It was gone, and so may be all that came after it.
		for _, other := range s.slots {
			if other != e && s.dropped(other) {
				other.acked = false
			}
		}
	}
}
