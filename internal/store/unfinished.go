// SPDX-License-Identifier: Apache-2.0

package store

import "context"

// Unfinished counts the transactions of a wallet that are not final. It reads
// those of all wallets, which are few however many are final.
func (db *DB) Unfinished(ctx context.Context, wallet string) (int, error) {
	r, err := db.reader(ctx)
	if err != nil {
		return 0, err
	}
	n, err := one(r, scanCount, "count the unfinished transactions of "+wallet, unfinishedOf, wallet)
	return int(n), err
}

// unfinishedOf: as in unindexed, it is the index of what is open that serves this
// best.
const unfinishedOf = `SELECT count(*) FROM tx t WHERE t.final = 0 AND t.sender > '' AND t.wallet || '' = $1`
