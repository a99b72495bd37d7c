// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"fmt"
)

// ResealResource stores what is sealed of a resource as it was sealed anew, if
// it is still what was read; ErrRevision if it is not, or the resource is gone.
// Nothing else of the resource changes, its revision among it: nobody need
// connect anew because of it.
func (db *DB) ResealResource(ctx context.Context, id string, was, is []byte) error {
	return db.Write(ctx, func(w *Writer) error {
		n, err := w.exec("reseal resource "+id, `UPDATE resource SET sealed = $1 WHERE id = $2 AND sealed = $3`, is, id, was)
		if err == nil && n == 0 {
			err = w.fail("", fmt.Errorf("%w: %s", ErrRevision, id))
		}
		return err
	})
}
