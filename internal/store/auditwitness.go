// SPDX-License-Identifier: Apache-2.0

package store

import (
	"context"
	"database/sql"
	"time"
)

// Table audit_witness.

// AuditWitness is how far a witness of the audit log, or a receiver of its
// records, has come.
type AuditWitness struct {
	Name  string
	Size  int64 // of the newest checkpoint that it has; of a receiver, how many records
	At    time.Time
	Note  string // that checkpoint as the witness has signed it; empty if it signs none
	Error string // of the last try; empty if that went well
}

// AuditWitness reads how far a witness has come; all zero but the name if it was
// never heard of.
func (db *DB) AuditWitness(ctx context.Context, name string) (AuditWitness, error) {
	r, err := db.reader(ctx)
	if err != nil {
		return AuditWitness{}, err
	}
	all, err := collect(r, scanAuditWitness, "read audit witness "+name,
		`SELECT name, size, at, note, error FROM audit_witness WHERE name = $1`, name)
	if err != nil || len(all) == 0 {
		return AuditWitness{Name: name}, err
	}
	return all[0], nil
}

// AuditWitnesses reads all of them, by name.
func (db *DB) AuditWitnesses(ctx context.Context) ([]AuditWitness, error) {
	r, err := db.reader(ctx)
	if err != nil {
		return nil, err
	}
	return collect(r, scanAuditWitness, "read audit witnesses", `SELECT name, size, at, note, error FROM audit_witness ORDER BY name`)
}

// PutAuditWitness stores how far a witness has come.
func (db *DB) PutAuditWitness(ctx context.Context, a AuditWitness) error {
	return db.Write(ctx, func(w *Writer) error {
		_, err := w.exec("store audit witness "+a.Name, `INSERT INTO audit_witness (name, size, at, note, error) VALUES ($1, $2, $3, $4, $5)
			ON CONFLICT (name) DO UPDATE SET size = excluded.size, at = excluded.at, note = excluded.note, error = excluded.error`,
			a.Name, a.Size, timeArg(a.At), a.Note, a.Error)
		return err
	})
}

func scanAuditWitness(rows *sql.Rows) (AuditWitness, error) {
	var a AuditWitness
	var at sql.NullInt64
	err := rows.Scan(&a.Name, &a.Size, &at, &a.Note, &a.Error)
	a.At = timeOf(at)
	return a, err
}
