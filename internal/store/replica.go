// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"time"
)

// Tables replica and snapshot: who shares this database, and what has changed.

// Replica is one daemon that is, or was, alive.
type Replica struct {
	Owner    string // as in Lease.Owner
	URL      string // where its peers reach it; empty if they cannot
	Token    string // its public key, by which they prove to it who they are
	Version  string
	Settings string // fingerprint of what must be the same everywhere
	Started  time.Time
	Seen     time.Time // by the database's clock
}

// deadReplica is how long the row of a daemon stays that was not seen any more.
const deadReplica = time.Hour

// PutReplica stores that the replica is alive now, by the database's clock, and
// forgets those that have not been seen for an hour. r.Seen does not count.
func (db *DB) PutReplica(ctx context.Context, r Replica) error {
	return db.Write(ctx, func(w *Writer) error {
		now := w.db.d.now
		_, err := w.exec("store replica "+r.Owner, `INSERT INTO replica (owner, url, token, version, settings, started, seen)
			VALUES ($1, $2, $3, $4, $5, $6, `+now+`)
			ON CONFLICT (owner) DO UPDATE SET url = excluded.url, token = excluded.token, version = excluded.version,
			settings = excluded.settings, seen = excluded.seen`,
			r.Owner, r.URL, r.Token, r.Version, r.Settings, r.Started.UnixMicro())
		if err != nil {
			return err
		}
		_, err = w.exec("forget dead replicas", `DELETE FROM replica WHERE seen < `+now+` - $1`, deadReplica.Microseconds())
		return err
	})
}

// Replicas returns the replicas that were seen within the given time by the
// database's clock, the oldest first.
func (db *DB) Replicas(ctx context.Context, within time.Duration) ([]Replica, error) {
	r, err := db.reader(ctx)
	if err != nil {
		return nil, err
	}
	scan := func(rows *sql.Rows) (a Replica, err error) {
		var started, seen sql.NullInt64
		err = rows.Scan(&a.Owner, &a.URL, &a.Token, &a.Version, &a.Settings, &started, &seen)
		a.Started, a.Seen = timeOf(started), timeOf(seen)
		return a, err
	}
	return collect(r, scan, "read replicas", `SELECT owner, url, token, version, settings, started, seen FROM replica
		WHERE seen > `+db.d.now+` - $1 ORDER BY started, owner`, within.Microseconds())
}

// RemoveReplica forgets a replica that ends. One that is not there is no error.
func (db *DB) RemoveReplica(ctx context.Context, owner string) error {
	return db.Write(ctx, func(w *Writer) error {
		_, err := w.exec("remove replica "+owner, `DELETE FROM replica WHERE owner = $1`, owner)
		return err
	})
}

// SnapshotVersions returns, by wallet, a number that rises whenever its account
// rows change in more than Seen. A wallet whose accounts were never stored is
// not in it.
func (db *DB) SnapshotVersions(ctx context.Context) (map[string]int64, error) {
	r, err := db.reader(ctx)
	if err != nil {
		return nil, err
	}
	versions := make(map[string]int64)
	scan := func(rows *sql.Rows) (struct{}, error) {
		var wallet string
		var version int64
		err := rows.Scan(&wallet, &version)
		versions[wallet] = version
		return struct{}{}, err
	}
	_, err = collect(r, scan, "read snapshot versions", `SELECT wallet, version FROM snapshot`)
	return versions, err
}
