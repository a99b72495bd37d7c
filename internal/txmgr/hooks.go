// SPDX-License-Identifier: Apache-2.0

package txmgr

import (
	"github.com/ethereum/go-ethereum/common"

	"github.com/hsmsigner/hsmsigner/internal/store"
)

// Hooks tell the outside of state changes. What they make of one is stored in
// the commit of the change itself, so that none is lost or told for nothing.
type Hooks interface {
	// Events are the rows for a transaction that has come to the state in t;
	// none if nobody wants to hear of it. hashes are of all its encodings. It is
	// called on the sending path and must be quick.
	Events(t store.Tx, hashes []common.Hash) []store.Event
	// Kick says that rows were stored.
	Kick()
}

// tell has a state change of e told to whoever wants to hear of it.
func (s *sender) tell(e *entry) {
	if s.m.hooks == nil {
		return
	}
	var hashes []common.Hash
	for _, a := range e.attempts {
		if a.row.Raw != nil {
			hashes = append(hashes, a.row.Hash)
		}
	}
	s.tellRow(e.row, hashes)
}

func (s *sender) tellRow(row store.Tx, hashes []common.Hash) {
	if s.m.hooks == nil {
		return
	}
	events := s.m.hooks.Events(row, hashes)
	if len(events) == 0 {
		return
	}
	s.plan(func(w *store.Writer) error { return putEvents(w, events) })
	s.then(s.m.hooks.Kick)
}

func putEvents(w *store.Writer, events []store.Event) error {
	for _, e := range events {
		if err := w.PutEvent(e); err != nil {
			return err
		}
	}
	return nil
}
