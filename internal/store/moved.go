// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
)

// movedKey is the row of meta that Move leaves behind: where the rows are now.
const movedKey = "moved_to"

// refuseMoved keeps a daemon from going on with rows that live elsewhere by
// now: it would assign nonces that the other database has assigned, too.
func refuseMoved(ctx context.Context, conn *sql.Conn, where string) error {
	var to string
	err := conn.QueryRowContext(ctx, `SELECT value FROM meta WHERE name = $1`, movedKey).Scan(&to)
	if errors.Is(err, sql.ErrNoRows) {
		return nil
	}
	if err != nil {
		return fmt.Errorf("store: read meta: %w", err)
	}
	return fmt.Errorf("%w: the rows of %s are at %s since then; start the daemon with that one. Only if nothing was started there yet, go back by removing that database and then, here, the mark: DELETE FROM meta WHERE name = '%s'",
		ErrMoved, where, to, movedKey)
}
