// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
)

// Table change: what every replica has to look at soon.

// Names of what is counted in table change.
const (
	ChangePolicy   = "policy"
	ChangeApproval = "approval"
	ChangeFreeze   = "freeze"
)

// NoteChange counts a change of what name says, in the commit of the closure.
func (w *Writer) NoteChange(name string) error {
	_, err := w.exec("count a change of "+name, `INSERT INTO change (name, value) VALUES ($1, 1)
		ON CONFLICT (name) DO UPDATE SET value = change.value + 1`, name)
	return err
}

// Changes are the counts, by name: each rises with every change. What has never
// changed is not there.
func (db *DB) Changes(ctx context.Context) (map[string]int64, error) {
	r, err := db.reader(ctx)
	if err != nil {
		return nil, err
	}
	counts := make(map[string]int64)
	scan := func(rows *sql.Rows) (struct{}, error) {
		var name string
		var value int64
		err := rows.Scan(&name, &value)
		counts[name] = value
		return struct{}{}, err
	}
	_, err = collect(r, scan, "read the counts of changes", `SELECT name, value FROM change`)
	return counts, err
}
