// SPDX-License-Identifier: Apache-2.0

package platform

import (
	"slices"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/store"
)

// Durations says how long the stages of a transaction took, in microseconds. What is
// left out has not ended yet, is no stage of this transaction, or is not known: the
// process that worked on it ended in between, or a replica of an earlier version did
// the work.
type Durations struct {
	Queued *int64 `json:"queued_us,omitempty"` // from its acceptance until its signature was asked for
	Signed *int64 `json:"signed_us,omitempty"` // until the key backend had given it
	Sent   *int64 `json:"sent_us,omitempty"`   // until a node had answered that it took the bytes
	Mined  *int64 `json:"mined_us,omitempty"`  // until its block was seen here
}

// durationsOf reads them of a row; nil if none is known. tries may be left out: they
// are asked where the row does not know when its signature was asked for.
func durationsOf(t store.Tx, tries []store.Attempt) *Durations {
	at := t.Timing
	switch t.State {
	case store.Offered, store.Queued, store.Held:
		return nil // what is in the row is of a nonce that was given up
	case store.Assigned:
		at = store.Timing{}
	}
	if at.Asked == 0 && t.Kind != store.RawTx {
		// Its attempt was made in the round in which the signature was asked for.
		for _, a := range slices.Backward(tries) {
			if a.Kind == store.FirstAttempt {
				at.Asked = max(time.Microsecond, a.Created.Sub(t.Created))
				break
			}
		}
	}
	var d Durations
	between := func(from, to time.Duration) *int64 {
		if to == 0 {
			return nil
		}
		n := max(0, to-from).Microseconds()
		return &n
	}
	d.Queued = between(0, at.Asked)
	if at.Asked > 0 {
		d.Signed = between(at.Asked, at.Signed)
	}
	if at.Signed > 0 || t.Kind == store.RawTx { // which came with its signature
		d.Sent = between(at.Signed, at.Sent)
	}
	if at.Sent > 0 {
		d.Mined = between(at.Sent, at.Mined)
	}
	if d == (Durations{}) {
		return nil
	}
	return &d
}
