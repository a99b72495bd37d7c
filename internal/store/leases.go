// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"time"
)

// RenewLeases lets every lease of owner that has not expired run for ttl from
// now on, in one statement, and returns the senders whose leases those are. One
// that is not among them is lost: it expired, or is another's by now.
func (db *DB) RenewLeases(ctx context.Context, owner string, ttl time.Duration) (map[string]bool, error) {
	held := map[string]bool{}
	err := db.Write(ctx, func(w *Writer) error {
		clear(held) // the closure may run again
		clear(w.fences)
		now := w.db.d.now
		if _, err := w.exec("renew leases", `UPDATE lease SET expires = `+now+` + $1 WHERE owner = $2 AND expires > `+now,
			ttl.Microseconds(), owner); err != nil {
			return err
		}
		scan := func(rows *sql.Rows) (id string, err error) { return id, rows.Scan(&id) }
		ids, err := collect(w, scan, "list leases", `SELECT sender FROM lease WHERE owner = $1 AND expires > `+now, owner)
		if err != nil {
			return w.read(err)
		}
		for _, id := range ids {
			held[id] = true
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return held, nil
}

// ReleaseLeases lets others take every lease of owner at once. The rows stay,
// for their epochs.
func (db *DB) ReleaseLeases(ctx context.Context, owner string) error {
	return db.Write(ctx, func(w *Writer) error {
		clear(w.fences)
		_, err := w.exec("release leases", `UPDATE lease SET expires = 0 WHERE owner = $1`, owner)
		return err
	})
}
