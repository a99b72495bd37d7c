// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"sync"
)

// openApprovals is which requests may wait for people, known where no other process
// writes to the database: who finds nothing here need not look into the table. What
// is open is always in it, from before its commit on; what has ended may be.
type openApprovals struct {
	mu      sync.Mutex
	all     openSet // nil: not known yet
	loading bool    // somebody reads them
	fresh   openSet // opened while somebody reads
	reload  int     // size of all at which they are read anew
}

// openSet is requests by wallet and hash.
type openSet map[string]map[[32]byte]struct{}

func (s openSet) add(wallet string, hash [32]byte) {
	if s[wallet] == nil {
		s[wallet] = make(map[[32]byte]struct{})
	}
	s[wallet][hash] = struct{}{}
}

func (s openSet) size() (n int) {
	for _, hashes := range s {
		n += len(hashes)
	}
	return n
}

// opens notes a request that is about to be open.
func (o *openApprovals) opens(wallet string, hash [32]byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.all != nil {
		o.all.add(wallet, hash)
	}
	if o.loading {
		o.fresh.add(wallet, hash)
	}
}

// MayWait reports whether there may be an open request of a wallet, with that hash
// unless it is nil. False is certain: there is none. On PostgreSQL, which other
// replicas write to, it is always true.
func (db *DB) MayWait(ctx context.Context, wallet string, hash *[32]byte) bool {
	if db.pg != nil || db.lock == nil {
		return true
	}
	o := &db.open
	o.mu.Lock()
	load := !o.loading && (o.all == nil || o.all.size() >= o.reload)
	if load {
		o.loading, o.fresh = true, openSet{}
	}
	o.mu.Unlock()
	if load {
		db.loadOpen(ctx)
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.all == nil {
		return true
	}
	hashes := o.all[wallet]
	if hash == nil {
		return len(hashes) > 0
	}
	_, may := hashes[*hash]
	return may
}

// loadOpen reads which requests are open. It reads on the writer's turn, so that
// what is not in a commit yet comes after it, and is noted as fresh.
func (db *DB) loadOpen(ctx context.Context) {
	var open openSet
	err := db.Write(ctx, func(w *Writer) error {
		open = openSet{}
		scan := func(rows *sql.Rows) (struct{}, error) {
			var wallet string
			var hash sql.RawBytes
			err := rows.Scan(&wallet, &hash)
			if err == nil && len(hash) == 32 {
				open.add(wallet, [32]byte(hash))
			}
			return struct{}{}, err
		}
		_, err := collect(w, scan, "read open approvals", `SELECT wallet, request_hash FROM approval WHERE open = 1`)
		return w.read(err)
	})
	o := &db.open
	o.mu.Lock()
	defer o.mu.Unlock()
	if err == nil {
		for wallet, hashes := range o.fresh {
			for hash := range hashes {
				open.add(wallet, hash)
			}
		}
		o.all, o.reload = open, 2*open.size()+1024
	}
	o.loading, o.fresh = false, nil
}
