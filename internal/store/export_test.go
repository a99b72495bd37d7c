// SPDX-License-Identifier: Apache-2.0

package store

// UseSavepoints makes a new SQLite store undo closures as databases with
// several writers have to.
func UseSavepoints(db *DB) { db.d.savepoints = true }
