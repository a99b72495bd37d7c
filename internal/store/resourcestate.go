// SPDX-License-Identifier: Apache-2.0

package store

import "context"

// ResourceState is where a resource was found to stand.
type ResourceState struct {
	ID       string
	Revision int64 // of the row that it was found for
	State    string
	Reason   string
}

// SetResourceStates writes where resources stand. A row that is gone or has
// another revision by now is left alone: what was found does not hold for it.
// It raises neither the revisions nor the version of [DB.ResourceVersion], since
// nothing that anybody wants has changed.
func (db *DB) SetResourceStates(ctx context.Context, states []ResourceState) error {
	return db.Write(ctx, func(w *Writer) error {
		for _, s := range states {
			_, err := w.exec("set state of resource "+s.ID, `UPDATE resource SET state = $1, reason = $2
				WHERE id = $3 AND revision = $4 AND (state <> $5 OR reason <> $6)`,
				s.State, s.Reason, s.ID, s.Revision, s.State, s.Reason)
			if err != nil {
				return err
			}
		}
		return nil
	})
}

// SetStateOfUsers puts the resources of a kind that use another one into a
// state, but for those that are in the state except.
func (w *Writer) SetStateOfUsers(used, kind, state, except string) error {
	_, err := w.exec("set state of the users of "+used, `UPDATE resource SET state = $1, reason = '', revision = revision + 1
		WHERE kind = $2 AND state <> $3 AND id IN (SELECT resource FROM resource_use WHERE uses = $4)`,
		state, kind, except, used)
	if err != nil {
		return err
	}
	return w.resourcesChanged()
}
