// SPDX-License-Identifier: Apache-2.0

package txmgr

import (
	"errors"
	"time"

	"github.com/ethereum/go-ethereum/common"
)

// foreign is a count above our rows that is being watched.
type foreign struct {
	count uint64
	head  common.Hash // at which it was first seen; zero until that is certain
	since time.Time
	looks uint64 // at the head, before it was first seen
	taken bool   // it was adopted, but for what ours below it has still to show
}

// lower deals with a count below our base. That is a lagging node, nothing else
// (TXMGR.md no. 7) — unless our base is but its own word: of an account that had
// no rows the first count was believed, and if it was wrong our nonces hang above
// a gap for ever. When two heads agree on the lower one the rows are read again,
// with that count, and what is missing below what has left is filled.
func (s *sender) lower(latest uint64) {
	if !s.believed || latest >= s.base || s.row.Parked != "" {
		s.under = foreign{}
		return
	}
	head := s.chain.current()
	if head.Hash == (common.Hash{}) {
		return
	}
	if s.agreed(&s.under, latest, head.Hash) {
		s.log.Error("the node counts fewer transactions than it did when this account was first used; its nonces are gone over", "first", s.base, "now", latest)
		s.event("adopted")
		s.broken = errFirstCount
	}
}

// errFirstCount has the rows read again after the first count was wrong.
var errFirstCount = errors.New("the node's first count of this account was wrong")

// agreed watches a count that is not what we expect, and reports whether a
// second head repeats it, or the same one for a while.
func (s *sender) agreed(f *foreign, count uint64, head common.Hash) bool {
	now := time.Now()
	switch {
	case f.count != count || f.since.IsZero():
		// The count may be of a newer head than the one that we know: that one
		// is looked for before it counts as the first.
		*f = foreign{count: count, since: now, looks: s.looks}
		s.chain.pollNow()
	case f.head == (common.Hash{}):
		if s.looks >= f.looks+2 { // the first look may have been on its way before the question
			f.head, f.since = head, now
		}
	default:
		return f.head != head || now.Sub(f.since) >= quietTime
	}
	return false
}
