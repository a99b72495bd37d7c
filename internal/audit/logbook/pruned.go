// SPDX-License-Identifier: Apache-2.0

package logbook

import (
	"context"
	"errors"
	"time"

	"github.com/hsmsigner/hsmsigner/internal/audit"
	"github.com/hsmsigner/hsmsigner/internal/store"
)

// A prune's event says what the prune has removed, record by record, and is under
// seal itself, after them. So a record without a row is pruned if such an event
// names it, and else was deleted by somebody who has no key.

const (
	// pruneSlack is how many events of prunes may stand in the log in another order
	// than that of their ids.
	pruneSlack = 256
	// pruneTries and pruneWait are how often and how long it is waited for the event
	// of a prune whose commit is stored, to come into the log.
	pruneTries = 10
	pruneWait  = 300 * time.Millisecond
)

// prunesFrom returns the events of prunes whose place is from or above, each
// shown by the newest checkpoint. It waits a little for one that is just being
// appended.
func (r *Reader) prunesFrom(ctx context.Context, from int64) ([]Proof, error) {
	var young bool
	var all []Proof
	for try := range pruneTries {
		if try > 0 {
			wait(ctx, pruneWait)
		}
		var err error
		if all, young, err = r.prunesNow(ctx, from); err != nil || !young {
			return all, err
		}
	}
	return all, nil
}

// prunesNow is prunesFrom without waiting; young says that one is missing that
// may be about to come.
func (r *Reader) prunesNow(ctx context.Context, from int64) (all []Proof, young bool, err error) {
	ids, err := r.db.AuditEventsOf(ctx, store.PruneKind, -1)
	if err != nil {
		return nil, false, err
	}
	old, before := idOf(time.Now().Add(-defaultGrace)), 0
	for _, id := range ids {
		p, err := r.Prove(ctx, audit.EventKind, id)
		switch {
		case errors.Is(err, store.ErrNotFound):
			young = young || id >= old && id < idOf(time.Now().Add(time.Second))
		case errors.Is(err, ErrTampered): // whoever verifies names it
		case err != nil:
			return nil, false, err
		case p.Index >= from:
			all = append(all, p)
		default:
			if before++; before > pruneSlack {
				return all, young, nil
			}
		}
	}
	return all, young, nil
}

// latePrunes takes into account what was pruned while the log was read: such
// rows are gone, and the event stands behind the end that the log had.
func (d *dbExaminer) latePrunes(ctx context.Context) error {
	if len(d.gone) == 0 {
		return nil
	}
	late, err := d.r.prunesFrom(ctx, d.tree.size)
	if err != nil {
		return err
	}
	for _, p := range late {
		d.prune(p.Index, removedBy(audit.EventKind, p.Line))
	}
	return nil
}
