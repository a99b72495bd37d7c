// SPDX-License-Identifier: Apache-2.0

package approval_test

import (
	"database/sql"
	"path/filepath"
	"testing"

	"github.com/ethereum/go-ethereum/core/types"

	"github.com/hsmsigner/hsmsigner/internal/sqlite"
)

// execSQL writes to the database past the store.
func execSQL(dir, text string, args ...any) error {
	db, err := sql.Open(sqlite.Driver, filepath.Join(dir, "hsmsigner.db")+"?_pragma=busy_timeout(5000)")
	if err != nil {
		return err
	}
	defer db.Close()
	res, err := db.Exec(text, args...)
	if err != nil {
		return err
	}
	if n, err := res.RowsAffected(); err != nil || n == 0 {
		return sql.ErrNoRows
	}
	return nil
}

// unmarshal reads a transaction from its JSON. One without a signature is not read
// by go-ethereum, so it has one of nothing.
func unmarshal(t *testing.T, raw []byte) *types.Transaction {
	t.Helper()
	var out types.Transaction
	must(t, out.UnmarshalJSON(raw))
	return &out
}

// count asks the database past the store.
func (r *rig) count(text string, args ...any) (n int) {
	r.Helper()
	db, err := sql.Open(sqlite.Driver, filepath.Join(r.dir, "hsmsigner.db")+"?_pragma=busy_timeout(5000)")
	must(r.T, err)
	defer db.Close()
	must(r.T, db.QueryRow(text, args...).Scan(&n))
	return n
}
