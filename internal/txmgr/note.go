// SPDX-License-Identifier: Apache-2.0

package txmgr

import (
	"time"

	"github.com/hsmsigner/hsmsigner/internal/store"
)

// noteAfter is how long a transaction is in flight before its row says that a
// node took it. Most are mined before, and then the row says that: one write
// less in ten.
const noteAfter = time.Second

// rowStates are the states that the row of a transaction may show whose state
// in memory is state: Sent is written down late or never, and another replica
// makes Sent of a Signed row whose hash it has shown to somebody.
func rowStates(state store.TxState) []store.TxState {
	switch state {
	case store.Signed, store.Sent:
		return []store.TxState{store.Signed, store.Sent}
	}
	return []store.TxState{state}
}

// movable are the row states from which e may fail or be given another nonce.
// One that has not left must not have been shown by another replica meanwhile,
// which would have made its row Sent.
func movable(e *entry) []store.TxState {
	if !e.left && e.row.State == store.Signed {
		return []store.TxState{store.Signed}
	}
	return rowStates(e.row.State)
}

// note writes down what has been in flight for a while.
func (s *sender) note(now time.Time) {
	for _, e := range s.slots {
		if e.noted || e.row.State != store.Sent || now.Sub(e.stage) < noteAfter {
			continue
		}
		e.noted = true
		id, hash, timing := e.row.ID, e.hash(), e.row.Timing
		s.plan(func(w *store.Writer) error {
			return w.ExpectTx(id, rowStates(store.Sent), store.TxUpdate{State: store.Sent, Hash: &hash, Timing: &timing})
		})
	}
}
