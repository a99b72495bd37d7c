// SPDX-License-Identifier: Apache-2.0

package txmgr

import (
	"time"

	"github.com/hsmsigner/hsmsigner/internal/node"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

// How long the stages of a transaction took is kept in its row in memory, and
// written by the updates that are made anyway: with the signature, with Sent where
// that is written, and with the block. Nothing is decided by it.

// reached is how long after its acceptance e came to where it is at the moment at;
// never zero, which means that it is not known.
func (e *entry) reached(at time.Time) time.Duration {
	return max(time.Microsecond, at.Sub(e.row.Created))
}

// delivered notes that the node has answered that it has the first encoding of e.
// Who has taken e up from its row cannot tell whether it was sent before: only a
// node to which the bytes are new says so.
func (e *entry) delivered(a *attempt, verdict node.SendVerdict) {
	if e.row.Timing.Sent != 0 || a.row.Kind != store.FirstAttempt || e.resumed && verdict != node.Accepted {
		return
	}
	e.row.Timing.Sent = e.reached(time.Now())
}
